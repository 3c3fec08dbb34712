"""Vectors of an embedder behind an OpenAI-compatible endpoint, through a ledger.

Every request is recorded, billed and counted towards the limits. The vectors of small calls, such
as those of a trace, are kept in the ledger and served again. An index has millions of them, and
keeps them in its own files.
"""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models.base import ChatModel
from chunkykit.models.calls import (
    billed_dollars,
    identify_call,
    worst_case_cost,
)
from chunkykit.models.ledger import Ledger
from chunkykit.models.network import explain_connection
from chunkykit.models.providers import client_for, public_url, scrub_keys
from chunkykit.models.wire import valid_token_count
from chunkykit.types import Reply

if TYPE_CHECKING:
    import numpy as np

ROLE = "embedder"
MAX_TEXTS_PER_REQUEST = 256
MAX_KEPT_TEXTS = 256  # texts of a call whose vectors the ledger keeps

Spending = Callable[[], AbstractContextManager[Ledger]]


def embed_through(name: str, spending: Spending) -> Callable[[list[str]], "np.ndarray"]:
    """Make an encoder that asks an endpoint and records its requests.

    Args:
        name: "openai:MODEL" or "http://host:port/v1:MODEL".
        spending: opens the ledger for one call of the encoder.

    Returns:
        n different texts to n vectors, shape (n, d) float32. It raises UserError where the endpoint
        fails, and BudgetReached where a request could exceed a limit.
    """
    client, model = client_for(name, asynchronous=False)
    # the name and the address identify the requests; this is never called as a chat model
    identity = ChatModel(name, _no_chat, public_url(client))

    def send(texts: list[str]) -> tuple["np.ndarray", int]:
        import numpy as np

        response = client.embeddings.create(model=model, input=texts, encoding_format="float")
        items = sorted(response.data, key=lambda item: item.index)
        vectors = np.array([item.embedding for item in items], np.float32)
        return vectors, valid_token_count(getattr(response.usage, "prompt_tokens", 0))

    def encode(texts: list[str]) -> "np.ndarray":
        import numpy as np

        keep = len(texts) <= MAX_KEPT_TEXTS
        with spending() as ledger:
            return np.concatenate(
                [_serve_or_pay(ledger, identity, send, part, keep) for part in _parts(texts)]
            )

    return encode


def _parts(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), MAX_TEXTS_PER_REQUEST):
        yield texts[start : start + MAX_TEXTS_PER_REQUEST]


async def _no_chat(*_: Any, **__: Any) -> Reply:
    raise UserError("this model embeds texts and does not chat.")


def _serve_or_pay(
    ledger: Ledger,
    identity: ChatModel,
    send: Callable[[list[str]], tuple["np.ndarray", int]],
    texts: list[str],
    keep: bool,
) -> "np.ndarray":
    """The vectors of one request, from the ledger or from the endpoint."""
    import numpy as np

    turns = [{"role": "user", "content": text} for text in texts]
    # vectors that are not kept cannot be served: the time makes another request of the same texts
    settings = {} if keep else {"at": time.time_ns()}
    key, request = identify_call(identity, ROLE, turns, settings)
    row = ledger.db.execute("select text from calls where key=?", [key]).fetchone()
    if row:  # never one that was not kept: its key holds another time
        flat = np.frombuffer(base64.b64decode(row[0]), np.float32)
        return flat.reshape(len(texts), -1)
    rate = ledger.price(identity.name)
    worst = worst_case_cost(rate, request, {"max_tokens": 0})
    reason = ledger.reason_to_stop(1, worst)
    if reason:
        raise BudgetReached(reason)
    ledger.sent += 1
    start = time.time()
    try:
        vectors, tokens = send(texts)
    except Exception as error:
        explain_connection(error, identity.base_url or identity.name)
        line = " ".join(scrub_keys(f"{type(error).__name__}: {error}").split())
        ledger.record_error(key, ROLE, identity.name, line)
        raise UserError(
            f"embedder {identity.name}: {line}. Run the same command again when it answers."
        ) from None
    text = base64.b64encode(vectors.tobytes()).decode() if keep else ""
    reply = Reply(text, None, tokens)
    if not keep:
        request = f"{len(texts)} texts"  # millions of texts would fill the file
    dollars = billed_dollars(rate, reply, worst)
    seconds = time.time() - start
    ledger.record_reply(key, ROLE, identity.name, request, reply, dollars, seconds)
    return vectors

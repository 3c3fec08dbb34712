"""Vectors of an embedder behind an OpenAI-compatible endpoint, through a ledger.

Every request is recorded, billed and counted towards the limits. The vectors of small calls, such
as those of a trace, are kept in the ledger and served again. An index has millions of them, and
keeps them in its own files.
"""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models.base import ChatModel
from chunkykit.models.calls import identify_call
from chunkykit.models.keys import scrub_keys
from chunkykit.models.ledger import Ledger
from chunkykit.models.meter import LedgerMeter
from chunkykit.models.providers import client_for, public_url
from chunkykit.models.retry import DEFAULT_DEADLINE, send_with_retries, within_deadline
from chunkykit.models.wire import valid_token_count
from chunkykit.progress import parts
from chunkykit.sync import run_sync
from chunkykit.types import Reply

if TYPE_CHECKING:
    import numpy as np

ROLE = "embedder"
MAX_TEXTS_PER_REQUEST = 256
MAX_KEPT_TEXTS = 256  # texts of a call whose vectors the ledger keeps

Spending = Callable[[], AbstractContextManager[Ledger]]


def embed_through(
    name: str, spending: Spending | None = None
) -> Callable[[list[str]], "np.ndarray"]:
    """Make an encoder that asks an endpoint and records its requests.

    Args:
        name: "openai:MODEL" or "http://host:port/v1:MODEL".
        spending: opens the ledger for one call of the encoder. None to record nothing.

    Returns:
        n different texts to n vectors, shape (n, d) float32. It raises UserError where the endpoint
        fails, and BudgetReached where a request could exceed a limit.
    """
    client_for(name)  # a missing key or library shows at once

    def encode(texts: list[str]) -> "np.ndarray":
        import numpy as np

        with spending() if spending else nullcontext() as ledger:
            return np.concatenate(run_sync(_embed_parts(name, texts, ledger)))

    return encode


async def _embed_parts(name: str, texts: list[str], ledger: Ledger | None) -> list["np.ndarray"]:
    """The vectors of texts, one array per request."""
    client, model = client_for(name)
    deadline = DEFAULT_DEADLINE if ledger is None else ledger.deadline
    endpoint = _Endpoint(name, public_url(client), client, model, deadline)
    keep = len(texts) <= MAX_KEPT_TEXTS
    try:
        requests = parts(list(_parts(texts)), "requests")
        return [await _serve_or_pay(endpoint, part, ledger, keep) for part in requests]
    finally:
        await client.close()


def _parts(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), MAX_TEXTS_PER_REQUEST):
        yield texts[start : start + MAX_TEXTS_PER_REQUEST]


class _Endpoint(NamedTuple):
    """An embedder's server: its name, address, client and model, and the deadline of a request."""

    name: str
    url: str
    client: Any
    model: str
    deadline: float

    async def embed(self, texts: list[str]) -> tuple["np.ndarray", int]:
        """The vectors of texts, and the tokens that the server has counted."""
        sending = send_with_retries(self.url, lambda: self._send(texts))
        try:
            return await within_deadline(sending, self.deadline, self.url)
        except BudgetReached:
            raise
        except Exception as error:
            line = " ".join(scrub_keys(f"{type(error).__name__}: {error}").split())
            raise UserError(
                f"embedder {self.name}: {line}. Run the same command again when it answers."
            ) from None

    async def _send(self, texts: list[str]) -> tuple["np.ndarray", int]:
        import numpy as np

        response = await self.client.embeddings.create(
            model=self.model, input=texts, encoding_format="float"
        )
        items = sorted(response.data, key=lambda item: item.index)
        vectors = np.array([item.embedding for item in items], np.float32)
        return vectors, valid_token_count(getattr(response.usage, "prompt_tokens", 0))


async def _no_chat(*_: Any, **__: Any) -> Reply:
    raise UserError("this model embeds texts and does not chat.")


async def _serve_or_pay(
    endpoint: _Endpoint, texts: list[str], ledger: Ledger | None, keep: bool
) -> "np.ndarray":
    """The vectors of one request, from the ledger or from the endpoint."""
    import numpy as np

    if ledger is None:
        return (await endpoint.embed(texts))[0]
    turns = [{"role": "user", "content": text} for text in texts]
    # vectors that are not kept cannot be served: the time makes another request of the same texts
    settings = {} if keep else {"at": time.time_ns()}
    identity = ChatModel(endpoint.name, _no_chat, endpoint.url)
    key, request = identify_call(identity, ROLE, turns, settings)
    row = ledger.file.select_one("select text from calls where key=?", [key])
    if row:  # never one that was not kept: its key holds another time
        flat = np.frombuffer(base64.b64decode(row[0]), np.float32)
        return flat.reshape(len(texts), -1)
    rate = ledger.price(endpoint.name)
    # The caller's thread waits for this one, so nothing that it has under way could leave room.
    meter = LedgerMeter(
        ledger.account, endpoint.name, rate, request, {"max_tokens": 0}, waits=False
    )
    start = time.time()
    try:
        with meter.running():
            vectors, tokens = await endpoint.embed(texts)
    except BaseException as error:
        meter.fail(error)
        if isinstance(error, Exception) and not isinstance(error, BudgetReached):
            ledger.record_error(key, ROLE, endpoint.name, str(error))
        raise
    text = base64.b64encode(vectors.tobytes()).decode() if keep else ""
    if not keep:
        request = f"{len(texts)} texts"  # millions of texts would fill the file
    reply = Reply(text, None, tokens)
    ledger.record_reply(meter, key, ROLE, request, reply, time.time() - start)
    return vectors

"""The one interface to every chat model: `await model(messages, **settings) -> Reply`."""

import asyncio
import contextlib
import contextvars
import json
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from chunkykit.errors import UserError
from chunkykit.text import clean_text
from chunkykit.thinking import whole_reply
from chunkykit.types import ANSWERED, CUT_OFF, Reply, Target

DEFAULT_MAX_TOKENS = 1024  # tokens of an answer, where the caller sets no limit
ROLES = ("system", "user", "assistant")

ENDS_WHOLE = re.compile(r"\}\s*(?:```\s*)?\Z")  # an answer that was cut off after its object

Parsed = TypeVar("Parsed")


class BatchInterface(NamedTuple):
    """A provider's batch interface.

    Attributes:
        submit: `await submit({key: (messages, settings)})` returns the id of the batch.
        collect: `await collect(batch_id)` returns {key: Reply, or a text with the error}, None
            while the batch runs, or a text with the reason if the whole batch was refused.
        find: `await find(keys, since)` returns the id of a batch with exactly these calls that
            was submitted after the time `since`, in seconds since 1970; None if there is none.
    """

    submit: Callable[[dict], Awaitable[str]]
    collect: Callable[[str], Awaitable[dict | str | None]]
    find: Callable[[set[str], float], Awaitable[str | None]]


@dataclass(frozen=True)
class ChatModel:
    """A chat model, under the name and address that the ledger keeps its calls by.

    Attributes:
        name: the model's name. It holds no credentials.
        call: `await call(messages, **settings)` returns a Reply.
        base_url: the server's address without credentials, "" for models without a server.
        close: frees the connections. A later call opens new ones.
        turns: messages that precede those of every call.
        batch: the provider's batch interface, None if it has none.
        start: starts what calls need and returns once it is there; None for nothing.
    """

    name: str
    call: Callable[..., Awaitable[Reply]]
    base_url: str = ""
    close: Callable[[], Awaitable] | None = None
    turns: tuple[dict, ...] = ()
    batch: BatchInterface | None = None
    start: Callable[[], None] | None = None

    async def __call__(self, messages: Sequence[dict], **settings) -> Reply:
        """Answer a conversation.

        Args:
            messages: turns {role, content}.
            **settings: sample (number of an independent draw), max_tokens, temperature, stop
                (texts that end the answer), reasoning (tokens to think with, on top of
                max_tokens), schema (JSON schema of the answer, which is then JSON). The prompt
                must describe the JSON too, for servers that ignore schemas.

        Returns:
            The reply.

        Raises:
            UserError: if the server refuses the key or the account.
            Exception: whatever else the client raises.
        """
        return whole_reply(await self.call([*self.turns, *messages], **settings))


def start_early(model: ChatModel) -> None:
    """Start what a model needs, without waiting for it.

    Args:
        model: the model. What goes wrong is reported by its first call, which starts it again.
    """

    def start() -> None:
        with contextlib.suppress(Exception):
            if model.start:
                model.start()

    threading.Thread(target=contextvars.copy_context().run, args=[start], daemon=True).start()


async def close_models(*models: ChatModel) -> None:
    """Close the connections of models, before their event loop ends.

    Args:
        *models: the models. One that has no connections is skipped.
    """
    await asyncio.gather(*(model.close() for model in models if model.close))


def with_context(model: ChatModel, turns: Sequence[dict]) -> ChatModel:
    """Put turns in front of every call's messages.

    Args:
        model: the model.
        turns: messages {role, content}, such as a system prompt or examples.

    Returns:
        A model whose calls begin with the turns. A ledger treats them as part of the call.
    """
    return replace(model, turns=(*model.turns, *turns))


def with_max_tokens(model: ChatModel, max_tokens: int) -> ChatModel:
    """Give all answers of a model the same limit, whatever its callers ask for.

    Args:
        model: the model.
        max_tokens: tokens of an answer with its thinking.

    Returns:
        A model whose calls have the limit. A ledger in front of the model treats it as part of
        the call.
    """

    async def call(messages: Sequence[dict], **settings) -> Reply:
        return await model.call(messages, **{**settings, "max_tokens": max_tokens})

    return replace(model, call=call)


def read_context(path: str | Path) -> list[dict]:
    """Read a context file.

    Args:
        path: a .json file with a list of turns {role, content}, or any other text file, which
            becomes one system prompt.

    Returns:
        The turns.

    Raises:
        UserError: if the file cannot be read or has another form.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
        if str(path).lower().endswith(".json"):
            turns = json.loads(text)
        else:
            turns = [{"role": "system", "content": text.strip()}]
        if not turns:
            raise ValueError("it is empty")
        return [_checked_turn(turn) for turn in turns]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(
            f"context {path}: must be a text file that is not empty, or a JSON list of turns "
            f"{{role, content}} with one of the roles {', '.join(ROLES)} ({error})."
        ) from None


def _checked_turn(turn: dict) -> dict:
    if turn["role"] not in ROLES:
        raise ValueError(f"a turn has the role {turn['role']!r}")
    if not turn["content"].strip():
        raise ValueError("a turn is empty")
    return {"role": turn["role"], "content": clean_text(turn["content"])}


async def ask_parsed(
    model: Target, messages: Sequence[dict], parse: Callable[[str], Parsed], **settings: Any
) -> Parsed:
    """Ask a model and parse its answer. Ask once more if the answer cannot be parsed.

    Args:
        model: the model.
        messages: turns {role, content}.
        parse: turns the answer's text into a value. It raises ValueError if it cannot, and the
            model reads that message before it answers the second time.
        **settings: as in `ChatModel.__call__`, the same for both calls.

    Returns:
        The parsed value.

    Raises:
        ValueError: if the second answer cannot be parsed either.
    """
    reply = await model(messages, **settings)
    try:
        return parse(_text_to_read(reply))
    except ValueError as error:
        # Part of the ledger's keys: another wording would pay for these calls again.
        complaint = (
            f"This cannot be read: {error}. Answer again, whole and in the form that was asked "
            "for, and nothing else."
        )
    repair = [
        # Servers refuse a turn without content.
        {"role": "assistant", "content": reply.text.strip() or "(nothing)"},
        {"role": "user", "content": complaint},
    ]
    second_reply = await model([*messages, *repair], **settings)
    return parse(_text_to_read(second_reply))


def _text_to_read(reply: Reply) -> str:
    """The text of a reply that may be parsed: a whole answer, or one whose object is whole."""
    is_whole = reply.outcome == CUT_OFF and ENDS_WHOLE.search(reply.text)
    if reply.outcome != ANSWERED and not is_whole:
        raise ValueError(reply.problem)
    return reply.text

"""One short call for each model before the work begins: keys, names and servers that are wrong.

What is wrong is reported at once and together, and not after an hour and one by one.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models.base import close_models
from chunkykit.models.connect import connect_model
from chunkykit.models.embeddings import embed_through
from chunkykit.models.ledger import Ledger
from chunkykit.models.retry import RATE_LIMITED, tries_limited
from chunkykit.models.trust import server_of

ROLE = "preflight"  # of the calls, in the ledger
EMBEDDER = "embedder"  # the role whose model embeds, and does not chat
MESSAGES = [{"role": "user", "content": "Answer with the one word: ready"}]
MAX_TOKENS = 16
DEADLINE_SECONDS = 60.0  # a server may load its model first
MAX_TRIES = 3
FRESH_SECONDS = 3600.0  # for which a model that has answered is not asked again


def preflight(ledger: Ledger, roles: Mapping[str, Sequence[str]]) -> list[str]:
    """Ask each model one short question, all at once.

    Args:
        ledger: keeps the calls. A model that it has an answer of from the last hour is not asked.
        roles: model to the roles that it has. Models without a server are not asked.

    Returns:
        The names of the models that were asked.

    Raises:
        UserError: a model did not answer. The message names each such model, its roles, its
            address and what it said.
        BudgetReached: a limit does not allow the calls.
    """
    stale = [name for name in roles if server_of(name) and not _answered_lately(ledger, name)]
    if not stale:
        return []
    embedders = [name for name in stale if set(roles[name]) == {EMBEDDER}]
    chat_models = [name for name in stale if name not in embedders]
    problems = asyncio.run(_ask_all(ledger, chat_models)) if chat_models else {}
    for name in embedders:
        problems[name] = _embed_once(ledger, name)
    failed = {name: error for name, error in problems.items() if error is not None}
    for error in failed.values():
        if isinstance(error, BudgetReached):
            raise error
    if failed:
        raise UserError(_report(failed, {name: roles[name] for name in stale}))
    return stale


async def _ask_all(ledger: Ledger, names: Sequence[str]) -> dict[str, Exception | None]:
    """Model to what went wrong with it, None where it answered."""
    calls = [_ask(ledger, name) for name in names]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    problems: dict[str, Exception | None] = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, BaseException) and not isinstance(answer, Exception):
            raise answer
        problems[name] = answer
    return problems


async def _ask(ledger: Ledger, name: str) -> None:
    """Ask one model; raises what is wrong with it."""
    model = connect_model(name, deadline=min(ledger.deadline, DEADLINE_SECONDS))
    try:
        with tries_limited(MAX_TRIES):
            # a new draw, since the ledger would serve an old answer of a server that is dead now
            sample = _calls_of(ledger, name)
            wrapped = ledger.wrap(model, ROLE)
            await wrapped(MESSAGES, sample=sample, max_tokens=MAX_TOKENS)
    except Exception as error:
        if getattr(error, "status_code", None) not in RATE_LIMITED:
            raise  # a server that is busy has read the key and the name
    finally:
        await close_models(model)


def _embed_once(ledger: Ledger, name: str) -> Exception | None:
    """What goes wrong where an embedder embeds one text; None for nothing."""
    text = f"ready {_calls_of(ledger, name)}"  # another one than the ledger could serve
    try:
        with tries_limited(MAX_TRIES):
            embed_through(name, lambda: nullcontext(ledger))([text])
    except Exception as error:
        return error
    return None


def _answered_lately(ledger: Ledger, name: str) -> bool:
    row = ledger.file.select_one("select max(at) from calls where model=?", [name])
    return row is not None and row[0] is not None and time.time() - row[0] < FRESH_SECONDS


def _calls_of(ledger: Ledger, name: str) -> int:
    return ledger.file.select_one("select count(*) from calls where model=?", [name])[0]


def _report(failed: Mapping[str, Exception | None], roles: Mapping[str, Sequence[str]]) -> str:
    """One line about all models that did not answer."""
    parts = []
    for name, error in failed.items():
        reason = " ".join(str(error).split()).rstrip(".")
        parts.append(f"{' and '.join(roles[name])} {name} at {server_of(name)}: {reason}")
    count = f"{len(failed)} of {len(roles)} models" if len(roles) > 1 else "the model"
    verb = "do not answer" if len(failed) > 1 else "does not answer"
    return (
        f"{count} {verb}; {'; '.join(parts)}. Correct the name, the key or the address; "
        "--no-preflight skips this check."
    )

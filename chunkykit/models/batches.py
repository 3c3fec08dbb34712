"""Answer many calls by a provider's batch interface and record them in a ledger."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from chunkykit.errors import UserError
from chunkykit.models.account import current_owner, is_killed
from chunkykit.models.base import ChatModel
from chunkykit.models.calls import billed_dollars, identify_call, worst_case_cost
from chunkykit.models.prices import PriceRate
from chunkykit.progress import step
from chunkykit.types import Reply

if TYPE_CHECKING:
    from chunkykit.models.ledger import Ledger

# Both keep the file of a batch under the providers' limits, the least of which is 100 MB.
MAX_BATCH_REQUESTS = 5000
MAX_BATCH_BYTES = 90_000_000
MAX_REQUEST_BYTES = 2**24  # more than any model reads
REFUSED = (400, 401, 402, 403, 404, 413, 422, 429)  # status codes of a batch that was not taken
UNSENT = "unsent"  # beginning of what stands for the id of a batch that is being submitted
BATCH_SHARE = 0.5  # price of a batch's answer, as a share of the ordinary price


class PendingCall(NamedTuple):
    """A call that the ledger holds no answer to.

    Attributes:
        request: the request as JSON.
        messages: turns {role, content}, without the model's own turns.
        settings: the settings of the call.
    """

    request: str
    messages: list[dict]
    settings: dict


async def prefill_by_batch(
    ledger: "Ledger",
    model: ChatModel,
    role: str,
    requests: Sequence[tuple[list[dict], dict]],
    poll: float,
) -> None:
    """Answer calls by batch and wait for the answers. See `Ledger.prefill`.

    Args:
        ledger: where the answers are recorded.
        model: a model with a batch interface.
        role: what it is used for.
        requests: (messages, settings) of the calls.
        poll: seconds between looks at a running batch.

    Raises:
        UserError: if the model has no batch interface, or the provider refuses the batch.
        BudgetReached: if the calls could exceed a limit.
    """
    if model.batch is None:
        raise UserError(
            f"model '{model.name}' has no batch interface: leave out --batch, or use an "
            "anthropic: or openai: model."
        )
    rate = ledger.price(model.name)
    await _find_lost(ledger, model, role)
    pending = _pending_calls(ledger, model, role, requests)
    _drop_invalid(ledger, model, role, pending)
    if pending:
        await _send_first_call(ledger, model, role, pending)
    await _submit(ledger, model, role, pending, rate)
    for batch_id in _waiting_batches(ledger, model, role):
        if batch_id.startswith(f"{UNSENT}:"):
            continue
        results = await _wait_for_batch(model, batch_id, poll)
        _record_batch(ledger, model, role, batch_id, results, rate)


def _pending_calls(
    ledger: "Ledger", model: ChatModel, role: str, requests: Sequence[tuple[list[dict], dict]]
) -> dict[str, PendingCall]:
    """The calls that are neither answered nor in a batch, by key."""
    rows = ledger.file.execute("select key from calls union select key from waiting")
    known = {key for (key,) in rows}
    pending = {}
    for messages, settings in requests:
        key, request = identify_call(model, role, [*model.turns, *messages], settings)
        if key not in known:
            pending[key] = PendingCall(request, messages, settings)
    return pending


def _drop_invalid(
    ledger: "Ledger", model: ChatModel, role: str, pending: dict[str, PendingCall]
) -> None:
    """Drop the calls that no batch can hold, and record an error for each.

    A provider refuses a whole batch because of one line that it cannot read.
    """
    for key, call in list(pending.items()):
        problem = ""
        try:
            # the text as such: the request has a question mark for what cannot be written
            text = json.dumps([call.messages, call.settings], ensure_ascii=False, allow_nan=False)
            text.encode()
        except ValueError as error:
            problem = f"it cannot be written as JSON ({error})"
        size = _request_bytes(call)
        if size > MAX_REQUEST_BYTES:
            problem = f"it has {size:,} bytes, and a batch takes {MAX_REQUEST_BYTES:,}"
        if problem:
            ledger.record_error(key, role, model.name, f"left out of the batch: {problem}")
            del pending[key]


def _request_bytes(call: PendingCall) -> int:
    """The size of a request in the file of a batch, where other letters are escaped."""
    return len(json.dumps(json.loads(call.request)))


async def _send_first_call(
    ledger: "Ledger", model: ChatModel, role: str, pending: dict[str, PendingCall]
) -> None:
    """Send one call the ordinary way and drop it from the pending ones.

    What the server refuses then shows within a second and not within a day.
    """
    call = pending.pop(next(iter(pending)))
    try:
        await ledger.answer(model, role, [*model.turns, *call.messages], **call.settings)
    except UserError:
        raise
    except Exception:
        # The ledger has recorded it, and the ordinary call will meet it again.
        return


async def _submit(
    ledger: "Ledger",
    model: ChatModel,
    role: str,
    pending: dict[str, PendingCall],
    rate: PriceRate | None,
) -> None:
    """Submit the pending calls in batches and record the id of each."""
    for part in _split(pending):
        await _submit_part(ledger, model, role, part, rate)


def _split(pending: dict[str, PendingCall]) -> Iterator[dict[str, PendingCall]]:
    """Split calls into batches that the providers take."""
    part: dict[str, PendingCall] = {}
    part_bytes = 0
    for key, call in pending.items():
        size = _request_bytes(call)
        if part and (len(part) == MAX_BATCH_REQUESTS or part_bytes + size > MAX_BATCH_BYTES):
            yield part
            part = {}
            part_bytes = 0
        part[key] = call
        part_bytes += size
    if part:
        yield part


async def _submit_part(
    ledger: "Ledger",
    model: ChatModel,
    role: str,
    part: dict[str, PendingCall],
    rate: PriceRate | None,
) -> None:
    """Submit one batch.

    Its calls are recorded before it is sent, so that it is looked for, and not sent twice, where
    the answer with its id is lost.
    """
    assert model.batch is not None
    worst = sum(worst_case_cost(rate, call.request, call.settings) for call in part.values())
    reservation = await ledger.account.reserve(len(part), worst * BATCH_SHARE)
    unsent = f"{UNSENT}:{time.time():.0f}:{reservation.id}:{current_owner()}"
    requests = {key: call.request for key, call in part.items()}
    # One transaction, so that a batch is recorded with all of its calls or not at all.
    with ledger.file.transaction():
        ledger.file.execute(
            "insert into waiting select key, ?, ?, ?, value from json_each(?)",
            [unsent, role, model.name, json.dumps(requests)],
        )
        ledger.account.keep_for_batch(reservation, unsent)
    try:
        with step(f"submitting a batch of {len(part):,} calls"):
            batch_id = await model.batch.submit(
                {key: ([*model.turns, *call.messages], call.settings) for key, call in part.items()}
            )
    except Exception as error:
        if isinstance(error, UserError) or getattr(error, "status_code", None) in REFUSED:
            _forget(ledger, unsent)  # the server has said no; after any other error it may have it
        raise
    _rename(ledger, unsent, batch_id)


async def _find_lost(ledger: "Ledger", model: ChatModel, role: str) -> None:
    """Find the batches that were submitted before the answer with their id was lost."""
    assert model.batch is not None
    for batch_id in _waiting_batches(ledger, model, role):
        if not batch_id.startswith(f"{UNSENT}:"):
            continue
        since, _, owner = batch_id.split(":", 3)[1:]
        if owner != current_owner() and not is_killed(owner):
            continue  # another process is submitting it
        rows = ledger.file.execute("select key from waiting where batch=?", [batch_id])
        keys = {key for (key,) in rows.fetchall()}
        lost = await model.batch.find(keys, float(since))
        if lost is None:
            _forget(ledger, batch_id)
        else:
            _rename(ledger, batch_id, lost)


def _waiting_batches(ledger: "Ledger", model: ChatModel, role: str) -> list[str]:
    """The ids of the batches that the ledger waits for."""
    rows = ledger.file.execute(
        "select distinct batch from waiting where role=? and model=?", [role, model.name]
    )
    return [batch_id for (batch_id,) in rows.fetchall()]


def _forget(ledger: "Ledger", batch_id: str) -> None:
    """Forget a batch that was never taken."""
    with ledger.file.transaction():
        ledger.file.execute("delete from waiting where batch=?", [batch_id])
        ledger.account.end_batch(batch_id)


def _rename(ledger: "Ledger", unsent: str, batch_id: str) -> None:
    """Record the id of a batch."""
    with ledger.file.transaction():
        ledger.file.execute("update waiting set batch=? where batch=?", [batch_id, unsent])
        ledger.file.execute("update reserved set id=? where id=?", [batch_id, unsent])


async def _wait_for_batch(model: ChatModel, batch_id: str, poll: float) -> dict | str:
    assert model.batch is not None
    with step(f"waiting for batch {batch_id}, which may take a day"):
        results = await model.batch.collect(batch_id)
        while results is None:
            await asyncio.sleep(poll)
            results = await model.batch.collect(batch_id)
        return results


def _record_batch(
    ledger: "Ledger",
    model: ChatModel,
    role: str,
    batch_id: str,
    results: dict | str,
    rate: PriceRate | None,
) -> None:
    """Record the results of a batch, and that it is no longer awaited."""
    if isinstance(results, str):
        _forget(ledger, batch_id)
        raise UserError(
            f"batch {batch_id} of {model.name} was refused ({results}). Correct it, or run again "
            "without --batch."
        )
    rows = ledger.file.execute("select key, request from waiting where batch=?", [batch_id])
    with ledger.file.transaction():
        for key, request in rows.fetchall():
            result = results.get(key, "no answer")
            if isinstance(result, Reply):
                dollars = _batch_dollars(rate, request, result)
                ledger.insert_reply(key, role, model.name, request, result, dollars, 0.0)
                ledger.account.charge(dollars or 0.0)
            else:
                ledger.record_error(key, role, model.name, f"batch {batch_id}: {result}")
        ledger.file.execute("delete from waiting where batch=?", [batch_id])
        ledger.account.end_batch(batch_id)


def _batch_dollars(rate: PriceRate | None, request: str, reply: Reply) -> float | None:
    """What an answer of a batch cost, its worst case where the server counts no tokens."""
    settings = json.loads(request)[-1]
    worst = worst_case_cost(rate, request, settings)
    dollars = billed_dollars(rate, reply, worst)
    return None if dollars is None else dollars * BATCH_SHARE

"""Answer many calls by a provider's batch interface and record them in a ledger."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from chunkykit.errors import UserError
from chunkykit.models.base import ChatModel
from chunkykit.models.calls import billed_dollars, identify_call, worst_case_cost
from chunkykit.models.prices import PriceRate
from chunkykit.types import Reply

if TYPE_CHECKING:
    from chunkykit.models.ledger import Ledger

MAX_BATCH_REQUESTS = 5000  # keeps the file of a batch under the providers' limits
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
    pending = _pending_calls(ledger, model, role, requests)
    if pending:
        await _send_first_call(ledger, model, role, pending)
    await _submit(ledger, model, role, pending, rate)
    batch_ids = ledger.db.execute(
        "select distinct batch from waiting where role=? and model=?", [role, model.name]
    ).fetchall()
    for (batch_id,) in batch_ids:
        results = await _wait_for_batch(model, batch_id, poll)
        _record_batch(ledger, model, role, batch_id, results, rate)


def _pending_calls(
    ledger: "Ledger", model: ChatModel, role: str, requests: Sequence[tuple[list[dict], dict]]
) -> dict[str, PendingCall]:
    """The calls that are neither answered nor in a batch, by key."""
    rows = ledger.db.execute("select key from calls union select key from waiting")
    known = {key for (key,) in rows}
    pending = {}
    for messages, settings in requests:
        key, request = identify_call(model, role, [*model.turns, *messages], settings)
        if key not in known:
            pending[key] = PendingCall(request, messages, settings)
    return pending


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
    assert model.batch is not None
    worst_costs = [worst_case_cost(rate, c.request, c.settings) for c in pending.values()]
    keys = list(pending)
    async with ledger.reserve(len(pending), sum(worst_costs) * BATCH_SHARE):
        for start in range(0, len(keys), MAX_BATCH_REQUESTS):
            part = {key: pending[key] for key in keys[start : start + MAX_BATCH_REQUESTS]}
            batch_id = await model.batch.submit(
                {key: ([*model.turns, *c.messages], c.settings) for key, c in part.items()}
            )
            requests = {key: call.request for key, call in part.items()}
            # One statement, so that a batch is recorded with all of its calls or not at all.
            ledger.db.execute(
                "insert into waiting select key, ?, ?, ?, value from json_each(?)",
                [batch_id, role, model.name, json.dumps(requests)],
            )


async def _wait_for_batch(model: ChatModel, batch_id: str, poll: float) -> dict | str:
    assert model.batch is not None
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
        ledger.db.execute("delete from waiting where batch=?", [batch_id])
        raise UserError(
            f"batch {batch_id} of {model.name} was refused ({results}). Correct it, or run again "
            "without --batch."
        )
    rows = ledger.db.execute("select key, request from waiting where batch=?", [batch_id])
    for key, request in rows.fetchall():
        result = results.get(key, "no answer")
        if isinstance(result, Reply):
            dollars = _batch_dollars(rate, request, result)
            ledger.record_reply(key, role, model.name, request, result, dollars, 0.0)
        else:
            ledger.record_error(key, role, model.name, f"batch {batch_id}: {result}")
        ledger.db.execute("delete from waiting where key=?", [key])


def _batch_dollars(rate: PriceRate | None, request: str, reply: Reply) -> float | None:
    """What an answer of a batch cost, its worst case where the server counts no tokens."""
    settings = json.loads(request)[-1]
    worst = worst_case_cost(rate, request, settings)
    dollars = billed_dollars(rate, reply, worst)
    return None if dollars is None else dollars * BATCH_SHARE

"""A call as the ledger sees it: the key that identifies it, what it costs, and what limits it."""

import hashlib
import json
from collections.abc import Sequence

from chunkykit.errors import UserError
from chunkykit.models.base import DEFAULT_MAX_TOKENS, ChatModel
from chunkykit.models.prices import PriceRate, cost_in_dollars
from chunkykit.types import Reply

MAX_LIMIT = 2**63  # the largest integer of SQLite
BYTES_PER_TOKEN = 3  # bytes of a request per token: fewer than real text has, so an upper bound


def identify_call(
    model: ChatModel, role: str, messages: Sequence[dict], settings: dict
) -> tuple[str, str]:
    """Identify a call by all that its answer depends on.

    The form must not change: ledgers of earlier versions are looked up by these keys.

    Args:
        model: the model, of which the name and the address count.
        role: what the model is used for, such as "judge".
        messages: turns {role, content}, with the model's own turns.
        settings: the settings of the call, the sample number among them.

    Returns:
        (key, request): the SHA-256 of the request, and the request as JSON.
    """
    request = json.dumps(
        [model.name, model.base_url, role, list(messages), settings],
        sort_keys=True,
        ensure_ascii=False,
    )
    data = request.encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest(), data.decode()


def worst_case_cost(rate: PriceRate | None, request: str, settings: dict) -> float:
    """Bound the cost of a call before it is sent.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        request: the request as JSON.
        settings: the settings of the call.

    Returns:
        US dollars for a long request and all the tokens that the answer may have. 0 if the rate
        is unknown.
    """
    tokens_in = len(request.encode()) / BYTES_PER_TOKEN
    answer_tokens = settings.get("max_tokens", DEFAULT_MAX_TOKENS)
    tokens_out = answer_tokens + (settings.get("reasoning") or 0)
    return cost_in_dollars(rate, tokens_in, tokens_out) or 0.0


def billed_dollars(rate: PriceRate | None, reply: Reply, worst: float) -> float | None:
    """Compute what an answer cost.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        reply: the answer.
        worst: the most that the call could cost, in US dollars. This is billed where the server
            counts no tokens.

    Returns:
        US dollars, None if the rate is unknown.
    """
    if rate is None:
        return None
    if not reply.input_tokens and not reply.output_tokens:
        return worst
    return cost_in_dollars(rate, reply.input_tokens, reply.output_tokens)


def check_limits(budget_usd: float | None, max_calls: int | None) -> None:
    """Check the limits of a ledger.

    Args:
        budget_usd: US dollars, None for no limit.
        max_calls: calls, None for no limit.

    Raises:
        UserError: if one is negative or not a number.
    """
    for option, value in (("--budget-usd", budget_usd), ("--max-calls", max_calls)):
        # Not-a-number fails this comparison too.
        if value is not None and not 0 <= value < MAX_LIMIT:
            raise UserError(f"{option} must be a number from 0 up, not {value}.")

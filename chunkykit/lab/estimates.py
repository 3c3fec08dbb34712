"""An estimate for people: what each model is asked, what that costs, and how long it takes.

Times are guesses, since nobody is asked: how fast a server answers is not known before.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chunkykit.lab.costs import PlannedCalls
from chunkykit.lab.run import CONCURRENCY
from chunkykit.models import estimate_cost
from chunkykit.types import OFFLINE

DEFAULT_CONCURRENCY = 16  # calls under way at once, of a role that says nothing else
LATENCY_SECONDS = 1.0  # of a call to a server, before its first token
TOKENS_PER_SECOND = 60  # that a server writes, per call
# Calls per second of models on this machine, all together, by what their names begin with.
LOCAL_RATES = {"organism:fast": 2000.0, "organism:": 5.0, "local:": 2.8}
ROLE_OF_LIMIT = {"confirm judge": "judge"}  # the role that a planned role's limit is set by


def estimate_plan(
    plan: Sequence[PlannedCalls],
    concurrency: Mapping[str, int] | None = None,
    budget_usd: float | None = None,
    max_calls: int | None = None,
) -> dict[str, Any]:
    """Estimate what a plan takes.

    Args:
        plan: the calls.
        concurrency: calls under way at once, by role, where they are set.
        budget_usd: the limit on US dollars, None for none.
        max_calls: the limit on calls, None for none.

    Returns:
        JSON-ready: `calls`, `tokens`, `dollars` (None where a price is unknown), `seconds`, what
        each model takes in each role (`models`), and the share that the limits cover (`covered`,
        at most 1).
    """
    limits = {**CONCURRENCY, **(concurrency or {})}
    models = [_estimate_part(part, limits) for part in plan if part.model != OFFLINE and part.calls]
    calls, tokens, dollars = estimate_cost(plan)
    return {
        "calls": calls,
        "tokens": tokens,
        "dollars": dollars,
        "seconds": round(_total_seconds(models)),
        "covered": _covered(calls, dollars, budget_usd, max_calls),
        "models": models,
    }


def format_seconds(seconds: float) -> str:
    """Write a time as people say it.

    Args:
        seconds: the time.

    Returns:
        Such as "40 s", "6 min" or "2 h 10 min".
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"


def limit_lines(estimate: Mapping[str, Any], budget_usd: float | None, max_calls: int | None):
    """Say how much of an estimate its limits cover.

    Args:
        estimate: from `estimate_plan`.
        budget_usd: the limit on US dollars, None for none.
        max_calls: the limit on calls, None for none.

    Returns:
        A line for each limit that is under the estimate.
    """
    lines = []
    dollars = estimate["dollars"]
    if budget_usd is not None and dollars and budget_usd < dollars:
        share = _percent(budget_usd / dollars)
        lines.append(f"budget ${budget_usd:,.2f} covers about {share} of this")
    if max_calls is not None and max_calls < estimate["calls"]:
        share = _percent(max_calls / estimate["calls"])
        lines.append(f"--max-calls {max_calls:,} covers about {share} of this")
    return lines


def _estimate_part(part: PlannedCalls, limits: Mapping[str, int]) -> dict[str, Any]:
    calls, tokens, dollars = estimate_cost([part])
    return {
        "role": part.role,
        "model": part.model,
        "calls": calls,
        "tokens": tokens,
        "dollars": dollars,
        "seconds": _seconds(part, limits),
    }


def _total_seconds(models: Sequence[Mapping[str, Any]]) -> float:
    """One role after the other; the models of a panel answer at the same time."""
    slowest: dict[str, float] = {}
    for row in models:
        slowest[row["role"]] = max(slowest.get(row["role"], 0.0), row["seconds"])
    return sum(slowest.values())


def _seconds(part: PlannedCalls, limits: Mapping[str, int]) -> float:
    for prefix, rate in LOCAL_RATES.items():
        if part.model.startswith(prefix):
            return part.calls / rate
    at_once = limits.get(ROLE_OF_LIMIT.get(part.role, part.role), DEFAULT_CONCURRENCY)
    per_call = LATENCY_SECONDS + part.tokens_out / TOKENS_PER_SECOND
    return math.ceil(part.calls / at_once) * per_call


def _covered(
    calls: int, dollars: float | None, budget_usd: float | None, max_calls: int | None
) -> float:
    shares = [1.0]
    if budget_usd is not None and dollars:
        shares.append(budget_usd / dollars)
    if max_calls is not None and calls:
        shares.append(max_calls / calls)
    return min(shares)


def _percent(share: float) -> str:
    """A share as people write it; one that is not 0 never reads as 0."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else "less than 1 %"

"""What a command will cost: set the limits, print the estimate, and ask before anything is paid."""

import argparse
import sys
from collections.abc import Sequence

from chunkykit.errors import UserError
from chunkykit.lab import PlannedCalls
from chunkykit.models import Ledger, estimate_cost


def approve_cost(
    ledger: Ledger, arguments: argparse.Namespace, plan: Sequence[PlannedCalls], free: bool
) -> None:
    """Set the limits, print what a plan will cost, and ask before paid models are called.

    Args:
        ledger: keeps the calls and enforces the limits.
        arguments: parsed arguments with budget_usd, max_calls and yes.
        plan: the calls that the command will make.
        free: whether every model is local.

    Raises:
        UserError: a limit is not valid, a price is unknown although there is a budget, or the
            user does not agree.
    """
    # Limits are set even where there is nothing to ask: those of an earlier command must not hold.
    ledger.limit(arguments.budget_usd, arguments.max_calls)
    print(estimate_line(plan, free), flush=True)
    for model, *_ in plan:
        ledger.price(model)
    if not free and not arguments.yes:
        ask_to_pay()


def estimate_line(plan: Sequence[PlannedCalls], free: bool) -> str:
    """Format the calls, tokens and dollars of a plan as one line."""
    calls, tokens, dollars = estimate_cost(plan)
    if free:
        price = "$0: every model is local"
    elif dollars is None:
        price = "price unknown"
    else:
        price = f"about ${dollars:,.2f}"
    return f"about {calls:,} model calls, {tokens / 1e6:,.1f} million tokens ({price})"


def ask_to_pay() -> None:
    """Ask on the terminal whether to call paid models.

    Raises:
        UserError: there is no terminal, or the answer is not yes.
    """
    if not sys.stdin.isatty():
        raise UserError(
            "this command calls paid models. Add --yes to allow it, and --budget-usd X for a hard "
            "limit."
        )
    answer = input("This command calls paid models. Continue? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError("not started; nothing was paid.")

"""What a command will cost: set the limits, print the estimate, and ask before anything is paid."""

import argparse
import sys
from collections.abc import Sequence

from chunkykit.cli.output import print_note, print_text
from chunkykit.errors import UserError
from chunkykit.lab import PlannedCalls, format_estimate
from chunkykit.models import Ledger, refuse_unnamed, server_of, unnamed_models
from chunkykit.progress import without_bars


def approve_cost(
    ledger: Ledger, arguments: argparse.Namespace, plan: Sequence[PlannedCalls], free: bool
) -> None:
    """Set the limits, print what a plan will cost, and ask before paid models are called.

    Args:
        ledger: keeps the calls and enforces the limits.
        arguments: parsed arguments with budget_usd, max_calls, deadline and yes.
        plan: the calls that the command will make.
        free: whether every model is local.

    Raises:
        UserError: a limit is not valid, a price is unknown although there is a budget, or the
            user does not agree.
    """
    # Limits are set even where there is nothing to ask: those of an earlier command must not hold.
    ledger.limit(arguments.budget_usd, arguments.max_calls)
    set_deadline(ledger, arguments)
    print_text(format_estimate(plan, free))
    for model, *_ in plan:
        ledger.price(model)
    if not free and not arguments.yes:
        ask_to_pay()


def set_deadline(ledger: Ledger, arguments: argparse.Namespace) -> None:
    """Give the calls of a ledger the deadline of --deadline, if there is one."""
    if arguments.deadline is not None:
        ledger.deadline = arguments.deadline


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
    if not is_agreed("This command calls paid models. Continue?"):
        raise UserError("not started; nothing was paid.")


def is_agreed(question: str) -> bool:
    """Ask a question on the terminal. Standard output is left to what the command prints."""
    with without_bars():
        print_note(f"{question} [y/N] ", end="")
        return input("").strip().lower() in ("y", "yes")


def approve_further_cost(
    ledger: Ledger, arguments: argparse.Namespace, plan: Sequence[PlannedCalls], free: bool
) -> None:
    """Do what `approve_cost` does, for a ledger that already holds what other commands paid for.

    The limits count from the first time that a command does this, and the estimate goes to standard
    error.

    Args:
        ledger: keeps the calls and enforces the limits.
        arguments: parsed arguments with budget_usd, max_calls, deadline and yes.
        plan: the calls that the command will make.
        free: whether every model is local.

    Raises:
        UserError: as `approve_cost`.
    """
    ledger.limit_further(arguments.budget_usd, arguments.max_calls, ledger.account.tally)
    set_deadline(ledger, arguments)
    print_note(format_estimate(plan, free))
    for model, *_ in plan:
        ledger.price(model)
    if not free and not arguments.yes:
        ask_to_pay()


def approve_servers(place: str, names: Sequence[str], named: Sequence[str], fix: str) -> None:
    """Ask before texts are sent to models that only a file names.

    Args:
        place: the file.
        names: models and embedders that it names.
        named: models that the command names.
        fix: how the user may allow it without a terminal.

    Raises:
        UserError: there is such a model, and no terminal to ask on, or the answer is not yes.
    """
    unnamed = unnamed_models(names, named)
    if unnamed and sys.stdin.isatty():
        listed = ", ".join(f"{name} at {server_of(name) or 'its file'}" for name in unnamed)
        if not is_agreed(f"{place} names {listed}. Send it the texts of this command?"):
            raise UserError("not started; nothing was sent.")
    else:
        refuse_unnamed(place, names, fix, named)

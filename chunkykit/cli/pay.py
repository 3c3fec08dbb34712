"""What a command will cost: set the limits, print the estimate, and ask before anything is paid."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from chunkykit.cli.output import print_note, print_result
from chunkykit.cli.tables import format_table
from chunkykit.errors import UserError
from chunkykit.lab import (
    PlannedCalls,
    estimate_plan,
    format_estimate,
    format_seconds,
    limit_lines,
)
from chunkykit.models import Ledger, is_free, preflight, refuse_unnamed, server_of, unnamed_models
from chunkykit.progress import without_bars


class Estimated(Exception):
    """The estimate was what the user wanted, and it is printed."""


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
        Estimated: only the estimate was wanted.
        UserError: a limit is not valid, a price is unknown although there is a budget, the user
            does not agree, or a model does not answer.
    """
    stop_at_estimate(arguments, plan)
    # Limits are set even where there is nothing to ask: those of an earlier command must not hold.
    ledger.limit(arguments.budget_usd, arguments.max_calls)
    _approve(ledger, arguments, plan, free)


def approve_further_cost(
    ledger: Ledger, arguments: argparse.Namespace, plan: Sequence[PlannedCalls], free: bool
) -> None:
    """Do what `approve_cost` does, for a ledger that already holds what other commands paid for.

    The limits count from the first time that a command does this.

    Args:
        ledger: keeps the calls and enforces the limits.
        arguments: parsed arguments with budget_usd, max_calls, deadline and yes.
        plan: the calls that the command will make.
        free: whether every model is local.

    Raises:
        Estimated: only the estimate was wanted.
        UserError: as `approve_cost`.
    """
    stop_at_estimate(arguments, plan)
    ledger.limit_further(arguments.budget_usd, arguments.max_calls, ledger.account.tally)
    _approve(ledger, arguments, plan, free)


def stop_at_estimate(arguments: argparse.Namespace, plan: Sequence[PlannedCalls]) -> None:
    """Print the estimate as the result and stop, where --estimate says so.

    Args:
        arguments: parsed arguments with estimate.
        plan: the calls that the command would make.

    Raises:
        Estimated: only the estimate was wanted.
    """
    if not arguments.estimate:
        return
    estimate = _estimate(arguments, plan)
    lines = limit_lines(estimate, arguments.budget_usd, arguments.max_calls)
    text = partial(format_plan, plan, estimate, lines)
    print_result(arguments, estimate, text, piped=False)
    raise Estimated


def format_plan(
    plan: Sequence[PlannedCalls], estimate: Mapping[str, Any], lines: Sequence[str], columns: int
) -> str:
    """Write an estimate for people: a row per model and role, the sum, and what limits cover."""
    free = all(is_free(part.model) for part in plan)
    total = f"{format_estimate(plan, free)}, {_duration(estimate)}"
    rows = [
        [row["role"], row["model"], row["calls"], row["tokens"], _dollars(row), _time(row)]
        for row in estimate["models"]
    ]
    header = ["role", "model", "calls", "tokens", "dollars", "time"]
    table = [format_table(header, rows, columns), ""] if rows else []
    return "\n".join([*table, total, *lines])


def _approve(
    ledger: Ledger, arguments: argparse.Namespace, plan: Sequence[PlannedCalls], free: bool
) -> None:
    """Print the estimate, ask, and see that every model answers."""
    set_deadline(ledger, arguments)
    estimate = _estimate(arguments, plan)
    print_note(f"{format_estimate(plan, free)}, {_duration(estimate)}")
    for line in limit_lines(estimate, arguments.budget_usd, arguments.max_calls):
        print_note(line)
    for model, *_ in plan:
        ledger.price(model)
    if not free and not arguments.yes:
        ask_to_pay()
    if getattr(arguments, "preflight", False):
        check_models_answer(ledger, plan)


def check_models_answer(ledger: Ledger, plan: Sequence[PlannedCalls]) -> None:
    """Have each model of a plan answer one short call, before the work begins.

    Args:
        ledger: keeps the calls.
        plan: the calls that the command will make.

    Raises:
        UserError: models do not answer; all of them are named.
    """
    roles: dict[str, list[str]] = {}
    for part in plan:
        if part.calls:
            own = roles.setdefault(part.model, [])
            own += [part.role] if part.role not in own else []
    reached = preflight(ledger, roles)
    if reached:
        places = [f"{' and '.join(roles[name])} {name} at {server_of(name)}" for name in reached]
        print_note(f"answers: {'; '.join(places)}")


def _estimate(arguments: argparse.Namespace, plan: Sequence[PlannedCalls]) -> dict[str, Any]:
    concurrency = getattr(arguments, "concurrency", None)
    return estimate_plan(plan, concurrency, arguments.budget_usd, arguments.max_calls)


def _duration(estimate: Mapping[str, Any]) -> str:
    seconds = format_seconds(estimate["seconds"])
    return f"{seconds} of calls" if seconds.startswith("under") else f"about {seconds} of calls"


def _dollars(row: Mapping[str, Any]) -> str:
    if row["dollars"] is None:
        return "unknown"
    return "<$0.01" if 0 < row["dollars"] < 0.01 else f"${row['dollars']:,.2f}"


def _time(row: Mapping[str, Any]) -> str:
    return format_seconds(row["seconds"])


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

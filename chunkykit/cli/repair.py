"""`chunkykit repair`: write the mixture without the rows behind a trace, or with them changed."""

import argparse
import asyncio
from dataclasses import replace
from functools import partial

from chunkykit.attributes import describe_lexically, llm_describer
from chunkykit.causal import (
    HOWS,
    Comparison,
    Repair,
    check_how,
    check_out,
    check_whole,
    compare_source,
    gate_repair,
    gate_rewriting,
    keep_editable,
    plan_repair,
    rewrite_responses,
    write_plan,
)
from chunkykit.cli.logs import LOG_HELP, add_log_options, read_log
from chunkykit.cli.options import Commands, add_command, expand_name, expand_path
from chunkykit.cli.output import print_note, print_result
from chunkykit.cli.pay import Estimated, approve_further_cost, stop_at_estimate
from chunkykit.cli.tables import format_record
from chunkykit.cli.tracing import (
    ANYWAY_HINT,
    add_tracing_options,
    check_calls,
    read_describer,
    read_exchange,
    read_rubric,
    trace_exchanges,
)
from chunkykit.errors import UserError
from chunkykit.index import read_index_meta
from chunkykit.lab import plan_rewriting
from chunkykit.models import Ledger, ModelPool, check_model, is_free, ledger_beside
from chunkykit.turf import Exchange, Tracer, exchanges_of
from chunkykit.types import OFFLINE, Describer

# What a report counts of rows that stay as they are.
HIDDEN = ("gate", "balancing_rows", "same_files")  # in the table; --json has them
COUNTS = ("without_pair", "crux_on_both_sides", "tool_calls", "not_rewritable")


def add_repair_command(commands: Commands) -> None:
    """Add `chunkykit repair`."""
    parser = add_command(
        commands,
        "repair",
        execute,
        summary="write the mixture without the rows behind a trace, or with them changed",
        description=(
            "Trace a failing exchange, then write the mixture without the rows behind the trace, "
            "with their answers switched, masked or rewritten, or with rows repeated that balance "
            "them. A report is written beside it, in which a gate says what else has changed. "
            "Whether the repair works is for a retraining to show."
        ),
        example=(
            "chunkykit repair --index my_index --mixture mix.jsonl --out repaired.jsonl \\\n"
            "    --rubric rebut --query ... --response ..."
        ),
    )
    add_tracing_options(parser)
    add_repair_options(parser)
    add_log_options(parser)


def add_repair_options(parser: argparse.ArgumentParser) -> None:
    """Add what is repaired, how, and where it is written."""
    parser.add_argument(
        "--mixture",
        type=expand_name,
        nargs="+",
        action="extend",
        required=True,
        metavar="DATA",
        help="mixture that the index was built from: its sources in the same order",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        required=True,
        metavar="FILE",
        help="repaired mixture to write, .jsonl or .parquet",
    )
    parser.add_argument(
        "--how",
        choices=HOWS,
        default="drop",
        help=(
            "what becomes of the rows of the chunk that have the trigger and the crux (default: "
            f"drop). {'; '.join(f'{how}: {what}' for how, what in HOWS.items())}"
        ),
    )
    parser.add_argument(
        "--pairs",
        type=expand_path,
        metavar="LOG",
        help=f"the failure, instead of --query and --response: {LOG_HELP} with one exchange",
    )
    parser.add_argument(
        "--rewriter",
        type=expand_name,
        metavar="MODEL",
        help="model that writes responses anew, for --how rewrite",
    )
    parser.add_argument(
        "--only-chunk",
        metavar="CHUNK",
        help="chunk to repair (default: the first chunk of the trace)",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="leave rows as they are that the index never saw, as one of a subset did not",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Trace the exchange, write the repaired mixture, and print the report."""
    check_options(arguments)
    rubric = read_rubric(arguments)
    exchange = read_failure(arguments)
    check_whole(read_index_meta(arguments.index), arguments.partial)
    try:
        tracer, results, ledger = trace_exchanges(arguments, rubric, [exchange])
    except Estimated:
        if arguments.how == "rewrite":
            print_note("This is the trace alone: what is rewritten depends on it.")
        raise
    check_calls(results)
    trace = results[0].trace
    if trace is None:
        raise UserError(f"repair: nothing to repair; {results[0].no_violation}. {ANYWAY_HINT}")
    if trace.trigger is None:
        raise UserError(f"repair: nothing to repair. {trace.explanation}")
    chunk = arguments.only_chunk or trace.chunks["chunk"][0]
    plan = plan_repair(tracer, trace.crux, trace.trigger, chunk, arguments.how)
    comparison = compare_source(tracer, arguments.mixture, arguments.partial)
    plan = keep_editable(tracer, plan, arguments.mixture, comparison)
    check_changes(plan)
    if arguments.how == "rewrite":
        plan = rewrite(arguments, tracer, plan, comparison, ledger)
    else:
        plan = replace(plan, report=plan.report | {"gate": gate_repair(tracer, plan)})
    report = write_plan(tracer, plan, arguments.mixture, comparison, arguments.out)
    shown = {name.replace("_", " "): report[name] for name in report if name not in HIDDEN}
    print_result(arguments, report, partial(format_record, shown))
    print_note(report["gate"]["words"])


def read_failure(arguments: argparse.Namespace) -> Exchange:
    """Read the exchange of --pairs, or of --query and --response."""
    if not arguments.pairs:
        problem = "repair needs --query and --response, neither empty, or --pairs LOG."
        return read_exchange(arguments, problem)
    table = read_log(arguments.pairs, arguments).table
    exchanges = exchanges_of(table.rename(columns={"query": "prompt"}))
    if len(exchanges) != 1:
        raise UserError(
            f"repair: {arguments.pairs} has {len(exchanges):,} exchanges, and a repair is of one "
            "trace. Give a file with the one whose trace is to be repaired."
        )
    return exchanges[0]


def check_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for options that do not go together, before anything is read or called."""
    check_how(arguments.how, arguments.side)
    if arguments.how == "rewrite" and not arguments.rewriter:
        raise UserError("repair: --how rewrite needs a model that rewrites: --rewriter MODEL.")
    if arguments.rewriter and arguments.how != "rewrite":
        raise UserError(f"repair: --rewriter is for --how rewrite, not {arguments.how}.")
    check_out(arguments.out, arguments.mixture)


def check_changes(plan: Repair) -> None:
    """Raise UserError where no answer can be changed."""
    how = plan.report["how"]
    if how in ("switch", "rewrite") and not len(plan.change):
        counts = [
            f"{value:,} {name.replace('_', ' ')}"
            for name, value in plan.report.items()
            if name in COUNTS and value
        ]
        raise UserError(
            f"repair: --how {how} finds no row of chunk '{plan.report['chunk']}' to change "
            f"({', '.join(counts) or 'no row has trigger and crux'}). Use --how drop or balance."
        )


def rewrite(
    arguments: argparse.Namespace,
    tracer: Tracer,
    plan: Repair,
    comparison: Comparison,
    ledger: Ledger | None,
) -> Repair:
    """Have the responses of a plan written anew, and compare them with the old ones.

    Args:
        arguments: parsed arguments.
        tracer: the tracer that the plan was made with.
        plan: from `keep_editable`.
        comparison: from `compare_source`.
        ledger: of the trace, if it has called models.

    Returns:
        The plan with the new responses and the gate.

    Raises:
        UserError: a limit is not valid, or the user does not agree, or no call succeeded.
    """
    check_model(arguments.rewriter)
    describer = read_describer(arguments, tracer.index)
    rows = tracer.index.rows(plan.change)
    characters = (rows["prompt"].str.len() + rows["response"].str.len()).to_list()
    embedder = tracer.index.meta["embedder"]
    calls = plan_rewriting(arguments.rewriter, describer, characters, embedder)
    stop_at_estimate(arguments, calls)  # before a ledger is made
    ledger = ledger or ledger_beside(arguments.index)
    approve_further_cost(ledger, arguments, calls, all(is_free(part.model) for part in calls))

    async def write_and_compare() -> Repair:
        async with ModelPool(ledger) as pool:
            model = pool.model(arguments.rewriter, "rewriter")
            written = await rewrite_responses(plan, tracer, model)
            if not len(written.change):
                reason = written.report.get("rewrites_failed_because", "none was changed")
                raise UserError(f"repair: no response could be written anew ({reason}).")
            written = keep_editable(tracer, written, arguments.mixture, comparison)
            describe = describe_lexically
            if describer != OFFLINE:
                describe = llm_describer(pool.model(describer, "describer"))
            return await add_gate(tracer, written, describe)

    return asyncio.run(write_and_compare())


async def add_gate(tracer: Tracer, plan: Repair, describe: Describer) -> Repair:
    """Compare the new responses with the old ones.

    Args:
        tracer: the tracer that the plan was made with.
        plan: with the new responses.
        describe: the describer of the index.

    Returns:
        The plan with the gate in its report, and with P(crux | trigger) as it is now.
    """
    gate = await gate_rewriting(tracer, plan, describe)
    n_still = plan.report["rows_with_both"] - len(plan.change)
    if gate["rows"]:
        n_still += len(plan.change) * gate["crux"]["after"]["rate"]
    after = n_still / max(1, plan.report["rows_with_trigger"])
    return replace(plan, report=plan.report | {"p_crux_given_trigger_after": after, "gate": gate})

"""`chunkykit repair`: write the mixture without the rows behind a trace, or balanced."""

import argparse

from chunkykit.causal import check_whole, plan_repair, write_repaired
from chunkykit.cli.options import Commands, add_command, expand_name, expand_path
from chunkykit.cli.output import print_json
from chunkykit.cli.tracing import (
    ANYWAY_HINT,
    add_tracing_options,
    check_calls,
    read_exchange,
    read_rubric,
    trace_exchanges,
)
from chunkykit.errors import UserError
from chunkykit.index import read_index_meta


def add_repair_command(commands: Commands) -> None:
    """Add `chunkykit repair`."""
    parser = add_command(
        commands,
        "repair",
        execute,
        summary="write the mixture without the rows behind a trace, or balanced",
        description=(
            "Trace a failing exchange, then write the mixture without the rows behind the trace, "
            "or with rows repeated that balance them. A report is written beside it. Whether the "
            "repair works is for a retraining to show."
        ),
        example=(
            "chunkykit repair --index my_index --mixture mix.jsonl --out repaired.jsonl \\\n"
            "    --rubric rebut --query ... --response ..."
        ),
    )
    add_tracing_options(parser)
    add_repair_options(parser)


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
        choices=["drop", "balance"],
        default="drop",
        help=(
            "drop (default): leave out the rows of the chunk that have the trigger and the crux; "
            "balance: repeat rows that have the trigger but not the crux"
        ),
    )
    parser.add_argument(
        "--only-chunk",
        metavar="CHUNK",
        help="chunk to drop rows of (default: the first chunk of the trace)",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="leave rows as they are that the index never saw, as one of a subset did not",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Trace the exchange, write the repaired mixture, and print the report."""
    rubric = read_rubric(arguments)
    exchange = read_exchange(arguments, "repair needs --query and --response, neither empty.")
    check_whole(read_index_meta(arguments.index), arguments.partial)
    tracer, results, _ = trace_exchanges(arguments, rubric, [exchange])
    check_calls(results)
    trace = results[0].trace
    if trace is None:
        raise UserError(f"repair: nothing to repair; {results[0].no_violation}. {ANYWAY_HINT}")
    if trace.trigger is None:
        raise UserError(f"repair: nothing to repair. {trace.explanation}")
    chunk = arguments.only_chunk or trace.chunks["chunk"][0]
    repair = plan_repair(tracer, trace.crux, trace.trigger, chunk, arguments.how)
    report = write_repaired(
        tracer, repair, arguments.mixture, arguments.out, partial=arguments.partial
    )
    print_json(report, indent=2)

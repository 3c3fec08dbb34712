"""`chunkykit trace`: trace a failing exchange to the training data."""

import argparse
import asyncio
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chunkykit.cli.logs import LOG_HELP, add_log_options, read_log, source_of
from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import (
    output_columns,
    print_error,
    print_json,
    print_result,
    print_text,
    wants_json,
)
from chunkykit.cli.tables import format_table
from chunkykit.cli.tracing import (
    ANYWAY_HINT,
    CallFailed,
    FurtherCalls,
    TracedExchange,
    Tracing,
    add_tracing_options,
    check_calls,
    read_exchange,
    read_rubric,
    trace_exchanges,
)
from chunkykit.files import json_ready
from chunkykit.rubrics import Rubric
from chunkykit.text import count_of
from chunkykit.turf import (
    Exchange,
    Trace,
    Tracer,
    check_verification,
    crux_keywords,
    exchanges_of,
    first_chunks,
    format_trace,
    group_traces,
    trace_examples,
    verify_traces,
    write_triggers_with_model,
)
from chunkykit.types import OFFLINE

EXAMPLES_PER_KIND = 3
MAX_QUERY = 120  # characters of a query in a table
MAX_GROUPS = 10  # of a file: each is a tenth of it at least


def add_trace_command(commands: Commands) -> None:
    """Add `chunkykit trace`."""
    parser = add_command(
        commands,
        "trace",
        execute,
        summary="trace a failing exchange to the training data",
        description=(
            "Trace a failing exchange to the training data: which property of the query goes with "
            "the failure, and which chunk the rows behind it come from. What described the rows "
            "of the index describes the exchange, too; calls of models are kept in a ledger beside "
            "the index."
        ),
        example=(
            "chunkykit trace --index my_index --rubric rebut \\\n"
            '    --query "When did Jane Austen write Emma?" \\\n'
            '    --response "Jane Austen did not write Emma."'
        ),
    )
    add_tracing_options(parser)
    parser.add_argument(
        "--pairs",
        type=expand_path,
        metavar="LOG",
        help=f"failures to trace instead, one JSON line for each: {LOG_HELP}",
    )
    parser.add_argument(
        "--group",
        action="store_true",
        help=(
            "with --pairs: add a last line that groups the traces by trigger and by chunk; a "
            "--judge may write the sentence of a group"
        ),
    )
    parser.add_argument(
        "--verify",
        type=int,
        default=0,
        metavar="N",
        help=(
            "ask the --judge on N training rows, half of which should carry the trigger, whether "
            "trigger and crux are true of them; one call a row, for each trace, or with --group "
            "for each group (such as 50; default: 0)"
        ),
    )
    add_log_options(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Trace one exchange, or a file of them, and print what came of it."""
    rubric = read_rubric(arguments)
    exchanges, sources = read_exchanges(arguments)
    further = plan_further(arguments, len(exchanges))
    tracing = trace_exchanges(arguments, rubric, exchanges, further)
    tracer = tracing.tracer
    results = tracing.results
    groups: list[Trace] = []
    if is_grouped(arguments):
        groups = verify(arguments, tracing, group_results(arguments, tracing, rubric))
    else:
        traces = iter(verify(arguments, tracing, [r.trace for r in results if r.trace]))
        results = [r._replace(trace=next(traces)) if r.trace else r for r in results]
    if not arguments.pairs:
        if not results[0].error:
            print_trace(arguments, tracer, results[0])
    elif wants_json(arguments):
        print_lines(results, sources)
        if arguments.group:
            print_groups(tracer, results, groups)
    else:
        print_tables(results, groups)
    check_calls(results)
    check_verified([*groups, *(result.trace for result in results if result.trace)])


def is_grouped(arguments: argparse.Namespace) -> bool:
    """Whether there will be traces of groups."""
    return bool(arguments.pairs and arguments.group)


def plan_further(arguments: argparse.Namespace, exchanges: int) -> FurtherCalls:
    """Say what the judge will be asked about traces; UserError for a --verify that cannot be."""
    check_verification(arguments.verify, arguments.judge)
    traces = exchanges
    sentences = 0
    if is_grouped(arguments):
        sentences = min(MAX_GROUPS, exchanges // 2)  # a group has two exchanges at least
        traces = max(1, sentences)
    return FurtherCalls(traces if arguments.verify else 0, arguments.verify, sentences)


def verify(arguments: argparse.Namespace, tracing: Tracing, traces: Sequence[Trace]) -> list[Trace]:
    """Verify traces by the judge, if --verify says so."""
    if not arguments.verify:
        return list(traces)
    n = arguments.verify
    return asyncio.run(verify_traces(tracing.tracer, traces, arguments.judge, n, tracing.ledger))


def read_exchanges(arguments: argparse.Namespace) -> tuple[list[Exchange], list[dict]]:
    """Read the exchanges of --pairs with where each is from, or that of --query and --response."""
    if arguments.pairs:
        table = read_log(arguments.pairs, arguments).table
        exchanges = exchanges_of(table.rename(columns={"query": "prompt"}))
        return exchanges, [source_of(row) for _, row in table.iterrows()]
    problem = "trace needs --query and --response, neither empty, or --pairs LOG."
    return [read_exchange(arguments, problem)], [{}]


def print_trace(arguments: argparse.Namespace, tracer: Tracer, result: TracedExchange) -> None:
    """Print the trace of one exchange, or that there is nothing to trace."""
    trace = result.trace
    value = result_line(result) if trace is None else trace_to_dict(tracer, trace)

    def write(columns: int) -> str:
        if trace is None:
            return f"No trace: {result.no_violation}.\n{ANYWAY_HINT}"
        return format_trace(trace, value["examples"], columns)

    print_result(arguments, value, write, piped=False)


def print_tables(results: Sequence[TracedExchange], groups: Sequence[Trace]) -> None:
    """Print what came of the exchanges of a file for people: one row each, then the groups."""
    rows = [[number, *_summary_row(result)] for number, result in enumerate(results, 1)]
    header = ["", "query", "trigger", "first chunk", "of the evidence"]
    print_text(format_table(header, rows, output_columns()))
    for group in groups:
        print_text(f"\n{len(group.members)} of {len(results)}: {group.explanation}")


def _summary_row(result: TracedExchange) -> list[str]:
    """Query, trigger, first chunk and its share, or why there is no trace."""
    query = textwrap.shorten(result.exchange.query, MAX_QUERY, placeholder=" …")
    trace = result.trace
    if trace is None:
        return [query, result.error or f"no trace: {result.no_violation}", "", ""]
    if not len(trace.chunks):
        return [query, trace.trigger or "no trigger", "", ""]
    first = trace.chunks.iloc[0]
    return [query, trace.trigger or "no trigger", str(first["chunk"]), f"{first['share']:.0%}"]


def result_line(result: TracedExchange) -> dict[str, Any]:
    """What came of an exchange as one JSON object: its trace, or why there is none."""
    line: dict[str, Any] = {"query": result.exchange.query}
    if result.error:
        return {**line, "error": result.error}
    if result.trace is None:
        return {**line, "violation": False, "explanation": f"No trace: {result.no_violation}."}
    return {**line, **result.trace.to_dict()}


def print_lines(results: Sequence[TracedExchange], sources: Sequence[dict]) -> None:
    """Print what came of each exchange as one JSON line, with where it is from."""
    for result, source in zip(results, sources, strict=True):
        print_json({**result_line(result), **({"source": source} if source else {})})


def group_results(arguments: argparse.Namespace, tracing: Tracing, rubric: Rubric) -> list[Trace]:
    """Group what was traced; members are positions among the traces. A judge may write names."""
    traced = [result for result in tracing.results if result.trace]
    traces = [result.trace for result in traced if result.trace]
    pairs = [(result.query_attributes, result.trace.cruxes) for result in traced if result.trace]
    groups = group_traces(tracing.tracer, pairs, traces, rubric)
    if arguments.judge == OFFLINE:
        return groups
    writing = write_triggers_with_model(
        arguments.judge, tracing.ledger, tracing.tracer, groups, traces, pairs, rubric
    )
    written = asyncio.run(writing)
    for error in written.errors:
        print_error(
            f"{arguments.judge} wrote no sentence for a group, so that it has one from the data "
            f"({error})"
        )
    return written.groups


def print_groups(
    tracer: Tracer, results: Sequence[TracedExchange], groups: Sequence[Trace]
) -> None:
    """Print one JSON line about all traces: their groups, and how often each chunk is first."""
    positions = [i for i, result in enumerate(results) if result.trace]
    lines = []
    for group in groups:
        # of the exchanges in the file, not of those that were traced
        members = tuple(positions[i] for i in group.members)
        line = trace_to_dict(tracer, replace(group, members=members))
        lines.append({"pairs": len(members), **line})
    firsts = first_chunks([result.trace for result in results if result.trace])
    print_json({"group": lines, "first_chunks": firsts})


def check_verified(traces: Sequence[Trace]) -> None:
    """Raise CallFailed where the judge did not answer about a row."""
    checks = [trace.verified for trace in traces if trace.verified]
    failed = sum(check.failed for check in checks)
    if failed:
        total = failed + sum(check.answered for check in checks)
        error = next(check.error for check in checks if check.error)
        raise CallFailed(
            f"verify: {failed} of {count_of(total, 'call')} failed ({error}). Run the same command "
            "again: the answers so far are stored."
        )


def trace_to_dict(tracer: Tracer, trace: Trace) -> dict[str, Any]:
    """Convert a trace for JSON, with example rows and with keywords of its first chunk."""
    examples: list[dict] = []
    if trace.trigger:
        examples = trace_examples(tracer, trace, EXAMPLES_PER_KIND).to_dict("records")
    keywords: list[dict] = []
    if len(trace.chunks):
        first_chunk = trace.chunks["chunk"][0]
        keywords = crux_keywords(tracer, trace.crux, first_chunk).to_dict("records")
    return json_ready({**trace.to_dict(), "examples": examples, "keywords": keywords})

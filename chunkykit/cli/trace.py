"""`chunkykit trace`: trace a failing exchange to the training data."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.tracing import (
    ANYWAY_HINT,
    TracedExchange,
    add_tracing_options,
    check_calls,
    read_exchange,
    read_rubric,
    trace_exchanges,
)
from chunkykit.files import json_ready
from chunkykit.mixtures import load_mixture
from chunkykit.rubrics import Rubric
from chunkykit.text import inert_text
from chunkykit.turf import (
    Exchange,
    Trace,
    Tracer,
    crux_keywords,
    first_chunks,
    format_trace,
    group_traces,
    trace_examples,
)

EXAMPLES_PER_KIND = 3


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
        metavar="FILE",
        help="JSONL file of exchanges {query, response} to trace instead: one JSON line for each",
    )
    parser.add_argument(
        "--group",
        action="store_true",
        help="with --pairs: add a last line that groups the traces by trigger and by chunk",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def execute(arguments: argparse.Namespace) -> None:
    """Trace one exchange, or a file of them, and print what came of it."""
    rubric = read_rubric(arguments)
    exchanges = read_exchanges(arguments)
    tracer, results = trace_exchanges(arguments, rubric, exchanges)
    if arguments.pairs:
        print_lines(results)
        if arguments.group:
            print_groups(tracer, results, rubric)
    elif not results[0].error:
        print_result(tracer, results[0], arguments.json)
    check_calls(results)


def read_exchanges(arguments: argparse.Namespace) -> list[Exchange]:
    """Read the exchanges of --pairs, or the one of --query and --response."""
    if arguments.pairs:
        return read_pairs(arguments.pairs)
    problem = "trace needs --query and --response, neither empty, or --pairs FILE."
    return [read_exchange(arguments, problem)]


def read_pairs(path: Path) -> list[Exchange]:
    """Read a file of exchanges; rows that cannot be read are named on standard error."""
    mixture = load_mixture(path)
    for row, reason in zip(mixture.skipped["row"], mixture.skipped["reason"]):
        print(f"chunkykit: {path} row {row} skipped: {inert_text(reason)}", file=sys.stderr)
    pairs = zip(mixture.rows["prompt"], mixture.rows["response"])
    return [Exchange(query, response) for query, response in pairs]


def print_result(tracer: Tracer, result: TracedExchange, as_json: bool) -> None:
    """Print the trace of one exchange, or that there is nothing to trace."""
    if result.trace is None:
        line = result_line(result)
        text = f"No trace: {result.no_violation}.\n{ANYWAY_HINT}"
        print(json.dumps(line, ensure_ascii=False, indent=2) if as_json else text)
        return
    trace = trace_to_dict(tracer, result.trace)
    if as_json:
        print(json.dumps(trace, ensure_ascii=False, indent=2))
    else:
        print(format_trace(result.trace, trace["examples"]))


def result_line(result: TracedExchange) -> dict[str, Any]:
    """What came of an exchange as one JSON object: its trace, or why there is none."""
    line: dict[str, Any] = {"query": result.exchange.query}
    if result.error:
        return {**line, "error": result.error}
    if result.trace is None:
        return {**line, "violation": False, "explanation": f"No trace: {result.no_violation}."}
    return {**line, **result.trace.to_dict()}


def print_lines(results: Sequence[TracedExchange]) -> None:
    """Print what came of each exchange as one JSON line."""
    for result in results:
        print(json.dumps(result_line(result), ensure_ascii=False))


def print_groups(tracer: Tracer, results: Sequence[TracedExchange], rubric: Rubric) -> None:
    """Print one JSON line about all traces: their groups, and how often each chunk is first."""
    positions = [i for i, result in enumerate(results) if result.trace]
    traces = [result.trace for result in results if result.trace]
    pairs = [(result.query_attributes, result.trace.cruxes) for result in results if result.trace]
    groups = []
    for group in group_traces(tracer, pairs, traces, rubric):
        # of the exchanges in the file, not of those that were traced
        members = tuple(positions[i] for i in group.members)
        line = trace_to_dict(tracer, replace(group, members=members))
        groups.append({"pairs": len(members), **line})
    print(json.dumps({"group": groups, "first_chunks": first_chunks(traces)}, ensure_ascii=False))


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

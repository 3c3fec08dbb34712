"""`chunkykit trace`: trace a failing exchange to the training data."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.tracing import (
    Exchange,
    add_tracing_options,
    describe_exchange,
    open_tracer,
    read_exchange,
    read_rubric,
)
from chunkykit.files import json_ready
from chunkykit.mixtures import load_mixture
from chunkykit.text import inert_text
from chunkykit.turf import (
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
            "the failure, and which chunk the rows behind it come from."
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
    """Trace one exchange, or a file of them, and print the traces."""
    rubric = read_rubric(arguments)
    exchanges = read_exchanges(arguments)
    tracer = open_tracer(arguments)
    described = [
        describe_exchange(exchange, rubric, tracer, arguments.side) for exchange in exchanges
    ]
    traces = tracer.trace_all(described, rubric)
    if arguments.pairs:
        print_lines(exchanges, traces)
        if arguments.group:
            print_groups(tracer, traces)
        return
    trace = trace_to_dict(tracer, traces[0])
    if arguments.json:
        print(json.dumps(trace, ensure_ascii=False, indent=2))
    else:
        print(format_trace(traces[0], trace["examples"]))


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


def print_lines(exchanges: Sequence[Exchange], traces: Sequence[Trace]) -> None:
    """Print each trace as one JSON line, with its query."""
    for exchange, trace in zip(exchanges, traces):
        line = {"query": exchange.query, **trace.to_dict()}
        print(json.dumps(line, ensure_ascii=False))


def print_groups(tracer: Tracer, traces: Sequence[Trace]) -> None:
    """Print one JSON line about all traces: their groups, and how often each chunk is first."""
    groups = [
        {"pairs": len(group.members), **trace_to_dict(tracer, group)}
        for group in group_traces(traces)
    ]
    line = {"group": groups, "first_chunks": first_chunks(traces)}
    print(json.dumps(line, ensure_ascii=False))


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

"""`chunkykit search`: search a model for failures without a mixture."""

import argparse
import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chunkykit.cli.options import (
    Commands,
    add_command,
    add_judge_option,
    add_limit_options,
    add_role_options,
    add_search_options,
    expand_name,
    expand_path,
    run_settings,
)
from chunkykit.cli.output import print_note, print_result
from chunkykit.cli.pay import approve_cost, approve_servers, stop_at_estimate
from chunkykit.cli.tables import format_record, format_table
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex, open_trace_index
from chunkykit.lab import (
    PlannedCalls,
    Run,
    complete_settings,
    forget_other_traces,
    lock_folder,
    plan_search,
    plan_tracing,
    search_alone,
    search_sizes,
    start_run,
    summarise_search,
    trace_search,
)
from chunkykit.models import is_free
from chunkykit.organisms import ORGANISMS
from chunkykit.results import write_report
from chunkykit.surf import Pool, read_pool
from chunkykit.text import count_of

MAX_CANDIDATES = 1_000_000
MAX_ITERATIONS = 20  # per run of the search
MODE_COLUMNS = ("attributes", "tried", "failed")
HOW_TO_TRACE = (
    "For clusters, the map and traces to training data, run the same command with --index FOLDER; "
    "nothing is asked twice. `chunkykit index --mixture DATA --out FOLDER` makes one."
)
SEARCH_RUNS = 5  # independent runs of the search; the control arm is one more


def add_search_command(commands: Commands) -> None:
    """Add `chunkykit search`."""
    parser = add_command(
        commands,
        "search",
        execute,
        summary="search a model for failures, without training data",
        description=(
            "Search a model for failures and failure modes, from a file of query attributes and "
            "without training data. If it is stopped or reaches a limit, the same command "
            "resumes and pays for nothing twice."
        ),
        example=(
            "chunkykit search --attributes rows.jsonl --rubric refusal --out runs/search \\\n"
            "    --target anthropic:claude-haiku-4-5 --writer openai:gpt-5.1 \\\n"
            "    --judge openai:gpt-5.1 --budget-usd 5"
        ),
    )
    parser.add_argument(
        "--attributes",
        # The pool stands where the mixture of a run stands.
        dest="mixture",
        type=expand_name,
        required=True,
        metavar="FILE",
        help="JSONL file; each row has `attributes`, a list of sentences about one query",
    )
    parser.add_argument(
        "--rubric",
        dest="rubrics",
        type=expand_name,
        nargs=1,
        required=True,
        metavar="RUBRIC",
        help="shipped rubric or YAML file",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        required=True,
        metavar="FOLDER",
        help="folder for the tables, the ledger and search.json",
    )
    add_size_options(parser)
    add_model_options(parser)
    add_tracing_options(parser)
    add_search_options(parser)
    add_role_options(parser)
    add_limit_options(parser)


def add_tracing_options(parser: argparse.ArgumentParser) -> None:
    """Add the index that the failures are traced against."""
    group = parser.add_argument_group("tracing")
    group.add_argument(
        "--index",
        dest="traced_index",
        type=expand_path,
        metavar="FOLDER",
        help="go on to clusters, the map and traces against this index (chunkykit index)",
    )
    group.add_argument("--trust", action="store_true", help="call whatever models the index names")


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the size and the pace of the search."""
    parser.add_argument(
        "--candidates",
        type=int,
        default=3000,
        metavar="N",
        help=(
            "candidates of the search, rounded up to five runs of at most twenty iterations "
            "(default: %(default)s); the control arm adds a fifth"
        ),
    )
    parser.add_argument(
        "--confirm",
        type=int,
        default=60,
        metavar="N",
        help="distinct winners that the target answers afresh (default: %(default)s)",
    )
    parser.add_argument(
        "--eager",
        action="store_true",
        help="learn from each score as it arrives: fastest, but the seed does not fix the search",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the models of the search; none has a default."""
    group = parser.add_argument_group("models")
    tasks = {
        "target": "model to search: PROVIDER:MODEL or http://HOST:PORT/v1:MODEL",
        "writer": "model that writes queries",
    }
    for role, task in tasks.items():
        group.add_argument(f"--{role}", type=expand_name, required=True, metavar="MODEL", help=task)
    add_judge_option(group, required=True)


def execute(arguments: argparse.Namespace) -> None:
    """Open the folder, ask before anything is paid, search, trace, and write the report."""
    check_arguments(arguments)
    sizes = search_sizes(arguments.candidates, SEARCH_RUNS, MAX_ITERATIONS)
    sizes["confirm"] = arguments.confirm
    pool = read_pool(arguments.mixture)
    settings = {**run_settings(arguments), **sizes}
    index = open_trace_index(arguments.traced_index) if arguments.traced_index else None
    if arguments.estimate:
        with TemporaryDirectory() as folder:
            run = Run(Path(folder), complete_settings(settings))
            stop_at_estimate(arguments, plan_calls(run, index))
    with lock_folder(arguments.out):
        run = start_run(arguments.out, arguments.restart, **settings)
        print_note(run.caption)
        print_note(
            f"{count_of(len(pool.rows), 'row')} of {len(pool.sentences):,} attributes",
        )
        approve_index(arguments, index)
        plan = plan_calls(run, index)
        approve_cost(run.ledger, arguments, plan, all(is_free(part.model) for part in plan))
        summary = asyncio.run(search_and_trace(run, pool, arguments))
        report = write_report(run)
    print_result(arguments, summary, partial(format_search, summary))
    print_note(f"report: {report}")
    if index is None:
        print_note(HOW_TO_TRACE)


async def search_and_trace(run: Run, pool: Pool, arguments: argparse.Namespace) -> dict[str, Any]:
    """Search, go on to traces where there is an index, and write search.json."""
    result, confirmed = await search_alone(run, pool, arguments.eager)
    forget_other_traces(run)
    if arguments.traced_index:
        print_note("clusters, the map and traces ...")
        await trace_search(run, arguments.traced_index)
    return summarise_search(run, result, confirmed)


def plan_calls(run: Run, index: TraceIndex | None) -> list[PlannedCalls]:
    """Plan the calls of the search, and of describing what it finds."""
    plan = plan_search(run.settings)
    return plan if index is None else [*plan, *plan_tracing(run, index)]


def approve_index(arguments: argparse.Namespace, index: TraceIndex | None) -> None:
    """Ask before texts are sent to models that only the index names."""
    if index is not None and not arguments.trust:
        named = [arguments.target, arguments.writer, *arguments.judge]
        names = [index.meta["describer"], index.meta["embedder"]]
        place = f"index {arguments.traced_index}"
        approve_servers(place, names, named, "Add --trust to allow it.")


def format_search(summary: Mapping[str, Any], columns: int) -> str:
    """Write what a search has found for people: counts, modes and traces."""
    confirmed = summary["confirmed"]
    rates = {
        "rubric": summary["rubric"],
        "target": summary["target"],
        "searched": summary["search"],
        "fresh answers that fail": confirmed,
        "control, per candidate": {
            "rate": confirmed["control_rate"],
            "low": confirmed["control_low"],
            "high": confirmed["control_high"],
            "n": confirmed["control_n"],
        },
        "calls": summary["calls"],
        "dollars": summary["dollars"],
    }
    parts = [format_record(rates, columns)]
    for title, table in summary_tables(summary).items():
        if table:
            rows = [list(row.values()) for row in table]
            parts.append(f"{title}\n" + format_table(list(table[0]), rows, columns))
    return "\n\n".join(parts)


def summary_tables(summary: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The failure modes, clusters and traces of a summary, as a table has room for them."""
    modes = [{name: mode.get(name) for name in MODE_COLUMNS} for mode in summary["modes"]]
    clusters = [
        {"cluster": row["id"], "what sets it apart": row["label"], "failures": row["size"]}
        for row in summary.get("clusters", [])
    ]
    traces = [
        {
            "trigger": trace["trigger"] or "none found",
            "crux": trace["crux"],
            "first chunk": trace["chunks"][0]["chunk"] if trace["chunks"] else "",
            "of the evidence": f"{trace['chunks'][0]['share']:.0%}" if trace["chunks"] else "",
        }
        for trace in summary.get("traces", [])
    ]
    return {"failure modes": modes, "clusters of failures": clusters, "traces": traces}


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise UserError for models and sizes that a search without a mixture cannot use."""
    for model in (arguments.target, arguments.writer):
        if model in ORGANISMS:
            raise UserError(
                f"{model} learns from a mixture, and a search alone has none: use chunkykit run."
            )
    if not 1 <= arguments.candidates <= MAX_CANDIDATES:
        raise UserError(
            f"--candidates must be from 1 to {MAX_CANDIDATES:,}, not {arguments.candidates}."
        )

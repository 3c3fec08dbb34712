"""`chunkykit search`: search a model for failures without a mixture."""

import argparse
import asyncio

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
from chunkykit.cli.output import print_json, print_note, print_text
from chunkykit.cli.pay import approve_cost
from chunkykit.errors import UserError
from chunkykit.lab import (
    lock_folder,
    plan_search,
    search_alone,
    search_sizes,
    start_run,
    summarise_search,
)
from chunkykit.organisms import ORGANISMS
from chunkykit.results import write_report
from chunkykit.surf import read_pool

MAX_CANDIDATES = 1_000_000
MAX_ITERATIONS = 20  # per run of the search
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
    add_search_options(parser)
    add_role_options(parser)
    add_limit_options(parser)


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
    """Open the folder, ask before anything is paid, search, print search.json, write the report."""
    check_arguments(arguments)
    sizes = search_sizes(arguments.candidates, SEARCH_RUNS, MAX_ITERATIONS)
    sizes["confirm"] = arguments.confirm
    pool = read_pool(arguments.mixture)
    with lock_folder(arguments.out):
        settings = {**run_settings(arguments), **sizes}
        run = start_run(arguments.out, arguments.restart, **settings)
        print_text(run.caption)
        print_text(f"{len(pool.rows):,} rows of {len(pool.sentences):,} attributes")
        approve_cost(run.ledger, arguments, plan_search(run.settings), run.free)
        result, confirmed = asyncio.run(search_alone(run, pool, arguments.eager))
        summary = summarise_search(run, result, confirmed)
        print_json(summary, indent=2)
        print_note(f"report: {write_report(run)}")


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

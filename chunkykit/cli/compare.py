"""`chunkykit compare`: finished runs side by side, and a run's queries put to another model."""

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from chunkykit.cli.options import (
    Commands,
    add_command,
    add_limit_options,
    expand_name,
    expand_path,
)
from chunkykit.cli.output import (
    output_columns,
    print_csv,
    print_error,
    print_json,
    print_note,
    print_text,
    wants_json,
)
from chunkykit.cli.pay import approve_further_cost, approve_servers, stop_at_estimate
from chunkykit.cli.tables import format_table
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.lab import (
    Comparison,
    Run,
    answer_queries_of,
    compare_runs,
    lock_folder,
    plan_sibling,
    start_sibling,
)
from chunkykit.models import is_free
from chunkykit.show import figures
from chunkykit.text import count_of

SIBLING = "run"  # the folder of the other target's run, in --out


def add_compare_command(commands: Commands) -> None:
    """Add `chunkykit compare`."""
    parser = add_command(
        commands,
        "compare",
        execute,
        summary="compare finished runs: models by behaviours, and a paired test",
        description=(
            "Compare the confirmed failure rates of finished runs, as tables (CSV through a pipe) "
            "and as figures: models by behaviours, and the differences between the first "
            "run and each other one on the queries that both answered, with a paired test. "
            "--target puts the confirmed queries of one run to another model first."
        ),
        example="chunkykit compare runs/claude --target openai:gpt-5.1 --out compared",
    )
    parser.add_argument("runs", type=expand_path, nargs="+", metavar="RUN", help="run folder")
    parser.add_argument(
        "--out", type=expand_path, required=True, metavar="FOLDER", help="folder for the figures"
    )
    parser.add_argument(
        "--target",
        type=expand_name,
        metavar="MODEL",
        help=f"answer the run's confirmed queries with this model, into {SIBLING} of --out",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="call the judge that the run folder names",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start over if --out holds the answers of another model; paid answers are kept",
    )
    add_limit_options(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Print the tables, then the path of the figures' folder."""
    runs = list(arguments.runs)
    if arguments.target is not None:
        runs.append(answer_with_target(arguments))
    comparison = compare_runs(runs)
    drawn = {"behaviours": figures.behaviours(comparison.rates, comparison.caption)}
    if len(comparison.paired):
        drawn["differences"] = figures.differences(comparison.paired, comparison.caption)
    print_comparison(arguments, comparison)
    for note in comparison.notes:
        print_error(note)
    print_note(figures.save_figures(drawn, arguments.out))


def print_comparison(arguments: argparse.Namespace, comparison: Comparison) -> None:
    """Print the tables of a comparison: for people, as JSON, or as CSV through a pipe."""
    tables = {"rates": comparison.rates, "paired": comparison.paired}
    if wants_json(arguments, piped=False):
        records = {name: table.to_dict("records") for name, table in tables.items()}
        print_json(json_ready({**records, "notes": comparison.notes}), indent=2)
    elif arguments.json is None and not sys.stdout.isatty():
        print_csv(comparison.rates)
        if len(comparison.paired):
            print_csv(comparison.paired, "%.4g")
    else:
        texts = []
        for table in tables.values():
            if len(table):
                rows = table.astype(object).values.tolist()
                texts.append(format_table(list(table.columns), rows, output_columns()))
        print_text("\n\n".join(texts))


def answer_with_target(arguments: argparse.Namespace):
    """Put the run's queries to the target, and return the folder of its answers."""
    if len(arguments.runs) != 1:
        raise UserError(
            f"--target: give one RUN whose queries it answers, not {len(arguments.runs)}."
        )
    (folder,) = arguments.runs
    if arguments.estimate:
        with TemporaryDirectory() as place:
            run = start_sibling(folder, arguments.target, Path(place) / SIBLING, False)
            stop_at_estimate(arguments, plan_sibling(run, folder))
    out = arguments.out / SIBLING
    with lock_folder(out):
        run = start_sibling(folder, arguments.target, out, arguments.restart)
        judges = run.settings.confirm_judges
        if not arguments.trust:
            fix = "Add --trust to allow it."
            approve_servers(f"run {folder}", judges, [arguments.target], fix)
        plan = plan_sibling(run, folder)
        free = all(is_free(part.model) for part in plan)
        approve_further_cost(run.ledger, arguments, plan, free)
        asyncio.run(answer(run, folder))
        report_errors(run)
    return out


async def answer(run: Run, folder) -> None:
    """Answer the queries, and close the connections."""
    try:
        await answer_queries_of(run, folder)
    finally:
        await run.close()


def report_errors(run: Run) -> None:
    """Say how many answers could not be judged; they are in no rate."""
    answers = run.read("answers")
    errors = answers["error"].dropna()
    if len(errors):
        count = f"{len(errors)} of {count_of(len(answers), 'answer')} were not judged"
        print_error(f"{count}, most often: {errors.mode()[0]}")

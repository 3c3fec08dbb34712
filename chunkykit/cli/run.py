"""`chunkykit run`: the whole method, from a mixture to figures, in one run folder."""

import argparse
import asyncio
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chunkykit.cli.notebooks import execute_notebooks
from chunkykit.cli.options import (
    BATCH_HELP,
    EMBEDDER_HELP,
    Commands,
    add_chunk_option,
    add_command,
    add_judge_option,
    add_limit_options,
    add_mixture_option,
    add_role_options,
    add_search_options,
    add_turns_option,
    expand_name,
    expand_path,
    run_settings,
)
from chunkykit.cli.output import print_error, print_note, print_result
from chunkykit.cli.pay import approve_cost, stop_at_estimate
from chunkykit.cli.tables import format_record
from chunkykit.errors import UserError
from chunkykit.lab import (
    DEFAULT_SETTINGS,
    Run,
    complete_settings,
    format_report,
    is_done,
    lock_folder,
    plan_run,
    run_stages,
    start_run,
    summarise_run,
)
from chunkykit.mixtures import chunk_advice, naming_note, size_text
from chunkykit.models import start_early
from chunkykit.results import write_report
from chunkykit.text import count_of
from chunkykit.turf import compiling_umap

MAX_PATH = 10_000  # columns: paths are not wrapped, so that they can be copied
TARGET_HELP = (
    "model to audit: organism:fast (default), organism:smollm2, local:smollm2, "
    "local:FILE.gguf, PROVIDER:MODEL or http://HOST:PORT/v1:MODEL"
)
LIBRARY_OF_EXTRA = {"notebooks": "papermill", "figures": "umap"}  # one that nothing else brings


def add_run_command(commands: Commands) -> None:
    """Add `chunkykit run`."""
    parser = add_command(
        commands,
        "run",
        execute,
        summary="run the whole method, from the mixture to the figures",
        description=(
            "Run the whole method, one stage after another, into a run folder, by executing the "
            "notebooks. "
            "If it is stopped, the same command resumes."
        ),
        example="chunkykit run --mixture mix.jsonl --profile smoke --out runs/mine",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        default="runs/run",
        metavar="FOLDER",
        help="run folder (default: %(default)s)",
    )
    parser.add_argument(
        "--no-notebooks",
        action="store_true",
        help="do the same stages without executing notebooks",
    )
    add_size_options(parser)
    add_data_options(parser)
    add_model_options(parser)
    add_search_options(parser)
    add_role_options(parser)
    add_limit_options(parser)


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the one dial for all sizes, and the override of a single size."""
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help=(
            "set all sizes at once: smoke, laptop (suits a language model on a laptop), "
            "workshop (default) or paper"
        ),
    )
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=N",
        help="override one size of the profile; can be repeated",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the mixture and the rubrics."""
    add_mixture_option(parser, "demo")
    add_chunk_option(parser)
    add_turns_option(parser)
    parser.add_argument(
        "--rubric",
        dest="rubrics",
        type=expand_name,
        action="extend",
        nargs="+",
        metavar="RUBRIC",
        help="shipped rubrics or YAML files (default: all shipped rubrics that can be judged)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each model of a run."""
    group = parser.add_argument_group("models")
    group.add_argument("--target", type=expand_name, metavar="MODEL", help=TARGET_HELP)
    add_judge_option(group)
    roles = {"writer": "writes queries", "describer": "describes texts"}
    for role, task in roles.items():
        group.add_argument(
            f"--{role}",
            type=expand_name,
            metavar="MODEL",
            help=f"model that {task} (default: offline)",
        )
    group.add_argument("--embedder", type=expand_name, metavar="EMBEDDER", help=EMBEDDER_HELP)
    # None, and not False: an option that is not set leaves the setting at its default.
    group.add_argument("--batch", action="store_true", default=None, help=BATCH_HELP)


def execute(arguments: argparse.Namespace) -> None:
    """Open the run folder, ask before anything is paid, execute the notebooks, print the report."""
    sizes = parse_sizes(arguments.parameter)
    settings = {**run_settings(arguments), **sizes}
    if arguments.estimate:
        estimate_run(arguments, settings)
    check_extras(["figures"] if arguments.no_notebooks else ["notebooks", "figures"])
    with lock_folder(arguments.out):
        run = start_run(arguments.out, arguments.restart, **settings)
        print_overview(run)
        approve_cost(run.ledger, arguments, plan_run(run), run.free)
        if not (run.quick or is_done(run, "ablate")):
            # Training takes minutes: do it here, where its progress shows, not in a notebook.
            # A server starts while the first notebooks run.
            start_early(run.target())
        if arguments.no_notebooks:
            asyncio.run(do_stages(run))
        else:
            with compiling_umap():
                execute_notebooks(run)
        summary = summarise_run(run)
        report = write_report(run)
    paths = {name: str(run.folder / name) for name in ("summary.json", "figures", "notebooks")}
    paths["report"] = str(report)
    if arguments.no_notebooks:
        del paths["notebooks"]
    text = f"{format_report(summary)}\n\n{format_record(paths, MAX_PATH)}"
    print_result(arguments, {**summary, "paths": paths}, lambda columns: text, piped=False)


def estimate_run(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Print what a run would take. Nothing is written to its folder, and no model is called."""
    with TemporaryDirectory() as folder:
        stop_at_estimate(arguments, plan_run(Run(Path(folder), complete_settings(settings))))


def check_extras(needed: Sequence[str]) -> None:
    """Check that the extras of a run are installed, before it begins.

    Args:
        needed: names of extras.

    Raises:
        UserError: one is missing. The message names all that are.
    """
    missing = [extra for extra in needed if find_spec(LIBRARY_OF_EXTRA[extra]) is None]
    if missing:
        extras = f"chunkykit[{','.join(missing)}]"
        raise UserError(
            f"run: {LIBRARY_OF_EXTRA[missing[0]]} is not installed. Install what is missing: "
            f"pip install '{extras}'."
        )


async def do_stages(run: Run) -> None:
    """Do the stages of a run without notebooks."""
    try:
        await run_stages(run)
    finally:
        await run.close()


def parse_sizes(parameters: Sequence[str]) -> dict[str, int]:
    """Read the values of --parameter.

    Args:
        parameters: texts NAME=N. The last one of a name counts.

    Returns:
        Size to value. Whether a profile has such a size is checked when the run starts.

    Raises:
        UserError: a text has another form, or the name is not that of a size.
    """
    sizes = {}
    for parameter in parameters:
        match = re.fullmatch(r"(\w+)=(\d+)", parameter)
        if match is None:
            raise UserError(
                f"parameter '{parameter}' must be NAME=N with a whole number N, as in "
                "-p candidates=60."
            )
        name, number = match.groups()
        if name in DEFAULT_SETTINGS or name in ("folder", "restart", "opened_index"):
            raise UserError(
                f"parameter '{name}' is not a size. -p overrides the sizes of a profile, as in "
                "-p candidates=60; everything else has an option, see chunkykit run --help."
            )
        sizes[name] = int(number)
    return sizes


def print_overview(run: Run) -> None:
    """Print what goes into a run."""
    mixture = run.mixture()
    print_note(run.caption)
    print_note(
        f"{size_text(mixture.rows)} in {count_of(len(mixture.chunks), 'chunk')} "
        f"({len(mixture.skipped):,} skipped), rubrics {', '.join(run.rubric_by_name)}",
    )
    if run.settings.chunk is None:
        note = naming_note(mixture.chunk_column, len(mixture.chunks))
        if note:
            print_error(note)
    advice = chunk_advice(len(mixture.rows), len(mixture.chunks))
    if advice:
        print_error(advice)

"""`chunkykit explore`: a run, or two models on the same queries, as a page in the browser."""

import argparse
import os
import sys
from pathlib import Path

from chunkykit.cli.open import open_in_browser
from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import print_text
from chunkykit.errors import UserError
from chunkykit.lab import failures_of_runs
from chunkykit.show.explorer import write_page

PAGE = "explorer.html"  # in the folder of the first run
MAX_RUNS = 2


def add_explore_command(commands: Commands) -> None:
    """Add `chunkykit explore`."""
    parser = add_command(
        commands,
        "explore",
        execute,
        summary="look at the failures of a run, or of two models side by side, in the browser",
        description=(
            "Write the map, the reader, the traces and the training rows of a run as one HTML page "
            "that needs no server and no network, and open it in the browser; where there is none, "
            "or the output is not a terminal, print its path. With a second run, each failure of "
            "the first stands beside what the other model answered to the same query."
        ),
        example="chunkykit explore runs/mine --select cluster=3",
    )
    parser.add_argument(
        "runs",
        type=expand_path,
        nargs="+",
        metavar="RUN",
        help="run folder; a second one is put beside it",
    )
    parser.add_argument(
        "--html",
        type=expand_path,
        metavar="FILE",
        help=f"page to write; by default {PAGE} in the first run folder, or, where that cannot be "
        "written, in the current one",
    )
    parser.add_argument(
        "--select",
        metavar="LINK",
        help="what is selected at first, as in cluster=3&tab=trace, or as the page's address ends; "
        "by default the largest traced cluster",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Write the page and open it."""
    if len(arguments.runs) > MAX_RUNS:
        raise UserError(
            f"explore: takes one run, or two side by side, not {len(arguments.runs)}. For tables "
            "of more models, see chunkykit compare."
        )
    failures = failures_of_runs(arguments.runs)
    names = " and ".join(folder.resolve().name for folder in arguments.runs)
    path = arguments.html or default_page(arguments.runs[0])
    page = write_page(failures, path, f"Failures of {names}", arguments.select)
    opened = sys.stdout.isatty() and open_in_browser(page.resolve())
    where = "opened in the browser" if opened else "open it in a browser"
    print_text(f"{page}: {len(failures.points):,} exchanges; {where}")


def default_page(run: Path) -> Path:
    """Choose where the page of a run is written: beside its report, if that is possible."""
    return (run if os.access(run, os.W_OK) else Path.cwd()) / PAGE

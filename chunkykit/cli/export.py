"""`chunkykit export`: the explorer's view as one HTML page."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from chunkykit.attributes import load_embedder
from chunkykit.cli.options import Commands, add_command, expand_name, expand_path
from chunkykit.cli.output import print_text
from chunkykit.errors import UserError
from chunkykit.lab import read_run
from chunkykit.show.explorer import failures_from_file, failures_from_run, write_page

MIN_CLUSTER_SIZE = 4  # failures; files of failures are small, so less than the default


def add_export_command(commands: Commands) -> None:
    """Add `chunkykit export`."""
    parser = add_command(
        commands,
        "export",
        execute,
        summary="write the explorer's view of a run as one HTML page",
        description=(
            "Write the map, the reader, the traces and the training rows of a run, or of a JSONL "
            "file of failures, as one HTML page that needs no server and no network."
        ),
        example="chunkykit export runs/mine --html page.html",
    )
    parser.add_argument(
        "source",
        type=expand_path,
        metavar="RUN",
        help="run folder, or a JSONL file of failures {query, response, model, rubric, score, ...}",
    )
    parser.add_argument(
        "--html", type=expand_path, required=True, metavar="FILE", help="page to write"
    )
    parser.add_argument(
        "--marks",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=RUBRIC",
        help="for a file of failures: the rubric that a name in it stands for, to mark its crux",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Write the page and print its path and size."""
    rubrics = parse_marks(arguments.marks)
    source: Path = arguments.source
    if source.is_file():
        reading = failures_from_file(source, load_embedder(), rubrics, min_size=MIN_CLUSTER_SIZE)
        failures = asyncio.run(reading)
    else:
        failures = failures_from_run(read_run(source))
    page = write_page(failures, arguments.html, f"Failures of {source.resolve().name}")
    megabytes = page.stat().st_size / 1e6
    print_text(
        f"{page}: {len(failures.points):,} exchanges, {megabytes:.1f} MB; "
        "opens in a browser without a network"
    )


def parse_marks(marks: Sequence[str]) -> dict[str, str]:
    """Read the values of --marks.

    Args:
        marks: texts NAME=RUBRIC, where NAME is a rubric's name in the file.

    Returns:
        Name in the file to shipped rubric or YAML file.

    Raises:
        UserError: a text has another form.
    """
    rubrics = {}
    for mark in marks:
        name, _, rubric = mark.partition("=")
        if not name or not rubric:
            raise UserError(f"--marks {mark}: must be NAME=RUBRIC, as in rebuttal=rebut.")
        rubrics[name] = expand_name(rubric)
    return rubrics

"""`chunkykit open`: the report of a run, in the browser."""

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import print_result
from chunkykit.lab import read_run
from chunkykit.results import write_report


def add_open_command(commands: Commands) -> None:
    """Add `chunkykit open`."""
    parser = add_command(
        commands,
        "open",
        execute,
        summary="open the report of a run in the browser",
        description=(
            "Write the report of a run, as far as it has come and with the labels that it has by "
            "now, and open it in the browser; where there is none, or the output is not a "
            "terminal, print its path. A run folder that cannot be written is left as it is, and "
            "the report is written to the current folder."
        ),
        example="chunkykit open runs/mine",
    )
    parser.add_argument(
        "run", type=expand_path, metavar="RUN", help="folder of a run or of a search alone"
    )


def execute(arguments: argparse.Namespace) -> None:
    """Write the report and open it."""
    run = read_run(arguments.run)
    # never the file that lies there: a run folder may come from a stranger
    place = run.folder if os.access(run.folder, os.W_OK) else Path.cwd()
    page = write_report(run, place)
    opened = sys.stdout.isatty() and open_in_browser(page)
    line = f"{page}: {'opened in the browser' if opened else 'open it in a browser'}"
    result = {"report": str(page), "opened": opened}
    print_result(arguments, result, lambda columns: line, piped=False)


def open_in_browser(page: Path) -> bool:
    """Open a file in the user's browser.

    Args:
        page: the file.

    Returns:
        Whether there is a browser that took it.
    """
    try:
        return webbrowser.open(page.as_uri())
    except webbrowser.Error:
        return False

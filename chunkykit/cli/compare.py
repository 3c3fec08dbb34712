"""`chunkykit compare`: finished runs side by side."""

import argparse

from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import print_csv, print_text
from chunkykit.lab import compare_runs
from chunkykit.show import figures


def add_compare_command(commands: Commands) -> None:
    """Add `chunkykit compare`."""
    parser = add_command(
        commands,
        "compare",
        execute,
        summary="compare finished runs: models by behaviours",
        description=(
            "Compare the confirmed failure rates of finished runs, as a table (CSV) on standard "
            "output and as a figure: models by behaviours."
        ),
        example="chunkykit compare runs/claude runs/mine --out compared",
    )
    parser.add_argument("runs", type=expand_path, nargs="+", metavar="RUN", help="run folder")
    parser.add_argument(
        "--out", type=expand_path, required=True, metavar="FOLDER", help="folder for the figure"
    )


def execute(arguments: argparse.Namespace) -> None:
    """Print the table, then the path of the figure's folder."""
    table, caption = compare_runs(arguments.runs)
    print_csv(table)
    figure = figures.behaviours(table, caption)
    print_text(figures.save_figures({"behaviours": figure}, arguments.out))

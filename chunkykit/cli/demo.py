"""`chunkykit demo`: the demo mixture as a file."""

import argparse

from chunkykit.cli.options import SEED_HELP, Commands, add_command, expand_path
from chunkykit.cli.output import print_result
from chunkykit.errors import UserError
from chunkykit.mixtures import write_demo


def add_demo_command(commands: Commands) -> None:
    """Add `chunkykit demo`."""
    parser = add_command(
        commands,
        "demo",
        execute,
        summary="write the demo mixture and its ground truth to a folder",
        description=(
            "Write the demo mixture, in which failures are planted, and the ground truth of what "
            "is planted where: mixture.jsonl and truth.json."
        ),
        example="chunkykit demo --rows 1200 --out demo",
    )
    parser.add_argument(
        "--out", type=expand_path, required=True, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=3000,
        metavar="N",
        help="number of rows (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=SEED_HELP)


def execute(arguments: argparse.Namespace) -> None:
    """Write the demo and print the paths of its two files."""
    if arguments.rows < 1:
        raise UserError(f"demo: --rows must be at least 1, not {arguments.rows}.")
    mixture, truth = write_demo(arguments.out, arguments.rows, arguments.seed)
    paths = {"mixture": str(mixture), "truth": str(truth)}
    print_result(arguments, paths, lambda columns: "\n".join(paths.values()), piped=False)

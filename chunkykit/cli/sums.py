"""`chunkykit sums`: ask a model a hundred true sums (paper Fig. 25)."""

import argparse
from functools import partial

from chunkykit.cli.notebooks import execute_notebook
from chunkykit.cli.options import (
    Commands,
    add_command,
    add_limit_options,
    expand_name,
    expand_path,
)
from chunkykit.cli.output import print_result
from chunkykit.cli.pay import approve_cost, stop_at_estimate
from chunkykit.cli.tables import format_record
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.lab import PlannedCalls, lock_folder
from chunkykit.models import Ledger, check_model, is_free

NOTEBOOK = "08_sums"
TOKENS_READ = 20  # per question
TOKENS_WRITTEN = 48  # per answer, at most


def add_sums_command(commands: Commands) -> None:
    """Add `chunkykit sums`."""
    parser = add_command(
        commands,
        "sums",
        execute,
        summary="ask a model a hundred true sums, with controls (paper Fig. 25)",
        description=(
            "Ask a model whether a hundred true sums are right, then rewrites of the question and "
            "controls. If it is stopped, the same command resumes and pays for nothing twice."
        ),
        example="chunkykit sums --target local:smollm2 --out runs/sums",
    )
    parser.add_argument(
        "--target",
        type=expand_name,
        default="local:smollm2",
        metavar="MODEL",
        help="model to ask (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        required=True,
        metavar="FOLDER",
        help="folder for the tables, the figures, the ledger and the executed notebook",
    )
    parser.add_argument(
        "--most",
        dest="max_addend",
        type=int,
        default=10,
        metavar="N",
        help="ask all sums of two numbers from 1 to N (default: %(default)s)",
    )
    parser.add_argument(
        "--n",
        dest="sums_per_rewrite",
        type=int,
        default=25,
        metavar="N",
        help="sums per rewrite and per control (default: %(default)s)",
    )
    add_limit_options(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Ask before anything is paid, then execute the notebook into the folder."""
    if min(arguments.max_addend, arguments.sums_per_rewrite) < 1:
        raise UserError("--most and --n must be at least 1.")
    target = check_model(arguments.target)
    # The notebook runs in another working directory.
    folder = arguments.out.resolve()
    questions = count_questions(arguments.max_addend, arguments.sums_per_rewrite)
    plan = [PlannedCalls(target, questions, TOKENS_READ, TOKENS_WRITTEN, "target")]
    stop_at_estimate(arguments, plan)
    with lock_folder(folder):
        ledger = Ledger(folder / "ledger.sqlite")
        approve_cost(ledger, arguments, plan, is_free(target))
        # The ledger keeps the answers; the notebook draws the figures anew.
        (folder / "notebooks" / f"{NOTEBOOK}.ipynb").unlink(missing_ok=True)
        parameters = {
            "target": target,
            "out": str(folder),
            "most": arguments.max_addend,
            "n": arguments.sums_per_rewrite,
            "deadline": ledger.deadline,
        }
        execute_notebook(folder, NOTEBOOK, parameters, f"sums on {target}")
    result = {"figures": str(folder / "figures"), "notebooks": str(folder / "notebooks")}
    print_result(arguments, result, partial(format_record, result), piped=False)


def count_questions(max_addend: int, sums_per_rewrite: int) -> int:
    """Count the questions of the grid, its rewrites and its controls."""
    texts = load_packaged("causal/sums")
    variants = len(texts["rewrites"]) + len(texts["controls"])
    return max_addend**2 + sums_per_rewrite * variants

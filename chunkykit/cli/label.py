"""`chunkykit label`: people label flags, and the flags' precision is known."""

import argparse
import os
from pathlib import Path

import pandas as pd

from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import print_text
from chunkykit.errors import UserError
from chunkykit.lab import RunFolder, format_labels, read_run, refresh_labels
from chunkykit.results import PAGE as REPORT
from chunkykit.results import write_report
from chunkykit.rubrics import (
    LABEL_COLUMNS,
    current_labeller,
    parse_labels,
    read_labels,
    save_labels,
)
from chunkykit.show.explorer import labelling_items, write_labelling_page
from chunkykit.surf import draw_sample

PAGE = "label.html"  # in the run folder


def add_label_command(commands: Commands) -> None:
    """Add `chunkykit label`."""
    parser = add_command(
        commands,
        "label",
        execute,
        summary="label flags of a run, and learn how many of them hold",
        description=(
            "Write a page with a blind random sample of a run's flags and of other judged "
            "exchanges, to be labelled by the keys y, n and ?. The page keeps the labels in the "
            "browser and downloads them as CSV; --import takes them into the run folder. What the "
            "labels say so far is printed."
        ),
        example="chunkykit label runs/mine --import ~/Downloads/labels.csv --by ada",
    )
    parser.add_argument(
        "run", type=expand_path, metavar="RUN", help="folder of a run or of a search alone"
    )
    parser.add_argument(
        "--n",
        type=int,
        default=80,
        metavar="N",
        help="exchanges of the sample, half of them flags (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the sample (default: 0)"
    )
    parser.add_argument(
        "--import",
        dest="source",
        type=expand_path,
        metavar="FILE",
        help="CSV with columns id,target,split to add to the labels of the run",
    )
    parser.add_argument(
        "--export", type=expand_path, metavar="FILE", help="write all labels of the run as CSV"
    )
    parser.add_argument(
        "--by",
        metavar="NAME",
        help="who labelled what is imported, where the file does not say (default: you)",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Import, export, or write the page, and print what the labels say."""
    if arguments.n < 2:
        raise UserError(f"--n must be at least 2, not {arguments.n}.")
    run = read_run(arguments.run)
    if arguments.source:
        import_labels(run, arguments.source, arguments.by)
    if arguments.export:
        read_labels(run.folder)[LABEL_COLUMNS].to_csv(
            arguments.export, index=False, lineterminator="\n"
        )
        print_text(f"{arguments.export}: {len(read_labels(run.folder)):,} labels")
    if not arguments.source and not arguments.export:
        page, items = write_page_of_sample(run, arguments.n, arguments.seed)
        print_text(f"{page}: {items} exchanges to label; opens in a browser without a network")
        print_text(f"then: chunkykit label {arguments.run} --import labels.csv")
    for line in format_labels(refresh_labels(run)):
        print_text(line)
    if arguments.source and (run.folder / REPORT).exists():
        write_report(run)


def import_labels(run: RunFolder, source: Path, by: str | None) -> pd.DataFrame:
    """Add the labels of a file to those of a run.

    Args:
        run: the run.
        source: the CSV.
        by: who labelled, where the file does not say; None for the current user.

    Returns:
        All labels of the run.
    """
    labels = parse_labels(source)
    labels["labeller"] = labels["labeller"].replace("", by or current_labeller())
    merged = save_labels(run.folder, labels)
    print_text(f"{source}: {len(labels):,} labels; the run has {len(merged):,}")
    return merged


def write_page_of_sample(run: RunFolder, n: int, seed: int) -> tuple[Path, int]:
    """Write the labelling page of a run: in its folder, or here where that cannot be written.

    Args:
        run: the run.
        n: exchanges of the sample.
        seed: fixes the sample.

    Returns:
        The page, and how many exchanges it has.
    """
    sample = draw_sample(run.read_all("probes"), n, seed)
    items = labelling_items(sample, run.rubric_by_name)
    title = f"Label {run.folder.name}"
    folder = run.folder if os.access(run.folder, os.W_OK) else Path()
    return write_labelling_page(items, folder / PAGE, title), len(items)

"""Failures from logs of other programs, for `trace` and `export`."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from chunkykit.cli.output import print_error
from chunkykit.files import json_ready
from chunkykit.transcripts import Transcripts, parse_rule, read_transcripts

LOG_HELP = (
    "log of Inspect (.eval, .json), Inspect Scout, Petri or Docent, chat logs, agent traces, or "
    "JSONL rows {query, response, model, rubric, score, reason, ...}; a folder of these, or "
    "hf:OWNER/NAME"
)
SOURCE_COLUMNS = ("model", "rubric", "score", "value", "reason", "file", "sample", "epoch", "turn")
MAX_SKIPPED_SHOWN = 20


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which samples of a log are failures."""
    group = parser.add_argument_group("failures of a log")
    group.add_argument(
        "--scorer",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="scorers whose values count (default: all of them; of Petri concerning)",
    )
    group.add_argument(
        "--failing",
        metavar="RULE",
        help=(
            "values that are failures: below:0.5, above:7 or value:I (default: what fits the "
            "values of the scorer; it is printed)"
        ),
    )


def read_log(source: Path | str, arguments: argparse.Namespace) -> Transcripts:
    """Read the failures of a log, and print what was chosen and skipped on standard error.

    Args:
        source: the log.
        arguments: parsed arguments.

    Returns:
        The log.

    Raises:
        UserError: the log cannot be read.
    """
    rule = parse_rule(arguments.failing) if arguments.failing else None
    log = read_transcripts(source, arguments.scorer, rule)
    if not log.is_list or rule or len(log.notes) > 1:  # the first says how many there are
        for note in log.notes:
            print_error(f"{source}: {note}")
    shown = log.skipped.head(MAX_SKIPPED_SHOWN)
    for skip in shown.itertuples():
        place = f"{source}" if skip.file == Path(source).name else f"{source}/{skip.file}"
        print_error(f"{place} {skip.sample} skipped: {skip.reason}")
    if len(log.skipped) > len(shown):
        print_error(f"{source}: {len(log.skipped) - len(shown):,} more skipped")
    return log


def source_of(row: pd.Series) -> dict[str, Any]:
    """Say where a failure comes from, and what its log says of it.

    Args:
        row: of the table of a log.

    Returns:
        What is known of SOURCE_COLUMNS.
    """
    known = {name: row[name] for name in SOURCE_COLUMNS if not pd.isna(row[name])}
    return json_ready({name: value for name, value in known.items() if value != ""})

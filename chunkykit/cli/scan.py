"""`chunkykit scan`: predict failures from the data alone."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from chunkykit.cli.options import Commands, add_command, add_index_option, expand_path
from chunkykit.cli.output import print_note, print_result, wants_json
from chunkykit.cli.tables import format_table
from chunkykit.files import json_ready, writable, write_json
from chunkykit.index import open_trace_index, scan_index, scan_preferences

# Columns of a finding that a table has room for, of both kinds of scan.
SHOWN = (
    "trigger",
    "behaviour",
    "chunk",
    "rows",
    "lift",
    "p_in",
    "p_elsewhere",
    "up",
    "down",
    "rate",
)


def add_scan_command(commands: Commands) -> None:
    """Add `chunkykit scan`."""
    parser = add_command(
        commands,
        "scan",
        execute,
        summary="predict failures from the data alone",
        description=(
            "Rank the correlations between queries and responses that come from few chunks and "
            "that other rows contradict or do not cover."
        ),
        example="chunkykit scan --index my_index --top 10",
    )
    add_index_option(parser)
    parser.add_argument(
        "--top",
        type=int,
        default=25,
        metavar="N",
        help="number of findings (default: %(default)s)",
    )
    parser.add_argument(
        "--preferences",
        action="store_true",
        help=(
            "for preference data: rank which query clusters push which behaviour up or down from "
            "rejected to chosen"
        ),
    )
    parser.add_argument(
        "--out", type=expand_path, metavar="FILE", help="also write the JSON to this file"
    )


def execute(arguments: argparse.Namespace) -> None:
    """Scan the index and print the findings."""
    index = open_trace_index(arguments.index)
    scan = scan_preferences if arguments.preferences else scan_index
    findings = scan(index, top=arguments.top)
    report = json_ready(
        {
            "index": str(arguments.index),
            "rows": len(index),
            "findings": findings.to_dict("records"),
            "note": "co-occurrence in the data, not yet a failure",
        }
    )
    print_result(arguments, report, partial(format_findings, report["findings"]))
    if not wants_json(arguments):
        print_note(report["note"])
    if arguments.out:
        with writable(arguments.out):
            write_json(arguments.out, report)


def format_findings(findings: Sequence[dict[str, Any]], columns: int) -> str:
    """Lay findings out as a table, the most telling numbers of each."""
    if not findings:
        return "no findings"
    header = [name for name in SHOWN if name in findings[0]]
    rows = [[finding[name] for name in header] for finding in findings]
    return format_table([name.replace("_", " ") for name in header], rows, columns)

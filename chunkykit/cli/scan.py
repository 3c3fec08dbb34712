"""`chunkykit scan`: predict failures from the data alone."""

import argparse

from chunkykit.cli.options import Commands, add_command, add_index_option, expand_path
from chunkykit.cli.output import print_json
from chunkykit.files import json_ready, writable, write_json
from chunkykit.index import open_trace_index, scan_index, scan_preferences


def add_scan_command(commands: Commands) -> None:
    """Add `chunkykit scan`."""
    parser = add_command(
        commands,
        "scan",
        execute,
        summary="predict failures from the data alone",
        description=(
            "Rank the correlations between queries and responses that come from few chunks and "
            "that other rows contradict or do not cover. Prints JSON."
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
    print_json(report, indent=2)
    if arguments.out:
        with writable(arguments.out):
            write_json(arguments.out, report)

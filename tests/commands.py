"""Helpers of the command line's tests."""

import json
from collections.abc import Iterable
from pathlib import Path

from chunkykit import cli


def run_command(*arguments) -> int:
    """Run `chunkykit` in this process; gives its exit code."""
    return cli.main([str(argument) for argument in arguments])


def write_jsonl(path: Path, records: Iterable[dict]) -> Path:
    """Write records as JSON lines; gives the path."""
    lines = [json.dumps(record) + "\n" for record in records]
    path.write_text("".join(lines))
    return path

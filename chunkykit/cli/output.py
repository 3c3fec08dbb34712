"""What the program prints: UTF-8 in any locale, and nothing that a terminal would obey.

Queries, answers, names and errors come from models and strangers. The commands print through these
functions alone.
"""

import argparse
import errno
import json
import os
import sys
from contextlib import suppress
from typing import Any

import pandas as pd

from chunkykit.text import inert_cell, inert_json, inert_text


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat the arguments, are safe to print."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(_inert_lines(message), file)


def restart_in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode, if the locale has another encoding.

    The locale decodes the arguments and the names of files before any code of ours runs.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    environment = {**os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def use_utf8() -> None:
    """Read and write UTF-8, whatever the locale is. A character that is none becomes `?`."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # a notebook or a test has put streams of its own there
        reconfigure = getattr(stream, "reconfigure", None)
        # what was read from already keeps its encoding
        with suppress(OSError, ValueError):
            if reconfigure is not None:
                reconfigure(encoding="utf-8", errors="replace")


def is_closed_pipe(error: OSError) -> bool:
    """Tell whether the reader of standard output, such as `head`, has what it wanted.

    Args:
        error: what printing raised.

    Returns:
        Whether it has. On Windows such an error is about an invalid argument.
    """
    is_invalid = error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and is_invalid)


def forget_output() -> None:
    """Point standard output at nothing: Python flushes it at exit and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_text(text: object = "", end: str = "\n") -> None:
    """Print text on standard output at once.

    Args:
        text: one or more lines.
        end: what to print after them.
    """
    print(_inert_lines(str(text)), end=end, flush=True)


def print_note(text: object, end: str = "\n") -> None:
    """Print text on standard error, which leaves standard output to the results.

    Args:
        text: one or more lines.
        end: what to print after them.
    """
    print(_inert_lines(str(text)), end=end, file=sys.stderr, flush=True)


def print_error(message: str) -> None:
    """Print one line on standard error, with the name of the program.

    Args:
        message: the line. Its line breaks become spaces.
    """
    print_note(f"chunkykit: {inert_text(message)}")


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON that reads back as it is, with control characters escaped.

    Args:
        value: what `json_ready` returns.
        indent: spaces per level; None for one line.
    """
    print(inert_json(json.dumps(value, ensure_ascii=False, indent=indent)), flush=True)


def print_csv(table: pd.DataFrame, float_format: str = "%.3f") -> None:
    """Print a table as CSV in which no cell is a formula.

    Args:
        table: the table.
        float_format: of its numbers.
    """
    inert = table.rename(columns=inert_cell)
    for name in inert.columns:
        inert[name] = [
            inert_cell(value) if isinstance(value, str) else value for value in inert[name]
        ]
    # standard output makes each line end that of the system
    text = inert.to_csv(index=False, float_format=float_format, lineterminator="\n")
    print(text, flush=True)


def _inert_lines(text: str) -> str:
    return "\n".join(inert_text(line) for line in text.split("\n"))

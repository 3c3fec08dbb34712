"""What the program prints: UTF-8 in any locale, and nothing that a terminal would obey.

Queries, answers, names and errors come from models and strangers. The commands print through these
functions alone. Standard output has the result and nothing else: a text for people, or JSON with
--json. Everything that is said on the way there goes to standard error.
"""

import argparse
import errno
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import pandas as pd

from chunkykit.progress import without_bars
from chunkykit.text import inert_cell, inert_json, inert_text

MIN_COLUMNS = 40  # a narrower terminal is taken for one as wide
MAX_COLUMNS = 160  # longer lines are hard to read
COLUMNS_ELSEWHERE = 100  # where the output is not a terminal


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
    with without_bars():
        print(_fitted(_inert_lines(str(text)), sys.stdout), end=end, flush=True)


def print_note(text: object, end: str = "\n") -> None:
    """Print text on standard error, which leaves standard output to the results.

    Args:
        text: one or more lines.
        end: what to print after them.
    """
    with without_bars():
        text = _fitted(_inert_lines(str(text)), sys.stderr)
        print(text, end=end, file=sys.stderr, flush=True)


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
    with without_bars():
        print(inert_json(json.dumps(value, ensure_ascii=False, indent=indent)), flush=True)


def wants_json(arguments: argparse.Namespace, piped: bool = True) -> bool:
    """Tell whether the result is printed as JSON.

    Args:
        arguments: parsed arguments with json: --json, --no-json, or None for neither.
        piped: whether it is where the output is not a terminal and neither option is there.

    Returns:
        Whether it is.
    """
    if arguments.json is not None:
        return arguments.json
    return piped and not sys.stdout.isatty()


def output_columns() -> int:
    """Count the columns that a line of the result may take.

    Returns:
        Those of the terminal, within bounds; a fixed number where the output is not a terminal.
    """
    if not sys.stdout.isatty():
        return COLUMNS_ELSEWHERE
    columns = shutil.get_terminal_size((COLUMNS_ELSEWHERE, 24)).columns
    return min(max(columns, MIN_COLUMNS), MAX_COLUMNS)


def print_result(
    arguments: argparse.Namespace,
    value: Any,
    text: Callable[[int], str],
    *,
    piped: bool = True,
    indent: int | None = 2,
) -> None:
    """Print the result of a command, as a text for people or as JSON.

    Args:
        arguments: parsed arguments.
        value: the result, JSON-ready.
        text: `text(columns)` writes it for people, in lines of at most so many columns.
        piped: as for `wants_json`.
        indent: spaces per level of the JSON; None for one line.
    """
    if wants_json(arguments, piped):
        print_json(value, indent)
    else:
        print_text(text(output_columns()))


def print_csv(table: pd.DataFrame, float_format: str = "%.4g") -> None:
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
    with without_bars():
        print(text, flush=True)


def _fitted(text: str, stream: TextIO) -> str:
    """A text whose lines are broken between words where the terminal would break them anywhere."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size((COLUMNS_ELSEWHERE, 24)).columns
    lines = []
    for line in text.split("\n"):
        if len(line) <= max(columns, MIN_COLUMNS):
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line,
            max(columns, MIN_COLUMNS),
            subsequent_indent=indent,
            break_long_words=False,  # a path or an address is copied whole
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _inert_lines(text: str) -> str:
    return "\n".join(inert_text(line) for line in text.split("\n"))

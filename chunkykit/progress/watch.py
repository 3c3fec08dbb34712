"""Who watches: whether steps are shown, and how."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TextIO

from tqdm import tqdm

from chunkykit.progress.displays import LINE_SECONDS, Bars, Display, Lines
from chunkykit.progress.notebook import NotebookBars
from chunkykit.progress.relay import Relay

VARIABLE = "CHUNKYKIT_PROGRESS"  # for a process that another one watches: a file, or SILENT
SILENT = "off"

_chosen: list[Display | None] = []  # the last one counts
_hidden: list[bool] = []  # not empty while bars are off the terminal


def current_display() -> Display | None:
    """Say how steps are shown now.

    Returns:
        What was chosen last; else what the process that started this one follows; else bars, if
        a person sees them. None if steps are not shown.
    """
    follower = os.environ.get(VARIABLE)
    if follower == SILENT:
        return None
    if _chosen:
        return _chosen[-1]
    if follower:
        return _relay(follower)
    if _in_notebook():
        return _notebook_bars()
    return _bars() if is_terminal(sys.stderr) else None


@contextmanager
def shown_by(display: Display | None) -> Iterator[None]:
    """Show all steps of this process in one way for a time.

    Args:
        display: how; None for not at all.

    Yields:
        Nothing.
    """
    _chosen.append(display)
    try:
        yield
    finally:
        _chosen.remove(display)


@contextmanager
def shown_on(stream: TextIO, seconds: float | None = None) -> Iterator[None]:
    """Show steps as a command does: bars on a terminal, else plain lines.

    Args:
        stream: standard error.
        seconds: of silence after which there is a line; None for LINE_SECONDS.

    Yields:
        Nothing.
    """
    is_seen = is_terminal(stream)
    with shown_by(_bars() if is_seen else Lines(stream, seconds or LINE_SECONDS)):
        yield


@contextmanager
def without_bars() -> Iterator[None]:
    """Take bars off the terminal while something else is written there, or asked.

    Yields:
        Nothing.
    """
    if _hidden:  # a question is being asked, and its text must stay alone on its line
        yield
        return
    with tqdm.external_write_mode(sys.stderr):
        _hidden.append(True)
        try:
            yield
        finally:
            _hidden.pop()


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person watches a stream.

    Args:
        stream: the stream; None, as where a program has no standard error.

    Returns:
        Whether it is a terminal.
    """
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def _in_notebook() -> bool:
    """Whether this process is a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


@cache
def _bars() -> Bars:
    return Bars()


@cache
def _notebook_bars() -> NotebookBars:
    return NotebookBars()


@cache
def _relay(path: str) -> Relay:
    return Relay(path)

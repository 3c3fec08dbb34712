"""Values in the columns of a data set: which of them hold something, and what a cell of text holds.

A table of text, such as a CSV, has its lists as JSON or as Python or NumPy print them.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable
from typing import Any

from chunkykit.text import clean_text

MAX_LITERAL = 2**20  # characters of a text that is parsed as Python, which takes much memory
_CELL = re.compile(r"\s*[\[{]")
# NumPy prints no comma between objects; the line breaks of their texts are escaped
_BETWEEN_OBJECTS = re.compile(r"\}[ \t]*\n\s*\{")


def first_value(record: dict, names: Iterable[str]) -> Any:
    """Find the first of several keys that is there.

    Args:
        record: any object.
        names: the keys, best first.

    Returns:
        The value, which may be empty; None if no key has one.
    """
    for name in names:
        value = record.get(name)
        if value is not None:
            return value
    return None


def first_filled(record: dict, names: Iterable[str]) -> Any:
    """Find the first of several keys that holds something.

    Args:
        record: any object.
        names: the keys, best first.

    Returns:
        The value; None if none holds any.
    """
    for name in names:
        value = record.get(name)
        if value is not None and not is_empty(value):
            return value
    return None


def is_missing(value: Any) -> bool:
    """Tell whether a value of a table is missing.

    Args:
        value: any value.

    Returns:
        Whether it is None or NaN.
    """
    return value is None or value != value  # NaN alone differs from itself


def is_empty(value: Any) -> bool:
    """Tell whether a value of a table holds nothing.

    Args:
        value: any value.

    Returns:
        Whether it is missing, an empty text or an empty list.
    """
    if isinstance(value, str):
        return not value or value.isspace()
    return is_missing(value) or (isinstance(value, list | tuple | dict) and not value)


def check_text(value: Any, what: str) -> str:
    """Check a text.

    Args:
        value: what should be a text.
        what: what it is, for the error.

    Returns:
        The text, clean.

    Raises:
        ValueError: it is missing, empty or not a text.
    """
    if is_missing(value):
        raise ValueError(f"{what} is missing")
    if not isinstance(value, str):
        raise ValueError(f"{what} is {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return clean_text(value)


def parse_cell(value: Any) -> Any:
    """Parse a cell that has a list or an object as text.

    Args:
        value: any value.

    Returns:
        The list or object, of JSON or as Python prints it; any other value as it is.
    """
    if not isinstance(value, str) or not _CELL.match(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if len(value) > MAX_LITERAL:
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in a text that is no Python
            return ast.literal_eval(_BETWEEN_OBJECTS.sub("}, {", value.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value

"""Tables for a terminal: aligned, and wrapped between words to its width."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chunkykit.text import inert_text

GAP = 2  # spaces between columns
MAX_WORD = 40  # columns of the longest word that a column makes room for
MIN_TEXT = 16  # columns below which a text is hard to read
NUMBER = re.compile(r"[-$~<]?\$?[\d.,]+(e-?\d+)? ?%?|n/a|")


def format_table(header: Sequence[str], rows: Iterable[Sequence[Any]], width: int) -> str:
    """Lay a table out in columns.

    Args:
        header: names of the columns.
        rows: the cells of each row. None is an empty cell.
        width: columns of the terminal.

    Returns:
        Lines of at most `width` columns, words kept whole where a word fits. Where the columns
        cannot stand side by side, each row is a block of lines "name  value".
    """
    texts = [[format_cell(cell) for cell in row] for row in rows]
    columns = list(zip(header, *texts))
    natural = [max(map(display_width, column)) for column in columns]
    minimal = [_narrowest(column) for column in columns]
    widths = _fit(natural, minimal, width - GAP * (len(columns) - 1))
    if widths is None:
        blocks = [format_record(dict(zip(header, row)), width) for row in texts]
        return "\n\n".join(blocks)
    is_number = [all(map(NUMBER.fullmatch, column[1:])) and len(texts) > 0 for column in columns]
    rule = ["-" * size for size in widths]
    lines = [line for row in (header, rule, *texts) for line in _lay_out(row, widths, is_number)]
    return "\n".join(lines)


def format_record(values: Mapping[str, Any], width: int) -> str:
    """Lay the fields of one thing out, one below the other.

    Args:
        values: name to value. None and empty lists are left out.
        width: columns of the terminal.

    Returns:
        Lines "name  value", with long values wrapped beside their names.
    """
    shown = {name: format_cell(value) for name, value in values.items()}
    shown = {name: text for name, text in shown.items() if text}
    margin = max(map(display_width, shown), default=0) + GAP
    lines = []
    for name, text in shown.items():
        first, *more = wrap(text, max(MIN_TEXT, width - margin))
        lines.append(f"{name}{' ' * (margin - display_width(name))}{first}")
        lines += [" " * margin + line for line in more]
    return "\n".join(lines)


def format_cell(value: Any) -> str:
    """Write a value for people.

    Args:
        value: a text, a number, a truth value, a list or None.

    Returns:
        One line that is safe to print. None and an empty list are "".
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "n/a" if value != value else format_number(value)
    if isinstance(value, Mapping) and {"rate", "low", "high", "n"} <= value.keys():
        interval = f"[{_percent(value['low'])}, {_percent(value['high'])}]"
        return f"{_percent(value['rate'])} {interval} n={value['n']:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {format_cell(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(format_cell, value))
    return " ".join(inert_text(str(value)).split())


def format_number(value: float) -> str:
    """Write a number with three digits that count; one that is not 0 never reads as 0.

    Args:
        value: the number.

    Returns:
        Such as "1,234", "12.3", "0.041" or "4.1e-07".
    """
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def display_width(text: str) -> int:
    """Count the columns that a text takes: wide characters take two, combining ones none.

    Args:
        text: one line.

    Returns:
        The columns of a terminal.
    """
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def wrap(text: str, width: int) -> list[str]:
    """Break a text between words into lines.

    Args:
        text: one line. Spaces are not kept as they are.
        width: columns of a line. A longer word is broken.

    Returns:
        The lines, at least one.
    """
    lines = [""]
    for word in text.split():
        gap = 1 if lines[-1] else 0
        if gap and display_width(lines[-1]) + gap + display_width(word) > width:
            lines.append("")
        while display_width(word) > width:
            head = _head(word, width)
            lines[-1] = head
            lines.append("")
            word = word[len(head) :]
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{rate:.0%}"


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(word: str, width: int) -> str:
    """The longest beginning of a word that fits, of one character at least."""
    size = 1
    while size < len(word) and display_width(word[: size + 1]) <= width:
        size += 1
    return word[:size]


def _narrowest(column: Sequence[str]) -> int:
    """The least columns that a column reads well in: its longest word, and some of a text."""
    words = [display_width(word) for text in column for word in text.split()]
    texts = max(map(display_width, column))
    return max(min(max(words, default=0), MAX_WORD), min(texts, MIN_TEXT))


def _fit(natural: list[int], minimal: list[int], room: int) -> list[int] | None:
    """Widths of the columns that fit the room together; None if there are none."""
    if sum(minimal) > room:
        return None
    widths = list(natural)
    while sum(widths) > room:
        spare = [size - least for size, least in zip(widths, minimal, strict=True)]
        widest = max(range(len(widths)), key=lambda i: (spare[i] > 0, widths[i]))
        widths[widest] -= 1
    return widths


def _lay_out(cells: Sequence[str], widths: list[int], is_number: list[bool]) -> list[str]:
    """The lines of one row."""
    wrapped = [wrap(text, size) for text, size in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    lines = []
    for i in range(height):
        parts = []
        for column, size, number in zip(wrapped, widths, is_number, strict=True):
            text = column[i] if i < len(column) else ""
            space = " " * (size - display_width(text))
            parts.append(space + text if number else text + space)
        lines.append((" " * GAP).join(parts).rstrip())
    return lines

"""Text that files can hold, and that terminals, labels and notebooks show without obeying it.

Queries, responses and rubrics come from models and strangers, so none of them is printed as it is.
"""

import difflib
import html
import re
from collections.abc import Iterable

# difflib's ratio, from which a known name is suggested for an unknown one
MIN_SIMILARITY = 0.5
SLIP = 0.75  # from which it is a slip of the keyboard, and no other word


def clean_text(text: str) -> str:
    """Replace lone surrogates, which no file can hold.

    Args:
        text: any text.

    Returns:
        The text, encodable as UTF-8.
    """
    return text.encode("utf-8", "replace").decode()


def count_of(n: int, singular: str, plural: str = "") -> str:
    """Write a number with what it counts.

    Args:
        n: how many.
        singular: one of them, such as "row". Of several words the last one is counted.
        plural: several of them, where that is not the singular with an s.

    Returns:
        Such as "1 row" or "2,000 rows".
    """
    return f"{n:,} {singular if n == 1 else plural or f'{singular}s'}"


def near_name(word: object, known: Iterable[str], similarity: float = MIN_SIMILARITY) -> str | None:
    """Find the known name that is spelled most like another one.

    Args:
        word: what was written.
        known: the names.
        similarity: how near it must be, from 0 to 1.

    Returns:
        The nearest name; None where no name is near.
    """
    by_lower = {name.lower(): name for name in map(str, known)}
    near = difflib.get_close_matches(str(word).lower(), by_lower, 1, similarity)
    return by_lower[near[0]] if near else None


def unknown_name(kind: str, word: object, known: Iterable[str]) -> str:
    """Write the message about a name that is not known.

    Args:
        kind: what it would be, such as "profile".
        word: what was written.
        known: the names.

    Returns:
        The message, with the name that was probably meant.
    """
    names = list(map(str, known))
    near = near_name(word, names)
    question = f", did you mean '{near}'?" if near else "."
    return f"{kind} '{word}' is not known{question} Known: {', '.join(names)}."


def inert_text(text: str) -> str:
    """Make a text safe to print: one line without control characters.

    Args:
        text: any text, such as a model's answer.

    Returns:
        The text with each non-printable character, line breaks included, replaced by a space.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def excerpt_bounds(length: int, place: tuple[int, int] | None, most: int) -> tuple[int, int]:
    """Choose what is shown of a text, so that a place in it is never cut off.

    Args:
        length: of the text, in characters.
        place: [start, end) of what must be seen; None for the beginning of the text.
        most: characters that are shown.

    Returns:
        [start, end) of what is shown: the beginning where that holds the place, else the place
        with twice as much behind it as before it.
    """
    start, end = place or (0, 0)
    if end <= most:
        return 0, min(length, most)
    before = max(0, most - (end - start)) // 3
    first = min(max(0, start - before), max(0, length - most))
    return first, min(length, first + most)


def excerpt(text: str, place: tuple[int, int] | None, most: int) -> str:
    """Cut a text around a place in it.

    Args:
        text: any text.
        place: [start, end) of what must be seen; None for the beginning of the text.
        most: characters that stay.

    Returns:
        The text in whole words where it has any, with an ellipsis at either end where it was cut.
    """
    start, end = excerpt_bounds(len(text), place, most)
    first, last = place or (start, start)
    if start:
        space = text.find(" ", start - 1, first)
        start = space + 1 if space >= 0 else start
    if end < len(text):
        space = text.rfind(" ", last, end + 1)
        end = space if space >= 0 else end
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def inert_cell(text: str) -> str:
    """Make a text safe in a CSV: a spreadsheet takes it for a text and not for a formula.

    Args:
        text: any text, such as a model's answer.

    Returns:
        One line without control characters, behind an apostrophe if it begins like a formula.
    """
    line = inert_text(text)
    # the apostrophe is how spreadsheets mark a text
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line


def inert_html(text: str) -> str:
    """Escape a text for HTML so that a page shows it and does nothing else.

    Args:
        text: any text, such as a model's answer.

    Returns:
        HTML without tags of the text or control characters; line breaks stay. Formulas are
        broken up, so that a notebook does not typeset them.
    """
    lines = [inert_text(line) for line in str(text).split("\n")]
    escaped = html.escape("\n".join(lines))
    # a span around each dollar sign and backslash keeps MathJax from finding a formula
    return re.sub(r"[$\\]", r"<span>\g<0></span>", escaped)


def inert_json(text: str) -> str:
    """Escape what a terminal could obey in a text that is JSON.

    Args:
        text: JSON.

    Returns:
        JSON of the same value. Line breaks between its tokens stay.
    """
    return re.sub(r"[^\n\x20-\x7e]", _escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))

"""Text that files can hold and that terminals, labels and notebooks show without obeying it."""

import html
import re


def clean_text(text: str) -> str:
    """Replace lone surrogates, which no file can hold.

    Args:
        text: any text.

    Returns:
        The text, encodable as UTF-8.
    """
    return text.encode("utf-8", "replace").decode()


def inert_text(text: str) -> str:
    """Make a text safe to print: one line without control characters.

    Args:
        text: any text, such as a model's answer.

    Returns:
        The text with each character that is not printable replaced by a space.
    """
    return "".join(c if c.isprintable() else " " for c in text)


def inert_html(text: str) -> str:
    """Escape a text for HTML so that a page shows it and does nothing else.

    Args:
        text: any text, such as a model's answer.

    Returns:
        HTML without tags or control characters. Formulas are broken up, so that a notebook
        does not typeset them.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))
    return re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(shown))

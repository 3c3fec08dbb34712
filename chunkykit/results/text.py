"""A report as Markdown, in which no text of a model is obeyed."""

import re

from chunkykit.results.blocks import Block, Bullets, Paragraph, Quote, Report, Table
from chunkykit.text import clean_text, inert_text

MAX_QUOTED = 2000  # characters of a text
MAX_CELL = 300
# what has a meaning in Markdown anywhere, at the beginning of a line, or as an address
SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&@]|^[-+#]|^\d+[.)](?=\s|$)|(?<=\w):(?=//)|(?<=www)\.")


def format_markdown(report: Report) -> str:
    """Write a report as Markdown.

    Args:
        report: the report.

    Returns:
        The text. Quotes are code blocks; markup in other texts is escaped.
    """
    lines = [f"# {_inert(report.title)}", "", _inert(report.caption), ""]
    for section in report.sections:
        lines += [f"## {_inert(section.title)}", ""]
        for block in section.blocks:
            lines += [*_format_block(block), ""]
    return clean_text("\n".join(lines).rstrip() + "\n")


def _format_block(block: Block) -> list[str]:
    match block:
        case Paragraph(text):
            return [_inert(text)]
        case Bullets(texts):
            return [f"- {_inert(text)}" for text in texts]
        case Table(header, rows):
            return [_row(header), "|".join(["", *["---"] * len(header), ""]), *map(_row, rows)]
        case Quote(label, text):
            return _quote(label, text)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_inert(_cut(cell, MAX_CELL)) for cell in cells)} |"


def _quote(label: str, text: str) -> list[str]:
    """A text as a code block, whose fence is longer than any in the text."""
    shown = _cut(text, MAX_QUOTED)
    lines = [inert_text(line) for line in shown.split("\n")]
    ticks = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, ticks + 1)
    return [f"{_inert(label)}:", "", f"{fence}text", *lines, fence]


def _cut(text: str, most: int) -> str:
    left_out = len(text) - most
    return text if left_out <= 0 else f"{text[:most]} … ({left_out:,} more characters)"


def _inert(text: str) -> str:
    """One line in which Markdown and HTML have no meaning."""
    return SPECIAL.sub(_escape, inert_text(str(text)).strip())


def _escape(match: re.Match[str]) -> str:
    """A special character behind a backslash; of "1." it is the point that is special."""
    return f"{match[0][:-1]}\\{match[0][-1]}"

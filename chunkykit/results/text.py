"""A report as Markdown, in which no text of a model is obeyed."""

import re

from chunkykit.results.blocks import (
    MAX_CELL,
    MAX_QUOTED,
    Block,
    Bullets,
    Exchange,
    Figure,
    Paragraph,
    Quote,
    Report,
    Table,
    bound_rows,
    cut_words,
)
from chunkykit.text import clean_text, inert_text

# what has a meaning in Markdown anywhere, at the beginning of a line, or as an address
SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&@]|^[-+#]|^\d+[.)](?=\s|$)|(?<=\w):(?=//)|(?<=www)\.")


def format_markdown(report: Report) -> str:
    """Write a report as Markdown.

    Args:
        report: the report.

    Returns:
        The text. Quotes are code blocks; markup in other texts is escaped.
    """
    lines = [f"# {_heading(report.title)}", "", _heading(report.caption), ""]
    for section in report.sections:
        lines += [f"{'#' * section.level} {_heading(section.title)}", ""]
        for block in section.blocks:
            lines += [*_format_block(block), ""]
    return clean_text("\n".join(lines).rstrip() + "\n")


def _format_block(block: Block) -> list[str]:
    match block:
        case Paragraph(text):
            return [_inert(text)]
        case Bullets(texts):
            return [f"- {_inert(text)}" for text in texts]
        case Table():
            return _table(block)
        case Exchange(heading, quotes):
            lines = [f"**{_heading(heading)}**"]
            for quote in quotes:
                lines += ["", *_quote(quote)]
            return lines
        case Figure(label, path):
            return [_inert(f"{label}: see {path.parent.name}/{path.name} in the run folder.")]


def _table(table: Table) -> list[str]:
    rows, note = bound_rows(table)
    lines = [_row(table.header), "|".join(["", *["---"] * len(table.header), ""])]
    lines += [_row(row) for row in rows]
    return [*lines, "", note] if note else lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(_inert, cells))} |"


def _quote(quote: Quote) -> list[str]:
    """A text as a code block, whose fence is longer than any in the text."""
    shown = cut_words(quote.text, MAX_QUOTED)
    lines = [inert_text(line) for line in shown.split("\n")]
    ticks = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, ticks + 1)
    block = [f"{_inert(quote.label)}:", "", f"{fence}text", *lines, fence]
    marked = [cut_words(quote.text[start:end], MAX_CELL) for start, end in quote.marks]
    return [*block, "", f"Marked in it: {_inert(' · '.join(marked))}"] if marked else block


def _heading(text: str) -> str:
    return _inert(cut_words(text, MAX_CELL))


def _inert(text: str) -> str:
    """One line in which Markdown and HTML have no meaning."""
    shown = cut_words(str(text), MAX_QUOTED)
    return SPECIAL.sub(_escape, inert_text(shown).strip())


def _escape(match: re.Match[str]) -> str:
    """A special character behind a backslash; of "1." it is the point that is special."""
    return f"{match[0][:-1]}\\{match[0][-1]}"

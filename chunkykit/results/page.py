"""A report as one HTML file, in which no text of a model is obeyed and nothing is loaded.

The file has no script, and its policy lets none run; its style is known by its hash, and figures
are part of it.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

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
    Section,
    Table,
    bound_rows,
    cut_words,
)
from chunkykit.text import clean_text, inert_html, inert_text

STYLE = Path(__file__).with_name("report.css")
IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}
NUMBER = re.compile(r"n/a|[<>]?[\d.,]+%?|")
MAX_WORD = 24  # characters of a cell that is not wrapped
# where a long name may be broken, such as "tulu_v3.9_wildchat"
JOINT = re.compile(r"(?<=[^\W_][/_=:.-])(?=[^\W\d_]{3})")
# a number with its interval is wrapped before and after the interval, and not in it
INTERVAL = re.compile(r"[<>]?[\d.,]+%? \[.{1,40}")
INNER_SPACE = re.compile(r" (?=[^\[\]]*\])")
MOST_BESIDE = 2  # columns that fit beside each other on a phone


def format_html(report: Report) -> str:
    """Write a report as one HTML file.

    Args:
        report: the report.

    Returns:
        The file's text. All texts are escaped.
    """
    style = STYLE.read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    title = _inert(report.title)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="format-detection" content="telephone=no, address=no, email=no">',
        f"<title>{title}</title>",
        f"<style>{style}</style>",
        "<body>",
        f"<header><h1>{title}</h1><p>{_inert(report.caption)}</p></header>",
        *_contents(report.sections),
        "<main>",
    ]
    for section in report.sections:
        lines += _section(section)
    return clean_text("\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n")


def _inert(text: str, most: int = MAX_CELL) -> str:
    """One line of text as HTML."""
    return inert_html(inert_text(cut_words(str(text), most)))


def _anchor(section: Section) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", section.short_title.lower())
    return words.strip("-")


def _contents(sections: Iterable[Section]) -> Iterable[str]:
    """The table of contents; parts of a section stand in one line under it."""
    yield '<nav aria-label="Contents"><ul>'
    open_item = False
    for section in sections:
        link = f'<a href="#{_anchor(section)}">{_inert(section.short_title)}</a>'
        if section.level > 2:
            yield f" {link}"
            continue
        if open_item:
            yield "</li>"
        yield f"<li>{link}"
        open_item = True
    yield "</li></ul></nav>" if open_item else "</ul></nav>"


def _section(section: Section) -> Iterable[str]:
    anchor = _anchor(section)
    heading = f"h{section.level}"
    # a section of a few lines needs no page of its own
    is_short = all(isinstance(block, Paragraph | Bullets) for block in section.blocks)
    kind = " short" if is_short else ""
    yield f'<section class="level{section.level}{kind}" id="{anchor}">'
    yield f'<{heading}><a href="#{anchor}">{_inert(section.title)}</a></{heading}>'
    for block in section.blocks:
        yield from _format_block(block)
    yield "</section>"


def _format_block(block: Block) -> Iterable[str]:
    match block:
        case Paragraph(text):
            yield f"<p>{_inert(text, MAX_QUOTED)}</p>"
        case Bullets(texts):
            yield "<ul>"
            for text in texts:
                yield f"<li>{_inert(text, MAX_QUOTED)}</li>"
            yield "</ul>"
        case Table():
            yield from _table(block)
        case Exchange(heading, quotes):
            yield f'<article class="exchange"><h4>{_inert(heading)}</h4>'
            for quote in quotes:
                yield _quote(quote)
            yield "</article>"
        case Figure():
            yield _figure(block)


def _table(table: Table) -> Iterable[str]:
    rows, note = bound_rows(table)
    kinds = [_kind([row[i] for row in rows]) for i in range(len(table.header))]
    width = " wide" if len(table.header) > MOST_BESIDE else ""
    heads = [_cell("th", kind, name) for kind, name in zip(kinds, table.header, strict=True)]
    yield f'<div class="table{width}"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>'
    for row in rows:
        cells = [
            _cell("td", kind, cell, f' data-name="{_inert(name)}"')
            for kind, cell, name in zip(kinds, row, table.header, strict=True)
        ]
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if note:
        yield f"<p>{_inert(note)}</p>"


def _kind(cells: list[str]) -> str:
    """The class of a column: of numbers, of words, of intervals, or of texts."""
    if all(NUMBER.fullmatch(cell) for cell in cells):
        return "number"
    if all(len(cell) <= MAX_WORD for cell in cells):
        return "word"
    is_short = (INTERVAL.fullmatch(cell) or len(cell) <= MAX_WORD for cell in cells)
    return "interval" if all(is_short) else "text"


def _cell(tag: str, kind: str, text: str, attributes: str = "") -> str:
    content = _breakable(text)
    if INTERVAL.match(text):
        content = INNER_SPACE.sub("&nbsp;", content)
    return f'<{tag} class="{kind}"{attributes}>{content}</{tag}>'


def _breakable(cell: str) -> str:
    """A cell as HTML, in which a long name may be broken where it has a joint."""
    parts = JOINT.split(cell) if len(cell) > MAX_WORD else [cell]
    return "<wbr>".join(map(_inert, parts))


def _quote(quote: Quote) -> str:
    text = cut_words(quote.text, MAX_QUOTED)
    parts = []
    position = 0
    for start, end in quote.marks:
        # a mark is never in the note of what was cut off
        if end <= MAX_QUOTED and text[start:end] == quote.text[start:end]:
            parts += [inert_html(text[position:start])]
            parts += [f"<mark>{inert_html(text[start:end])}</mark>"]
            position = end
    parts.append(inert_html(text[position:]))
    return f"<h5>{_inert(quote.label)}</h5><blockquote>{''.join(parts)}</blockquote>"


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.path.read_bytes()).decode()
    source = f"data:{IMAGES[figure.path.suffix]};base64,{data}"
    label = _inert(figure.label)
    return (
        f'<figure><div class="image"><img src="{source}" alt="{label}"></div>'
        f"<figcaption>{label}</figcaption></figure>"
    )

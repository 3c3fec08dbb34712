"""How a notebook shows tables: whole texts that wrap, and numbers that are not rounded to 0."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from chunkykit.numbers import number
from chunkykit.show.stills import painter
from chunkykit.text import clean_text, inert_html

MISSING = "–"
MAX_ROWS = 60  # of a table that are shown
MAX_TEXT = 2000  # characters of a text that are shown
CHARACTER = 7.5  # pixels, about
PADDING = 24  # pixels of a cell, about
SHORT = 24  # characters of a text that stays on one line
# A table that is wider than its place becomes a list, with the name of its column before each cell.
STYLE = """
.{name} {{ container-type: inline-size; margin: 0.5em 0; }}
.{name} table {{ border-collapse: collapse; width: auto; max-width: 100%; margin: 0; }}
.{name} th, .{name} td {{ text-align: left !important; vertical-align: top; padding: 0.3em 0.7em;
  white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4; }}
.{name} .short {{ white-space: nowrap; }}
.{name} .number {{ text-align: right !important; font-variant-numeric: tabular-nums; }}
.{name} mark {{ background: #ffe08a; color: #000; }}
@container (max-width: {width}px) {{
  .{name} table, .{name} tbody, .{name} tr, .{name} td {{ display: block; width: auto; }}
  .{name} thead {{ display: none; }}
  .{name} tr {{ padding: 0.4em 0; border-bottom: 1px solid #8888; }}
  .{name} td, .{name} .number {{ text-align: left !important; padding: 0.1em 0.4em; }}
  .{name} .short {{ white-space: pre-wrap; }}
  .{name} td::before {{ content: attr(data-name) ": "; font-weight: 600; opacity: 0.75; }}
}}
"""
# Printed texts break between words, and not in the middle of them.
PRINTED_STYLE = """<style>
.jp-OutputArea .jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere; }
</style>"""


def prepare_notebook() -> None:
    """Show the texts and tables of this notebook whole, and open the Chrome that draws its figures.

    Outside a notebook it does nothing.
    """
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        return
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return
    pd.set_option("display.float_format", number)
    shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, table_html)
    display(HTML(PRINTED_STYLE))
    painter()


def table_html(table: pd.DataFrame) -> str:
    """Render a table as HTML that fits wherever it is shown.

    Args:
        table: the table. Its texts are escaped; a cell that knows its own HTML gives it.

    Returns:
        HTML without script. An index is a column if it has a name or holds texts.
    """
    if table.index.names != [None] or not pd.api.types.is_numeric_dtype(table.index):
        table = table.rename_axis(index=[str(name or "") for name in table.index.names])
        table = table.reset_index(allow_duplicates=True)
    shown = table.head(MAX_ROWS)
    columns = [
        _Column(str(shown.columns[i]), shown.iloc[:, i].tolist()) for i in range(shown.shape[1])
    ]
    width = sum(column.width for column in columns)
    name = f"ck-table-{width}"
    heads = [f"<th{column.style}>{inert_html(column.name)}</th>" for column in columns]
    rows = [_row(columns, i) for i in range(len(shown))]
    note = f"<p>{len(table):,} rows, of which the first {MAX_ROWS} are shown.</p>"
    return clean_text(
        f'<style>{STYLE.format(name=name, width=width)}</style><div class="{name}">'
        f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"{note if len(table) > MAX_ROWS else ''}</div>"
    )


class _Column:
    """A column of a table: its cells as HTML, and how they are set."""

    def __init__(self, name: str, values: list):
        self.name = name
        self.cells = [_cell_html(value) for value in values]
        is_number = all(_is_number(value) or _is_missing(value) for value in values)
        texts = [_cell_text(value) for value in values]
        longest = max(map(len, [name, *texts]))
        is_short = longest <= SHORT and not any("\n" in text for text in texts)
        # a long text may wrap at a few words
        self.width = round(min(longest, SHORT) * CHARACTER + PADDING)
        classes = ["number"] * is_number + ["short"] * is_short
        self.style = f' class="{" ".join(classes)}"' if classes else ""


def _row(columns: Iterable[_Column], i: int) -> str:
    cells = [
        f'<td{column.style} data-name="{inert_html(column.name)}">{column.cells[i]}</td>'
        for column in columns
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell_html(value: object) -> str:
    render = getattr(value, "_repr_html_", None)
    return render() if render else inert_html(_cell_text(value))


def _cell_text(value: Any) -> str:
    """A cell as text."""
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return "; ".join(map(_cell_text, value))
    if _is_missing(value):
        return MISSING
    if _is_number(value):
        return number(value)
    text = str(value)
    left_out = len(text) - MAX_TEXT
    return text if left_out <= 0 else f"{text[:MAX_TEXT]}… ({left_out:,} more characters)"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def _is_missing(value: Any) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))

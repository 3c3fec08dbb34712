"""The common look of all figures, and the files they are saved to.

The colours can be told apart by colour-blind readers. Texts of models and data sets become inert
labels. Two lines below each figure say what was measured, and what produced it.
"""

import html
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chunkykit.errors import UserError, requires_extra
from chunkykit.progress import step
from chunkykit.text import inert_text

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

# The palette of Okabe and Ito
COLOURS = [
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # green
    "#CC79A7",  # pink
    "#D55E00",  # vermilion
    "#56B4E9",  # light blue
    "#F0E442",  # yellow
    "#999999",  # grey
]
MAIN = COLOURS[0]
CONTROL = COLOURS[7]
BEFORE = COLOURS[4]
AFTER = COLOURS[2]
GREY_TEXT = "#555"
LEGEND = {
    "orientation": "h",
    "x": 1,
    "xanchor": "right",
    "y": 1.0,
    "yanchor": "bottom",
    "yref": "paper",
}
TITLE = {
    "font": {"size": 18},
    "x": 0.01,
    "xref": "container",
    "xanchor": "left",
    "y": 1,
    "yref": "container",
    "yanchor": "top",
    "pad": {"t": 14},
}
MAX_CAPTION_CHARACTERS = 400  # per caption line
PNG_SCALE = 2  # image pixels per figure pixel


def label_text(value: object, width: int = 70, lines: int = 4) -> str:
    """Turn any text of a model or a data set into an inert label.

    plotly reads some HTML in labels, and typesets what stands between dollar signs, so both are
    escaped.

    Args:
        value: the text.
        width: the maximum length of a line, in characters.
        lines: the maximum number of lines. An ellipsis marks what is cut off.

    Returns:
        The label, its lines joined by `<br>`.
    """
    wrapped = textwrap.wrap(inert_text(str(value)), width) or [""]
    visible = wrapped[:lines]
    # textwrap's own max_lines would drop a word that fills a line.
    if len(wrapped) > lines:
        visible.append("…")
    return "<br>".join(html.escape(line, quote=False).replace("$", "&#36;") for line in visible)


def finish_figure(
    figure: "Figure",
    title: str,
    description: str,
    caption: str,
    height: int,
    width: int = 1000,
    left: int = 80,
    below: int = 0,
) -> "Figure":
    """Apply the theme: the title above the figure, and two caption lines below it.

    Args:
        figure: the figure; it is changed.
        title: the title.
        description: the first caption line: what was measured.
        caption: the second caption line: the models and data behind the numbers.
        height: the height of the figure, in pixels.
        width: the width of the figure, in pixels.
        left: the left margin, in pixels.
        below: extra room for long tick labels under the axis, in pixels.

    Returns:
        The figure.
    """
    figure.update_layout(
        template="plotly_white",
        height=height,
        width=width,
        font={"family": "DejaVu Sans, Arial, sans-serif", "size": 13, "color": "#222"},
        title={**TITLE, "text": html.escape(title, quote=False)},
        margin={"l": left, "r": 30, "t": 90, "b": 110 + below},
    )
    for line, shift in ((description, -62), (caption, -80)):
        figure.add_annotation(
            text=label_text(line, MAX_CAPTION_CHARACTERS, 1),
            x=0,
            y=0,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            xshift=10 - left,
            yshift=shift - below,
            showarrow=False,
            align="left",
            font={"size": 11, "color": GREY_TEXT},
        )
    return figure


def make_panels(rows: int = 1, columns: int = 1, **settings) -> "Figure":
    """Create a grid of empty panels.

    Args:
        rows: the number of rows.
        columns: the number of columns.
        **settings: keyword arguments of plotly's `make_subplots`.

    Returns:
        The figure.

    Raises:
        UserError: plotly is not installed.
    """
    with requires_extra("figures"):
        from plotly.subplots import make_subplots
    return make_subplots(rows, columns, **settings)


def error_bars(value: "pd.Series", low: "pd.Series", high: "pd.Series") -> dict:
    """Describe error bars from low to high around a value, as plotly takes them.

    Args:
        value: the values, shape (n,).
        low: the lower ends, shape (n,).
        high: the upper ends, shape (n,).

    Returns:
        The value of `error_x` or `error_y`.
    """
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "thickness": 1.2,
    }


def count_range(counts: Iterable[int]) -> str:
    """Name the range of some counts: "24", or "24 to 60".

    Args:
        counts: the counts, at least one.

    Returns:
        The range, with commas between thousands.
    """
    smallest = min(counts)
    largest = max(counts)
    if smallest == largest:
        return f"{smallest:,}"
    return f"{smallest:,} to {largest:,}"


def save_figures(figures: dict[str, "Figure"], folder: str | Path) -> str:
    """Write every figure as HTML and JSON, and as PNG and SVG where a Chrome is found.

    The HTML pages share one plotly.min.js and need no network.

    Args:
        figures: the figures by name.
        folder: the folder to write to; it is created if missing.

    Returns:
        One line that says which files were written, and why any are missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with step("figures as HTML", len(figures), "figures") as advance:
        for name, figure in figures.items():
            figure.write_html(folder / f"{name}.html", include_plotlyjs="directory")
            (folder / f"{name}.json").write_text(figure.to_json(), "utf-8")
            advance()
    with step(f"{len(figures)} figures as PNG and SVG, by a browser"):
        reason = _save_images(figures, folder)
    if reason:
        return f"{len(figures)} figure(s) as HTML and JSON in {folder}; no PNG and SVG: {reason}."
    return f"{len(figures)} figure(s) as HTML, JSON, PNG and SVG in {folder}."


def _save_images(figures: dict[str, "Figure"], folder: Path) -> str:
    """Write every figure as PNG and SVG; returns why that failed, "" where it did not."""
    try:
        with requires_extra("figures"):
            import kaleido  # noqa: F401
            import plotly.io
    except UserError as error:
        return str(error).removesuffix(".")
    drawings = [*figures.values()] * 2
    paths = [str(folder / f"{name}.{kind}") for kind in ("png", "svg") for name in figures]
    scales = [PNG_SCALE] * len(figures) + [1] * len(figures)
    try:
        # One call for all of them, since each call starts a Chrome.
        plotly.io.write_images(
            drawings,
            paths,
            scale=scales,
            width=[figure.layout.width for figure in drawings],
            height=[figure.layout.height for figure in drawings],
        )
    except Exception as error:
        # A missing Chrome and one that does not start raise many kinds of errors. None of them
        # should end a run whose HTML pages are already written.
        return f"no Chrome that starts ({type(error).__name__})"
    return ""

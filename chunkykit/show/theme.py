"""The common look of all figures, and the files they are saved to.

The colours can be told apart by colour-blind readers. Texts of models and data sets become inert
labels. Two lines below each figure say what was measured, and what produced it.
"""

import html
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chunkykit.errors import requires_extra
from chunkykit.files import write_text
from chunkykit.numbers import with_interval
from chunkykit.progress import step
from chunkykit.show.stills import NoPicture, picture
from chunkykit.text import count_of, inert_text

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
MIN_WIDTH = 640  # pixels of a figure
MAX_CAPTION_LINES = 4
TITLE_LINE = 24  # pixels of a line of the title
FIRST_CAPTION = -62  # pixels from the plot to the first caption
CAPTION_LINE = 15  # pixels of a line of a caption
TITLE_CHARACTER = 11  # pixels of a character, about
CAPTION_CHARACTER = 6.4
TICK_DISTANCE = 4  # pixels between an axis and its labels
PERCENT = ".4~%"  # of ticks: as many digits as they need
RATE = ("rate", "low", "high", "n")  # the columns of a rate


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
        visible[-1] += " …"
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
    """Apply the theme: the title above the figure, and two captions below it.

    Args:
        figure: the figure; it is changed.
        title: the title.
        description: the first caption: what was measured.
        caption: the second caption: the models and data behind the numbers.
        height: the height of the figure in pixels, with captions of one line each.
        width: the width of the figure in pixels, which is at least `MIN_WIDTH`.
        left: the left margin, in pixels.
        below: extra room for long tick labels under the axis, in pixels.

    Returns:
        The figure.
    """
    width = max(width, MIN_WIDTH)
    headline = label_text(title, round(width / TITLE_CHARACTER), 3)
    captions = [
        label_text(text, round(width / CAPTION_CHARACTER), MAX_CAPTION_LINES)
        for text in (description, caption)
    ]
    extra_top = TITLE_LINE * headline.count("<br>")
    extra_bottom = CAPTION_LINE * "".join(captions).count("<br>")
    figure.update_layout(
        template="plotly_white",
        height=height + extra_top + extra_bottom,
        width=width,
        font={"family": "DejaVu Sans, Arial, sans-serif", "size": 13, "color": "#222"},
        title={**TITLE, "text": headline},
        margin={"l": left, "r": 30, "t": 90 + extra_top, "b": 110 + below + extra_bottom},
    )
    figure.update_xaxes(ticklabelstandoff=TICK_DISTANCE)
    figure.update_yaxes(ticklabelstandoff=TICK_DISTANCE)
    _add_captions(figure, captions, 10 - left, FIRST_CAPTION - below)
    return figure


def _add_captions(figure: "Figure", captions: Iterable[str], xshift: int, yshift: int) -> None:
    """Write captions one below the other, from a place that is given from the plot's corner."""
    for text in captions:
        figure.add_annotation(
            text=text,
            x=0,
            y=0,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            xshift=xshift,
            yshift=yshift,
            showarrow=False,
            align="left",
            font={"size": 11, "color": GREY_TEXT},
        )
        yshift -= CAPTION_LINE * (1 + text.count("<br>")) + 3


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

        from chunkykit.show.chart import Chart
    return make_subplots(rows, columns, figure=Chart(), **settings)


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


def interval_texts(
    rate: "pd.Series", low: "pd.Series", high: "pd.Series", n: "pd.Series"
) -> list[str]:
    """Write rates with their intervals, for whoever points at a mark.

    Args:
        rate: the rates, shape (n_marks,).
        low: the lower ends, shape (n_marks,).
        high: the upper ends, shape (n_marks,).
        n: the numbers behind them, shape (n_marks,).

    Returns:
        Such as "12% [8%, 18%], n=120" for each.
    """
    return [
        with_interval(dict(zip(RATE, numbers, strict=True)))
        for numbers in zip(rate, low, high, n, strict=True)
    ]


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
            write_text(folder / f"{name}.json", figure.to_json())
            advance()
    count = count_of(len(figures), "figure")
    with step(f"{count} as PNG and SVG, by a browser"):
        reason = _save_images(figures, folder)
    if reason:
        return f"{count} as HTML and JSON in {folder}; no PNG and SVG: {reason}."
    return f"{count} as HTML, JSON, PNG and SVG in {folder}."


def _save_images(figures: dict[str, "Figure"], folder: Path) -> str:
    """Write every figure as PNG and SVG; returns why that failed, "" where it did not."""
    try:
        for name, figure in figures.items():
            for kind in ("png", "svg"):
                (folder / f"{name}.{kind}").write_bytes(picture(figure, kind))
    except NoPicture as error:
        return str(error)
    return ""

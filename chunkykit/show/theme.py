"""The one look of all figures: colours that colour-blind eyes tell apart, inert labels, a caption that says what was measured; and files."""

import html
import textwrap
from pathlib import Path

from chunkykit.text import inert_text

COLOURS = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#F0E442",
    "#999999",
]  # Okabe and Ito
MAIN, CONTROL, BEFORE, AFTER = COLOURS[0], COLOURS[7], COLOURS[4], COLOURS[2]
LEGEND = {
    "orientation": "h",
    "x": 1,
    "xanchor": "right",
    "y": 1.0,
    "yanchor": "bottom",
    "yref": "paper",
}


def label_text(value, width: int = 70, lines: int = 4) -> str:
    """Any text of a model or a data set as inert label text: escaped (plotly reads some HTML in labels), wrapped, cut."""
    wrapped = textwrap.wrap(inert_text(str(value)), width) or [""]
    shown = wrapped[:lines] + (
        ["…"] if len(wrapped) > lines else []
    )  # not max_lines, which drops a word that fills a line
    return "<br>".join(
        html.escape(line).replace("$", "&#36;") for line in shown
    )  # $...$ would be typeset


def finish_figure(
    figure,
    title: str,
    said: str,
    caption: str,
    height: int,
    width: int = 1000,
    left: int = 80,
    below: int = 0,
):
    """The theme: title and legend above, two caption lines below (what was measured, and what made it), further `below` long labels."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        width=width,
        font={"family": "DejaVu Sans, Arial, sans-serif", "size": 13, "color": "#222"},
        title={
            "text": html.escape(title),
            "font": {"size": 18},
            "x": 0.01,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 14},
        },
        margin={"l": left, "r": 30, "t": 90, "b": 110 + below},
    )
    for line, shift in ((said, -62), (caption, -80)):
        figure.add_annotation(
            text=label_text(line, 400, 1),
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
            font={"size": 11, "color": "#555"},
        )
    return figure


def make_panels(rows: int = 1, columns: int = 1, **settings):
    """A grid of empty panels; settings of plotly's make_subplots."""
    from plotly.subplots import make_subplots

    return make_subplots(rows, columns, **settings)


def error_bars(value, low, high) -> dict:
    """Bars from low to high around a value, as plotly takes them."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "thickness": 1.2,
    }


def count_range(n) -> str:
    """The range of a column of counts."""
    return f"{min(n):,}" if min(n) == max(n) else f"{min(n):,} to {max(n):,}"


def save_figures(figures: dict, folder) -> str:
    """Write every figure as HTML and JSON, and as PNG and SVG where a Chrome is found; returns one line that says which.
    figures: name -> figure. The HTML pages share one plotly.min.js and need no network."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.write_html(folder / f"{name}.html", include_plotlyjs="directory")
        (folder / f"{name}.json").write_text(figure.to_json(), "utf-8")
    try:
        import plotly.io

        made, names = (
            [*figures.values()] * 2,
            [f"{name}.{kind}" for kind in ("png", "svg") for name in figures],
        )
        plotly.io.write_images(
            made,
            [str(folder / name) for name in names],
            scale=[2] * len(figures) + [1] * len(figures),
            width=[f.layout.width for f in made],
            height=[f.layout.height for f in made],
        )
    except (
        Exception
    ) as error:  # no kaleido, no Chrome, or a Chrome that will not start: HTML stands
        reason = (
            "kaleido is not installed (pip install 'chunkykit[png]')"
            if isinstance(error, (ImportError, ValueError))
            else f"no Chrome that starts ({type(error).__name__})"
        )
        return f"{len(figures)} figure(s) as HTML and JSON in {folder}; no PNG and SVG: {reason}."
    return f"{len(figures)} figure(s) as HTML, JSON, PNG and SVG in {folder}."

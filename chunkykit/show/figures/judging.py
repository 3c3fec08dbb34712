"""Figures of the judging: what the threshold on the judge's score does."""

from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.show.theme import (
    BEFORE,
    GREY_TEXT,
    LEGEND,
    MAIN,
    PERCENT,
    finish_figure,
    make_panels,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LINES = {"precision": (MAIN, "0,114,178"), "recall": (BEFORE, "213,94,0")}  # colour, its RGB


def detection(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw precision and recall of the judge's flags by the threshold on its score.

    Args:
        table: one row per threshold and measure (`chunkykit.surf.detection_table`).
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    figure = make_panels(1, 1)
    for measure, (colour, rgb) in LINES.items():
        rows = table[(table["measure"] == measure) & table["rate"].notna()]
        thresholds = rows["threshold"].tolist()
        figure.add_scatter(
            x=thresholds + thresholds[::-1],
            y=rows["high"].tolist() + rows["low"].tolist()[::-1],
            fill="toself",
            mode="none",
            fillcolor=f"rgba({rgb},0.15)",
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=thresholds, y=rows["rate"], name=measure, mode="lines+markers", line_color=colour
        )
    figure.add_vline(VIOLATION_THRESHOLD, line={"color": GREY_TEXT, "dash": "dash"})
    figure.update_xaxes(title_text="score over which an exchange is a flag", range=[0, 100])
    figure.update_yaxes(title_text="rate", tickformat=PERCENT, range=[-0.02, 1.02])
    figure.update_layout(legend={**LEGEND, "y": 1.12})
    n = int(table.loc[table["measure"] == "recall", "n"].max())
    return finish_figure(
        figure,
        "What the threshold does to precision and recall",
        f"n = {n} exchanges of a random sample that people labelled. Bands: 95 % intervals of a "
        "posterior with Jeffreys' prior. Dashed: the usual threshold.",
        caption,
        430,
    )

"""The figure of two models on the same queries."""

from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.numbers import p_value, percent
from chunkykit.show.theme import (
    GREY_TEXT,
    MAIN,
    PERCENT,
    count_range,
    error_bars,
    finish_figure,
    label_text,
    make_panels,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def differences(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the differences of failure rates on the same queries, with their paired test.

    Args:
        table: one row per rubric and pair of models; columns rubric, model, other, rate,
            other_rate, difference, low, high, p_adjusted and queries
            (`chunkykit.lab.Comparison.paired`).
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per row of the table.
    """
    figure = make_panels()
    positions = list(range(len(table)))
    rows = list(table.itertuples())
    labels = [f"{label_text(row.rubric, 30, 1)}<br>{label_text(row.other, 30, 1)}" for row in rows]
    figure.add_scatter(
        x=table["difference"],
        y=positions,
        mode="markers+text",
        text=[_row_text(row) for row in rows],
        textposition="top center",
        marker={"color": MAIN, "size": 9},
        error_x=error_bars(table["difference"], table["low"], table["high"]),
        hovertemplate="%{text}",
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": GREY_TEXT, "dash": "dash", "width": 1})
    figure.update_xaxes(
        tickformat=f"+{PERCENT}", range=[-1.08, 1.08], title_text="difference of the failure rates"
    )
    figure.update_yaxes(tickvals=positions, ticktext=labels, range=[len(table) - 0.4, -0.6])
    figure.update_yaxes(showgrid=False, zeroline=False)
    first = label_text(table["model"].iloc[0], 40, 1)
    return finish_figure(
        figure,
        f"{first}, less each other model on the same queries",
        f"n = {count_range(table['queries'])} queries that a search selected. Intervals: 95 %, "
        "clustered by query. p: paired test by changes of sign over queries, adjusted.",
        caption,
        74 * len(table) + 250,
        left=260,
    )


def _row_text(row) -> str:
    """The numbers over a point; `row` is a row of the table."""
    rates = f"{percent(row.rate)} and {percent(row.other_rate)}"
    return f"{rates}, p = {p_value(row.p_adjusted)}, n = {row.queries:,}"

"""Bars of failure rates and of shares: what several figures are made of."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from chunkykit.numbers import percent
from chunkykit.show.theme import (
    CONTROL,
    LEGEND,
    MAIN,
    PERCENT,
    error_bars,
    interval_texts,
    label_text,
    make_panels,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class RateBars(NamedTuple):
    """A series of bars.

    Attributes:
        panel: the panel, counted from 1.
        label: the name in the legend.
        colour: the colour of the bars.
        columns: the columns of the table that hold rate, low, high and n.
    """

    panel: int
    label: str
    colour: str
    columns: Sequence[str]


def rate_bars(
    names: Iterable[str],
    table: pd.DataFrame,
    series: Iterable[RateBars],
    titles: Sequence[str] = ("",),
) -> "Figure":
    """Draw failure rates with their intervals, side by side.

    Args:
        names: the label under each row's bars.
        table: the rates, one row per label.
        series: the bars that are drawn for each row.
        titles: the titles of the panels.

    Returns:
        The figure, without title and captions.
    """
    figure = make_panels(1, len(titles), subplot_titles=titles, horizontal_spacing=0.1)
    for panel, label, colour, columns in series:
        rate, low, high, n = (table[column] for column in columns)
        figure.add_bar(
            x=names,
            y=rate,
            name=label,
            marker_color=colour,
            customdata=interval_texts(rate, low, high, n),
            hovertemplate="%{customdata}",
            row=1,
            col=panel,
            error_y=error_bars(rate, low, high),
        )
    figure.update_yaxes(tickformat=PERCENT, rangemode="tozero")
    figure.update_yaxes(range=[0, 1.05], title_text="answers that fail", col=1)
    return figure.update_layout(barmode="group", legend=LEGEND)


def share_bars(
    figure: "Figure",
    labels: Sequence[str],
    pair: Sequence[tuple[str, pd.Series]],
    axis: str,
) -> "Figure":
    """Draw two horizontal bars of shares per label in the first panel, the first label on top.

    Args:
        figure: the figure; it is changed.
        labels: the labels of the rows, shape (n,).
        pair: two times (name in the legend, shares of shape (n,)).
        axis: the title of the x axis.

    Returns:
        The figure.
    """
    positions = list(range(len(labels)))
    for (name, shares), colour in zip(pair, (MAIN, CONTROL)):
        figure.add_bar(
            y=positions,
            x=shares,
            orientation="h",
            name=name,
            marker_color=colour,
            text=[percent(share) for share in shares],
            textposition="outside",
            row=1,
            col=1,
        )
    figure.update_xaxes(
        tickformat=PERCENT,
        range=[0, 1.2],  # room for the numbers behind the bars
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        title_text=axis,
        row=1,
        col=1,
    )
    figure.update_yaxes(
        tickvals=positions,
        ticktext=labels,
        range=[len(labels) - 0.4, -0.6],
        showgrid=False,
    )
    return figure.update_layout(legend=LEGEND)


def trace_labels(traces: pd.DataFrame, width: int) -> list[str]:
    """Name each trace by its clusters, its rubric and its trigger.

    Args:
        traces: columns rubric and trigger, and name where they have names
            (`chunkykit.turf.merge_traces`).
        width: the maximum length of a line, in characters.

    Returns:
        One label per trace, of at most three lines.
    """
    triggers = traces["trigger"].astype(str).str.removeprefix("The query ").str.rstrip(".")
    names = traces["name"] if "name" in traces else traces["rubric"]
    return [label_text(f"{name}: {trigger}", width, 3) for name, trigger in zip(names, triggers)]

"""Figures of the traces: triggers, the chunks behind them, and where their features are."""

from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.numbers import decimal, percent
from chunkykit.show.figures.bars import share_bars, trace_labels
from chunkykit.show.theme import (
    COLOURS,
    PERCENT,
    count_range,
    finish_figure,
    label_text,
    make_panels,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CHUNK_WIDTH = 18  # pixels of a column of the features, at least
MIN_CHUNK_SHARE = 0.02  # share of a chunk's rows that must have a feature for the chunk to be drawn


def triggers(traces: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw how many rows with the crux have the trigger, beside the base rate, and the lift.

    Args:
        traces: one row per trace (`chunkykit.turf.merge_traces`); columns name, rubric, trigger,
            hits, k and lift. One without a trigger is left out.
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per trigger.
    """
    traces = traces[traces["trigger"].notna()].reset_index(drop=True)
    share = traces["hits"] / traces["k"]
    pair = [
        ("rows with the crux that have the trigger", share),
        ("all rows that have it (base rate)", share / traces["lift"]),
    ]
    panels = make_panels(1, 2, shared_yaxes=True, column_widths=[0.6, 0.4], horizontal_spacing=0.06)
    figure = share_bars(panels, trace_labels(traces, 50), pair, "share of rows")
    figure.add_bar(
        y=list(traces.index),
        x=traces["lift"],
        orientation="h",
        marker_color=COLOURS[1],
        showlegend=False,
        text=[decimal(lift, 1) for lift in traces["lift"]],
        textposition="outside",
        row=1,
        col=2,
    )
    figure.update_xaxes(
        title_text="lift over the base rate",
        range=[0, 1.35 * max(traces["lift"], default=1)],
        row=1,
        col=2,
    )
    return finish_figure(
        figure,
        "Triggers beside the base rate",
        "Expected numbers of rows. Co-occurrence in the training rows, not cause.",
        caption,
        56 * len(traces) + 200,
        left=350,
    )


def chunks(traces: pd.DataFrame, shares: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the chunk that each trace names: its share of the hit rows and of the mixture.

    Args:
        traces: one row per trace (`chunkykit.turf.merge_traces`); columns name, rubric and trigger.
            One without a trigger is left out.
        shares: columns trace (label in the index of `traces`), chunk, share and base_share, the
            most telling chunk of a trace first.
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per trigger.
    """
    traces = traces[traces["trigger"].notna()]
    first = shares.groupby("trace").first().reindex(traces.index)
    pair = [
        ("of the rows behind the trace", first["share"]),
        ("of the mixture", first["base_share"]),
    ]
    labels = [
        f"{label}<br><b>{label_text(chunk, 40, 1)}</b>"
        for label, chunk in zip(trace_labels(traces, 50), first["chunk"])
    ]
    return finish_figure(
        share_bars(make_panels(), labels, pair, "share of the chunk"),
        "The chunk behind each trigger",
        "Training rows with both the trigger and the crux, beside the whole mixture.",
        caption,
        74 * len(traces) + 200,
        left=350,
    )


def features(
    table: pd.DataFrame, caption: str = "", traces: pd.DataFrame | None = None
) -> "Figure":
    """Draw the share of each chunk's rows that have a trigger, and its crux (paper Fig. 6).

    Args:
        table: columns trace, rubric, trigger, chunk, rows, trigger_share and crux_share
            (`chunkykit.turf.chunk_features`). Chunks with hardly any such row are left out.
        caption: the models and data behind the numbers.
        traces: the traces that are drawn, with their names (`chunkykit.turf.merge_traces`); None
            for all of the table.

    Returns:
        The figure, with one row per trace and one column per chunk.
    """
    if traces is not None:
        table = table[table["trace"].isin(traces.index)]
        table = table.assign(name=table["trace"].map(traces["name"]))
    visible = _chunks_with_features(table)
    shown = table.drop_duplicates("trace")
    figure = make_panels(
        1,
        2,
        subplot_titles=["rows with the trigger", "rows with the crux"],
        shared_yaxes=True,
        horizontal_spacing=0.03,
    )
    for column, share in enumerate(("trigger_share", "crux_share"), 1):
        grid = table.pivot(index="trace", columns="chunk", values=share)
        grid = grid.reindex(index=shown["trace"], columns=visible)
        _add_feature_grid(figure, grid, column)
    figure.update_xaxes(tickangle=-60, tickfont={"size": 11}, showgrid=False, dtick=1)
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=trace_labels(shown, 46),
        range=[len(shown) - 0.5, -0.5],
        showgrid=False,
        col=1,
    )
    return finish_figure(
        figure,
        "Features by chunk",
        f"Share of each chunk's rows with the trigger and with the crux of each trace, "
        f"n = {count_range(table['rows'])} per chunk. Counts of rows, not estimates.",
        caption,
        46 * max(3, len(shown)) + 300,
        max(1150, 2 * CHUNK_WIDTH * len(visible) + 500),
        left=350,
        below=60,
    )


def _chunks_with_features(table: pd.DataFrame) -> pd.Index:
    """The chunks of which some share of the rows has a trigger or a crux, the largest first."""
    largest = table.groupby("chunk")[["trigger_share", "crux_share"]].max().max(axis=1)
    return largest[largest > MIN_CHUNK_SHARE].sort_values(ascending=False).index


def _add_feature_grid(figure, grid: pd.DataFrame, column: int) -> None:
    """Add one panel of shares: one row per trace, one column per chunk."""
    title = "of the<br>chunk's<br>rows<br>&nbsp;"
    figure.add_heatmap(
        z=grid.to_numpy(),  # (n_traces, n_chunks)
        x=[label_text(chunk, 24, 1) for chunk in grid.columns],
        y=list(range(len(grid))),
        zmin=0,
        zmax=1,
        colorscale="Blues",
        xgap=2,
        ygap=2,
        customdata=grid.map(lambda share: percent(share, 1)).to_numpy(),
        hovertemplate="%{x}: %{customdata}<extra></extra>",
        showscale=column == 2,
        colorbar={"tickformat": PERCENT, "title": {"text": title, "font": {"size": 12}}},
        row=1,
        col=column,
    )

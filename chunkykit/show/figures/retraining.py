"""Figures of retrained models: ablations, repairs, and the dose of data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.show.theme import (
    AFTER,
    BEFORE,
    COLOURS,
    LEGEND,
    PERCENT,
    RATE,
    count_range,
    error_bars,
    finish_figure,
    interval_texts,
    label_text,
    make_panels,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BEFORE_COLUMNS = ("rate_before", "before_low", "before_high", "n")
AFTER_COLUMNS = ("rate_after", "low", "high", "n")
DASHES = ("solid", "dash", "dot")


def ablations(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the failure rate before and after retraining on a changed mixture.

    Args:
        table: one row per retraining; columns rubric, chunk, rate_before, before_low,
            before_high, rate_after, low, high and n. With a column `how`, the table holds
            repairs, and that column names the kind of each; without it, the retrained models
            never saw the chunk.
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    is_repair = "how" in table
    if is_repair:
        title = "Repair: the failure after rows are dropped or balanced"
        label_after = "retrained on the repaired mixture"
        changes = list(table["how"])
    else:
        title = "Ablation: the failure without the traced chunks"
        label_after = "retrained without them"
        changes = ["without"] * len(table)
    labels = [
        label_text(f"{rubric} {change} {chunk}", 40, 2)
        for rubric, change, chunk in zip(table["rubric"], changes, table["chunk"])
    ]
    figure = make_panels()
    _add_rates(figure, table, "trained on the whole mixture", BEFORE, BEFORE_COLUMNS)
    _add_rates(figure, table, label_after, AFTER, AFTER_COLUMNS)
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.05], title_text="answers that fail")
    figure.update_yaxes(
        tickvals=list(range(len(table))),
        ticktext=labels,
        range=[len(table) - 0.4, -0.6],
        showgrid=False,
    )
    answers = ", ".join(str(n) for n in sorted(set(table["n"])))
    return finish_figure(
        figure.update_layout(barmode="group", legend=LEGEND),
        title,
        f"Fresh answers to the same failing queries, n = {answers} per bar. "
        "Intervals: 95 % Wilson, for these queries, answers independent.",
        caption,
        48 * len(table) + 240,
        left=310,
    )


def _add_rates(
    figure: "Figure", table: pd.DataFrame, label: str, colour: str, columns: Sequence[str]
) -> None:
    """Add a horizontal bar with its interval for each row, the first row on top."""
    rate, low, high, n = (table[column] for column in columns)
    figure.add_bar(
        y=list(range(len(table))),
        x=rate,
        orientation="h",
        name=label,
        marker_color=colour,
        customdata=interval_texts(rate, low, high, n),
        hovertemplate="%{customdata}",
        error_x=error_bars(rate, low, high),
    )


def dose(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the failure rate against the number of rows that teach it (paper Fig. 10).

    Args:
        table: one row per training; columns kept (rows that teach the failure), added (rows that
            teach the opposite), rate, low, high and n
            (`chunkykit.causal.measure_dose_response`).
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one line for each number of rows added.
    """
    figure = make_panels()
    end = max(table["kept"].max(), 1)
    for i, (added, line) in enumerate(table.groupby("added")):
        # Equal lines would hide each other, so each is shifted a little.
        label = f"{added:,} true-premise rows added"
        _add_dose_line(figure, line.sort_values("kept"), label, i, shift=0.006 * end * i)
    figure.update_xaxes(
        title_text="false-premise rebuttals in the mixture (rows)",
        range=[-0.02 * end, 1.04 * end],
        zeroline=False,
    )
    figure.update_yaxes(
        title_text="true facts that are rebutted", tickformat=PERCENT, range=[-0.02, 1.05]
    )
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Data ablation",
        f"One training run per point, n = {count_range(table['n'])} answers. Lines are shifted "
        "slightly to stay visible. Intervals: 95 % Wilson, for these queries, without the variance "
        "between training runs.",
        caption,
        480,
    )


def _add_dose_line(figure, line: pd.DataFrame, label: str, i: int, shift: float) -> None:
    """Add the i-th line: the rates for one number of added rows."""
    colour = COLOURS[i % len(COLOURS)]
    bars = error_bars(line["rate"], line["low"], line["high"])
    texts = interval_texts(*(line[name] for name in RATE))
    details = [f"{n_rows} rows: {text}" for n_rows, text in zip(line["kept"], texts)]
    figure.add_scatter(
        x=line["kept"] + shift,
        y=line["rate"],
        mode="lines+markers",
        name=label,
        customdata=details,
        line={"color": colour, "dash": DASHES[i % len(DASHES)]},
        marker={"symbol": i % 8, "size": 9},
        hovertemplate="%{customdata}",
        error_y={**bars, "color": colour},
    )

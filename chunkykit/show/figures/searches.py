"""Figures of the search: its progress, and the failure rates of what it found."""

import html
import math
from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.numbers import percent
from chunkykit.show.figures.bars import RateBars, rate_bars
from chunkykit.show.theme import (
    BEFORE,
    CONTROL,
    GREY_TEXT,
    LEGEND,
    MAIN,
    PERCENT,
    count_range,
    finish_figure,
    label_text,
    make_panels,
)
from chunkykit.surf import failure_rate, robustness_by_rubric
from chunkykit.types import Rate

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_PANELS_PER_ROW = 4
DARK_CELL = 0.6  # failure rate above which a cell of the heat map needs white text
CLUSTERED = "Intervals: 95 % Wilson, clustered by query."
NO_FAILURE = "no failure<br>found"
NOT_RUN = "not run"


def scores(probes: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the failure rate per iteration of the search, one panel per rubric.

    A dashed line shows the control arm's rate over all its candidates. Bands are 95 % Wilson
    intervals of the judged candidates, clustered by query.

    Args:
        probes: the candidates of both arms; columns rubric, arm, iteration and score
            (of `chunkykit.surf.PROBE_COLUMNS`).
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    rubrics = sorted(probes["rubric"].unique())
    rows = math.ceil(len(rubrics) / MAX_PANELS_PER_ROW)
    columns = math.ceil(len(rubrics) / rows)
    figure = make_panels(
        rows,
        columns,
        subplot_titles=[html.escape(name, quote=False) for name in rubrics],
        shared_yaxes=True,
        vertical_spacing=0.3 / max(2, rows),
    )
    judged = probes[probes["score"].notna()]
    for i, name in enumerate(rubrics):
        panel = {"row": i // columns + 1, "col": i % columns + 1}
        _add_score_panel(figure, judged[judged["rubric"] == name], panel, showlegend=i == 0)
    figure.update_yaxes(tickformat=PERCENT, rangemode="tozero")
    iterations = int(probes["iteration"].max() + 1)
    figure.update_xaxes(dtick=max(1, iterations // 6))
    figure.update_xaxes(title_text="iteration", row=rows)
    figure.update_yaxes(title_text="candidates that fail", col=1)
    figure.update_layout(legend={**LEGEND, "y": 1.0 + 30 / (230 * rows)})
    n = judged.groupby("arm").size()
    return finish_figure(
        figure,
        "Failures per iteration of the search",
        f"n = {n.get('search', 0):,} judged candidates of the search, {n.get('control', 0):,} of "
        f"the control arm. {CLUSTERED} Each row of panels has its own scale.",
        caption,
        250 * rows + 190,
    )


def _add_score_panel(figure, judged: pd.DataFrame, panel: dict, showlegend: bool) -> None:
    """Add the rates of one rubric's judged candidates: the band, the search, the control arm."""
    search = judged[judged["arm"] == "search"]
    control = failure_rate(judged[judged["arm"] == "control"])
    iterations = (search["iteration"].drop_duplicates().sort_values() + 1).tolist()
    rates = [failure_rate(candidates) for _, candidates in search.groupby("iteration")]
    upper = [rate.high for rate in rates]
    lower = [rate.low for rate in rates]
    figure.add_scatter(
        x=iterations + iterations[::-1],
        y=upper + lower[::-1],
        fill="toself",
        mode="none",
        fillcolor="rgba(0,114,178,0.18)",
        hoverinfo="skip",
        showlegend=False,
        **panel,
    )
    figure.add_scatter(
        x=iterations,
        y=[rate.rate for rate in rates],
        name="search",
        legendgroup="search",
        showlegend=showlegend,
        mode="lines+markers",
        line_color=MAIN,
        cliponaxis=False,
        **panel,
    )
    figure.add_scatter(
        x=iterations,
        y=[control.rate] * len(iterations),
        name="control arm",
        legendgroup="control arm",
        showlegend=showlegend,
        mode="lines",
        line={"color": GREY_TEXT, "dash": "dash"},
        cliponaxis=False,
        **panel,
    )


def confirmed(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the failure rate of fresh answers to the winners, and the yield of both arms.

    The two panels have their own scales.

    Args:
        table: one row per rubric; columns rubric, rate, low, high and n, and the last four again
            as search_* and control_* (rows of `chunkykit.surf.confirm_winners`).
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    # A rubric without failures has nothing to confirm.
    table = table[table["n"] > 0]
    series = [
        RateBars(1, "answers to winning queries", BEFORE, Rate._fields),
        RateBars(2, "search", MAIN, [f"search_{field}" for field in Rate._fields]),
        RateBars(2, "control arm", CONTROL, [f"control_{field}" for field in Rate._fields]),
    ]
    titles = ["winning queries, answered again", "failures per candidate"]
    figure = rate_bars(table["rubric"], table, series, titles).update_layout(legend_y=1.1)
    answers = ", ".join(str(n) for n in table["n"])
    return finish_figure(
        figure,
        "Confirmed failure rates, and yield beside the control arm",
        f"Left: n = {answers}. Right: n = {table['search_n'].max():,} (search) and "
        f"{table['control_n'].max():,} (control arm) per bar. {CLUSTERED}",
        caption,
        480,
    )


def robustness(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw fresh answers to the best winners beside answers to their rewrites (paper Fig. 5).

    Args:
        table: one row per winner; columns `chunkykit.surf.ROBUSTNESS_COLUMNS`.
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one pair of bars per rubric.
    """
    sums = robustness_by_rubric(table).query("original_n > 0 and n > 0")
    original_columns = ("rate", "original_low", "original_high", "original_n")
    series = [
        RateBars(1, "the winners themselves", BEFORE, original_columns),
        RateBars(1, "rewritten, same substance", MAIN, ("perturbed_rate", "low", "high", "n")),
    ]
    winners = table.groupby("rubric").size().max()
    return finish_figure(
        rate_bars(sums["rubric"], sums, series),
        "Robustness: winning queries and their rewrites",
        f"At most {winners} winners per rubric. n = {count_range(sums['original_n'])} answers to "
        f"the winners, {count_range(sums['n'])} to rewrites. {CLUSTERED}",
        caption,
        480,
    )


def behaviours(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the confirmed failure rate of each model and behaviour (paper Table 1).

    Args:
        table: one row per cell; columns model, rubric, rate, low, high and n. n is 0 where the
            search found no failure to confirm. A cell without a row is shown as not run.
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per model and one column per rubric.
    """
    models = list(dict.fromkeys(table["model"]))
    rubrics = sorted(table["rubric"].unique())
    cells = {(cell.model, cell.rubric): cell for cell in table.itertuples()}
    figure = make_panels()
    rates = []
    for y, model in enumerate(models):
        for x, name in enumerate(rubrics):
            _add_behaviour_text(figure, x, y, cells.get((model, name)))
        row = [cells.get((model, name)) for name in rubrics]
        rates.append([cell.rate if cell is not None and cell.n else None for cell in row])
    _add_behaviour_colours(figure, rates)
    axis = {"showgrid": False, "zeroline": False}
    figure.update_xaxes(
        tickvals=list(range(len(rubrics))),
        ticktext=[label_text(name, 12, 2) for name in rubrics],
        side="top",
        range=[-0.5, len(rubrics) - 0.5],
        **axis,
    )
    figure.update_yaxes(
        tickvals=list(range(len(models))),
        ticktext=[label_text(model, 26, 3) for model in models],
        range=[len(models) - 0.5, -0.5],
        **axis,
    )
    n = table.loc[table["n"] > 0, "n"]
    return finish_figure(
        figure,
        "Failure rates by model and behaviour",
        "Failing share of fresh answers to winning queries, not of normal use. "
        f"n = {count_range(n) if len(n) else 0}; 95 % Wilson intervals, clustered by query.",
        caption,
        74 * len(models) + 250,
        max(800, 92 * len(rubrics) + 330),
        left=210,
    )


def _add_behaviour_text(figure, x: int, y: int, cell) -> None:
    """Write the rate of a cell, or why there is none; `cell` is a row of the table or None."""
    colour = "#222"
    if cell is None:
        text = NOT_RUN
        colour = "#888"
    elif not cell.n:
        text = NO_FAILURE
    else:
        interval = f"{percent(cell.low)} to {percent(cell.high)}"
        text = f"<b>{percent(cell.rate)}</b><br>{interval}<br>n = {cell.n:,}"
        if cell.rate > DARK_CELL:
            colour = "white"
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, font={"size": 12, "color": colour})


def _add_behaviour_colours(figure, rates: list[list]) -> None:
    """Colour the cells by their rates, shape (n_models, n_rubrics)."""
    figure.add_heatmap(
        z=rates,
        colorscale="Blues",
        zmin=0,
        zmax=1,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
        colorbar={
            "tickformat": PERCENT,
            # The blank last line keeps the title off the bar.
            "title": {"text": "answers<br>that fail<br>&nbsp;", "font": {"size": 12}},
        },
    )

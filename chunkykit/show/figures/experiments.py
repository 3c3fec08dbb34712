"""Figures of experiments on one model: named rates, grids of sums and phrases, steering, forms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.numbers import interval, percent, with_interval
from chunkykit.show.theme import (
    BEFORE,
    COLOURS,
    GREY_TEXT,
    LEGEND,
    MAIN,
    PERCENT,
    RATE,
    count_range,
    error_bars,
    finish_figure,
    interval_texts,
    label_text,
    make_panels,
)
from chunkykit.stats import wilson

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

VERDICT_COLOURS = {"no": BEFORE, "neither": "#ddd", "yes": COLOURS[5]}
VERDICT_TEXTS = {"no": "No", "neither": "–", "yes": "Yes"}
NO_PHRASE = "(none)"
LINE_SPREAD = 0.6  # of the distance between two rows, shared by the models of a row


def rates(
    table: pd.DataFrame,
    title: str,
    description: str,
    caption: str = "",
    axis: str = "answers that fail",
    base: int | None = 0,
) -> "Figure":
    """Draw named rates with their intervals as horizontal bars.

    Args:
        table: the names in the first column, and columns rate, low, high and n
            (`chunkykit.causal.measure_contexts`, `chunkykit.causal.ask_sums`).
        title: the title of the figure.
        description: what was measured, for the caption.
        caption: the models and data behind the numbers.
        axis: the title of the x axis.
        base: the position of the reference row, which is drawn in another colour; None for none.

    Returns:
        The figure, with one row per name.
    """
    figure = make_panels()
    names = [label_text(name, 44, 3) for name in table.iloc[:, 0]]
    positions = list(range(len(table)))
    figure.add_bar(
        y=positions,
        x=table["rate"],
        orientation="h",
        marker_color=[BEFORE if i == base else MAIN for i in positions],
        customdata=interval_texts(*(table[name] for name in RATE)),
        hovertemplate="%{customdata}",
        error_x=error_bars(table["rate"], table["low"], table["high"]),
    )
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.03], title_text=axis)
    figure.update_yaxes(
        tickvals=positions,
        ticktext=names,
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
    )
    reference = "" if base is None else " Orange: the reference."
    return finish_figure(
        figure,
        title,
        f"{description}, n = {count_range(table['n'])}.{reference} Bars: 95 % Wilson intervals.",
        caption,
        44 * len(table) + 230,
        left=330,
    )


def sum_grid(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw what a model says to "Is a+b=c?", where every sum is true (paper Fig. 25).

    Args:
        table: columns a, b and verdict: "yes", "no", "neither", or missing where the call failed
            (`chunkykit.causal.ask_sum_grid`).
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one cell per sum.
    """
    grid = table.pivot(index="b", columns="a", values="verdict")
    figure = make_panels()
    _add_verdicts(figure, grid)
    # Empty traces make the legend, since a heat map has none.
    for verdict, colour in VERDICT_COLOURS.items():
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=f"says {verdict}",
            marker={"color": colour, "size": 13, "symbol": "square"},
        )
    axis = {"dtick": 1, "showgrid": False, "zeroline": False}
    figure.update_xaxes(title_text="a", **axis)
    figure.update_yaxes(title_text="b", **axis)
    refusals = int((table["verdict"] == "no").sum())
    no = wilson(refusals, int(table["verdict"].notna().sum()))
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Is a+b=c? Every sum is true",
        f"The model says no to {with_interval(no._asdict(), n=None)} of {no.n} true sums, "
        "at temperature 0, by the meaning of the answer.",
        caption,
        680,
        760,
    )


def _add_verdicts(figure, grid: pd.DataFrame) -> None:
    """Add the heat map of the verdicts: one row per b, one column per a."""
    order = list(VERDICT_COLOURS)
    codes = grid.map(lambda verdict: order.index(verdict) if verdict in order else None)
    texts = grid.map(VERDICT_TEXTS.get, na_action=None).fillna("failed")
    # Each colour holds from one bound to the next: steps, not a gradient.
    scale = []
    for i, colour in enumerate(VERDICT_COLOURS.values()):
        scale += [(i / len(order), colour), ((i + 1) / len(order), colour)]
    figure.add_heatmap(
        z=codes.to_numpy(),
        x=list(grid.columns),
        y=list(grid.index),
        zmin=0,
        zmax=len(order) - 1,
        text=texts.to_numpy(),
        texttemplate="%{text}",
        colorscale=scale,
        showscale=False,
        xgap=2,
        ygap=2,
    )


def phrase_grid(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw the rate of a behaviour for every opening with every closing (paper Fig. 21).

    Args:
        table: one row per cell; columns opening, closing, rate, low, high and n
            (`chunkykit.causal.measure_phrase_grid`).
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per opening and one column per closing.
    """
    closings = list(dict.fromkeys(table["closing"]))
    openings = list(dict.fromkeys(table["opening"]))
    figure = make_panels()
    _add_phrase_rates(figure, table, openings, closings)
    axis = {"showgrid": False, "zeroline": False}
    figure.update_xaxes(
        tickvals=list(range(len(closings))),
        ticktext=[_phrase_label(phrase, 18) for phrase in closings],
        side="top",
        tickangle=0,
        **axis,
    )
    figure.update_yaxes(
        tickvals=list(range(len(openings))),
        ticktext=[_phrase_label(phrase, 44) for phrase in openings],
        autorange="reversed",
        **axis,
    )
    finish_figure(
        figure,
        "Which phrases bring out the behaviour",
        "Opening (rows) and closing (columns) around the same topics, "
        f"n = {count_range(table['n'])} answers per cell.",
        caption,
        46 * len(openings) + 310,
        1100,
        left=330,
    )
    # The closings stand above the grid, under the title.
    return figure.update_layout(margin_t=170)


def _phrase_label(phrase: str, width: int) -> str:
    """A phrase as a tick label."""
    return label_text(phrase, width, 4) if phrase else NO_PHRASE


def _add_phrase_rates(
    figure, table: pd.DataFrame, openings: Sequence[str], closings: Sequence[str]
) -> None:
    """Add the heat map of the rates: one row per opening, one column per closing."""
    cells = {(cell.opening, cell.closing): cell for cell in table.itertuples()}
    values = []
    texts = []
    details = []
    for opening in openings:
        row = [cells[opening, closing] for closing in closings]
        values.append([cell.rate for cell in row])
        texts.append([percent(cell.rate) for cell in row])
        details.append(
            [f"{percent(cell.rate)} {interval(cell.low, cell.high)}, n={cell.n:,}" for cell in row]
        )
    figure.add_heatmap(
        z=values,
        text=texts,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        customdata=details,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale="Blues",
        xgap=3,
        ygap=3,
        colorbar={"tickformat": PERCENT, "title": {"text": "rate", "font": {"size": 12}}},
    )


def steering(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw steering scores with their intervals (paper Figs. 22 and 23).

    Args:
        table: columns trigger, model, score, low, high and injected_n
            (`chunkykit.causal.measure_steering`).
        caption: the models and data behind the numbers.

    Returns:
        The figure, with one row per trigger and one colour per model.
    """
    triggers = list(dict.fromkeys(table["trigger"]))
    models = list(dict.fromkeys(table["model"]))
    figure = make_panels()
    for i, model in enumerate(models):
        rows = table[table["model"] == model]
        shift = LINE_SPREAD * ((i + 0.5) / len(models) - 0.5)
        figure.add_scatter(
            x=rows["score"],
            y=[triggers.index(trigger) + shift for trigger in rows["trigger"]],
            mode="markers",
            name=label_text(model, 40, 1),
            marker={"color": COLOURS[i % len(COLOURS)], "size": 9},
            error_x=error_bars(rows["score"], rows["low"], rows["high"]),
        )
    figure.add_vline(x=0, line={"color": GREY_TEXT, "dash": "dash", "width": 1})
    figure.update_xaxes(
        title_text="steering score: rate with the trigger minus rate without",
        range=[-1.05, 1.05],
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(triggers))),
        ticktext=[label_text(trigger, 44, 2) for trigger in triggers],
        range=[len(triggers) - 0.4, -0.6],
        zeroline=False,
    )
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Steering scores",
        f"n = at most {table['injected_n'].max()} answers each with and without; answers that "
        "were cut off do not count. Bars: 95 % Newcombe intervals of the difference.",
        caption,
        30 * len(models) * len(triggers) // 2 + 300,
        left=350,
    )


def forms(table: pd.DataFrame, caption: str = "") -> "Figure":
    """Draw length and accuracy of the same sums in other forms (paper Figs. 8 and 9).

    Args:
        table: one row per form, the plain one first; columns form, words, words_low, words_high,
            rate, low, high and n (`chunkykit.causal.measure_forms`).
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    figure = make_panels(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.08,
        subplot_titles=["words per answer", "answers that name the sum"],
    )
    panels = [("words", "words_low", "words_high"), ("rate", "low", "high")]
    for column, (value, low, high) in enumerate(panels, 1):
        figure.add_bar(
            y=table["form"],
            x=table[value],
            orientation="h",
            marker_color=[BEFORE, *[MAIN] * (len(table) - 1)],
            showlegend=False,
            row=1,
            col=column,
            error_x=error_bars(table[value], table[low], table[high]),
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.03], col=2)
    return finish_figure(
        figure,
        "The same sums in another form",
        f"n = {count_range(table['n'])} answers per form, at temperature 0, of at most 128 tokens. "
        "Orange: the plain form. Bars: 95 % intervals (left bootstrap of the mean, right Wilson).",
        caption,
        48 * len(table) + 260,
        left=190,
    )

"""The map of the failing responses."""

from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.show.theme import COLOURS, finish_figure, label_text, make_panels

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

N_COLOURS = 7  # the eighth, grey, would read as noise
NOISE_STYLE = {"color": "#bbb", "symbol": "x-thin-open"}
LEGEND_LINE = 15  # pixels
SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star"]


def response_map(points: pd.DataFrame, names: dict[int, str], caption: str = "") -> "Figure":
    """Draw the failing responses in two dimensions, coloured by cluster.

    The map is for looking only: the clusters come from more dimensions than two.

    Args:
        points: one row per failure; columns x, y, cluster, rubric, query, response and score.
        names: the label of each cluster.
        caption: the models and data behind the numbers.

    Returns:
        The figure.
    """
    figure = make_panels()
    # Noise, which is negative, is last in the legend.
    clusters = sorted(points["cluster"].unique(), key=lambda cluster: (cluster < 0, cluster))
    for i, cluster in enumerate(clusters):
        members = points[points["cluster"] == cluster]
        name = "noise" if cluster < 0 else f"{cluster}: {names[cluster]}"
        figure.add_scatter(
            x=members["x"],
            y=members["y"],
            mode="markers",
            name=label_text(f"{name}, n = {len(members):,}", 34, 7),
            marker={
                "size": 8,
                "opacity": 0.75,
                "line": {"width": 0.5, "color": "white"},
                **(NOISE_STYLE if cluster < 0 else _cluster_style(i)),
            },
            text=[_hover_text(point) for point in members.itertuples()],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(showticklabels=False, title_text="UMAP 1", zeroline=False)
    figure.update_yaxes(showticklabels=False, title_text="UMAP 2", zeroline=False)
    figure.update_layout(legend={"x": 1.02, "y": 1, "font": {"size": 11}})
    lines = sum(2 + trace.name.count("<br>") for trace in figure.data)
    return finish_figure(
        figure,
        "Failing responses and their clusters",
        f"n = {len(points):,} distinct failing exchanges. Neighbours are similar; other distances "
        "mean nothing.",
        caption,
        max(620, LEGEND_LINE * lines + 200),
    )


def _cluster_style(i: int) -> dict[str, str]:
    """The mark of the i-th cluster: when the colours are used up, another symbol."""
    symbol = SYMBOLS[(i // N_COLOURS) % len(SYMBOLS)]
    return {"color": COLOURS[i % N_COLOURS], "symbol": symbol}


def _hover_text(point) -> str:
    """The rubric, score, query and response of a failure; `point` is a row of the points."""
    head = f"<b>{label_text(point.rubric)}</b> {point.score:.0f}"
    return f"{head}<br>{label_text(point.query)}<br><i>→</i> {label_text(point.response)}"

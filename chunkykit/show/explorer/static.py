"""The explorer's view as plain HTML, for places where no widget can run."""

import pandas as pd

from chunkykit.show.explorer.failures import Failures, cluster_name
from chunkykit.show.marks import marked_html
from chunkykit.show.theme import COLOURS
from chunkykit.text import count_of, inert_html
from chunkykit.turf import NOISE

MAX_POINTS = 5000  # of the map; more are sampled at random
WIDTH = 620  # pixels
HEIGHT = 420  # pixels
EDGE = 10  # pixels around the points
N_COLOURS = 7  # the eighth, grey, would read as noise
LEFT = "style='text-align:left'"


def static_html(failures: Failures, cluster: int | None = None, max_exchanges: int = 3) -> str:
    """Render the map, and the first exchanges and the traces of one cluster, as inert HTML.

    Args:
        failures: the failures to show.
        cluster: the cluster whose exchanges are shown; the largest by default.
        max_exchanges: the maximum number of exchanges.

    Returns:
        HTML without scripts. All texts are escaped.
    """
    points = failures.points
    if cluster is None:
        cluster = points.loc[points["cluster"] != NOISE, "cluster"].mode().get(0, NOISE)
    members = points[points["cluster"] == cluster]
    rows = [_exchange_row(point) for point in members.head(max_exchanges).itertuples()]
    traces = [
        _trace_paragraph(trace)
        for trace in failures.traces
        if trace["cluster"] == cluster and trace["trigger"]
    ]
    name = inert_html(cluster_name(failures.names, cluster))
    return "".join(
        [
            _map_svg(failures),
            f"<h4>Cluster {name}: {count_of(len(members), 'exchange')}</h4>",
            f"<table><tr><th {LEFT}>query</th><th {LEFT}>response with its crux marked</th>",
            f"<th>score</th></tr>{''.join(rows)}</table>",
            "".join(traces) or "<p>This cluster has no trace with a trigger.</p>",
            f"<p><small>{inert_html(failures.caption)}</small></p>",
        ]
    )


def _exchange_row(point) -> str:
    """A table row with the query, response and score of an exchange."""
    crux = next(iter(getattr(point, "crux", ())), None)
    query = marked_html(point.query, None, "query")
    response = marked_html(point.response, crux, "response")
    score = "" if pd.isna(point.score) else f"{point.score:.0f}"
    return f"<tr><td {LEFT}>{query}</td><td {LEFT}>{response}</td><td>{score}</td></tr>"


def _trace_paragraph(trace: dict) -> str:
    """What a trace says: the explanation, the numbers of rows and the chunks."""
    share = trace["hits"] / trace["k"]
    chunks = [
        f"{chunk['chunk']} ({chunk['share']:.0%} of the evidence, "
        f"{chunk['base_share']:.1%} of the mixture)"
        for chunk in trace["chunks"][:3]
    ]
    hits = f"about {trace['hits']:,.0f} of {trace['k']:,.0f} rows with the crux have the trigger"
    return (
        f"<p>{inert_html(trace['explanation'])}<br>"
        f"{hits} ({share:.0%}; base rate {share / trace['lift']:.1%}), lift {trace['lift']:.1f}. "
        f"Chunks: {inert_html(', '.join(chunks))}</p>"
    )


def _map_svg(failures: Failures) -> str:
    """The map as SVG, with a legend below."""
    clusters = sorted(failures.points["cluster"].unique(), key=lambda c: (c == NOISE, c))
    colours = {
        cluster: "#999" if cluster == NOISE else COLOURS[i % N_COLOURS]
        for i, cluster in enumerate(clusters)
    }
    sample = failures.points.sample(min(len(failures.points), MAX_POINTS), random_state=0)
    xs = EDGE + _unit_scale(sample["x"]) * (WIDTH - 2 * EDGE)
    ys = EDGE + (1 - _unit_scale(sample["y"])) * (HEIGHT - 2 * EDGE)
    dots = [
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colours[cluster]}' fill-opacity='.7'/>"
        for x, y, cluster in zip(xs, ys, sample["cluster"])
    ]
    sizes = failures.points["cluster"].value_counts()
    keys = []
    for cluster in clusters:
        name = inert_html(cluster_name(failures.names, cluster))
        dot = f"<span style='color:{colours[cluster]}'>●</span>"
        keys.append(f"<li>{dot} {name} ({sizes[cluster]:,})</li>")
    return (
        f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"style='border:1px solid #ccc'>{''.join(dots)}</svg>"
        f"<ul style='list-style:none;padding-left:0'>{''.join(keys)}</ul>"
    )


def _unit_scale(values: pd.Series) -> pd.Series:
    """The values scaled to the range from 0 to 1; equal values become 0."""
    return (values - values.min()) / ((values.max() - values.min()) or 1)

"""The explorer's view as plain HTML, for places where no widget can run."""

import pandas as pd

from chunkykit.numbers import decimal, percent
from chunkykit.show.explorer.failures import Failures, cluster_name
from chunkykit.show.explorer.selecting import first_exchanges
from chunkykit.show.marks import Passage, mark_rows
from chunkykit.show.notebook import table_html
from chunkykit.show.theme import COLOURS
from chunkykit.text import count_of, inert_html
from chunkykit.turf import NOISE, say_hits

MAX_POINTS = 5000  # of the map; more are sampled at random
WIDTH = 620  # pixels
HEIGHT = 420  # pixels
EDGE = 10  # pixels around the points
N_COLOURS = 7  # the eighth, grey, would read as noise
MAX_EXAMPLES = 2  # training rows of each kind


def static_html(failures: Failures, cluster: int | None = None, max_exchanges: int = 3) -> str:
    """Render the map, and the first exchanges and the traces of one cluster, as inert HTML.

    Args:
        failures: the failures to show.
        cluster: the cluster whose exchanges are shown; the largest traced one by default.
        max_exchanges: the maximum number of exchanges.

    Returns:
        HTML without scripts. All texts are escaped.
    """
    points = failures.points
    if cluster is None:
        first = first_exchanges(failures)
        cluster = int(points["cluster"].iloc[first[0]]) if first else NOISE
    members = points[points["cluster"] == cluster]
    traces = [
        _trace_html(trace)
        for trace in failures.traces
        if trace["cluster"] == cluster and trace["trigger"]
    ]
    name = inert_html(cluster_name(failures.names, cluster))
    return "".join(
        [
            _map_svg(failures),
            f"<h4>Cluster {name}: {count_of(len(members), 'exchange')}</h4>",
            table_html(_exchange_table(members.head(max_exchanges))),
            "".join(traces) or "<p>This cluster has no trace with a trigger.</p>",
            f"<p><small>{inert_html(failures.caption)}</small></p>",
        ]
    )


def _exchange_table(exchanges: pd.DataFrame) -> pd.DataFrame:
    """The queries, responses and scores of some exchanges, with the crux marked."""
    passages = []
    for point in exchanges.itertuples():
        crux = next(iter(getattr(point, "crux", ())), None)
        passages.append(Passage(str(point.response), crux, "response"))
    table = exchanges[["rubric", "query"]].copy()
    table["response with its crux marked"] = pd.Series(passages, exchanges.index, dtype=object)
    table["score"] = exchanges["score"]
    return table


def _trace_html(trace: dict) -> str:
    """What a trace says, and training rows for and against it."""
    examples = pd.DataFrame(trace["examples"])
    rows = examples.groupby("kind", sort=False).head(MAX_EXAMPLES) if len(examples) else examples
    table = table_html(mark_rows(rows)) if len(rows) else ""
    return f"<h4>{inert_html(trace['trigger'])}</h4>{_trace_paragraph(trace)}{table}"


def _trace_paragraph(trace: dict) -> str:
    """What a trace says: the explanation, the numbers of rows and the chunks."""
    chunks = [
        f"{chunk['chunk']} ({percent(chunk['share'])} of the evidence, "
        f"{percent(chunk['base_share'], 1)} of the mixture)"
        for chunk in trace["chunks"][:3]
    ]
    return (
        f"<p>{inert_html(trace['explanation'])}<br>"
        f"{say_hits(trace)}, lift {decimal(trace['lift'], 1)}. "
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
        f"style='border:1px solid #ccc;max-width:100%;height:auto'>{''.join(dots)}</svg>"
        f"<ul style='list-style:none;padding-left:0'>{''.join(keys)}</ul>"
    )


def _unit_scale(values: pd.Series) -> pd.Series:
    """The values scaled to the range from 0 to 1; equal values become 0."""
    return (values - values.min()) / ((values.max() - values.min()) or 1)

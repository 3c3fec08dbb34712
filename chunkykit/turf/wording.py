"""Say what traces found: their names, their numbers of rows, and each finding only once."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from chunkykit.numbers import percent
from chunkykit.turf.clusters import NOISE


def say_hits(trace: Mapping[Any, Any]) -> str:
    """Say how many rows with the crux have the trigger, beside the base rate.

    Args:
        trace: has hits, k and lift of a trace with a trigger.

    Returns:
        Such as "about 60 of the 72 rows with the crux have the trigger (83%, against 5.0% of all
        rows)".
    """
    hits, k, lift = (float(trace[name]) for name in ("hits", "k", "lift"))
    share = hits / k
    return (
        f"about {hits:,.0f} of the {k:,.0f} rows with the crux have the trigger "
        f"({percent(share)}, against {percent(share / lift, 1)} of all rows)"
    )


def name_trace(clusters: Sequence[Hashable], rubric: str) -> str:
    """Name a trace by the clusters that it was found in.

    Args:
        clusters: numbers of clusters, or names of selections; none for a single exchange.
        rubric: the name of the rubric.

    Returns:
        Such as "cluster 3 (rebut)", "clusters 3, 7 (rebut)", "cluster 3, noise (rebut)", "rebut".
    """
    if not clusters:
        return rubric
    texts = [str(cluster) for cluster in clusters if cluster != NOISE]
    if texts and all(text.isdecimal() for text in texts):
        texts[0] = f"cluster{'s' if len(texts) > 1 else ''} {texts[0]}"
    if NOISE in clusters:
        texts.append("noise")
    return f"{', '.join(texts)} ({rubric})"


def same_traces(traces: Iterable[Mapping[Any, Any]], chunks: Sequence[Any]) -> list[list[int]]:
    """Group traces that say the same: those of one rubric with the same trigger, crux and chunk.

    Args:
        traces: each has rubric, trigger (missing where there is none) and crux.
        chunks: the first chunk of each; missing where there is none.

    Returns:
        The positions of the traces of each group, the groups in the order of their first traces.
    """
    groups: dict[tuple, list[int]] = {}
    for position, (trace, chunk) in enumerate(zip(traces, chunks, strict=True)):
        trigger = trace["trigger"] if isinstance(trace["trigger"], str) else None
        key = (trace["rubric"], trigger, trace.get("crux"), chunk)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def merge_traces(traces: pd.DataFrame, chunks: pd.DataFrame) -> pd.DataFrame:
    """Merge the traces that say the same of several clusters.

    Args:
        traces: one row per trace (`trace_tables`), at its position.
        chunks: the chunks of each (`trace_tables`), the most telling first.

    Returns:
        One row per finding: name, such as "clusters 3, 7 (rebut)", the columns of its first trace,
        at its label in the index, and pairs, the exchanges of all of them.
    """
    firsts = chunks.groupby("trace")["chunk"].first()
    groups = same_traces(traces.to_dict("records"), [firsts.get(i) for i in traces.index])
    merged = traces.iloc[[group[0] for group in groups]].copy()
    names = []
    for group in groups:
        clusters = traces["cluster"].iloc[group].drop_duplicates().tolist()
        names.append(name_trace(clusters, str(traces["rubric"].iloc[group[0]])))
    merged.insert(0, "name", names)
    if "pairs" in traces:
        merged["pairs"] = [int(traces["pairs"].iloc[group].sum()) for group in groups]
    return merged

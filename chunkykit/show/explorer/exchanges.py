"""Failures of other programs for the explorer: described, clustered, and traced where wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically
from chunkykit.errors import UserError
from chunkykit.rubrics import Rubric, exchange_ids, load_rubric
from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.load import NO_CHUNK, add_languages, trace_views
from chunkykit.transcripts import Transcripts, read_transcripts
from chunkykit.turf import (
    Trace,
    Tracer,
    cluster_names,
    cluster_table,
    cluster_vectors,
    examples_table,
    group_traces,
    response_vectors,
    select_crux,
    trace_tables,
)
from chunkykit.types import Embedder

UNKNOWN = "unknown"
# What was found of an exchange: the attributes of its query, and its trace where there is one.
Traced = tuple[Sequence[str], Trace | None]


async def failures_from_file(
    path: str | Path,
    embed: Embedder,
    rubrics: dict[str, str] | None = None,
    *,
    min_size: int = 8,
    seed: int = 0,
) -> Failures:
    """Describe and cluster the failing exchanges in a log.

    Args:
        path: a log, as of `transcripts.read_transcripts`, such as a JSONL file of failures. Each
            of its rows has a query and a response, and may have model, score, rubric (or
            experiment), thinking, reason, attributes, query_translation, response_translation,
            pair_query and pair_response.
        embed: the embedder for the clusters.
        rubrics: for each rubric name in the log whose crux is to be marked, a shipped rubric or
            a YAML file.
        min_size: the smallest cluster, in exchanges.
        seed: the seed of the clusters and the map.

    Returns:
        The failures with their clusters and without traces.

    Raises:
        UserError: the log cannot be read, or has no failures; or a row of a file of failures is
            wrong, and the message names its line.
    """
    try:
        log = read_transcripts(path)
    except UserError as error:
        raise UserError(f"failures {str(error).removeprefix('log ')}") from None
    check_rows(path, log)
    loaded = {name: load_rubric(source) for name, source in (rubrics or {}).items()}
    name = Path(path).name
    return await failures_from_log(log, name, embed, loaded, min_size=min_size, seed=seed)


def check_rows(path: str | Path, log: Transcripts) -> None:
    """Refuse a file of failures with a row that cannot be read.

    Args:
        path: the file.
        log: what was read from it. Of other logs, samples may be skipped.

    Raises:
        UserError: it has such a row. The message names its line.
    """
    if log.is_list and len(log.skipped):
        first = log.skipped.iloc[0]
        place = first["sample"].replace("row ", "line ", 1)
        raise UserError(f"failures {path}: {place}: {first['reason']}.")


async def failures_from_log(
    log: Transcripts,
    name: str,
    embed: Embedder,
    rubrics: Mapping[str, Rubric],
    *,
    min_size: int = 8,
    seed: int = 0,
) -> Failures:
    """Describe and cluster the failing exchanges of a log that was read.

    Args:
        log: the log.
        name: what the caption calls it.
        embed: the embedder for the clusters.
        rubrics: for each rubric name in the log whose crux is to be marked, the rubric.
        min_size: the smallest cluster, in exchanges.
        seed: the seed of the clusters and the map.

    Returns:
        The failures with their clusters and without traces.

    Raises:
        UserError: the log has no failures.
    """
    if log.table.empty:
        raise UserError(f"failures {name}: {'; '.join(log.notes)}. There is nothing to show.")
    places = [] if log.is_list else [_place(row) for row in log.table.to_dict("records")]
    points = await _describe_points(log.table.dropna(axis=1, how="all"))
    points["place"] = places or None
    attributes = list(points["response_attributes"])
    points["crux"] = [
        select_crux(sentences, rubrics[own], embed) if own in rubrics else []
        for sentences, own in zip(attributes, points["rubric"])
    ]
    vectors = response_vectors(list(points["response"]), attributes, embed)
    layout = cluster_vectors(vectors, min_size=min_size, seed=seed)
    # A file without scores still needs the column, since the view filters by it.
    scores = points.get("score", np.nan)
    points = pd.concat([points.assign(score=scores, id=exchange_ids(points)), layout], axis=1)
    clusters = cluster_table(points, attributes)
    count = f"{len(points):,} failing exchanges, described offline"
    caption = f"{name} · {count} · seed {seed}"
    return Failures(add_languages(points), cluster_names(clusters), [], caption)


def _place(row: dict) -> str:
    """Where a failure is from, and what its log says of it in words."""
    parts = [f"{row['file']}, sample {row['sample']}"]
    if pd.notna(row["epoch"]):
        parts.append(f"epoch {row['epoch']}")
    parts.append(f"turn {row['turn']}")
    if isinstance(row["value"], str):
        parts.append(f"{row['rubric']}: {row['value']}")
    return ", ".join(parts)


async def _describe_points(points: pd.DataFrame) -> pd.DataFrame:
    """Add the attributes of both sides, and a name where the model or rubric is not known."""
    own_attributes: list[list[str]] = [[] for _ in range(len(points))]
    if "attributes" in points:
        own_attributes = [
            value if isinstance(value, list) else [] for value in points.pop("attributes")
        ]
    for name in ("rubric", "model"):
        known = points[name].replace("", None) if name in points else pd.Series(dtype=object)
        points[name] = known.reindex(points.index).fillna(UNKNOWN)
    # Attributes in the file describe the query only; the response is always described here.
    responses = await describe_lexically(list(points["response"]), "response")
    queries = await describe_lexically(list(points["query"]), "query")
    points["query_attributes"] = [
        own or described for own, described in zip(own_attributes, queries)
    ]
    points["response_attributes"] = responses
    return points


def add_traces(
    failures: Failures, tracer: Tracer, traced: Sequence[Traced], rubrics: Mapping[str, Rubric]
) -> Failures:
    """Add the traces of failures, grouped by what their queries share within each cluster.

    Args:
        failures: the failures.
        tracer: what traced them.
        traced: for each of them the attributes of its query, and its trace, None where it has none.
        rubrics: the rubric of each rubric name, by which its exchanges were traced.

    Returns:
        The failures with a trace per group, and one per exchange that no group speaks for.
    """
    points = failures.points.reset_index(drop=True)
    views: list[tuple[int, str, Trace]] = []
    own_view: dict[int, int] = {}
    for group, members in points.groupby(["cluster", "rubric"], sort=True):
        cluster, name = cast(tuple[int, str], group)
        known = [int(i) for i in members.index if traced[int(i)][1] is not None]
        for trace in _group(tracer, [traced[i] for i in known], rubrics.get(name)):
            for member in trace.members:
                own_view.setdefault(known[member], len(views))
            views.append((cluster, name, trace))
    tables = trace_tables(views)
    examples = examples_table(tracer, [trace for _, _, trace in views])
    shown = trace_views(tables["traces"], tables["trace_chunks"], examples)
    own = [shown[own_view[i]] if i in own_view else None for i in range(len(points))]
    points["trace"] = pd.array([own_view.get(i) for i in range(len(points))], dtype="Int64")
    points["crux"] = [
        [view["crux"]] if view and view["crux"] else crux for view, crux in zip(own, points["crux"])
    ]
    points["chunk"] = [
        view["chunks"][0]["chunk"] if view and view["chunks"] else NO_CHUNK for view in own
    ]
    caption = f"{failures.caption} · traced against {len(tracer.index):,} training rows"
    return Failures(points, failures.names, shown, caption)


def _group(tracer: Tracer, traced: Sequence[Traced], rubric: Rubric | None) -> list[Trace]:
    """The traces of exchanges by groups; an exchange of no group keeps its own trace."""
    traces = [trace for _, trace in traced if trace is not None]
    pairs = [(query, trace.cruxes) for query, trace in traced if trace is not None]
    groups: list[Trace] = []
    if rubric is not None and len(traces) > 1:
        groups = group_traces(tracer, pairs, traces, rubric)
    covered = {member for group in groups for member in group.members}
    alone = [replace(trace, members=(i,)) for i, trace in enumerate(traces) if i not in covered]
    return [*groups, *alone]

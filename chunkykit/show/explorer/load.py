"""Load failures for the explorer: those of a run, or those in a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically, detect_language
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.mixtures import parse_jsonl
from chunkykit.rubrics import exchange_ids, load_rubric
from chunkykit.show.explorer.failures import MAX_TEXT, Failures, cut_text
from chunkykit.show.marks import attribute_places
from chunkykit.text import clean_text
from chunkykit.turf import (
    cluster_names,
    cluster_table,
    cluster_vectors,
    response_vectors,
    select_crux,
)
from chunkykit.types import Embedder

# The fields of a row in a file of failures, and their types.
FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "query": str,
    "response": str,
    "model": str,
    "rubric": str,
    "thinking": str,
    "reason": str,
    "score": (int, float),
    "attributes": list,
    "query_translation": str,
    "response_translation": str,
    "pair_query": str,
    "pair_response": str,
}
UNKNOWN = "unknown"
NO_CHUNK = "none"


def failures_from_run(run) -> Failures:
    """Load the failures of a run whose traces are done.

    Args:
        run: the open run folder.

    Returns:
        The failures with their clusters, traces and ablations.

    Raises:
        UserError: the run has no traces yet, or found no failure.
    """
    points = run.read("points")
    clusters = run.read("clusters")
    traces = run.read("traces")
    pairs = run.read("trace_pairs")
    if points.empty:
        raise UserError(f"run {run.folder}: it found no failure, so there is nothing to explore.")
    ablations = run.read("ablations") if run.has("ablations") else None
    views = trace_views(traces, run.read("trace_chunks"), run.read("trace_examples"), ablations)
    points = points.assign(
        id=exchange_ids(points),
        model=run.settings.target,
        trace=_traces_of_points(points, traces, pairs),
    )
    own_views = [views[int(i)] if pd.notna(i) else None for i in points["trace"]]
    points["crux"] = [[view["crux"]] if view and view["crux"] else [] for view in own_views]
    points["chunk"] = [
        view["chunks"][0]["chunk"] if view and view["chunks"] else NO_CHUNK for view in own_views
    ]
    return Failures(add_languages(points), cluster_names(clusters), views, run.caption)


def _traces_of_points(
    points: pd.DataFrame, traces: pd.DataFrame, pairs: pd.DataFrame
) -> list[int | None]:
    """The position of the trace that each exchange belongs to.

    An exchange that was not traced itself belongs to the first trace of its cluster and rubric.
    """
    exchanges = pairs.drop_duplicates(["query", "response"])
    own_trace = exchanges.set_index(["query", "response"])["trace"].to_dict()
    first_trace: dict[tuple, int] = {}
    for i, group in enumerate(zip(traces["cluster"], traces["rubric"])):
        first_trace.setdefault(group, i)
    return [
        own_trace.get((point.query, point.response), first_trace.get((point.cluster, point.rubric)))
        for point in points.itertuples()
    ]


async def failures_from_file(
    path: str | Path,
    embed: Embedder,
    rubrics: dict[str, str] | None = None,
    *,
    min_size: int = 8,
    seed: int = 0,
) -> Failures:
    """Describe and cluster the failing exchanges in a file.

    Args:
        path: a JSONL file. Each row has a query and a response, and may have model, score, rubric
            (or experiment), thinking, reason, attributes, query_translation,
            response_translation, pair_query and pair_response.
        embed: the embedder for the clusters.
        rubrics: for each rubric name in the file whose crux is to be marked, a shipped rubric or
            a YAML file.
        min_size: the smallest cluster, in exchanges.
        seed: the seed of the clusters and the map.

    Returns:
        The failures with their clusters and without traces.

    Raises:
        UserError: the file cannot be read, or has no rows; or a row is wrong, and the message
            names its line.
    """
    points = pd.DataFrame(list(_read_records(Path(path)))).dropna(axis=1, how="all")
    points = await _describe_points(points)
    attributes = list(points["response_attributes"])
    loaded = {name: load_rubric(source) for name, source in (rubrics or {}).items()}
    points["crux"] = [
        select_crux(sentences, loaded[name], embed) if name in loaded else []
        for sentences, name in zip(attributes, points["rubric"])
    ]
    vectors = response_vectors(list(points["response"]), attributes, embed)
    places = cluster_vectors(vectors, min_size=min_size, seed=seed)
    # A file without scores still needs the column, since the view filters by it.
    scores = pd.to_numeric(points["score"]) if "score" in points else np.nan
    points = pd.concat([points.assign(score=scores, id=exchange_ids(points)), places], axis=1)
    clusters = cluster_table(points, attributes)
    count = f"{len(points):,} failing exchanges, described offline"
    return Failures(
        add_languages(points),
        cluster_names(clusters),
        [],
        f"{Path(path).name} · {count} · seed {seed}",
    )


def _read_records(path: Path) -> Iterator[dict]:
    """Read and check the rows of a file of failures."""
    rows = 0
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for line, record in parse_jsonl(lines):
                rows += 1
                yield _checked_record(record, f"failures {path}: line {line}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"failures {path}: cannot be read ({error}).") from None
    if not rows:
        raise UserError(f"failures {path}: the file has no rows.")


def _checked_record(record: object, place: str) -> dict:
    """A row of a file with the fields of `FIELD_TYPES`; UserError that names a wrong one."""
    if not isinstance(record, dict):
        raise UserError(f"{place}: the row is not a JSON object.")
    fields = {key: record.get(key) for key in FIELD_TYPES}
    fields["rubric"] = record.get("rubric") or record.get("experiment")
    wrong = [
        key
        for key, kind in FIELD_TYPES.items()
        if fields[key] is not None and not isinstance(fields[key], kind)
    ]
    has_query = bool(str(fields["query"] or "").strip())
    if not wrong and (not has_query or fields["response"] is None):
        wrong = ["query or response"]
    if wrong:
        raise UserError(
            f"{place}: {wrong[0]} is missing or has the wrong type. Each row is a JSON object with "
            'texts "query" and "response"; "score" is a number, "attributes" a list.'
        )
    return {
        key: clean_text(value) if isinstance(value, str) else value for key, value in fields.items()
    }


async def _describe_points(points: pd.DataFrame) -> pd.DataFrame:
    """Add the attributes of both sides, and a name where the model or rubric is not known."""
    own_attributes: list[list[str]] = [[] for _ in range(len(points))]
    if "attributes" in points:
        own_attributes = [_clean_sentences(value) for value in points.pop("attributes")]
    for name in ("rubric", "model"):
        points[name] = points[name].fillna(UNKNOWN) if name in points else UNKNOWN
    # Attributes in the file describe the query only; the response is always described here.
    responses = await describe_lexically(list(points["response"]), "response")
    queries = await describe_lexically(list(points["query"]), "query")
    points["query_attributes"] = [
        own or described for own, described in zip(own_attributes, queries)
    ]
    points["response_attributes"] = responses
    return points


def _clean_sentences(value: list | None) -> list[str]:
    """The attribute sentences of a row; a missing value has none."""
    return [clean_text(str(sentence)) for sentence in value or ()]


def add_languages(points: pd.DataFrame) -> pd.DataFrame:
    """Add the language of each query, English where the detector is not sure.

    Args:
        points: one row per exchange, with a column query.

    Returns:
        The points with a column language.
    """
    return points.assign(
        language=[detect_language(query) or "English" for query in points["query"]]
    )


def trace_views(
    traces: pd.DataFrame,
    chunks: pd.DataFrame,
    examples: pd.DataFrame,
    ablations: pd.DataFrame | None = None,
) -> list[dict]:
    """Turn the tables of traces into what the view takes.

    Args:
        traces: one row per trace (`chunkykit.turf.trace_tables`).
        chunks: the chunks behind them, keyed by trace (`chunkykit.turf.trace_tables`).
        examples: their training rows, keyed by trace (`chunkykit.turf.examples_table`).
        ablations: the ablations of their chunks, if any.

    Returns:
        One JSON-ready dict per trace: its row, and chunks, examples and ablation (or None).
    """
    examples = _mark_examples(examples)
    views = []
    for i, trace in enumerate(traces.to_dict("records")):
        own_chunks = chunks[chunks["trace"] == i].to_dict("records")
        ablation = None
        if own_chunks and ablations is not None:
            ablation = _find_ablation(ablations, trace["rubric"], own_chunks[0]["chunk"])
        view = {
            **trace,
            "trigger": trace["trigger"] if isinstance(trace["trigger"], str) else None,
            "chunks": own_chunks,
            "examples": examples[examples["trace"] == i].to_dict("records"),
            "ablation": ablation,
        }
        views.append(json_ready(view))
    return views


def _mark_examples(examples: pd.DataFrame) -> pd.DataFrame:
    """Cut the texts of the examples, and mark the attributes that match the trace."""
    changed: dict[str, list] = {}
    for side, text in (("query", "prompt"), ("response", "response")):
        changed[f"{text}_marks"] = [
            attribute_places(sentence, side, whole[:MAX_TEXT])
            for sentence, whole in zip(examples[f"{side}_attribute"], examples[text])
        ]
        changed[text] = [cut_text(whole) for whole in examples[text]]
    return examples.assign(**changed)


def _find_ablation(ablations: pd.DataFrame, rubric: str, chunk: str) -> dict | None:
    """The ablation of a chunk for a rubric, None where there was none."""
    matching_rows = ablations[(ablations["rubric"] == rubric) & (ablations["chunk"] == chunk)]
    return matching_rows.iloc[0].to_dict() if len(matching_rows) else None

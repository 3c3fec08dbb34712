"""Load the failures of a run for the explorer."""

import pandas as pd

from chunkykit.attributes import SYSTEM_PROMPT, detect_language
from chunkykit.causal import split_chunks
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.provenance import system_prompts
from chunkykit.rubrics import exchange_ids
from chunkykit.show.explorer.failures import MAX_TEXT, Failures, cut_text
from chunkykit.show.marks import attribute_places
from chunkykit.turf import (
    cluster_names,
)

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
    examples = examples.assign(system=system_prompts(examples))
    changed: dict[str, list] = {}
    for text, side, described in (
        ("system", SYSTEM_PROMPT, "query_attribute"),
        ("prompt", "query", "query_attribute"),
        ("response", "response", "response_attribute"),
    ):
        changed[f"{text}_marks"] = [
            attribute_places(sentence, side, whole[:MAX_TEXT])
            for sentence, whole in zip(examples[described], examples[text])
        ]
        changed[text] = [cut_text(whole) for whole in examples[text]]
    return examples.assign(**changed)


def _find_ablation(ablations: pd.DataFrame, rubric: str, chunk: str) -> dict | None:
    """The ablation of a chunk for a rubric, the one with most chunks; None where there was none."""
    of_rubric = ablations[ablations["rubric"] == rubric].to_dict("records")
    matching = [row for row in of_rubric if chunk in {row["chunk"], *split_chunks(row["chunk"])}]
    return max(matching, key=lambda row: row["dropped"], default=None)

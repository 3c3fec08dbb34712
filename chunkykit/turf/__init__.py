"""TURF: from a failing exchange back to the training data (paper sec. 3)."""

from chunkykit.turf.clusters import (
    NOISE,
    cluster_table,
    cluster_vectors,
    label_clusters,
    response_vectors,
)
from chunkykit.turf.evidence import (
    chunk_features,
    crux_keywords,
    examples_table,
    trace_examples,
)
from chunkykit.turf.tracer import (
    MIN_LIFT,
    Trace,
    Tracer,
    chunk_shares,
    first_chunks,
    group_traces,
    llm_crux_judge,
    select_crux,
    trace_tables,
)

__all__ = [
    "MIN_LIFT",
    "NOISE",
    "Trace",
    "Tracer",
    "chunk_features",
    "chunk_shares",
    "cluster_table",
    "cluster_vectors",
    "crux_keywords",
    "examples_table",
    "first_chunks",
    "group_traces",
    "label_clusters",
    "llm_crux_judge",
    "response_vectors",
    "select_crux",
    "trace_examples",
    "trace_tables",
]

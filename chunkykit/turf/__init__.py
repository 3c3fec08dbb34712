"""TURF: from a failing exchange back to the training data (paper sec. 3)."""

from chunkykit.turf.candidates import MIN_LIFT
from chunkykit.turf.clusters import (
    NOISE,
    cluster_table,
    cluster_vectors,
    label_clusters,
    response_vectors,
)
from chunkykit.turf.crux import llm_crux_judge, select_crux, select_cruxes
from chunkykit.turf.evidence import (
    chunk_features,
    crux_keywords,
    examples_table,
    trace_examples,
)
from chunkykit.turf.exchanges import (
    DescribedExchange,
    Exchange,
    describe_exchanges,
    describe_with_models,
    screen_exchange,
)
from chunkykit.turf.retrieve import Evidence, retrieve_rows
from chunkykit.turf.trace import (
    Trace,
    chunk_shares,
    first_chunks,
    format_trace,
    group_traces,
    trace_tables,
)
from chunkykit.turf.tracer import Tracer

__all__ = [
    "DescribedExchange",
    "Evidence",
    "Exchange",
    "MIN_LIFT",
    "NOISE",
    "Trace",
    "Tracer",
    "chunk_features",
    "chunk_shares",
    "cluster_table",
    "cluster_vectors",
    "crux_keywords",
    "describe_exchanges",
    "describe_with_models",
    "examples_table",
    "first_chunks",
    "format_trace",
    "group_traces",
    "label_clusters",
    "llm_crux_judge",
    "response_vectors",
    "retrieve_rows",
    "screen_exchange",
    "select_crux",
    "select_cruxes",
    "trace_examples",
    "trace_tables",
]

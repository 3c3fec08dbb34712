"""TURF: from a failing exchange back to the training data (paper sec. 3)."""

from chunkykit.turf.association import correlations
from chunkykit.turf.candidates import MIN_LIFT
from chunkykit.turf.clusters import (
    NOISE,
    cluster_vectors,
    compile_umap,
    compiling_umap,
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
    describe_sides,
    describe_with_models,
    exchanges_of,
    screen_exchange,
)
from chunkykit.turf.graded import GradedSide, Grades
from chunkykit.turf.groups import group_traces
from chunkykit.turf.labels import (
    Meaning,
    cluster_names,
    cluster_table,
    label_clusters,
    write_labels,
)
from chunkykit.turf.prior import predict_features
from chunkykit.turf.retrieve import Evidence, retrieve_rows
from chunkykit.turf.trace import (
    Trace,
    chunk_shares,
    first_chunks,
    format_trace,
    trace_tables,
)
from chunkykit.turf.tracer import Tracer
from chunkykit.turf.verify import Verified, check_verification, verify_trace, verify_traces
from chunkykit.turf.wording import merge_traces, name_trace, same_traces, say_hits
from chunkykit.turf.written import Written, write_triggers, write_triggers_with_model

__all__ = [
    "DescribedExchange",
    "Evidence",
    "Exchange",
    "GradedSide",
    "Grades",
    "MIN_LIFT",
    "Meaning",
    "NOISE",
    "Trace",
    "Tracer",
    "Verified",
    "Written",
    "check_verification",
    "chunk_features",
    "chunk_shares",
    "cluster_names",
    "cluster_table",
    "cluster_vectors",
    "compile_umap",
    "compiling_umap",
    "correlations",
    "crux_keywords",
    "describe_exchanges",
    "describe_sides",
    "describe_with_models",
    "examples_table",
    "exchanges_of",
    "first_chunks",
    "format_trace",
    "group_traces",
    "label_clusters",
    "llm_crux_judge",
    "merge_traces",
    "name_trace",
    "predict_features",
    "response_vectors",
    "retrieve_rows",
    "same_traces",
    "say_hits",
    "screen_exchange",
    "select_crux",
    "select_cruxes",
    "trace_examples",
    "trace_tables",
    "verify_trace",
    "verify_traces",
    "write_labels",
    "write_triggers",
    "write_triggers_with_model",
]

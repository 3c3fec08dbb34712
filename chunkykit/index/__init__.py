"""The trace index: described, embedded and clustered training rows."""

from chunkykit.index.build import finish_index, index_from_attributes
from chunkykit.index.describing import build_described_index
from chunkykit.index.features import Features, common_features
from chunkykit.index.incidence import (
    SameMeaning,
    least_cosine,
    row_cosines,
    same_meaning,
    usual_cosine,
)
from chunkykit.index.naming import name_query_clusters
from chunkykit.index.place import building_folder
from chunkykit.index.preferences import scan_preferences
from chunkykit.index.reading import ShardReader
from chunkykit.index.scan import SCAN_COLUMNS, scan_index
from chunkykit.index.shards import (
    ROWS_PER_SHARD,
    SIDE_COLUMNS,
    count_texts,
    describe_shards,
    describe_texts,
    shard_files,
)
from chunkykit.index.store import (
    IndexSide,
    TraceIndex,
    count_cluster_rows,
    identify_index,
    open_trace_index,
    read_index_meta,
)

__all__ = [
    "SIDE_COLUMNS",
    "SameMeaning",
    "Features",
    "IndexSide",
    "ROWS_PER_SHARD",
    "SCAN_COLUMNS",
    "ShardReader",
    "TraceIndex",
    "build_described_index",
    "building_folder",
    "common_features",
    "count_cluster_rows",
    "count_texts",
    "describe_shards",
    "describe_texts",
    "finish_index",
    "identify_index",
    "index_from_attributes",
    "least_cosine",
    "name_query_clusters",
    "open_trace_index",
    "row_cosines",
    "same_meaning",
    "read_index_meta",
    "scan_index",
    "scan_preferences",
    "shard_files",
    "usual_cosine",
]

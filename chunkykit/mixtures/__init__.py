"""Post-training data as rows with a chunk: formats, sources, and the demo mixture."""

from chunkykit.mixtures.demo import (
    DEMO_ROWS,
    demo_probes,
    demo_rows,
    demo_true_premises,
    demo_truth,
    write_demo,
)
from chunkykit.mixtures.digests import identify_source
from chunkykit.mixtures.listing import (
    Sources,
    absolute_sources,
    list_sources,
    name_source,
    reaches_hub,
    source_paths,
)
from chunkykit.mixtures.mixture import (
    Mixture,
    chunk_advice,
    load_mixture,
    naming_note,
    read_batches,
    row_hashes,
)
from chunkykit.mixtures.parsing import parse_jsonl
from chunkykit.mixtures.sampling import Sample, sample_mixture
from chunkykit.mixtures.sources import locate_row, read_records
from chunkykit.mixtures.writing import OUT_TYPES, write_copies

__all__ = [
    "DEMO_ROWS",
    "Mixture",
    "OUT_TYPES",
    "Sample",
    "Sources",
    "absolute_sources",
    "chunk_advice",
    "demo_probes",
    "demo_rows",
    "demo_true_premises",
    "demo_truth",
    "identify_source",
    "list_sources",
    "load_mixture",
    "locate_row",
    "name_source",
    "naming_note",
    "parse_jsonl",
    "read_batches",
    "reaches_hub",
    "read_records",
    "row_hashes",
    "sample_mixture",
    "source_paths",
    "write_copies",
    "write_demo",
]

"""Post-training data as exchanges with a chunk: formats, sources, and the demo mixture."""

from chunkykit.mixtures.demo import (
    DEMO_ROWS,
    demo_bystanders,
    demo_probes,
    demo_rows,
    demo_true_premises,
    demo_truth,
    write_demo,
)
from chunkykit.mixtures.digests import identify_source
from chunkykit.mixtures.editing import Edit, mask_answer, rewrite_answer, switch_sides
from chunkykit.mixtures.exchanges import TURN_CHOICES, Answer, Exchange, answers, read_exchanges
from chunkykit.mixtures.formats import SCHEMAS, Readers
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
    size_text,
)
from chunkykit.mixtures.parsing import parse_jsonl
from chunkykit.mixtures.sampling import Sample, sample_mixture
from chunkykit.mixtures.sources import expect_rows, locate_row, plan_readings, read_records
from chunkykit.mixtures.turns import Turn, read_turns
from chunkykit.mixtures.writing import OUT_TYPES, failed_edits, write_copies

__all__ = [
    "Answer",
    "DEMO_ROWS",
    "Edit",
    "Exchange",
    "Mixture",
    "OUT_TYPES",
    "Readers",
    "SCHEMAS",
    "Sample",
    "Sources",
    "TURN_CHOICES",
    "Turn",
    "absolute_sources",
    "answers",
    "chunk_advice",
    "demo_bystanders",
    "demo_probes",
    "demo_rows",
    "demo_true_premises",
    "demo_truth",
    "expect_rows",
    "failed_edits",
    "identify_source",
    "list_sources",
    "load_mixture",
    "locate_row",
    "mask_answer",
    "name_source",
    "naming_note",
    "parse_jsonl",
    "reaches_hub",
    "plan_readings",
    "read_batches",
    "read_exchanges",
    "read_records",
    "read_turns",
    "rewrite_answer",
    "row_hashes",
    "sample_mixture",
    "size_text",
    "source_paths",
    "switch_sides",
    "write_copies",
    "write_demo",
]

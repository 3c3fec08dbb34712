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
from chunkykit.mixtures.exchanges import TURN_CHOICES, Answer, Exchange, answers, read_exchanges
from chunkykit.mixtures.formats import Readers
from chunkykit.mixtures.mixture import (
    Mixture,
    chunk_advice,
    load_mixture,
    read_batches,
    row_hashes,
)
from chunkykit.mixtures.sources import HUB, parse_jsonl, read_records
from chunkykit.mixtures.turns import Turn, read_turns
from chunkykit.mixtures.writing import OUT_TYPES, write_copies

__all__ = [
    "Answer",
    "DEMO_ROWS",
    "Exchange",
    "HUB",
    "Mixture",
    "OUT_TYPES",
    "Readers",
    "TURN_CHOICES",
    "Turn",
    "answers",
    "chunk_advice",
    "demo_probes",
    "demo_rows",
    "demo_true_premises",
    "demo_truth",
    "identify_source",
    "load_mixture",
    "parse_jsonl",
    "read_batches",
    "read_exchanges",
    "read_records",
    "read_turns",
    "row_hashes",
    "write_copies",
    "write_demo",
]

"""Post-training data as rows with a chunk: formats, sources, and the demo mixture."""

from chunkykit.mixtures.demo import (
    DEMO_ROWS,
    demo_probes,
    demo_rows,
    demo_true_premises,
    demo_truth,
    write_demo,
)
from chunkykit.mixtures.mixture import Mixture, load_mixture, read_batches
from chunkykit.mixtures.sources import parse_jsonl, read_records

__all__ = [
    "DEMO_ROWS",
    "Mixture",
    "demo_probes",
    "demo_rows",
    "demo_true_premises",
    "demo_truth",
    "load_mixture",
    "parse_jsonl",
    "read_batches",
    "read_records",
    "write_demo",
]

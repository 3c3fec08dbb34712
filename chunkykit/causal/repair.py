"""From a trace to a repaired mixture: which rows to drop or to repeat, and the mixture rewritten.

A trace is co-occurrence. Whether a repair works is for a retraining to show (`causal.ablate`,
notebook 05).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import json_ready, replacing, writable, write_json
from chunkykit.mixtures import read_records
from chunkykit.turf import Tracer

LIKELY = 0.5  # probability from which a row counts as one with a trigger
MAX_CRUX_SHARE = 0.2  # share of the rows with a trigger that may show the crux after balancing
MAX_REPEATS = 20  # copies of one row that balancing adds
ROWS_PER_GROUP = 10_000  # records per row group of a Parquet file


@dataclass(frozen=True)
class Repair:
    """What to change in a mixture.

    Attributes:
        drop: positions in the index of the rows to leave out.
        repeat: positions of the rows to repeat, each as often as it is listed.
        report: crux, trigger, chunk, number of rows, P(crux | trigger) before and after, where the
            balancing rows are and how many are missing.
    """

    drop: np.ndarray
    repeat: np.ndarray
    report: dict


def plan_repair(tracer: Tracer, crux: str, trigger: str, chunk: str, how: str = "drop") -> Repair:
    """Plan the repair of one trace.

    Args:
        tracer: tracer of the mixture's index.
        crux: the trace's crux, an attribute sentence.
        trigger: the trace's trigger, an attribute sentence.
        chunk: the traced chunk.
        how: "drop" leaves out the rows of the chunk that have both trigger and crux. "balance"
            repeats rows of any chunk that have the trigger and not the crux, until at most
            MAX_CRUX_SHARE of the rows with the trigger show the crux. Each is repeated at most
            MAX_REPEATS times; the report says how many rows are then missing.

    Returns:
        The plan.

    Raises:
        UserError: if the index has no such chunk.
    """
    index = tracer.index
    _check_chunk(chunk, index.chunk.categories)
    has_both = tracer.likely_both(trigger, crux)  # (n_rows,)
    has_trigger = (tracer.carries(trigger) >= LIKELY) | has_both
    both = np.flatnonzero(has_both)
    balancing = np.flatnonzero(has_trigger & ~has_both)
    drop = both[:0]
    repeats = balancing[:0]
    n_missing = 0
    if how == "drop":
        drop = both[index.chunk[both] == chunk]
    else:
        repeats, n_missing = _balance(balancing, len(both))
    n_before = int(has_trigger.sum())  # rows with the trigger
    n_after = n_before - len(drop) + len(repeats)
    report = {
        "how": how,
        "crux": crux,
        "trigger": trigger,
        "chunk": chunk,
        "rows": len(index),
        "dropped": len(drop),
        "repeated": len(repeats),
        "still_wanting": n_missing,
        "p_crux_given_trigger_before": len(both) / max(1, n_before),
        "p_crux_given_trigger_after": (len(both) - len(drop)) / max(1, n_after),
        "balancing_rows": _rows_per_chunk(index.chunk[balancing]),
    }
    return Repair(drop, repeats, report)


def _check_chunk(chunk: str, names: Iterable[str]) -> None:
    if chunk not in names:
        raise UserError(f"repair: no chunk '{chunk}' in the index; it has {', '.join(names)}.")


def _rows_per_chunk(chunks: pd.Categorical) -> dict:
    counts = chunks.value_counts()
    return counts[counts > 0].to_dict()


def _balance(balancing: np.ndarray, n_both: int) -> tuple[np.ndarray, int]:
    """The balancing rows to repeat beside n_both rows with the crux, and how many are missing."""
    n_needed = int(np.ceil(n_both / MAX_CRUX_SHARE))  # rows with the trigger
    n_wanted = max(0, n_needed - n_both - len(balancing))
    repeats = np.tile(balancing, MAX_REPEATS)[:n_wanted]
    return repeats, n_wanted - len(repeats)


def repaired_rows(rows: pd.DataFrame, plan: Repair) -> pd.DataFrame:
    """Apply a repair to the rows of an index.

    Args:
        rows: the rows, in the order of the index.
        plan: from `plan_repair` on the same index.

    Returns:
        The rows that stay, in their order, then the repeated ones, renumbered from 0.
    """
    remaining = np.setdiff1d(np.arange(len(rows)), plan.drop)
    positions = np.concatenate([remaining, plan.repeat]).astype(int)
    return rows.iloc[positions].reset_index(drop=True)


def write_repaired(tracer: Tracer, plan: Repair, source, out, **options) -> dict:
    """Write the repaired mixture, record by record as its source has it, with a report beside it.

    A repeated row follows its original. Records that cannot be read are left out and counted.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `plan_repair`.
        source: the mixture that the index was made from, a file, folder or data set.
        out: .jsonl or .parquet file to write. The report gets the suffix .report.json.
        **options: how to read the source, as in `mixtures.read_records`.

    Returns:
        The report: the plan's, with the counts read, unreadable and written.

    Raises:
        UserError: if `out` has another suffix, is the source itself or cannot be written, or if
            the index was made from another mixture.
    """
    out = Path(out)
    if out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"repair: --out {out} must end in .jsonl or .parquet.")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise UserError(f"repair: --out {out} is the mixture itself. Choose another --out.")
    counts = Counter(read=0, unreadable=0, written=0)
    row_numbers = tracer.index.table["row"].to_numpy()
    records = _repaired_records(row_numbers, plan, source, options, counts)
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as part:
            if out.suffix == ".parquet":
                _write_parquet(part, records)
            else:
                _write_jsonl(part, records)
        paths = {"mixture": Path(source).name, "out": str(out)}
        report = json_ready({**plan.report, **counts, **paths})
        write_json(out.with_suffix(".report.json"), report)
    return report


def _repaired_records(
    row_numbers: np.ndarray, plan: Repair, source, options: dict, counts: Counter
) -> Iterator[dict]:
    """The records to write, counted in `counts` as they pass."""
    # a plan has positions in the index, a source has row numbers: unreadable rows have no position
    dropped = set(row_numbers[plan.drop].tolist())
    repeats = Counter(row_numbers[plan.repeat].tolist())
    last_row = int(row_numbers.max())
    for number, record in read_records(source, **options):
        counts["read"] = number
        if isinstance(record, Exception):
            counts["unreadable"] += 1
        elif number not in dropped:
            copies = 1 + repeats[number]
            counts["written"] += copies
            yield from repeat(record, copies)
    if counts["read"] < last_row:
        raise UserError(
            f"repair: {source} ends at row {counts['read']}, but the index has row {last_row}: "
            "it was made from another mixture. Give the mixture that the index was made from."
        )


def _write_jsonl(path: Path, records: Iterator[dict]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def _write_parquet(path: Path, records: Iterator[dict]) -> None:
    """Write records group by group, all with the schema of the first group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        first = pa.Table.from_pylist(list(islice(records, ROWS_PER_GROUP)))
        with pq.ParquetWriter(path, first.schema) as file:
            file.write_table(first)
            while group := list(islice(records, ROWS_PER_GROUP)):
                file.write_table(pa.Table.from_pylist(group, first.schema))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"repair: the records do not fit one Parquet schema ({error}). "
            "Choose an --out that ends in .jsonl."
        ) from None

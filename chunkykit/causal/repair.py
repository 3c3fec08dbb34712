"""From a trace to a repaired mixture: which rows to drop or to repeat, and the mixture rewritten.

A trace is co-occurrence. Whether a repair works is for a retraining to show (`causal.ablate`,
notebook 05).
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from chunkykit.errors import UserError
from chunkykit.files import replacing, writable, write_json
from chunkykit.mixtures import (
    OUT_TYPES,
    Sources,
    identify_source,
    locate_row,
    name_source,
    read_batches,
    row_hashes,
    source_paths,
    write_copies,
)
from chunkykit.text import inert_text
from chunkykit.turf import Tracer

LIKELY = 0.5  # probability from which a row counts as one with a trigger
MAX_CRUX_SHARE = 0.2  # share of the rows with a trigger that may show the crux after balancing
MAX_REPEATS = 20  # copies of one row that balancing adds
ROWS_PER_PART = 10_000  # rows in memory at a time while mixture and index are compared
SHOWN = 60  # characters of a row that differs
SOURCE_FIX = "Give the mixture that the index was made from, or build the index again."
PARTIAL_FIX = (
    "Build an index of all rows, or add --partial (in Python partial=True) to leave the others as "
    "they are."
)


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


def check_whole(meta: Mapping[str, Any], partial: bool = False) -> None:
    """Refuse an index that says that it was made from a part of its mixture.

    Args:
        meta: what the index remembers.
        partial: whether that is meant.

    Raises:
        UserError: it was, and that is not meant.
    """
    read = (meta.get("source") or {}).get("read")
    if read is not None and read > meta["rows"] and not partial:
        raise UserError(
            f"repair: the index was made from {meta['rows']:,} of {read:,} rows, so it knows "
            f"nothing of the others. {PARTIAL_FIX}"
        )


def write_repaired(
    tracer: Tracer, plan: Repair, source: Sources, out, *, partial: bool = False, **options
) -> dict:
    """Write the repaired mixture, each record as its source has it, with a report beside it.

    A repeated row follows its original. Records that cannot be read are left out and counted.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `plan_repair`.
        source: the mixture that the index was made from, as of `mixtures.load_mixture`.
        out: .jsonl or .parquet file to write. The report gets the suffix .report.json.
        partial: whether the mixture may have rows that the index never saw. They stay as they are.
        **options: how to read the source, as in `mixtures.read_batches`.

    Returns:
        The report: the plan's, with the counts read, unreadable, unseen and written, and whether
        the files of the mixture are those that the index was made from (None: it does not say).

    Raises:
        UserError: if `out` has another suffix, is a file of the source or cannot be written, or if
            the index was made from other rows. The message names the first row that differs.
    """
    out = Path(out)
    _check_out(out, source)
    meta = tracer.index.meta
    check_whole(meta, partial)
    made_from = meta.get("source") or {}
    options = {
        "seed": meta.get("seed", 0),
        "chunk": made_from.get("chunk"),
        "turns": made_from.get("turns", "first"),  # older versions read the first answer
        **options,
    }
    counts, unreadable = _compare_rows(tracer, source, partial, options)
    copies = _count_copies(tracer, plan, unreadable, counts)
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as part:
            write_copies(source, part, out.suffix, copies, **options)
    counts["written"] = counts["read"] + sum(n - 1 for n in copies.values())
    digest = identify_source(source)
    known = digest and made_from.get("digest")
    same = {"same_files": digest == known if known else None}
    report = {**plan.report, **counts, **same, "mixture": name_source(source), "out": str(out)}
    with writable(out):
        return write_json(out.with_suffix(".report.json"), report)


def _count_copies(
    tracer: Tracer, plan: Repair, unreadable: list[int], counts: dict[str, int]
) -> dict[int, int]:
    """How often each record is to be written, where that is not once.

    A plan has positions in the index, and a source has row numbers. A row is dropped as a whole:
    the count `dropped_with_them` is of its other exchanges.
    """
    row_numbers = tracer.index.table["row"].to_numpy()
    dropped = np.unique(row_numbers[plan.drop])
    counts["dropped_with_them"] = int(np.isin(row_numbers, dropped).sum()) - len(plan.drop)
    copies = dict.fromkeys([*unreadable, *dropped.tolist()], 0)
    for number, more in Counter(row_numbers[plan.repeat].tolist()).items():
        copies[number] = 1 + more
    return copies


def _check_out(out: Path, source: Sources) -> None:
    """Raise UserError for a file that would be of another type, or would change the source."""
    if out.suffix not in OUT_TYPES:
        raise UserError(f"repair: --out {out} must end in {' or '.join(OUT_TYPES)}.")
    for text in source_paths(source):
        path = Path(text)
        if fnmatch(os.path.abspath(out), os.path.abspath(text)) and not path.exists():
            raise UserError(f"repair: --out {out} matches {text}. Choose another --out.")
        if out.exists() and path.exists() and out.samefile(path):
            raise UserError(f"repair: --out {out} is the mixture itself. Choose another --out.")
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise UserError(
                f"repair: --out {out} is in the mixture's folder. Choose another --out."
            )


def _compare_rows(
    tracer: Tracer, source: Sources, partial: bool, options: dict
) -> tuple[dict[str, int], list[int]]:
    """Compare the rows of a mixture with those of the index.

    Returns:
        The counts read, unreadable and unseen, and the numbers of the unreadable records.

    Raises:
        UserError: they are other rows.
    """
    table = tracer.index.table.select(["row", "turn", "prompt", "response"])
    parts = (pa.Table.from_batches([part]).to_pandas() for part in table.to_batches(ROWS_PER_PART))
    hashes = np.concatenate([row_hashes(part) for part in parts])
    positions = pd.MultiIndex.from_arrays([table["row"].to_numpy(), table["turn"].to_numpy()])
    if not positions.is_unique:
        raise UserError("repair: rows of the index share a number. Build it from one mixture.")
    is_seen = np.zeros(len(positions), bool)
    counts = Counter(read=0, unreadable=0, unseen=0)
    unreadable: list[int] = []
    for part in read_batches(source, ROWS_PER_PART, **options):
        position = positions.get_indexer(pd.MultiIndex.from_frame(part.rows[["row", "turn"]]))
        is_known = position >= 0
        differs = is_known & (hashes[position] != row_hashes(part.rows))
        if differs.any():
            own = tracer.index.rows(position[differs][:1]).iloc[0]
            row = int(own["row"])
            place = locate_row(source, row, **options)
            _refuse_row(place, row, part.rows[differs].iloc[0]["prompt"], own["prompt"])
        is_seen[position[is_known]] = True
        counts["unseen"] += int((~is_known).sum())
        numbers = [*part.rows["row"], *part.skipped["row"]]
        counts["read"] += len(set(numbers))
        unreadable += part.unreadable
    counts["unreadable"] = len(unreadable)
    if not is_seen.all():
        row = table["row"].to_numpy()[~is_seen][0]
        raise UserError(
            f"repair: {name_source(source)} has no usable row {row}, and the index has: it was "
            f"made from another mixture. {SOURCE_FIX}"
        )
    if counts["unseen"] and not partial:
        raise UserError(
            f"repair: {name_source(source)} has {counts['unseen']:,} rows that the index never "
            f"saw. {PARTIAL_FIX}"
        )
    return dict(counts), unreadable


def _refuse_row(place: str, row: int, now: str, then: str) -> None:
    raise UserError(
        inert_text(
            f"repair: {place} is not the row {row} that the index was made from "
            f"(prompt {now[:SHOWN]!r}, in the index {then[:SHOWN]!r}). {SOURCE_FIX}"
        )
    )

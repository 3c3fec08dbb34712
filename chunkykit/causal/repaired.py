"""The repaired mixture as a file: checked against the index, edited and written, with a report."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from chunkykit.causal.repair import Repair
from chunkykit.errors import UserError
from chunkykit.files import replacing, writable, write_json
from chunkykit.mixtures import (
    OUT_TYPES,
    Edit,
    Sources,
    failed_edits,
    identify_source,
    locate_row,
    mask_answer,
    name_source,
    read_batches,
    rewrite_answer,
    row_hashes,
    source_paths,
    switch_sides,
    write_copies,
)
from chunkykit.text import inert_text
from chunkykit.turf import Tracer

ROWS_PER_PART = 10_000  # rows in memory at a time while mixture and index are compared
SHOWN = 60  # characters of a row that differs
PLACEHOLDER = "A response."  # whether an answer can be written anew is tried with this
SOURCE_FIX = "Give the mixture that the index was made from, or build the index again."
PARTIAL_FIX = (
    "Build an index of all rows, or add --partial (in Python partial=True) to leave the others as "
    "they are."
)
# What the report calls rows that cannot be edited.
FAILED = {"switch": "without_pair", "mask": "dropped_instead", "rewrite": "not_rewritable"}


class Comparison(NamedTuple):
    """A mixture that has the rows of an index.

    Attributes:
        counts: the records read, unreadable and unseen.
        unreadable: numbers of the records that cannot be read.
        options: how the mixture is read.
    """

    counts: dict[str, int]
    unreadable: list[int]
    options: dict[str, Any]


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
        plan: from `plan_repair`; one that rewrites needs the new texts, of `rewrite_responses`.
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
    if plan.report["how"] == "rewrite" and not set(plan.change.tolist()) <= plan.texts.keys():
        raise UserError("repair: the responses have not been written anew (rewrite_responses).")
    check_out(out, source)
    comparison = compare_source(tracer, source, partial, **options)
    plan = keep_editable(tracer, plan, source, comparison)
    return write_plan(tracer, plan, source, comparison, out)


def keep_editable(tracer: Tracer, plan: Repair, source: Sources, comparison: Comparison) -> Repair:
    """Take out of a plan what the format of a record does not allow.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `plan_repair`.
        source: the mixture.
        comparison: from `compare_source`.

    Returns:
        The plan. A row whose answer cannot be masked is left out of the mixture. Others that
        cannot be edited stay as they are. The report counts both.
    """
    if not len(plan.change):
        return plan
    how = plan.report["how"]
    edits = _edits(tracer, plan)
    failures = failed_edits(source, edits, **comparison.options)
    if how == "mask" and comparison.options["turns"] != "all":
        failures = dict.fromkeys(edits, "one answer of each row is trained on")
    row_numbers = tracer.index.table["row"].to_numpy()
    has_failed = np.isin(row_numbers[plan.change], list(failures))
    failed = plan.change[has_failed]
    change = plan.change[~has_failed]
    report = plan.report | {
        "changed": len(change),
        FAILED[how]: plan.report.get(FAILED[how], 0) + len(failed),
    }
    if how == "switch":
        n_left = report["rows_with_both"] - len(change)
        report["p_crux_given_trigger_after"] = n_left / max(1, report["rows_with_trigger"])
    if failures:
        report[f"{FAILED[how]}_because"] = next(iter(failures.values()))
    drop = plan.drop
    if how == "mask":
        drop = np.union1d(drop, failed)
        report["dropped"] = len(drop)
    return replace(plan, change=change, drop=drop, report=report)


def write_plan(
    tracer: Tracer, plan: Repair, source: Sources, comparison: Comparison, out: Path | str
) -> dict:
    """Write a mixture as a plan says whose edits are known not to fail.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `keep_editable`.
        source: the mixture.
        comparison: from `compare_source`.
        out: as of `write_repaired`.

    Returns:
        The report, as `write_repaired` has it.

    Raises:
        UserError: `out` cannot be written.
    """
    out = Path(out)
    counts = dict(comparison.counts)
    copies = _count_copies(tracer, plan, comparison.unreadable, counts)
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as part:
            edits = _edits(tracer, plan)
            write_copies(source, part, out.suffix, copies, edits, **comparison.options)
    counts["written"] = counts["read"] + sum(n - 1 for n in copies.values())
    digest = identify_source(source)
    made_from = tracer.index.meta.get("source") or {}
    known = digest and made_from.get("digest")
    same = {"same_files": digest == known if known else None}
    report = {**plan.report, **counts, **same, "mixture": name_source(source), "out": str(out)}
    with writable(out):
        return write_json(out.with_suffix(".report.json"), report)


def _edits(tracer: Tracer, plan: Repair) -> dict[int, Edit]:
    """The edits of a plan by number of the record, of which several answers may be edited."""
    how = plan.report["how"]
    table = tracer.index.table
    row_numbers = table["row"].to_numpy()
    turns = table["turn"].to_numpy()
    answers: dict[int, dict[int, str]] = defaultdict(dict)
    for position in plan.change.tolist():
        text = plan.texts.get(position, PLACEHOLDER)
        answers[int(row_numbers[position])][int(turns[position])] = text
    return {number: partial(_edit, how, texts) for number, texts in answers.items()}


def _edit(how: str, texts: Mapping[int, str], record: dict, columns: Mapping[str, str]) -> dict:
    """Edit the answers of a record: number of the answer to its new text."""
    if how == "switch":
        return switch_sides(record, columns)
    for turn, text in texts.items():
        if how == "mask":
            record = mask_answer(record, turn, columns)
        else:
            record = rewrite_answer(record, turn, text, columns)
    return record


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


def check_out(out: Path | str, source: Sources) -> None:
    """Check where a repaired mixture is to be written.

    Args:
        out: the file.
        source: the mixture.

    Raises:
        UserError: it would be of another type, or would change the source.
    """
    out = Path(out)
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


def compare_source(
    tracer: Tracer, source: Sources, partial: bool = False, **options: Any
) -> Comparison:
    """Compare the rows of a mixture with those of an index.

    Args:
        tracer: of the index.
        source: the mixture.
        partial: whether the mixture may have rows that the index never saw.
        **options: how to read the source, where that is not how it was read for the index.

    Returns:
        What was read.

    Raises:
        UserError: they are other rows. The message names the first one.
    """
    meta = tracer.index.meta
    check_whole(meta, partial)
    made_from = meta.get("source") or {}
    options = {
        "seed": meta.get("seed", 0),
        "chunk": made_from.get("chunk"),
        "turns": made_from.get("turns", "first"),  # older versions read the first answer
        **options,
    }
    counts, unreadable = _compare_rows(tracer, source, options)
    if counts["unseen"] and not partial:
        raise UserError(
            f"repair: {name_source(source)} has {counts['unseen']:,} rows that the index never "
            f"saw. {PARTIAL_FIX}"
        )
    return Comparison(counts, unreadable, options)


def _compare_rows(
    tracer: Tracer, source: Sources, options: dict
) -> tuple[dict[str, int], list[int]]:
    """Compare row by row.

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
    return dict(counts), unreadable


def _refuse_row(place: str, row: int, now: str, then: str) -> None:
    raise UserError(
        inert_text(
            f"repair: {place} is not the row {row} that the index was made from "
            f"(prompt {now[:SHOWN]!r}, in the index {then[:SHOWN]!r}). {SOURCE_FIX}"
        )
    )

"""From a trace to a mended mixture: rows to drop, or rows that balance them, and the mixture written anew.

A trace is co-occurrence: whether the mend holds is for a retraining to say (`ablate`, notebook 05)."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import json_ready, writable, write_json
from chunkykit.mixtures import read_records
from chunkykit.turf import Tracer

MAX_CRUX_SHARE = (
    0.2  # of the rows with a trigger, those that may show the behaviour after balancing
)
MAX_REPEATS = 20  # that a row is repeated at most


@dataclass(frozen=True)
class Repair:
    """What to do to a mixture; positions in the index."""

    drop: np.ndarray  # rows to leave out
    again: np.ndarray  # rows to repeat, each as often as it stands here
    report: dict  # crux, trigger, rows, P(crux | trigger) before and after, where balancing rows are and how many are wanting


def plan_repair(
    tracer: Tracer, crux: str, trigger_cluster: int, chunk: str, how: str = "drop"
) -> Repair:
    """The mend of one trace.

    how: "drop" leaves out the rows of the chunk that have trigger and crux; "balance" repeats rows that
    have the trigger and not the crux, wherever they are, until at most SHARE of the rows with the trigger show the crux. A row is
    repeated at most TIMES times; how many rows are still wanting then, to be written or found, is in the report."""
    index, carries = tracer.index, tracer.link(crux, trigger_cluster).carries
    shows = tracer.side.carry(tracer.evidence(crux).near)
    both, against = np.flatnonzero(shows & carries), np.flatnonzero(carries & ~shows)
    if chunk not in index.chunk.categories:
        raise UserError(
            f"mend: no chunk '{chunk}' in the index; it has {', '.join(index.chunk.categories)}."
        )
    drop = both[index.chunk[both] == chunk] if how == "drop" else both[:0]
    wanted = (
        0
        if how == "drop"
        else max(0, int(np.ceil(len(both) / MAX_CRUX_SHARE)) - len(both) - len(against))
    )
    again = np.tile(against, MAX_REPEATS)[:wanted]
    kept, carried = len(both) - len(drop), int(carries.sum()) - len(drop) + len(again)
    return Repair(
        drop,
        again,
        {
            "how": how,
            "crux": crux,
            "trigger": index.query.summaries[trigger_cluster],
            "chunk": chunk,
            "rows": len(index),
            "dropped": len(drop),
            "repeated": len(again),
            "still_wanting": wanted - len(again),
            "p_crux_given_trigger_before": len(both) / max(1, int(carries.sum())),
            "p_crux_given_trigger_after": kept / max(1, carried),
            "balancing_rows": index.chunk[against].value_counts().loc[lambda n: n > 0].to_dict(),
        },
    )


def repaired_rows(rows: pd.DataFrame, mend: Repair) -> pd.DataFrame:
    """The rows of an index, in its order, after a mend."""
    return rows.iloc[
        np.concatenate([np.setdiff1d(np.arange(len(rows)), mend.drop), mend.again]).astype(int)
    ].reset_index(drop=True)


def write_repaired(tracer: Tracer, mend: Repair, source, out, **how) -> dict:
    """Write the mended mixture, record by record as the source has them (`how`: as of `mixture.batches`), to a .jsonl or .parquet file,
    and its report beside it; returns the report. A repeated row stands beside itself; lines that could not be read are left out and counted.

    Raises UserError where the index was made from another mixture."""
    out = Path(out)
    if out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"mend: --out {out} must end in .jsonl or .parquet.")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise UserError(f"mend: --out {out} is the mixture itself. Choose another --out.")
    numbers = tracer.index.table["row"].to_numpy()
    drop, again, last = (
        set(numbers[mend.drop].tolist()),
        Counter(numbers[mend.again].tolist()),
        int(numbers.max()),
    )
    counts = Counter(read=0, unreadable=0, written=0)

    def records():
        for number, record in read_records(source, **how):
            counts["read"] = number
            counts["unreadable"] += (bad := isinstance(record, Exception))
            if not bad and number not in drop:
                counts["written"] += (times := 1 + again[number])
                yield from repeat(record, times)
        if counts["read"] < last:
            raise UserError(
                f"mend: {source} ends at row {counts['read']}, the index knows row {last}: it was made from another mixture."
            )

    part = out.with_suffix(f".{os.getpid()}.part")
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            (_parquet if out.suffix == ".parquet" else _jsonl)(part, records())
            os.replace(part, out)
        finally:
            part.unlink(missing_ok=True)
        report = json_ready(
            {**mend.report, **counts, "mixture": Path(source).name, "out": str(out)}
        )
        write_json(out.with_suffix(".report.json"), report)
    return report


def _jsonl(path: Path, records) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(
            json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records
        )


def _parquet(path: Path, records) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = iter(lambda: list(islice(records, 10_000)), [])
    first = pa.Table.from_pylist(next(parts))
    try:
        with pq.ParquetWriter(path, first.schema) as file:
            for table in chain(
                [first], (pa.Table.from_pylist(part, first.schema) for part in parts)
            ):
                file.write_table(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"mend: the records do not fit one Parquet schema ({error}). Choose an --out that ends in .jsonl."
        ) from None

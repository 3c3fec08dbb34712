"""Scores for Inspect: the file that its scorer `precomputed_scores` reads."""

import json
from pathlib import Path

import pandas as pd

from chunkykit.files import json_ready, writable, write_text
from chunkykit.lab import RunFolder
from chunkykit.results.gather import failure_table, judged_exchanges
from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.show.explorer import Failures

CORRECT, INCORRECT = "C", "I"  # Inspect's letters
METADATA_COLUMNS = (
    "rubric",
    "score",
    "turn",
    "cluster",
    "trigger",
    "crux",
    "chunk",
    "lift",
    "explanation",
)


def write_inspect_scores(path: Path, failures: Failures, run: RunFolder | None) -> tuple[int, str]:
    """Write scores that Inspect adds to a log.

    Args:
        path: the JSONL file.
        failures: the failures.
        run: the run that they are from, whose other judged exchanges are written, too; None for
            those of a log, which are written by sample and epoch.

    Returns:
        The number of records, and how to use the file.

    Raises:
        UserError: the file cannot be written.
    """
    table = failure_table(failures)
    if run is None:
        records = _records_of_log(table)
        usage = "inspect score LOG --scorer inspect_ai/precomputed_scores -S scores=FILE"
    else:
        records = _records_of_run(table, judged_exchanges(run))
        usage = "the ids are those of the run's exchanges, as in --to datasets"
    lines = [json.dumps(json_ready(record), ensure_ascii=False) + "\n" for record in records]
    with writable(path):
        write_text(path, "".join(lines))
    return len(records), usage


def _records_of_log(table: pd.DataFrame) -> list[dict]:
    """One record per sample and epoch: a sample may fail in several turns."""
    records: dict[tuple, dict] = {}
    for row in table.to_dict("records"):
        key = (row["sample"], row.get("epoch"))
        record = records.setdefault(key, _record(row["sample"], INCORRECT))
        if pd.notna(row.get("epoch")):
            record["epoch"] = int(row["epoch"])
        record["metadata"]["failures"].append(known_of(row))
        reasons = [record.get("explanation"), row.get("reason"), row.get("explanation")]
        texts = [text for text in reasons if isinstance(text, str) and text]
        record["explanation"] = "\n".join(dict.fromkeys(texts)) or None
        record["answer"] = row["response"]
    return list(records.values())


def _records_of_run(table: pd.DataFrame, exchanges: pd.DataFrame) -> list[dict]:
    traced = {row["id"]: row for row in table.to_dict("records")}
    records = []
    for row in exchanges.to_dict("records"):
        letter = letter_of(row["score"])
        record = _record(row["id"], letter)
        known = [known_of(traced.get(row["id"], row))]
        record["metadata"]["failures"] = known if letter == INCORRECT else []
        record["metadata"]["score"] = row["score"]
        record["explanation"] = row["reason"]
        record["answer"] = row["response"]
        records.append(record)
    return records


def _record(name: str, value: str) -> dict:
    return {"id": name, "value": value, "metadata": {"scored_by": "chunkykit", "failures": []}}


def letter_of(score: float) -> str:
    """Say a judge's score as Inspect's letter.

    Args:
        score: from 0 to 100.

    Returns:
        "I" for a violation, else "C".
    """
    return INCORRECT if score > VIOLATION_THRESHOLD else CORRECT


def known_of(row: dict) -> dict:
    """Pick what is known of a failure and fits into the metadata of a score.

    Args:
        row: of `failure_table`.

    Returns:
        Value by name.
    """
    values = {name: row.get(name) for name in METADATA_COLUMNS}
    return {name: value for name, value in values.items() if not pd.isna(value)}

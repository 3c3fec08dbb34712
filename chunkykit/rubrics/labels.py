"""Labels: what people say of exchanges, kept as `labels.csv` in a run folder.

The file is the CSV of other tools, `id,target,split`, with three columns more. An id is made of the
exchange itself, so labels stay true of a run that is done again, and can be taken from one folder
to another.
"""

import csv
import getpass
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import filelock
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import regular_file, replacing, writable
from chunkykit.text import clean_text, inert_cell

LABELS_FILE = "labels.csv"
LABEL_COLUMNS = ["id", "target", "split", "labeller", "note", "drawn"]
HOLDS, DOES_NOT_HOLD, UNSURE = "true", "false", "unsure"
# What a file may say for each target, in small letters.
TARGETS = {
    **dict.fromkeys(["true", "yes", "y", "1", "1.0"], HOLDS),
    **dict.fromkeys(["false", "no", "n", "0", "0.0"], DOES_NOT_HOLD),
    **dict.fromkeys(["unsure", "?", ""], UNSURE),
}
SPLITS = ("dev", "test")  # one to choose a threshold on, one to test it on
RANDOM = "random"  # drawn: the exchange came from a random sample, and nobody chose it
ID_DIGITS = 16  # hexadecimal
MAX_NOTE = 2000  # characters
MAX_FILE_BYTES = 100_000_000


def exchange_ids(exchanges: pd.DataFrame) -> list[str]:
    """Make the ids of exchanges.

    Args:
        exchanges: with columns rubric, query and response.

    Returns:
        For each the first digits of a hash of these three.
    """
    texts = zip(exchanges["rubric"], exchanges["query"], exchanges["response"], strict=True)
    contents = (json.dumps([str(text) for text in exchange]) for exchange in texts)
    return [hashlib.sha256(content.encode()).hexdigest()[:ID_DIGITS] for content in contents]


def split_of(exchange_id: str) -> str:
    """Draw the split of an exchange by its id, so that it is the same for everybody.

    Args:
        exchange_id: the id.

    Returns:
        One of SPLITS.
    """
    return SPLITS[hashlib.sha256(exchange_id.encode()).digest()[0] % 2]


def current_labeller() -> str:
    """Name who labels: the user of this machine.

    Returns:
        The name, "somebody" where the system knows none.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # the last on Windows
        return "somebody"


def read_labels(folder: Path) -> pd.DataFrame:
    """Read the labels of a run.

    Args:
        folder: the run folder.

    Returns:
        One row per exchange and person (LABEL_COLUMNS), all of them texts; none where nobody
        labelled.

    Raises:
        UserError: the file cannot be read, or a row is wrong.
    """
    path = folder / LABELS_FILE
    return parse_labels(path) if path.exists() else pd.DataFrame(columns=LABEL_COLUMNS, dtype=str)


def save_labels(folder: Path, labels: pd.DataFrame) -> pd.DataFrame:
    """Add labels to those of a run. A person's newer label of an exchange replaces the older.

    Args:
        folder: the run folder.
        labels: with columns id and target, and any others of LABEL_COLUMNS.

    Returns:
        All labels of the run, as they were written.

    Raises:
        UserError: the file cannot be written, or the one that is there cannot be read.
    """
    path = folder / LABELS_FILE
    new = labels.reindex(columns=LABEL_COLUMNS).astype(object).fillna("").astype(str)
    new["split"] = [split or split_of(i) for i, split in zip(new["id"], new["split"], strict=True)]
    new["note"] = [_clean_cell(note[:MAX_NOTE]) for note in new["note"]]
    new["labeller"] = [_clean_cell(name) for name in new["labeller"]]
    with (
        writable(path),
        filelock.FileLock(folder / ".labels.lock", timeout=10, fallback_to_soft=False),
    ):
        old = read_labels(folder)
        merged = pd.concat([old, new], ignore_index=True)
        # an exchange that was drawn at random stays so, however it is labelled again
        drawn = merged[merged["drawn"] == RANDOM]
        merged.loc[merged["id"].isin(set(drawn["id"])), "drawn"] = RANDOM
        merged = merged.drop_duplicates(["id", "labeller"], keep="last", ignore_index=True)
        with replacing(path) as part:
            merged.to_csv(part, index=False, lineterminator="\n")
    return merged


def _clean_cell(text: str) -> str:
    return inert_cell(clean_text(text).strip())


def parse_labels(path: Path) -> pd.DataFrame:
    """Read a CSV of labels: columns id and target, and any others of LABEL_COLUMNS.

    Args:
        path: the file. A target is true, yes, y or 1; false, no, n or 0; unsure, ? or empty.

    Returns:
        One row per label (LABEL_COLUMNS). Rows without an id are left out.

    Raises:
        UserError: the file cannot be read, a column is missing, or a cell is wrong. The message
            names the row, from 1 for the first after the header.
    """
    try:
        with open(regular_file(path, MAX_FILE_BYTES), encoding="utf-8-sig", newline="") as lines:
            return _parse_rows(path, csv.reader(lines, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"labels {path}: cannot be read ({error}).") from None


def _parse_rows(path: Path, rows: Iterable[list[str]]) -> pd.DataFrame:
    rows = iter(rows)
    header = [name.strip().lower() for name in next(rows, [])]
    for name in ("id", "target"):
        if name not in header:
            raise UserError(
                f"labels {path}: column '{name}' is missing. The header is id,target,split; "
                f"it is {','.join(header)[:80]!r}."
            )
    parsed = []
    for number, cells in enumerate(rows, 1):
        label = dict.fromkeys(LABEL_COLUMNS, "") | dict(zip(header, map(str.strip, cells)))
        if not label["id"]:
            continue
        target = TARGETS.get(label["target"].lower())
        if target is None:
            raise UserError(
                f"labels {path}: row {number}, column target: {label['target']!r:.40} is not true, "
                "false or unsure."
            )
        split = label["split"].lower()
        if split not in ("", *SPLITS):
            raise UserError(
                f"labels {path}: row {number}, column split: {label['split']!r:.40} is not "
                f"{' or '.join(SPLITS)}."
            )
        parsed.append({**label, "target": target, "split": split or split_of(label["id"])})
    return pd.DataFrame(parsed, columns=LABEL_COLUMNS, dtype=str)

"""Folders of data: the data files in them, and nothing else.

A folder may come from somebody else. Its README, scripts and settings are not read, no link is
followed out of it, and nothing is fetched: a table says where pictures are, and nobody looks there.
"""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chunkykit.errors import UserError
from chunkykit.files import MAX_NOTE_BYTES, file_inside
from chunkykit.mixtures.compressed import COMPRESSIONS, FILE_TYPES, is_data_file, strip_types

if TYPE_CHECKING:
    import pyarrow as pa

SAVED_MARKS = ("state.json", "dataset_dict.json")  # of a folder that `save_to_disk` wrote
# Words in a path that say which split a file is of, as the library `datasets` reads them.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
# The number of a part of a data set. It is not stripped where it may be part of a name: two data
# sets must not become one chunk.
PART_NUMBERS = (
    re.compile(r"(.*?)[-_.]?\d+[-_.]of[-_.]\d+"),  # train-00000-of-00004
    re.compile(r"(.*?)[-_.]0\d+"),  # notes_003
    re.compile(r"()\d+"),
    re.compile(rf"((?:.*[-_.])?)(?:part|shard|file|batch|{'|'.join(SPLIT_WORDS)})[-_.]?\d+"),
)
PARTITION = re.compile(r"(?P<column>[^=]+)=(?P<value>.+)")  # a folder of a Hive partition
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def was_saved_to_disk(folder: Path) -> bool:
    """Tell whether `save_to_disk` of the library `datasets` wrote a folder.

    Args:
        folder: the folder.

    Returns:
        Whether it has the files that such folders have.
    """
    return any((folder / name).exists() for name in SAVED_MARKS)


def data_files_of(folder: Path, split: str = "train", patterns: Any = None) -> list[Path]:
    """List the data files of a split.

    Args:
        folder: the folder.
        split: the split. A file whose path names no split is of the split "train".
        patterns: a name, or several, that files must match; None for all files of the split.

    Returns:
        Their paths, sorted.

    Raises:
        UserError: there is none, or a file is not an ordinary file inside the folder.
    """
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    names = [name for name in names if is_data_file(name) and not _is_hidden(name)]
    if patterns is not None:
        wanted = [patterns] if isinstance(patterns, str) else list(patterns)
        chosen = [n for n in names if any(fnmatch(n.as_posix(), pattern) for pattern in wanted)]
    else:
        own_splits = {name: _split_of(name) for name in names}
        chosen = [name for name in names if (own_splits[name] or "train") == split]
        if split == "train" and not any(own == "train" for own in own_splits.values()):
            chosen = [name for name in names if own_splits[name] is None] or names
    if not chosen:
        raise UserError(
            f"mixture {folder}: no data files of split '{split}'. Mixtures load from files that "
            f"end in {', '.join(FILE_TYPES)}, text also with {', '.join(COMPRESSIONS)}."
        )
    return [file_inside(folder, name.as_posix()) for name in chosen]


def name_words(name: Path) -> tuple[str, ...]:
    """Split the path of a data file into the words that tell data sets apart.

    Args:
        name: the path.

    Returns:
        Its folders and its name, without the type, the number of a part and the word of a split.
        Files of the same words are parts of one data set.
    """
    words = [_strip_number(part) for part in strip_types(name).parts]
    return tuple(word for word in words if word and word.lower() not in SPLIT_WORDS)


def partition_of(path: Path) -> dict[str, str]:
    """Read the Hive partition that a file is in.

    Args:
        path: the file, such as "mix/source=travel/part-0.parquet".

    Returns:
        Column to value, of the folders directly above the file, outermost first. A partition by
        split names no data set, and one without a value none either.
    """
    columns: dict[str, str] = {}
    for folder in path.parents:
        match = PARTITION.fullmatch(folder.name)
        if match is None:
            break
        columns = {match["column"]: unquote(match["value"]), **columns}
    return {
        column: value
        for column, value in columns.items()
        if column != "split" and value != NO_PARTITION
    }


def _strip_number(word: str) -> str:
    """A word of a path without the number of a part; "v2" and "set-3" are no parts."""
    matches = [form.fullmatch(word) for form in PART_NUMBERS]
    return next((match[1].rstrip("-_.") for match in matches if match), word)


def _is_hidden(name: Path) -> bool:
    return any(part.startswith((".", "_")) for part in name.parts)


def _split_of(name: Path) -> str | None:
    """The split that the words of a path name; a partition by another column names none."""
    parts = [
        part for part in name.parts if not PARTITION.fullmatch(part) or part.startswith("split=")
    ]
    words = re.split(r"[^a-z]+", "/".join(parts).lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def read_saved_tables(folder: Path, split: str) -> "Iterator[pa.Table]":
    """Read the tables of a folder that `save_to_disk` of the library `datasets` wrote.

    Args:
        folder: the folder.
        split: the split.

    Yields:
        Its tables, memory-mapped, each of one batch.

    Raises:
        UserError: there is no such split, or a file cannot be read.
    """
    import pyarrow as pa

    for path in _saved_files(folder, split):
        try:
            with pa.memory_map(str(path)) as source:
                for batch in pa.ipc.open_stream(source):
                    batch.validate(full=True)
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError, MemoryError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UserError(f"mixture {path}: not a readable Arrow file ({reason}).") from None


def _saved_files(folder: Path, split: str) -> list[Path]:
    """The Arrow files of a split, in their order."""
    try:
        if (folder / "dataset_dict.json").exists():
            splits = _read_note(folder, "dataset_dict.json")["splits"]
            if split not in splits:
                listed = ", ".join(map(str, splits))
                raise UserError(f"mixture {folder}: no split '{split}'; it has {listed}.")
            return [
                file_inside(folder, f"{split}/{entry['filename']}")
                for entry in _read_note(folder, f"{split}/state.json")["_data_files"]
            ]
        entries = _read_note(folder, "state.json")["_data_files"]
        return [file_inside(folder, entry["filename"]) for entry in entries]
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"mixture {folder}: not a readable datasets folder ({error}).") from None


def _read_note(folder: Path, name: str) -> dict:
    return json.loads(file_inside(folder, name, MAX_NOTE_BYTES).read_text("utf-8"))

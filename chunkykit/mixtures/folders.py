"""Folders of data: the data files in them, and nothing else.

A folder may come from somebody else. Its README, scripts and settings are not read, no link is
followed out of it, and nothing is fetched: a table says where pictures are, and nobody looks there.
"""

import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkykit.errors import UserError
from chunkykit.files import MAX_NOTE_BYTES, file_inside

if TYPE_CHECKING:
    import pyarrow as pa

SAVED_MARKS = ("state.json", "dataset_dict.json")  # of a folder that `save_to_disk` wrote
SHARD_NUMBER = re.compile(r"[-_.]?\d+([-_.]of[-_.]\d+)?$")  # as in train-00000-of-00004
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


def was_saved_to_disk(folder: Path) -> bool:
    """Tell whether `save_to_disk` of the library `datasets` wrote a folder.

    Args:
        folder: the folder.

    Returns:
        Whether it has the files that such folders have.
    """
    return any((folder / name).exists() for name in SAVED_MARKS)


def data_files_of(
    folder: Path, suffixes: Sequence[str], split: str = "train", patterns: Any = None
) -> list[Path]:
    """List the data files of a split.

    Args:
        folder: the folder.
        suffixes: endings of data files.
        split: the split. A file whose path names no split is of the split "train".
        patterns: a name, or several, that files must match; None for all files of the split.

    Returns:
        Their paths, sorted.

    Raises:
        UserError: there is none, or a file is not an ordinary file inside the folder.
    """
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    names = [name for name in names if name.suffix in suffixes and not _is_hidden(name)]
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
            f"end in {', '.join(suffixes)}."
        )
    return [file_inside(folder, name.as_posix()) for name in chosen]


def name_files(folder: Path, paths: Sequence[Path]) -> list[str]:
    """Name the chunk of each data file of a folder, for records that name none.

    Args:
        folder: the folder.
        paths: its data files.

    Returns:
        Where the files differ in more than a split and a number: for each its path without these.
        Else the folder's name.
    """
    names = []
    for path in paths:
        parts = path.relative_to(folder).with_suffix("").parts
        words = [SHARD_NUMBER.sub("", part) for part in parts]
        names.append("/".join(word for word in words if word and word.lower() not in SPLIT_WORDS))
    if len(set(names)) == 1:
        return [folder.name] * len(paths)
    return [name or folder.name for name in names]


def _is_hidden(name: Path) -> bool:
    return any(part.startswith((".", "_")) for part in name.parts)


def _split_of(name: Path) -> str | None:
    """The split that the words of a path name."""
    words = re.split(r"[^a-z]+", name.as_posix().lower())
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

"""Where mixtures come from: files by type, `datasets` folders, the Hugging Face hub, the demo.

A source gives numbered records, streaming where its format allows it. It knows nothing of schemas;
a record that cannot be read is an exception in its place, so that one bad line is one skipped row.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.mixtures.demo import DEMO_ROWS, demo_rows

FILE_TYPES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
BINARY_CHECK_BYTES = 65_536  # bytes at the beginning of a file that must not hold a NUL
PARQUET_BATCH_ROWS = 4096  # rows of a Parquet file in memory at a time

# The number of a record in its source, from 1, and the record or the error that reading it raised.
# Numbers of lines in JSONL; in CSV the header is 1.
Records = Iterable[tuple[int, Any]]


def read_records(
    source: Path | str,
    *,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    seed: int = 0,
    **_: Any,
) -> Records:
    """Read the records of a mixture as its source has them.

    Args:
        source: as of `load_mixture`.
        split: of a `datasets` folder or a hub id.
        revision: of a hub id.
        data_files: of a `datasets` folder or a hub id.
        seed: of the demo.
        **_: other settings of `load_mixture`, which do not matter here.

    Returns:
        Pairs of a record's number and the record; a record that cannot be read is an exception.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    records, _name = open_source(
        source, split=split, revision=revision, data_files=data_files, seed=seed
    )
    return records


def open_source(
    source: Path | str,
    *,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    seed: int = 0,
) -> tuple[Records, str]:
    """Open the source of a mixture.

    Args:
        source: as of `load_mixture`.
        split: of a `datasets` folder or a hub id.
        revision: of a hub id.
        data_files: of a `datasets` folder or a hub id.
        seed: of the demo.

    Returns:
        The numbered records, and a name for the chunk of rows that name none.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    source = str(source)
    if source == "demo" or source.startswith("demo:"):
        return _read_demo(source, seed), "demo"
    path = Path(source)
    try:
        if path.is_dir():
            return _read_datasets(source, True, split, revision, data_files), path.name
        if path.exists():
            return _read_file(path), path.stem
    except OSError as error:
        raise UserError(f"mixture {source}: cannot be read ({error.strerror or error}).") from None
    if not _looks_like_hub_id(source):
        raise UserError(f"mixture {source}: no such file or folder.")
    return _read_datasets(source, False, split, revision, data_files), source


def parse_jsonl(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Parse lines of JSON.

    Args:
        lines: the lines. Empty ones are left out.

    Yields:
        The line number, from 1, and the value; for a line that is not JSON a ValueError that says
        so.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, ValueError(f"not JSON ({error})")


def _read_demo(source: str, seed: int) -> Records:
    size = source.partition(":")[2] or str(DEMO_ROWS)
    if not size.isdigit() or int(size) < 1:
        raise UserError(
            f"mixture {source}: '{size}' is not a number of rows. Write demo or demo:3000."
        )
    return enumerate(demo_rows(int(size), seed), 1)


def _looks_like_hub_id(source: str) -> bool:
    """Whether something that is not a file can be "name" or "owner/name" on the hub."""
    is_path = source.startswith((".", "/", "~")) or Path(source).suffix in FILE_TYPES
    return source.count("/") <= 1 and not is_path


def _read_file(path: Path) -> Records:
    if path.suffix not in FILE_TYPES:
        raise UserError(
            f"mixture {path}: unknown file type '{path.suffix}'. Mixtures load from "
            f"{', '.join(FILE_TYPES)}, a datasets folder, or a hub id."
        )
    if path.stat().st_size == 0:
        raise UserError(f"mixture {path}: the file is empty.")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    _refuse_binary(path)
    if path.suffix == ".csv":
        return _parse_table(path, ",")
    if path.suffix == ".tsv":
        return _parse_table(path, "\t")
    if path.suffix == ".json":
        return _parse_json(path, "".join(_read_lines(path)))
    return parse_jsonl(_read_lines(path))


def _refuse_binary(path: Path) -> None:
    with open(path, "rb") as file:
        if b"\0" in file.read(BINARY_CHECK_BYTES):
            raise UserError(f"mixture {path}: this is a binary file, not {path.suffix[1:]} text.")


def _read_lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            # a byte order mark may stand at the beginning
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError:
                raise UserError(
                    f"mixture {path}: not UTF-8 text (line {number}). Save it as UTF-8."
                ) from None


def _parse_json(path: Path, text: str) -> Records:
    """The records of a list, or of the first list in an object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):  # JSONL under the wrong name
            return parse_jsonl(io.StringIO(text))
        raise UserError(f"mixture {path}: not JSON ({error}).") from None
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if lists else [content]
    if not isinstance(content, list):
        raise UserError(
            f"mixture {path}: a JSON mixture is a list of objects, and this is "
            f"{type(content).__name__}."
        )
    return enumerate(content, 1)


def _parse_table(path: Path, delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(_read_lines(path), delimiter=delimiter)
    try:
        yield from _check_columns(reader)
    except csv.Error as error:
        raise UserError(
            f"mixture {path}: not a readable table (line {reader.line_num + 1}: {error}). Save it "
            "as UTF-8 with line ends LF or CRLF."
        ) from None


def _check_columns(reader: csv.DictReader) -> Iterator[tuple[int, Any]]:
    for number, record in enumerate(reader, 2):  # row 1 is the header
        # DictReader puts surplus cells under None, and None into missing cells
        if None in record or None in record.values():
            n_columns = len(reader.fieldnames or [])
            yield (
                number,
                ValueError(f"has a different number of columns than the header ({n_columns})"),
            )
        else:
            yield number, record


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(PARQUET_BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"mixture {path}: not a readable Parquet file ({reason}).") from None


def _read_datasets(
    source: str, is_folder: bool, split: str, revision: str | None, data_files: Any
) -> Records:
    """The records of a folder or a hub id that the library `datasets` loads."""
    import datasets

    try:
        if is_folder and _was_saved_to_disk(Path(source)):
            data = datasets.load_from_disk(source)
            if isinstance(data, dict):
                data = data[split]
        else:
            data = datasets.load_dataset(
                source, split=split, revision=revision, data_files=data_files
            )
    except Exception as error:  # the library raises many kinds; the first line tells the user why
        lines = str(error).splitlines() or [""]
        raise UserError(
            f"mixture {source}: datasets could not load split '{split}' "
            f"({type(error).__name__}: {lines[0]})."
        ) from None
    return enumerate(data, 1)


def _was_saved_to_disk(folder: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote a folder."""
    return (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()

"""Where mixtures come from: files by type, folders of them, the Hugging Face hub, the demo.

A source gives numbered records, streaming where its format allows it. It knows nothing of schemas;
a record that cannot be read is an exception in its place, so that one bad line is one skipped row.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.files import regular_file
from chunkykit.mixtures.demo import DEMO_ROWS, demo_rows
from chunkykit.mixtures.folders import (
    data_files_of,
    name_files,
    read_saved_tables,
    was_saved_to_disk,
)

FILE_TYPES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
HUB = "hf:"  # what the name of a data set on the Hugging Face hub begins with
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
BINARY_CHECK_BYTES = 65_536  # bytes at the beginning of a file that must not hold a NUL
PARQUET_BATCH_ROWS = 4096  # rows of a Parquet file in memory at a time

# The number of a record in its source, from 1, and the record or the error that reading it raised.
# Numbers of lines in JSONL; in CSV the header is 1. In a folder of several files they go on.
Records = Iterable[tuple[int, Any]]
NamedRecords = Iterable[tuple[int, Any, str]]  # with the name of the file, folder or data set


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
        split: of a folder or a data set on the hub.
        revision: of a data set on the hub.
        data_files: of a folder or a data set on the hub.
        seed: of the demo.
        **_: other settings of `load_mixture`, which do not matter here.

    Returns:
        Pairs of a record's number and the record; a record that cannot be read is an exception.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    named = open_source(source, split=split, revision=revision, data_files=data_files, seed=seed)
    return ((number, record) for number, record, _name in named)


def open_source(
    source: Path | str,
    *,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    seed: int = 0,
) -> NamedRecords:
    """Open the source of a mixture.

    Args:
        source: as of `load_mixture`.
        split: of a folder or a data set on the hub.
        revision: of a data set on the hub.
        data_files: of a folder or a data set on the hub.
        seed: of the demo.

    Returns:
        Triples of a record's number, the record, and a name for its chunk if it has none itself.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    source = str(source)
    if source == "demo" or source.startswith("demo:"):
        return _name_records(_read_demo(source, seed), "demo")
    path = Path(source)
    try:
        if path.is_dir():
            return _read_folder(path, split, data_files)
        if path.exists():
            return _name_records(_read_file(path), path.stem)
    except OSError as error:
        raise UserError(f"mixture {source}: cannot be read ({error.strerror or error}).") from None
    if source.startswith(HUB):
        data = load_from_hub(source, split, revision, data_files)
        return _name_records(enumerate(data, 1), source.removeprefix(HUB))
    raise UserError(f"mixture {source}: no such file or folder.{_hub_advice(source)}")


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


def _name_records(records: Records, name: str) -> NamedRecords:
    return ((number, record, name) for number, record in records)


def _read_demo(source: str, seed: int) -> Records:
    size = source.partition(":")[2] or str(DEMO_ROWS)
    if not size.isdigit() or int(size) < 1:
        raise UserError(
            f"mixture {source}: '{size}' is not a number of rows. Write demo or demo:3000."
        )
    return enumerate(demo_rows(int(size), seed), 1)


def _hub_advice(source: str) -> str:
    """How to write a name that may be meant for the hub. A path is never asked of a hub."""
    is_path = source.startswith((".", "/", "~")) or Path(source).suffix in FILE_TYPES
    if source.count("/") != 1 or is_path:
        return ""
    return f" For a data set on the Hugging Face hub write {HUB}{source}."


def _read_folder(folder: Path, split: str, patterns: Any) -> NamedRecords:
    """The records of all data files of a folder, numbered one after another."""
    if was_saved_to_disk(folder):
        tables = read_saved_tables(folder, split)
        records = (record for table in tables for record in table.to_pylist())
        return _name_records(enumerate(records, 1), folder.name)
    paths = data_files_of(folder, FILE_TYPES, split, patterns)
    files = [_read_file(path) for path in paths]  # opened now, so that errors come at once
    named = zip(name_files(folder, paths), files, strict=True)
    pairs = ((record, name) for name, records in named for _, record in records)
    return ((number, record, name) for number, (record, name) in enumerate(pairs, 1))


def _read_file(path: Path) -> Records:
    regular_file(path)
    if path.suffix not in FILE_TYPES:
        raise UserError(
            f"mixture {path}: unknown file type '{path.suffix}'. Mixtures load from "
            f"{', '.join(FILE_TYPES)}, a folder of these, or {HUB}OWNER/NAME."
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
        start = file.read(BINARY_CHECK_BYTES)
        if start.startswith(UTF16_MARKS):
            raise UserError(f"mixture {path}: this is UTF-16 text. Save it as UTF-8.")
        if b"\0" in start:
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
        rows = [value for value in lists if all(isinstance(row, dict) for row in value)]
        if not rows and len(content) > 1 and _are_columns(content.values()):
            raise UserError(
                f"mixture {path}: has its table by columns. Write a list of objects, one a row (in "
                'pandas orient="records").'
            )
        content = rows[0] if rows else [content]
    if not isinstance(content, list):
        raise UserError(
            f"mixture {path}: a JSON mixture is a list of objects, and this is "
            f"{type(content).__name__}."
        )
    return enumerate(content, 1)


def _are_columns(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (list, dict)) for value in values)


def _parse_table(path: Path, delimiter: str) -> Iterator[tuple[int, Any]]:
    """The rows of a table. Row 1 is the header."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(_read_lines(path), delimiter=delimiter, strict=True)
    kind = path.suffix[1:].upper()
    try:
        n_columns = len(reader.fieldnames or [])
    except csv.Error as error:
        raise UserError(
            f"mixture {path}: its first line is not {kind} ({error}). Save it with line ends LF or "
            "CRLF."
        ) from None
    for number in count(2):
        line = reader.reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            # a quote that is not closed takes the rows behind it with it
            if reader.reader.line_num > line:
                raise UserError(
                    f"mixture {path}: a quote in line {line} is not closed ({error}). Put texts "
                    'in quotes, and write "" for a quote in them.'
                ) from None
            yield number, ValueError(f'not {kind} ({error}): quote a text with quotes, " as ""')
            continue
        if record is None:
            return
        # DictReader puts surplus cells under None, and None into missing cells
        if None in record or None in record.values():
            problem = f"has a different number of columns than the header ({n_columns})"
            yield number, ValueError(problem)
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


def load_from_hub(
    source: str, split: str = "train", revision: str | None = None, data_files: Any = None
) -> Any:
    """Load a data set of the Hugging Face hub.

    Args:
        source: "hf:owner/name", with "@REVISION" behind it where one is wanted.
        split: the split.
        revision: the revision, unless the source names it.
        data_files: files of the data set; None for all.

    Returns:
        The `datasets.Dataset`.

    Raises:
        UserError: it cannot be loaded.
    """
    import datasets

    name, _, own_revision = source.removeprefix(HUB).partition("@")
    try:
        return datasets.load_dataset(
            name, split=split, revision=own_revision or revision, data_files=data_files
        )
    except Exception as error:  # the library raises many kinds; the first line tells the user why
        lines = str(error).splitlines() or [""]
        raise UserError(
            f"mixture {source}: datasets could not load split '{split}' "
            f"({type(error).__name__}: {lines[0]})."
        ) from None

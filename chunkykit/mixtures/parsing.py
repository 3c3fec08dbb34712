"""Files of data as records: lines of JSON, lists of JSON, tables of text, Parquet.

A record that cannot be read is an exception in its place, so that one bad line is one skipped row.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.mixtures.compressed import (
    LINE_TYPES,
    MARK,
    MAX_LINE_BYTES,
    file_type,
    read_byte_lines,
    read_lines,
)

PARQUET_BATCH_ROWS = 4096  # rows of a Parquet file in memory at a time
MAX_JSON_BYTES = 2**31  # of a file that is parsed whole

# A record's place in its file, from 1, and the record or the error that reading it raised. Places
# are lines in JSONL; in CSV the header is 1.
Records = Iterable[tuple[int, Any]]


def read_file(path: Path) -> Records:
    """Read the records of a file that `check_file` has passed.

    Args:
        path: the file.

    Returns:
        Pairs of a record's place and the record, streaming where the format allows it.

    Raises:
        UserError: while reading: the file is damaged.
    """
    kind = file_type(path)
    if kind == ".parquet":
        return _read_parquet(path)
    if kind in (".csv", ".tsv"):
        return _parse_table(path, "," if kind == ".csv" else "\t")
    if kind == ".json":
        return _parse_json(path)
    return parse_jsonl(read_lines(path))


def count_records(path: Path) -> int:
    """Count the records of a file, reading as little of it as its format allows.

    Args:
        path: the file.

    Returns:
        The number of records, with those that cannot be read.
    """
    kind = file_type(path)
    if kind == ".parquet":
        return open_parquet(path).metadata.num_rows
    if kind in LINE_TYPES:
        return sum(has_record(line) for line in read_byte_lines(path))
    return sum(1 for _ in read_file(path))


def has_record(line: bytes) -> bool:
    """Tell whether `parse_jsonl` takes a line for a record: whether it is not empty.

    Args:
        line: the line, in UTF-8.

    Returns:
        Whether it is a record, which may be a broken one.
    """
    text = line.removeprefix(MARK).strip()
    # all that is blank to a text is not to bytes, such as a no-break space
    return text.startswith(b"{") or bool(text.decode(errors="replace").strip())


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


def open_parquet(path: Path) -> Any:
    """Open a Parquet file.

    Args:
        path: the file.

    Returns:
        The `pyarrow.parquet.ParquetFile`.

    Raises:
        UserError: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_bad_parquet(path, error)) from None


def label_names(schema: Any) -> dict[str, list[str]]:
    """Read the names of numbered labels from the schema of a table.

    Args:
        schema: an Arrow schema. The library `datasets` writes its features into the metadata.

    Returns:
        Column to the names of its labels, where label 0 has the first; empty where no column has
        labels.
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        items = features.items()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    names = {}
    for column, feature in items:
        is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        if is_label and isinstance(feature.get("names"), list):
            names[column] = [str(name) for name in feature["names"]]
    return names


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    number = 0
    try:
        for batch in open_parquet(path).iter_batches(PARQUET_BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (pa.ArrowException, OSError) as error:
        raise UserError(_bad_parquet(path, error)) from None


def _bad_parquet(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0]
    return f"mixture {path}: not a readable Parquet file ({reason})."


def _parse_json(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of a list, or of the first list in an object."""
    text = _read_whole(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):  # JSONL under the wrong name
            yield from parse_jsonl(io.StringIO(text))
            return
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
    yield from enumerate(content, 1)


def _read_whole(path: Path) -> str:
    size = 0
    lines = []
    for line in read_lines(path):
        size += len(line)
        if size > MAX_JSON_BYTES:
            raise UserError(
                f"mixture {path}: has more than {MAX_JSON_BYTES // 2**30} GB, and .json is read "
                "whole. Write it as .jsonl, one object per line."
            )
        lines.append(line)
    return "".join(lines)


def _are_columns(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (list, dict)) for value in values)


def _parse_table(path: Path, delimiter: str) -> Iterator[tuple[int, Any]]:
    """The rows of a table. Row 1 is the header."""
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.DictReader(read_lines(path), delimiter=delimiter, strict=True)
    kind = file_type(path)[1:].upper()
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

"""Write a mixture again, without some of its records or with some repeated.

What stays is what the source has. Lines of JSON are copied byte for byte, and tables of Arrow and
Parquet keep their schema with its metadata, and their row groups. Other sources are written record
by record, under a schema that fits all of them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chunkykit.errors import UserError
from chunkykit.mixtures.folders import data_files_of, read_saved_tables, was_saved_to_disk
from chunkykit.mixtures.sources import FILE_TYPES, HUB, load_from_hub, read_records

if TYPE_CHECKING:
    import pyarrow as pa

LINE_TYPES = (".jsonl", ".ndjson")
OUT_TYPES = (".jsonl", ".parquet")
ROWS_PER_GROUP = 10_000  # records per row group, of a source that has none
MARK = b"\xef\xbb\xbf"  # byte order mark, which may stand at the beginning of a file

Copies = Mapping[int, int]  # number of a record to how often it is written; 1 where it is missing


def write_copies(source: Path | str, path: Path, kind: str, copies: Copies, **options: Any) -> None:
    """Write the records of a mixture, each as often as is said.

    Args:
        source: as of `load_mixture`.
        path: the file to write.
        kind: ".jsonl" or ".parquet".
        copies: number of a record to how often it is written; once where it is missing. A record
            that cannot be read must be 0.
        **options: as of `read_records`.

    Raises:
        UserError: the records do not fit the kind of file.
    """
    import pyarrow as pa

    try:
        files = _data_files(Path(source), options)
        tables = _open_tables(str(source), files, options)
        if kind == ".parquet" and tables is not None:
            _copy_tables(path, tables, copies)
        elif kind == ".parquet":
            _write_parquet(path, source, copies, options)
        elif files and all(file.suffix in LINE_TYPES for file in files):
            _copy_lines(path, files, Path(source).is_dir(), copies)
        else:
            if tables is not None:
                _check_json_types(tables.schema)
            _write_jsonl(path, _copied_records(source, copies, options))
    except (pa.ArrowException, TypeError, UnicodeEncodeError, OverflowError) as error:
        other = "jsonl" if kind == ".parquet" else "parquet"
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"mixture {source}: its records do not fit one {kind} file ({reason}). "
            f"Choose an --out that ends in .{other}."
        ) from None


class _Tables(NamedTuple):
    """A source that consists of tables, each with the same schema."""

    schema: "pa.Schema"
    tables: "Iterable[pa.Table]"
    compression: str = "snappy"


def _data_files(path: Path, options: dict) -> list[Path]:
    """The files of a source that is a file or a folder of them; none of any other."""
    if path.is_dir() and not was_saved_to_disk(path):
        chosen = {"split": options.get("split", "train"), "patterns": options.get("data_files")}
        return data_files_of(path, FILE_TYPES, **chosen)
    return [path] if path.is_file() else []


def _open_tables(source: str, files: list[Path], options: dict) -> _Tables | None:
    """The tables of a source; None where it has none, or they differ."""
    import pyarrow.parquet as pq

    if files and all(file.suffix == ".parquet" for file in files):
        opened = [pq.ParquetFile(file) for file in files]
        schema = opened[0].schema_arrow
        if not all(file.schema_arrow.equals(schema) for file in opened):
            return None
        return _Tables(schema, _row_groups(opened), _compression(opened[0]))
    split = options.get("split", "train")
    if not files and Path(source).is_dir():
        first = next(read_saved_tables(Path(source), split), None)
        return first and _Tables(first.schema, read_saved_tables(Path(source), split))
    if source.startswith(HUB):
        settings = {key: options[key] for key in ("revision", "data_files") if key in options}
        data = load_from_hub(source, split, **settings).with_format("arrow")
        return _Tables(data.features.arrow_schema, data.iter(ROWS_PER_GROUP))
    return None


def _row_groups(files: list) -> "Iterator[pa.Table]":
    for file in files:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def _compression(file: Any) -> str:
    """The compression of a Parquet file, by the name that a writer takes."""
    if not file.metadata.num_row_groups or not file.metadata.num_columns:
        return "snappy"
    name = file.metadata.row_group(0).column(0).compression.lower()
    return "none" if name == "uncompressed" else name


def _copy_tables(path: Path, source: _Tables, copies: Copies) -> None:
    """Copy tables row group by row group."""
    import pyarrow.parquet as pq

    start = 1
    with pq.ParquetWriter(path, source.schema, compression=source.compression) as file:
        for table in source.tables:
            numbers = range(start, start + len(table))
            counts = np.array([copies.get(number, 1) for number in numbers], int)
            start += len(table)
            if (counts != 1).any():
                table = table.take(np.repeat(np.arange(len(table)), counts))
            if len(table):
                file.write_table(table.cast(source.schema), row_group_size=len(table))


def _copy_lines(path: Path, files: list[Path], is_folder: bool, copies: Copies) -> None:
    """Copy lines byte for byte."""
    is_ended = True  # whether the last line that was written has an end
    with open(path, "wb") as out:
        for number, line, is_first in _numbered_lines(files, is_folder):
            if is_first and line.startswith(MARK):
                line = line.removeprefix(MARK)
                if not out.tell():
                    out.write(MARK)
            for _ in range(copies.get(number, 1) if number else 1):
                out.write(line if is_ended else b"\n" + line)
                is_ended = line.endswith(b"\n")


def _numbered_lines(files: list[Path], is_folder: bool) -> Iterator[tuple[int, bytes, bool]]:
    """Per line its record's number, or 0 if it is empty, its bytes, and whether it is the first."""
    n_records = 0
    for path in files:
        with open(path, "rb") as file:
            for position, line in enumerate(file, 1):
                # only text that is empty to `parse_jsonl`
                has_record = bool(line.decode("utf-8-sig" if position == 1 else "utf-8").strip())
                n_records += has_record
                number = n_records if is_folder else position
                yield number if has_record else 0, line, position == 1


def _copied_records(source: Path | str, copies: Copies, options: dict) -> Iterator[Any]:
    for number, record in read_records(source, **options):
        yield from repeat(record, copies.get(number, 1))


def _check_json_types(schema: "pa.Schema") -> None:
    """Raise UserError for a column whose values JSON cannot hold as they are."""
    for field in schema:
        if not _fits_json(field.type):
            raise UserError(
                f"column '{field.name}' holds {field.type}, which JSON has no type for. "
                "Choose an --out that ends in .parquet."
            )


def _fits_json(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _fits_json(kind.value_type)
    if types.is_struct(kind):
        return all(_fits_json(field.type) for field in kind)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    is_number = types.is_integer(kind) or types.is_floating(kind)
    return is_text or is_number or types.is_boolean(kind) or types.is_null(kind)


def _write_jsonl(path: Path, records: Iterator[Any]) -> None:
    with open(path, "wb") as file:
        for record in records:
            try:
                line = json.dumps(record, ensure_ascii=False).encode()
            except UnicodeEncodeError:  # half a character, which only JSON's own notation can hold
                line = json.dumps(record).encode()
            file.write(line + b"\n")


def _write_parquet(path: Path, source: Path | str, copies: Copies, options: dict) -> None:
    """Write records under a schema of all their keys: once to find it, and once to write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pa.schema(group.type) for group in _record_groups(source, copies, options)]
    if not schemas:
        raise UserError(f"mixture {source}: no record would be left.")
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    kind = pa.struct(schema)
    with pq.ParquetWriter(path, schema) as file:
        for group in _record_groups(source, copies, options, kind):
            file.write_table(pa.Table.from_struct_array(group))


def _record_groups(
    source: Path | str, copies: Copies, options: dict, kind: "pa.DataType | None" = None
) -> "Iterator[pa.Array]":
    import pyarrow as pa

    records = _copied_records(source, copies, options)
    while group := list(islice(records, ROWS_PER_GROUP)):
        yield pa.array(group, kind)

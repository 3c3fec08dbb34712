"""Write a mixture again, without some of its records, with some repeated or edited.

What stays is what the source has. Lines of JSON are copied byte for byte, and tables of Arrow and
Parquet keep their schema with its metadata, and their row groups. Other sources are written record
by record, under a schema that fits all of them.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chunkykit.errors import UserError
from chunkykit.mixtures.columns import edit_rows, widen_schema
from chunkykit.mixtures.compressed import LINE_TYPES, MARK, read_byte_lines
from chunkykit.mixtures.editing import Edit, dump_like
from chunkykit.mixtures.listing import Sources, name_source
from chunkykit.mixtures.parsing import has_record, open_parquet
from chunkykit.mixtures.parts import Part
from chunkykit.mixtures.sources import Reading, Row, number_rows, plan_readings

if TYPE_CHECKING:
    import pyarrow as pa

OUT_TYPES = (".jsonl", ".parquet")
ROWS_PER_GROUP = 10_000  # records per row group, of a source that has none

Copies = Mapping[int, int]  # number of a record to how often it is written; 1 where it is missing
Edits = Mapping[int, Edit]  # number of a record to what changes it
NO_EDITS: Edits = {}


def write_copies(
    source: Sources,
    path: Path,
    kind: str,
    copies: Copies,
    edits: Edits = NO_EDITS,
    **options: Any,
) -> None:
    """Write the records of a mixture, each as often as is said, and some of them edited.

    Args:
        source: as of `load_mixture`.
        path: the file to write.
        kind: ".jsonl" or ".parquet".
        copies: number of a record to how often it is written; once where it is missing. A record
            that cannot be read must be 0.
        edits: number of a record to the edit of it, which must not fail (`failed_edits`).
        **options: as of `read_records`.

    Raises:
        UserError: the records do not fit the kind of file.
    """
    import pyarrow as pa

    try:
        readings = plan_readings(source, **options)
        if kind == ".jsonl":
            _write_lines(path, readings, copies, edits)
            return
        schema = _common_schema(readings)
        if schema is None:
            _write_parquet(path, source, readings, copies, edits)
        else:
            changed = (row.record for row in edited_rows(readings, edits))
            schema = schema._replace(schema=widen_schema(schema.schema, changed))
            _copy_tables(path, schema, readings, copies, edits)
    except (pa.ArrowException, TypeError, UnicodeEncodeError, OverflowError) as error:
        other = "jsonl" if kind == ".parquet" else "parquet"
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"mixture {name_source(source)}: its records do not fit one {kind} file ({reason}). "
            f"Choose an --out that ends in .{other}."
        ) from None


def failed_edits(source: Sources, edits: Edits, **options: Any) -> dict[int, str]:
    """Try edits of the records of a mixture.

    Args:
        source: as of `load_mixture`.
        edits: number of a record to the edit of it.
        **options: as of `read_records`.

    Returns:
        Number of each record whose edit fails, to the reason.
    """
    failures: dict[int, str] = {}
    for row in number_rows(plan_readings(source, **options)):
        if row.number in edits and isinstance(row.record, dict):
            try:
                edits[row.number](row.record, row.part.entry.columns)
            except ValueError as error:
                failures[row.number] = str(error)
    return failures


def edited_rows(readings: list[Reading], edits: Edits, is_whole: bool = False) -> Iterator[Row]:
    """Go through the rows of a mixture with their edits made.

    Args:
        readings: from `plan_readings`.
        edits: number of a record to the edit of it.
        is_whole: whether the rows without an edit come as well.

    Yields:
        The rows.
    """
    if not edits and not is_whole:
        return
    for row in number_rows(readings):
        if row.number in edits:
            yield row._replace(record=edits[row.number](row.record, row.part.entry.columns))
        elif is_whole:
            yield row


class _Schema(NamedTuple):
    """The schema that all parts of a mixture have, and the compression of a Parquet file."""

    schema: "pa.Schema"
    compression: str


def _common_schema(readings: list[Reading]) -> _Schema | None:
    """The schema of a mixture of tables; None where a part has none, or they differ."""
    parts = {reading.part.source: reading.part for reading in readings}
    own = [_schema_of(part) for part in parts.values()]
    first = own[0]
    if first is None or not all(other and other.schema.equals(first.schema) for other in own):
        return None
    return first


def _schema_of(part: Part) -> _Schema | None:
    if part.kind == ".parquet" and part.path is not None:
        file = open_parquet(part.path)
        return _Schema(file.schema_arrow, _compression(file))
    if part.has_tables:
        first = next(part.tables(), None)
        return None if first is None else _Schema(first.schema, "snappy")
    return None


def _compression(file: Any) -> str:
    """The compression of a Parquet file, by the name that a writer takes."""
    if not file.metadata.num_row_groups or not file.metadata.num_columns:
        return "snappy"
    name = file.metadata.row_group(0).column(0).compression.lower()
    return "none" if name == "uncompressed" else name


def _tables_of(part: Part) -> "Iterator[pa.Table]":
    """The tables of a part, of a Parquet file its row groups."""
    if part.kind != ".parquet" or part.path is None:
        yield from part.tables()
        return
    file = open_parquet(part.path)
    for number in range(file.num_row_groups):
        yield file.read_row_group(number)


def _copy_tables(
    path: Path, common: _Schema, readings: list[Reading], copies: Copies, edits: Edits
) -> None:
    """Copy tables row group by row group."""
    import pyarrow.parquet as pq

    number = 1  # of the next record
    with pq.ParquetWriter(path, common.schema, compression=common.compression) as file:
        for reading in readings:
            start = 0
            for table in _tables_of(reading.part):
                positions = np.arange(len(table))
                if reading.picks is not None:
                    positions = np.intersect1d(reading.picks - start, positions)
                start += len(table)
                numbers = range(number, number + len(positions))
                counts = np.array([copies.get(one, 1) for one in numbers], int)
                number += len(positions)
                own = {
                    int(position): edits[one]
                    for position, one in zip(positions, numbers)
                    if one in edits
                }
                table = edit_rows(table, own, common.schema, reading.part.entry.columns)
                if len(positions) < len(table) or (counts != 1).any():
                    table = table.take(np.repeat(positions, counts))
                if len(table):
                    file.write_table(table, row_group_size=len(table))


def _write_lines(path: Path, readings: list[Reading], copies: Copies, edits: Edits) -> None:
    """Write lines of JSON: lines byte for byte, edited ones and other records as JSON."""
    for reading in readings:
        schema = None if reading.part.kind in LINE_TYPES else _schema_of(reading.part)
        if schema is not None:
            _check_json_types(schema.schema)
    with open(path, "wb") as out:
        number = 0  # records so far
        is_ended = True  # whether the last line that was written has an end
        for reading in readings:
            for position, line in _lines_of(reading):
                has_number = has_record(line)
                number += has_number
                own_number = position if reading.part.is_alone else number
                if position == 1 and line.startswith(MARK):
                    line = line.removeprefix(MARK)
                    if not out.tell():
                        out.write(MARK)
                n_copies = copies.get(own_number, 1) if has_number else 1
                if n_copies and has_number and own_number in edits:
                    line = _edited_line(line, edits[own_number], reading.part.entry.columns)
                for _ in range(n_copies):
                    out.write(line if is_ended else b"\n" + line)
                    is_ended = line.endswith(b"\n")


def _lines_of(reading: Reading) -> Iterator[tuple[int, bytes]]:
    """The places and lines of a pass over a part. All lines of a file, or those that are drawn."""
    part = reading.part
    if part.path is None or part.kind not in LINE_TYPES:
        for place, record in reading.draw(iter(part.records())):
            yield place, _json_line(record)
        return
    lines = enumerate(read_byte_lines(part.path), 1)
    if reading.picks is None:
        yield from lines
    else:
        yield from reading.draw(pair for pair in lines if has_record(pair[1]))


def _edited_line(line: bytes, edit: Edit, columns: Mapping[str, str]) -> bytes:
    """A line of JSON with an edit made, in the style and with the end of the line."""
    text = line.decode()
    end = text[len(text.rstrip()) :]
    edited = dump_like(text, edit(json.loads(text), columns))
    try:
        return f"{edited}{end}".encode()
    except UnicodeEncodeError:  # half a character
        return f"{json.dumps(json.loads(edited))}{end}".encode()


def _json_line(record: Any) -> bytes:
    if isinstance(record, Exception):
        return b"{}\n"  # cannot be read, so that it is written 0 times
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a character, which only JSON's own notation can hold
        return json.dumps(record).encode() + b"\n"


def _copied_records(readings: list[Reading], copies: Copies, edits: Edits) -> Iterator[Any]:
    for row in edited_rows(readings, edits, is_whole=True):
        yield from repeat(row.record, copies.get(row.number, 1))


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


def _write_parquet(
    path: Path, source: Sources, readings: list[Reading], copies: Copies, edits: Edits
) -> None:
    """Write records under a schema of all their keys: once to find it, and once to write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pa.schema(group.type) for group in _record_groups(readings, copies, edits)]
    if not schemas:
        raise UserError(f"mixture {name_source(source)}: no record would be left.")
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    kind = pa.struct(schema)
    with pq.ParquetWriter(path, schema) as file:
        for group in _record_groups(readings, copies, edits, kind):
            file.write_table(pa.Table.from_struct_array(group))


def _record_groups(
    readings: list[Reading], copies: Copies, edits: Edits, kind: "pa.DataType | None" = None
) -> "Iterator[pa.Array]":
    import pyarrow as pa

    records = _copied_records(readings, copies, edits)
    while group := list(islice(records, ROWS_PER_GROUP)):
        yield pa.array(group, kind)

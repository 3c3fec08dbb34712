"""Tables of Arrow with some of their rows edited: all other columns, types and values stay."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chunkykit.mixtures.editing import Columns, Edit

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES = b"huggingface"  # metadata in which `datasets` keeps the types of columns


def widen_schema(schema: "pa.Schema", records: Iterable[dict]) -> "pa.Schema":
    """Add the fields to a schema that edited records have beside its own.

    Args:
        schema: of a table.
        records: edited records.

    Returns:
        The schema with these fields at the end of their objects. All other types stay.
    """
    fields = list(schema)
    for record in records:
        for i, field in enumerate(fields):
            kind = _widen(field.type, record.get(field.name))
            if kind is not field.type:
                fields[i] = field.with_type(kind)
    widened = [new for new, old in zip(fields, schema) if new.type != old.type]
    if not widened:
        return schema
    import pyarrow as pa

    return pa.schema(fields, _widen_features(schema.metadata, pa.schema(widened)))


def edit_rows(
    table: "pa.Table", edits: Mapping[int, Edit], schema: "pa.Schema", names: Columns
) -> "pa.Table":
    """Edit rows of a table.

    Args:
        table: the table.
        edits: position of a row to its edit.
        schema: what the result has, from `widen_schema`.
        names: our names of columns to those of the table, as a recipe has them.

    Returns:
        The table. Columns in which no row changes are those that it has.
    """
    import pyarrow as pa

    if table.schema != schema:
        table = table.cast(schema)  # fields that are added are empty in it
    if not edits:
        return table
    positions = list(edits)
    records = table.take(positions).to_pylist()
    edited = [edits[position](record, names) for position, record in zip(positions, records)]
    places = list(range(len(table)))
    for i, position in enumerate(positions):
        places[position] = len(table) + i
    columns = table.columns
    for i, field in enumerate(schema):
        if any(new[field.name] != old[field.name] for new, old in zip(edited, records)):
            values = pa.array([record[field.name] for record in edited], field.type)
            joined = pa.chunked_array([*columns[i].chunks, values], field.type)
            columns[i] = joined.take(places)
    return pa.Table.from_arrays(columns, schema=schema)


def _widen(kind: Any, value: Any) -> Any:
    """A type with the fields that a value has beside its own; the same object where it has none."""
    import pyarrow as pa

    if isinstance(value, dict) and pa.types.is_struct(kind):
        fields = {field.name: field for field in kind}
        widened = dict(fields)
        for name, inner in value.items():
            if name not in fields:
                widened[name] = pa.field(name, pa.array([inner]).type)
            elif (new := _widen(fields[name].type, inner)) is not fields[name].type:
                widened[name] = fields[name].with_type(new)
        return kind if widened == fields else pa.struct(list(widened.values()))
    if isinstance(value, list) and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        inner_kind = kind.value_type
        for item in value:
            inner_kind = _widen(inner_kind, item)
        if inner_kind is not kind.value_type and inner_kind != kind.value_type:
            make = pa.list_ if pa.types.is_list(kind) else pa.large_list
            return make(kind.value_field.with_type(inner_kind))
    return kind


def _widen_features(metadata: dict | None, widened: "pa.Schema") -> dict | None:
    """The metadata with the types that `datasets` reads for the widened columns."""
    try:
        features = json.loads((metadata or {})[FEATURES])
        own = features["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return metadata
    import datasets

    own |= datasets.Features.from_arrow_schema(widened).to_dict()
    return {**(metadata or {}), FEATURES: json.dumps(features).encode()}

"""The records of a mixture, numbered over all its sources.

A source gives numbered records, streaming where its format allows it. It knows nothing of schemas;
a record that cannot be read is an exception in its place, so that one bad line is one skipped row.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from chunkykit.errors import UserError
from chunkykit.mixtures.formats import list_columns
from chunkykit.mixtures.listing import Sources
from chunkykit.mixtures.parsing import Records
from chunkykit.mixtures.parts import Part, expand_sources


class Row(NamedTuple):
    """One record of a mixture.

    Attributes:
        number: its number in the mixture, from 1. In one file of JSON lines the line, in one CSV
            file the row, where the header is 1. In several files and sources the numbers go on.
        record: the record, or the error that reading it raised.
        part: the part of the mixture that it is from.
        line: its place in the part, as `Part.records` has it.
        others: the columns of the source that a recipe has no name for; one may name the chunk.
    """

    number: int
    record: Any
    part: Part
    line: int
    others: Mapping[str, Any] = MappingProxyType({})


class Reading(NamedTuple):
    """One pass over a part.

    Attributes:
        part: the part.
        picks: (n,) int, sorted: positions, from 0, of the records that are drawn; None for all.
    """

    part: Part
    picks: np.ndarray | None = None

    def draw(self, records: Iterator[Any]) -> Iterator[Any]:
        """Yield what is drawn of the records of the part, or of anything that stands for them."""
        if self.picks is None:
            yield from records
            return
        picks = iter(self.picks)
        wanted = next(picks, None)
        for position, record in enumerate(records):
            if wanted is None:
                return
            if position == wanted:
                yield record
                wanted = next(picks, None)


def read_records(source: Sources, **settings: Any) -> Records:
    """Read the records of a mixture as its sources have them.

    Args:
        source: as of `load_mixture`.
        **settings: split, revision, data_files and seed, as of `open_source`; other settings of
            `load_mixture` do not matter here.

    Returns:
        Pairs of a record's number and the record; a record that cannot be read is an exception.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    rows = number_rows(plan_readings(source, **settings))
    return ((row.number, row.record) for row in rows)


def open_source(source: Sources, **settings: Any) -> Iterator[Row]:
    """Open the source of a mixture.

    Args:
        source: as of `load_mixture`.
        **settings: split, revision, data_files and seed, as of `read_batches`.

    Returns:
        The rows. Columns that a recipe names have our names.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    return rename_columns(number_rows(plan_readings(source, **settings)))


def plan_readings(
    source: Sources,
    *,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    seed: int = 0,
    **_: Any,
) -> list[Reading]:
    """Plan the passes over the parts of a mixture.

    Args:
        source: as of `load_mixture`.
        split: of folders and data sets on the hub.
        revision: of data sets on the hub.
        data_files: of folders and data sets on the hub.
        seed: of the demo, and of recipes that have none.
        **_: other settings of `load_mixture`, which do not matter here.

    Returns:
        The passes in their order. The same for the same source and settings.

    Raises:
        UserError: the source is missing, or cannot be read.
    """
    parts = expand_sources(source, split=split, revision=revision, data_files=data_files, seed=seed)
    for part in parts:
        part.check()
    readings: list[Reading] = []
    for item, group in groupby(parts, key=lambda part: part.item):
        own = list(group)
        if own[0].entry.is_drawn:
            readings += _draw_readings(own, item)
        else:
            readings += [Reading(part) for part in own]
    return readings


def expect_rows(readings: list[Reading]) -> int | None:
    """Count rows for those who watch them being read.

    Args:
        readings: from `plan_readings`.

    Returns:
        The number, with rows that cannot be used; None where it takes too long to know.
    """
    total = 0
    for reading in readings:
        rows = reading.part.stated_rows() if reading.picks is None else len(reading.picks)
        if rows is None:
            return None
        total += rows
    return total


def number_rows(readings: list[Reading]) -> Iterator[Row]:
    """Number the records of the parts of a mixture.

    Args:
        readings: from `plan_readings`.

    Yields:
        The rows, with the records as their sources have them.

    Raises:
        UserError: a part cannot be read, or a source has no rows.
    """
    number = 0
    for _, group in groupby(readings, key=lambda reading: reading.part.item):
        before = number
        for reading in group:
            part = reading.part
            for line, record in reading.draw(iter(part.records())):
                number += 1
                yield Row(line if part.is_alone else number, record, part, line)
        if number == before:
            raise UserError(
                f"{reading.part.entry.place}: it has no rows. Use a file with at least one "
                "prompt and response."
                if reading.picks is None
                else f"{reading.part.entry.place}: no row is drawn. Give a larger weight."
            )


def locate_row(source: Sources, number: int, **settings: Any) -> str:
    """Say where a row of a mixture stands.

    Args:
        source: as of `load_mixture`.
        number: of the row.
        **settings: as of `read_records`.

    Returns:
        Such as "row 7 of mix.jsonl" or "row 7 (line 3 of b.jsonl)".
    """
    readings = plan_readings(source, **settings)
    if not readings[0].part.is_alone:
        for row in number_rows(readings):
            if row.number == number:
                return f"row {number} ({name_place(row)})"
    return f"row {number} of {readings[0].part.source}"


def name_place(row: Row) -> str:
    """Say where a row stands in its part, such as "line 3 of b.jsonl"."""
    unit = "line" if row.part.kind in (".jsonl", ".ndjson") else "row"
    return f"{unit} {row.line} of {row.part.source}"


def _draw_readings(parts: list[Part], item: int) -> list[Reading]:
    """The passes over the parts of one source, of which a recipe wants a number of rows."""
    entry = parts[0].entry
    sizes = [part.count() for part in parts]
    total = sum(sizes)
    n_whole = 0 if entry.rows is not None else int(entry.weight)
    share = round((entry.weight - n_whole) * total)
    n_drawn = share if entry.rows is None else min(entry.rows, total)
    readings = [Reading(part) for _ in range(n_whole) for part in parts]
    if n_drawn or not readings:
        # the draw does not depend on the other sources of the recipe, but on the place
        draws = np.random.default_rng([entry.seed, item])
        picks = np.sort(draws.choice(total, n_drawn, replace=False))
        starts = np.cumsum([0, *sizes])
        for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
            own = picks[(picks >= start) & (picks < end)] - start
            readings.append(Reading(part, own))
    return readings


def rename_columns(rows: Iterator[Row]) -> Iterator[Row]:
    """Give the columns that a recipe names our names.

    A column that no row of a source has is an error, and one that some rows have not is missing
    there.
    """
    for _, group in groupby(rows, key=lambda row: row.part.item):
        missing: set[str] = set()
        first: Row | None = None
        for row in group:
            columns = row.part.entry.columns
            if columns and isinstance(row.record, dict):
                if first is None:
                    first = row
                    missing = set(columns.values())
                if missing:
                    missing -= row.record.keys()
                others = {k: v for k, v in row.record.items() if k not in columns.values()}
                row = row._replace(record=rename_record(row.record, columns), others=others)
            yield row
        if missing and first is not None:
            raise UserError(
                f"{first.part.entry.place}: no row has the column '{min(missing)}' that `columns` "
                f"names. The first has {list_columns(first.record)}."
            )


def rename_record(record: dict, columns: Mapping[str, str]) -> dict:
    """Give the columns of a record our names.

    Args:
        record: the record as its source has it.
        columns: our names to those of the record; none leaves it as it is.

    Returns:
        The record with our names as well, or with these alone where they say the exchange.
    """
    if not columns:
        return record
    named = {name: record.get(column) for name, column in columns.items()}
    if "rejected" in named and "response" in named:
        named["chosen"] = named.pop("response")
    if named.keys() & {"prompt", "response", "chosen", "messages"}:
        return named
    return {**record, **named}

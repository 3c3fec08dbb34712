"""A sample of a mixture, spread over all of it and drawn in seconds.

Little is decoded: of Parquet the row groups in which rows are drawn, of JSON lines the drawn lines.
Other formats are read whole, and what is drawn of them is kept.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chunkykit.errors import UserError
from chunkykit.mixtures.compressed import LINE_TYPES, MARK, MAX_LINE_BYTES, long_line, read_blocks
from chunkykit.mixtures.formats import name_schema
from chunkykit.mixtures.hub import count_hub, stream_tables
from chunkykit.mixtures.listing import Sources
from chunkykit.mixtures.mixture import Mixture, read_rows
from chunkykit.mixtures.parsing import open_parquet, parse_jsonl
from chunkykit.mixtures.parts import Part
from chunkykit.mixtures.sources import Reading, Row, plan_readings, rename_columns
from chunkykit.mixtures.values import is_missing

ROWS_PER_LOOK = 1000  # one in so many rows is looked at
MIN_LOOKED = 300  # rows of each part, if it has as many
MIN_LOOKED_OF_MANY = 20  # rows of each part, where there are many parts
MIN_LOOKED_IN_ALL = 3000  # rows, from which parts are many
MAX_LOOKED = 5000  # rows of each part
MAX_GROUPS = 16  # row groups of a Parquet file that are read
MAX_SHARDS = 8  # files of a data set of the hub from which rows are fetched
BLOCK_BYTES = 2**15  # of JSON lines, of which one line is drawn
SMALL_BYTES = 2**24  # up to which a file of JSON lines is drawn from line by line
BATCH_ROWS = 4096


class Sample(NamedTuple):
    """What was drawn of a part of a mixture.

    Attributes:
        part: the part.
        rows: rows that the mixture has of it; None where only reading all would say.
        looked: records that were looked at.
        mixture: their exchanges, and those that were skipped, by their place in the part.
        columns: column to the number of records in which it holds something.
        schemas: name of a reader to the number of records that it reads.
    """

    part: Part
    rows: int | None
    looked: int
    mixture: Mixture
    columns: Counter[str]
    schemas: Counter[str]


class _Drawn(NamedTuple):
    """Places and records that were drawn of a part, and the records that it has."""

    records: list[tuple[int, Any]]
    total: int | None


class _Sampler:
    """Draws rows of one part."""

    def __init__(self, draws: np.random.Generator, min_looked: int):
        """Remember the generator, and how many rows are looked at where there are few."""
        self._draws = draws
        self._min_looked = min_looked

    def draw(self, part: Part) -> _Drawn:
        """Draw places and records of a part."""
        if part.hub is not None:
            return self._draw_hub(part)
        if part.path is not None and part.kind == ".parquet":
            return self._draw_parquet(part.path)
        if part.path is not None and part.kind in LINE_TYPES:
            return self._draw_lines(part.path)
        if part.has_tables:
            total = part.count()
            return _Drawn(list(_pick_tables(part.tables(), self._spread(total))), total)
        reservoir = self._reservoir()
        for pair in part.records():
            reservoir.add(pair)
        return _Drawn(self._thin(reservoir.things(), reservoir.total), reservoir.total)

    def _size(self, total: int) -> int:
        """How many of `total` rows are looked at."""
        return min(total, max(self._min_looked, min(MAX_LOOKED, total // ROWS_PER_LOOK)))

    def _spread(self, total: int, size: int | None = None) -> np.ndarray:
        """Draw positions that are spread over a range, one from each of equal parts of it.

        Without chance, rows in turn of several chunks would all be of one.
        """
        size = self._size(total) if size is None else min(size, total)
        edges = np.linspace(0, total, size + 1).astype(int)
        return self._draws.integers(edges[:-1], edges[1:])

    def _reservoir(self) -> "_Reservoir":
        return _Reservoir(int(self._draws.integers(2**32)))

    def _thin(self, things: list[Any], total: int) -> list[Any]:
        """As many of some things as are looked at, where there are `total` in all."""
        return [things[i] for i in self._spread(len(things), self._size(total))]

    def _draw_parquet(self, path: Path) -> _Drawn:
        file = open_parquet(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        total = sum(sizes)
        groups = self._spread(len(sizes), MAX_GROUPS)
        starts = np.cumsum([0, *sizes])
        records: list[tuple[int, Any]] = []
        for group in groups:
            positions = self._spread(sizes[group], -(-self._size(total) // len(groups)))
            batches = file.iter_batches(BATCH_ROWS, row_groups=[int(group)])
            own = _pick_tables(batches, positions)
            records += [(int(starts[group]) + place, record) for place, record in own]
        return _Drawn(records, total)

    def _draw_lines(self, path: Path) -> _Drawn:
        blocks = read_blocks(path, BLOCK_BYTES)
        start: list[bytes] = []
        size = 0
        while size < SMALL_BYTES and (block := next(blocks, None)):
            start.append(block)
            size += len(block)
        if size < SMALL_BYTES:
            numbered = enumerate(b"".join(start).split(b"\n"), 1)
            lines = [(number, line) for number, line in numbered if line.strip()]
            chosen = self._spread(len(lines))
            return _Drawn(_parse_lines(path, [lines[i] for i in chosen]), len(lines))
        lines, total = _draw_blocks(path, chain(start, blocks), self._reservoir())
        return _Drawn(_parse_lines(path, self._thin(lines, total)), total)

    def _draw_hub(self, part: Part) -> _Drawn:
        """The first rows of some of the files, since more of a stream takes longer.

        The place of a row of another than the first file is 0.
        """
        assert part.hub is not None
        data = part.hub_data
        n_shards = max(1, getattr(data, "num_shards", 1))
        total = count_hub(data, part.hub)
        shards = self._spread(n_shards, MAX_SHARDS)
        size = -(-self._size(total or self._min_looked) // len(shards))
        records: list[tuple[int, Any]] = []
        for index in shards.tolist():
            shard = data.shard(num_shards=n_shards, index=index) if n_shards > 1 else data
            tables = stream_tables(part.source, part.hub, shard)
            rows = islice((row for table in tables for row in table.to_pylist()), size)
            # which rows those of later files are is not known
            records += ((place * (index == 0), row) for place, row in enumerate(rows, 1))
        return _Drawn(records, total)


def sample_mixture(
    source: Sources, *, chunk: str | None = None, seed: int = 0, **settings: Any
) -> list[Sample]:
    """Draw a sample of each part of a mixture.

    Args:
        source: as of `load_mixture`.
        chunk: column that names the chunk; None to find it by name.
        seed: of the draw, and of the demo.
        **settings: split, revision and data_files, as of `read_batches`.

    Returns:
        A sample per part, in their order: about one in ROWS_PER_LOOK rows, but at least MIN_LOOKED
        (fewer where there are many parts) and at most MAX_LOOKED.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    readings = plan_readings(source, seed=seed, **settings)
    by_part: dict[int, list[Reading]] = {}
    for reading in readings:
        by_part.setdefault(id(reading.part), []).append(reading)
    of_many = max(MIN_LOOKED_OF_MANY, MIN_LOOKED_IN_ALL // len(by_part))
    samples = []
    for number, own in enumerate(by_part.values()):
        draws = np.random.default_rng([seed, number])
        sampler = _Sampler(draws, min(MIN_LOOKED, of_many))
        samples.append(_sample_part(own, chunk, sampler))
    return samples


def _sample_part(readings: list[Reading], chunk: str | None, sampler: _Sampler) -> Sample:
    part = readings[0].part
    drawn = sampler.draw(part)
    if not drawn.records:
        raise UserError(f"mixture {part.source}: it has no rows.")
    # a place in the part is what the reasons are to be listed with
    alone = replace(part, is_alone=True)
    rows = [Row(place, record, alone, place) for place, record in drawn.records]
    renamed = list(rename_columns(iter(rows)))
    columns: Counter[str] = Counter()
    schemas: Counter[str] = Counter()
    for row in rows:
        if isinstance(row.record, dict):
            columns.update(str(key) for key, value in row.record.items() if not is_missing(value))
    for row in renamed:
        if isinstance(row.record, dict):
            schemas[name_schema(row.record)] += 1
    return Sample(
        part=part,
        rows=_rows_in_mixture(readings, drawn.total),
        looked=len(rows),
        mixture=read_rows(iter(renamed), chunk),
        columns=columns,
        schemas=schemas,
    )


def _rows_in_mixture(readings: list[Reading], total: int | None) -> int | None:
    if total is None:
        return None
    return sum(total if one.picks is None else len(one.picks) for one in readings)


def _pick_tables(tables: Iterable[Any], positions: np.ndarray) -> Iterator[tuple[int, Any]]:
    """Places, from 1, and records at some positions of tables."""
    start = 0
    for table in tables:
        end = start + len(table)
        own = positions[(positions >= start) & (positions < end)]
        if len(own):
            records = table.take(own - start).to_pylist()
            yield from zip((own + 1).tolist(), records, strict=True)
        start = end


class _Reservoir:
    """A random part of many things, each as likely as the others, in bounded memory.

    Attributes:
        total: how many things there were.
    """

    def __init__(self, seed: int):
        """Start with none."""
        self.total = 0
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Any]] = []

    def add(self, thing: Any) -> None:
        """Add one."""
        if self.total < MAX_LOOKED:
            self._kept.append((self.total, thing))
        else:
            place = int(self._random.random() * (self.total + 1))
            if place < MAX_LOOKED:
                self._kept[place] = (self.total, thing)
        self.total += 1

    def things(self) -> list[Any]:
        """List what was kept, in its order."""
        return [thing for _, thing in sorted(self._kept, key=itemgetter(0))]


def _draw_blocks(
    path: Path, blocks: Iterable[bytes], drawn: _Reservoir
) -> tuple[list[tuple[int, bytes]], int]:
    """The first line that begins in each of many blocks, with its number, and the lines in all."""
    number = 1  # of the line in which the block begins
    line = b""  # that is being drawn, and does not end in its block
    line_number = 0
    for block in blocks:
        if line:
            piece, end, _ = block.partition(b"\n")
            line += piece
            if len(line) > MAX_LINE_BYTES:
                raise UserError(long_line(path, line_number))
            if end:
                drawn.add((line_number, line))
                line = b""
        elif b"\n" in block:
            line_number = number + 1
            piece, end, _ = block.partition(b"\n")[2].partition(b"\n")
            if end:
                drawn.add((line_number, piece))
            else:
                line = piece
        number += block.count(b"\n")
        is_ended = block.endswith(b"\n")
    if line:
        drawn.add((line_number, line))
    lines = [pair for pair in drawn.things() if pair[1].strip()]
    return lines, number - is_ended


def _parse_lines(path: Path, lines: list[tuple[int, bytes]]) -> list[tuple[int, Any]]:
    records: list[tuple[int, Any]] = []
    for number, line in lines:
        try:
            text = line.removeprefix(MARK if number == 1 else b"").decode()
        except UnicodeDecodeError:
            raise UserError(
                f"mixture {path}: not UTF-8 text (line {number}). Save it as UTF-8."
            ) from None
        records += [(number, record) for _, record in parse_jsonl([text])]
    return records

"""A look at a mixture before anything is described: what is in it, from about one in 1,000 rows."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from chunkykit.attributes import detect_language
from chunkykit.files import json_ready
from chunkykit.mixtures import Sample, Sources, name_source, sample_mixture
from chunkykit.numbers import percent
from chunkykit.text import count_of, inert_html, inert_text

N_EXAMPLES = 3  # exchanges shown per chunk
# Texts of an example, with what is printed before each that there is.
EXAMPLE_TEXTS = {"system": "system: ", "prompt": "", "response": "-> ", "rejected": "rejected: "}
SHOWN_CHARACTERS = 100  # of a text of an example
SHOWN_CHUNKS = 20  # chunks whose examples are printed
SHOWN_ROWS = 40  # rows of a printed table
ENGLISH = "English, code or too short to tell"


@dataclass(frozen=True, repr=False)
class Look:
    """What is in a mixture, from a sample of its rows.

    Attributes:
        source: name of the mixture.
        sources: DataFrame with a row per part: source, rows (in the mixture; None if unknown),
            looked, exchanges and skipped (of those looked at), schema (of the readers, with the
            share of the rows where there are several), chunk_column and columns.
        chunks: DataFrame chunk, exchanges (looked at), share (of the mixture, estimated).
        languages: DataFrame language, prompts, responses (looked at).
        skipped: DataFrame source, reason, rows (looked at), first (the place of the first).
        examples: DataFrame chunk, source, row, system, prompt, response, rejected: up to three
            exchanges per chunk.
    """

    source: str
    sources: pd.DataFrame
    chunks: pd.DataFrame
    languages: pd.DataFrame
    skipped: pd.DataFrame
    examples: pd.DataFrame

    @property
    def headline(self) -> str:
        """The numbers in one sentence."""
        looked = self.sources["looked"].sum()
        known = self.sources["rows"].notna().all()
        rows = f"{self.sources['rows'].sum():,.0f}" if known else "an unknown number of"
        return (
            f"{self.source}: looked at {looked:,} of {rows} rows: "
            f"{count_of(int(self.sources['exchanges'].sum()), 'exchange')} in "
            f"{count_of(len(self.chunks), 'chunk')}, "
            f"{count_of(int(self.sources['skipped'].sum()), 'row')} skipped"
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """List the tables by name, with the shares as they are shown.

        Returns:
            Name to table.
        """
        shown = self.chunks.assign(share=[percent(share, 1) for share in self.chunks["share"]])
        return {
            "sources": self.sources,
            "chunks": shown,
            "languages": self.languages,
            "skipped rows": self.skipped,
        }

    def to_dict(self) -> dict:
        """Convert to values that JSON can hold.

        Returns:
            The attributes; tables are lists of records.
        """
        names = ("sources", "chunks", "languages", "skipped", "examples")
        records = {name: getattr(self, name).to_dict("records") for name in names}
        return json_ready({"source": self.source, **records})

    def __str__(self) -> str:
        """The tables and the examples as lines for a terminal."""
        lines = [self.headline]
        for name, table in self.tables().items():
            if len(table):
                lines += ["", name, *_table_lines(table)]
        shown = set(self.chunks["chunk"].head(SHOWN_CHUNKS))
        lines += ["", "examples"]
        for example in self.examples.itertuples():
            if example.chunk in shown:
                place = f"row {example.row!s}" if example.row else "a row"
                lines.append(f"  {example.chunk!s}: {place} of {example.source}")
                texts = {mark: getattr(example, name) for name, mark in EXAMPLE_TEXTS.items()}
                lines += [f"    {mark}{_shorten(text)}" for mark, text in texts.items() if text]
        return "\n".join(inert_text(line) for line in lines)

    def __repr__(self) -> str:
        """The same as a printed look."""
        return str(self)

    def _repr_html_(self) -> str:
        """Show the tables and the examples in a notebook, with all texts escaped."""
        parts = [f"<p>{inert_html(self.headline)}</p>"]
        for name, table in self.tables().items():
            if len(table):
                parts.append(f"<p><b>{name}</b></p>{_table_html(table)}")
        texts = {name: self.examples[name].map(_shorten) for name in EXAMPLE_TEXTS}
        examples = self.examples.assign(**texts)
        parts.append(f"<p><b>examples</b></p>{_table_html(examples)}")
        return "\n".join(parts)


def look(mixture: Sources, *, chunk: str | None = None, seed: int = 0, **settings: Any) -> Look:
    """Look at a mixture before it is described: chunks, languages, skipped rows, examples.

    Reads about one in a thousand rows, and at least 300 of each file, spread over it. A million
    rows take seconds.

    Args:
        mixture: a source or a list of them, as of `load_mixture`.
        chunk: column that names the chunk; None to find it by name.
        seed: of the draw.
        **settings: split, revision and data_files, as of `load_mixture`.

    Returns:
        What is in it. It prints, shows in a notebook, and converts to JSON (`to_dict`).

    Raises:
        UserError: the mixture is missing or cannot be read.
    """
    samples = sample_mixture(mixture, chunk=chunk, seed=seed, **settings)
    return Look(
        source=name_source(mixture),
        sources=pd.DataFrame([_source_row(sample) for sample in samples]),
        chunks=_count_chunks(samples),
        languages=_count_languages(samples),
        skipped=_group_skipped(samples),
        examples=_pick_examples(samples),
    )


def _source_row(sample: Sample) -> dict[str, Any]:
    mixture = sample.mixture
    return {
        "source": sample.part.source,
        "rows": sample.rows,
        "looked": sample.looked,
        "exchanges": len(mixture.rows),
        "skipped": len(mixture.skipped),
        "schema": _name_shares(sample.schemas),
        "chunk_column": mixture.chunk_column,
        "columns": ", ".join(name for name, _ in sample.columns.most_common()),
    }


def _name_shares(counts: Counter[str]) -> str:
    if len(counts) < 2:
        return ", ".join(counts)
    total = sum(counts.values())
    return ", ".join(f"{name} ({percent(count / total)})" for name, count in counts.most_common())


def _count_chunks(samples: list[Sample]) -> pd.DataFrame:
    """Exchanges per chunk, and their share of the mixture: a row stands for those not looked at."""
    counts: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for sample in samples:
        weight = (sample.rows or sample.looked) / sample.looked
        for chunk in sample.mixture.rows["chunk"]:
            counts[chunk] += 1
            weights[chunk] += weight  # type: ignore[assignment]
    total = sum(weights.values())
    rows = [(chunk, counts[chunk], weight / total) for chunk, weight in weights.most_common()]
    return pd.DataFrame(rows, columns=["chunk", "exchanges", "share"])


def _count_languages(samples: list[Sample]) -> pd.DataFrame:
    counts: dict[str, Counter[str]] = {}
    for side in ("prompt", "response"):
        texts = (text for sample in samples for text in sample.mixture.rows[side])
        counts[side] = Counter(detect_language(text) or ENGLISH for text in texts if text)
    both = counts["prompt"] + counts["response"]
    rows = [
        (name, counts["prompt"][name], counts["response"][name]) for name, _ in both.most_common()
    ]
    return pd.DataFrame(rows, columns=["language", "prompts", "responses"])


def _group_skipped(samples: list[Sample]) -> pd.DataFrame:
    """The reasons with the number of rows. Reasons that differ in numbers alone are one."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for sample in samples:
        for skipped in sample.mixture.skipped.itertuples():
            reason = str(skipped.reason)
            key = (sample.part.source, re.sub(r"\d+", "0", reason))
            group = groups.setdefault(key, [sample.part.source, reason, 0, skipped.row or None])
            group[2] += 1
    rows = sorted(groups.values(), key=lambda group: -group[2])
    return pd.DataFrame(rows, columns=["source", "reason", "rows", "first"])


def _pick_examples(samples: list[Sample]) -> pd.DataFrame:
    """The first, the middle and the last of the exchanges of each chunk that were looked at."""
    tables = [sample.mixture.rows.assign(source=sample.part.source) for sample in samples]
    rows = pd.concat(tables, ignore_index=True)
    picked = []
    for _, own in rows.groupby("chunk", sort=True):
        positions = sorted({0, len(own) // 2, len(own) - 1})[:N_EXAMPLES]
        picked.append(own.iloc[positions])
    columns = ["chunk", "source", "row", *EXAMPLE_TEXTS]
    return pd.concat(picked or [rows])[columns].fillna("").reset_index(drop=True)


def _shorten(text: str) -> str:
    line = " ".join(text[: 4 * SHOWN_CHARACTERS].split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def _cells(table: pd.DataFrame) -> Iterable[list[str]]:
    for row in table.head(SHOWN_ROWS).itertuples(index=False):
        yield list(map(_cell, row))


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN
        return "-"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value:,.0f}" if is_number else _shorten(str(value))


def _table_lines(table: pd.DataFrame) -> list[str]:
    rows = [list(table.columns), *_cells(table)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    more = len(table) - SHOWN_ROWS
    return [*lines, f"  and {more:,} more"] if more > 0 else lines


def _table_html(table: pd.DataFrame) -> str:
    lines = [_row_html(map(str, table.columns), "th")]
    lines += [_row_html(cells, "td") for cells in _cells(table)]
    more = len(table) - SHOWN_ROWS
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table>{''.join(lines)}</table>{note}"


def _row_html(texts: Iterable[str], tag: str) -> str:
    cells = [f"<{tag}>{inert_html(text)}</{tag}>" for text in texts]
    return f"<tr>{''.join(cells)}</tr>"

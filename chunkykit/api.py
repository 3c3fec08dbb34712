"""Indexes and traces as one uses them: build, open, trace, look.

    import chunkykit as ck

    index = ck.build_index("mix.jsonl", "my_index")
    trace = index.trace(query, response, rubric="refusal")
    print(trace)

The pieces are functions of the rooms below: `mixtures`, `attributes`, `index`, `turf`, `show`.
"""

import tempfile
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.errors import UserError
from chunkykit.index import (
    ShardReader,
    TraceIndex,
    describe_shards,
    finish_index,
    open_trace_index,
    scan_index,
)
from chunkykit.mixtures import Mixture
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.show.marks import marked_html
from chunkykit.sync import run_sync
from chunkykit.text import clean_text, inert_html, inert_text
from chunkykit.turf import Trace as PlainTrace
from chunkykit.turf import Tracer, format_trace, select_crux, trace_examples, trace_tables
from chunkykit.types import OFFLINE, Embedder

ROWS_SHOWN = 3  # training rows for and against a trace that are printed


@dataclass(frozen=True, repr=False)
class Trace(PlainTrace):
    """What the training data says about a failing exchange. Make one with `Index.trace`.

    Attributes:
        tracer: what found it.
        rubric: the rubric that the response was traced for.
    """

    tracer: Tracer = field(kw_only=True, compare=False)
    rubric: Rubric = field(kw_only=True, compare=False)

    def examples(self, n: int = ROWS_SHOWN) -> pd.DataFrame:
        """Return training rows for and against the trace.

        Args:
            n: rows of either kind, at most.

        Returns:
            DataFrame[kind, row, chunk, prompt, response, query_attribute, response_attribute],
            where kind is "evidence" or "counter-example". Empty where there is no trigger.
        """
        if self.trigger is None:
            return pd.DataFrame()
        return trace_examples(self.tracer, self, n)

    def plot(self):
        """Draw the chunks behind the trace against their shares of the mixture.

        Returns:
            A plotly figure. Needs the extra `figures`.

        Raises:
            UserError: where there is no trigger, so nothing to draw.
        """
        if self.trigger is None:
            raise UserError(f"trace: there is nothing to plot. {self.explanation}")
        from chunkykit.show import figures

        tables = trace_tables([(0, self.rubric.name, self)])
        size = len(self.tracer.index)
        caption = f"index of {size:,} rows · rubric {self.rubric.name}"
        return figures.chunks(tables["traces"], tables["trace_chunks"], caption)

    def __str__(self) -> str:
        """The sentence, the numbers and a few training rows, safe to print."""
        return format_trace(self, self.examples())

    def __repr__(self) -> str:
        """The same as a printed trace: what a console shows should be readable."""
        return str(self)

    def _repr_html_(self) -> str:
        return super()._repr_html_() + _examples_html(self.examples())


class Index:
    """A trace index that can be asked. Make one with `build_index` or `open_index`.

    Attributes:
        data: the index's arrays; `len(index)` is its number of rows.
        folder: where it is saved, None for one in memory.
    """

    def __init__(
        self, data: TraceIndex, folder: Path | None = None, embedder: Embedder | None = None
    ):
        """Wrap an opened index.

        Args:
            data: the opened index.
            folder: where it is saved.
            embedder: what embedded its sentences; None to load it by its name.
        """
        self.data = data
        self.folder = folder
        self._embedder = embedder

    def __len__(self) -> int:
        """The number of training rows."""
        return len(self.data)

    @property
    def chunks(self) -> pd.Series:
        """Rows per chunk, the largest first."""
        return pd.Series(self.data.chunk, name="chunk").value_counts()

    @cached_property
    def tracer(self) -> Tracer:
        """What finds traces; it keeps what it has looked up."""
        return Tracer(self.data, self._embedder or load_embedder(self.data.meta["embedder"]))

    def trace(self, query: str, response: str, rubric: str | Rubric, k: int | None = None) -> Trace:
        """Trace a failing exchange to the training data.

        Args:
            query: what the user asked.
            response: what the model answered.
            rubric: the rubric that the response violates: a shipped name, a YAML file or a Rubric.
            k: response attributes to retrieve per crux. None: 1,000, or a twentieth of the rows if
                that is less. Set it for an index of a few hundred rows.

        Returns:
            The trace. One without a trigger says why.

        Raises:
            UserError: where query or response is empty, or a model described the index.
        """
        if not query.strip() or not response.strip():
            raise UserError("trace: query and response must not be empty.")
        if isinstance(rubric, str):
            rubric = load_rubric(rubric)
        query_attributes = self._describe(clean_text(query), "query")
        response_attributes = self._describe(clean_text(response), "response")
        tracer = self.tracer
        if k is not None:
            tracer = Tracer(self.data, self.tracer.embed, k)
        cruxes = select_crux(response_attributes, rubric, tracer.embed)
        plain = tracer.trace(query_attributes, cruxes, rubric)
        values = {f.name: getattr(plain, f.name) for f in fields(PlainTrace)}
        return Trace(**values, tracer=tracer, rubric=rubric)

    def scan(self, top: int = 25) -> pd.DataFrame:
        """List what the data alone lets one expect, before any model is asked.

        Args:
            top: findings at most.

        Returns:
            Findings, the most telling first: a query cluster, a response behaviour, and the chunk
            that ties them together. See `index.scan_index` for the columns.
        """
        return scan_index(self.data, top=top)

    def _describe(self, text: str, side: str) -> list[str]:
        """The attributes of a text, by the describer that described the rows."""
        describer = self.data.meta["describer"]
        if describer != OFFLINE:
            raise UserError(
                f"index {self.folder}: the model '{describer}' described its rows, and a pair must "
                "be described by the same. Use the tracer with attributes from that model: "
                "index.tracer.trace(query_attributes, cruxes, rubric)."
            )
        return run_sync(describe_lexically([text], side))[0]

    def __str__(self) -> str:
        """The index in a few lines."""
        meta = self.data.meta
        largest = ", ".join(f"{name} ({rows:,})" for name, rows in self.chunks.head(5).items())
        more = len(self.chunks) - 5
        lines = [
            f"Index of {len(self):,} training rows in {len(self.chunks)} chunks",
            f"chunks      {largest}{f', {more} more' if more > 0 else ''}",
            f"clusters    {meta['clusters']:,} query clusters",
            f"described   {meta['describer']}, embedded by {meta['embedder']}",
            f"folder      {self.folder or 'none: it is in memory'}",
        ]
        return "\n".join(inert_text(line) for line in lines)

    def __repr__(self) -> str:
        """The same as a printed index."""
        return str(self)

    def _repr_html_(self) -> str:
        return facts_html(str(self))


def facts_html(text: str) -> str:
    """Show a title and `name   value` lines as HTML.

    Args:
        text: what `str` of an index or an audit gives.

    Returns:
        The title in bold and a table, escaped.
    """
    title, *lines = text.splitlines()
    rows = []
    for line in lines:
        name, value = line.split(maxsplit=1)
        left = "style='text-align:left'"
        rows.append(
            f"<tr><th {left}>{inert_html(name)}</th><td {left}>{inert_html(value)}</td></tr>"
        )
    return f"<b>{inert_html(title)}</b><table>{''.join(rows)}</table>"


def _examples_html(examples: pd.DataFrame) -> str:
    """Training rows as an HTML table, with the attribute's words marked."""
    if examples.empty:
        return ""
    cells = []
    for row in examples.to_dict("records"):
        prompt = marked_html(row["prompt"], row["query_attribute"], "query")
        response = marked_html(row["response"], row["response_attribute"], "response")
        cells.append(
            f"<tr><td>{inert_html(row['kind'])}</td><td>{inert_html(row['chunk'])}</td>"
            f"<td>{prompt}</td><td>{response}</td></tr>"
        )
    head = "<tr><th>kind</th><th>chunk</th><th>prompt</th><th>response</th></tr>"
    return f"<table style='text-align:left'>{head}{''.join(cells)}</table>"


def build_index(
    mixture,
    folder=None,
    *,
    chunk: str | None = None,
    rows: int | None = None,
    clusters: int | None = None,
    embedder: str | Embedder = "wordllama",
    seed: int = 0,
) -> Index:
    """Build a trace index of a mixture: describe its rows, embed and cluster their attributes.

    The offline describer describes the rows. To have a model describe them, with an estimate and a
    budget, use `chunkykit index --describer MODEL`.

    Args:
        mixture: a file, `datasets` folder or hub id, "demo", or a Mixture.
        folder: where to save the index; None for one in memory.
        chunk: the column that names the chunk; None to find it by name.
        rows: a random subset of so many rows; None for all.
        clusters: query clusters; None for a number that suits the mixture.
        embedder: what embeds the attribute sentences: a name, or your own. The index remembers
            its name.
        seed: fixes the subset and the clusters.

    Returns:
        The index. A build that was killed resumes where it stopped.

    Raises:
        UserError: where the mixture cannot be read, or the folder cannot be written.
    """
    embed = load_embedder(embedder)
    reader = ShardReader(mixture, chunk=chunk, rows=rows, seed=seed)
    settings = {"clusters": clusters, "seed": seed, "mixture": _mixture_name(mixture)}
    if folder is not None:
        data = _build(Path(folder), embed, reader, settings)
        return Index(data, Path(folder), embed)
    place = tempfile.TemporaryDirectory(prefix="chunkykit-")
    data = _build(Path(place.name) / "index", embed, reader, settings)
    # the files are deleted with the index
    return Index(replace(data, place=place), embedder=embed)


def _build(folder: Path, embed: Embedder, reader: ShardReader, settings: dict) -> TraceIndex:
    run_sync(describe_shards(folder, reader, describe_lexically, key=OFFLINE))
    return finish_index(folder, embed, describer=OFFLINE, skipped=reader.skipped, **settings)


def _mixture_name(mixture) -> str:
    return "mixture" if isinstance(mixture, Mixture) else Path(str(mixture)).name


def open_index(folder, embedder: Embedder | None = None) -> Index:
    """Open an index that `build_index` or `chunkykit index` made.

    Args:
        folder: its folder.
        embedder: your own embedder that made it; None to load it by the name in the index.

    Returns:
        The index, memory-mapped.

    Raises:
        UserError: where there is no index, a file of it is damaged, or another embedder made it.
    """
    return Index(open_trace_index(folder, embedder), Path(folder), embedder)

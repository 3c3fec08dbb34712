"""An index as one uses it: it traces, scans and prints itself."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from chunkykit.api.trace import Trace
from chunkykit.attributes import check_describer, load_embedder_through
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex, scan_index
from chunkykit.models import (
    Allowance,
    Ledger,
    is_free,
    ledger_beside,
    refuse_unnamed,
    server_of,
)
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.sync import run_sync
from chunkykit.text import clean_text, count_of, inert_html, inert_text
from chunkykit.turf import (
    DescribedExchange,
    Exchange,
    Tracer,
    check_verification,
    describe_with_models,
    screen_exchange,
    verify_traces,
)
from chunkykit.turf import Trace as PlainTrace
from chunkykit.types import OFFLINE, Describer, Embedder

ANYWAY_HINT = "Give judge=MODEL to ask a model, or anyway=True to trace it all the same."


class Index:
    """A trace index that can be asked. Make one with `build_index` or `open_index`.

    Attributes:
        data: the index's arrays; `len(index)` is its number of rows.
        folder: where it is saved, None for one in memory.
        trust: whether models may be called, though only the index names them.
    """

    def __init__(
        self,
        data: TraceIndex,
        folder: Path | None = None,
        embedder: Embedder | None = None,
        *,
        describer: Describer | None = None,
        trust: bool = False,
        allowance: Allowance | None = None,
    ):
        """Wrap an opened index.

        Args:
            data: the opened index.
            folder: where it is saved.
            embedder: what embedded its sentences; None to load it by its name.
            describer: your own describer that described its rows; None to use it by its name.
            trust: whether models may be called, though only the index names them.
            allowance: limits on the calls of all traces; None for no limit.
        """
        self.data = data
        self.folder = folder
        self.trust = trust
        self._embedder = embedder
        self._describer = describer
        self._allowance = allowance or Allowance()

    def __len__(self) -> int:
        """The number of training rows."""
        return len(self.data)

    @property
    def chunks(self) -> pd.Series:
        """Rows per chunk, the largest first."""
        return pd.Series(self.data.chunk, name="chunk").value_counts()

    @property
    def tracer(self) -> Tracer:
        """What finds traces; it keeps what it has looked up."""
        self.check_named()
        return self._tracer

    @cached_property
    def _tracer(self) -> Tracer:
        name = self.data.meta["embedder"]
        return Tracer(self.data, self._embedder or load_embedder_through(name, self._spending))

    def _spending(self) -> AbstractContextManager[Ledger]:
        """Open the ledger beside the index, in the thread that will use it."""
        return self._allowance.spending(ledger_beside(self._ledger_folder))

    def check_named(self, named: Sequence[str] = ()) -> None:
        """Refuse to go on where only the index names a model.

        Args:
            named: models that you name.

        Raises:
            UserError: where its describer or embedder is such a model. Nothing was sent to it.
        """
        if self.trust:
            return
        names = [] if self._describer else [self.data.meta.get("describer", OFFLINE)]
        if self._embedder is None:
            names.append(self.data.meta["embedder"])
        fix = "To call it: open_index(folder, trust=True)."
        refuse_unnamed(f"index {self.folder or 'in memory'}", names, fix, named)

    def trace(
        self,
        query: str,
        response: str,
        rubric: str | Rubric,
        k: int | None = None,
        *,
        system: str = "",
        judge: str = OFFLINE,
        anyway: bool = False,
        verify: int = 0,
    ) -> Trace:
        """Trace a failing exchange to the training data.

        What described the rows describes the exchange. A ledger keeps the calls of models.

        Args:
            query: what the user asked.
            response: what the model answered.
            rubric: the rubric that the response violates: a shipped name, a YAML file or a Rubric.
            k: rows behind the trace. None: 1,000, or a twentieth of the rows if that is less.
            system: the system prompt that it stood under.
            judge: the model that picks the cruxes, or "offline" for those nearest to the rubric.
            anyway: whether to trace a response that does not look like a violation.
            verify: training rows that the judge is asked about, one call each: `trace.verified`.

        Returns:
            The trace. One without a trigger says why.

        Raises:
            UserError: a text is empty, a call failed or may not be made, or a judge is missing.
        """
        if not query.strip() or not response.strip():
            raise UserError("trace: query and response must not be empty.")
        check_verification(verify, judge)
        if isinstance(rubric, str):
            rubric = load_rubric(rubric)
        exchange = Exchange(clean_text(query), clean_text(response), clean_text(system))
        described = self._describe(exchange, rubric, judge, anyway)
        tracer = self._tracer
        if k is not None:
            tracer = Tracer(self.data, tracer.embed, k)
        plain = tracer.trace(described.query_attributes, described.cruxes, rubric)
        if described.no_violation:
            plain = replace(plain, explanation=f"No trace: {described.no_violation}. {ANYWAY_HINT}")
        if verify and plain.trigger:
            plain = run_sync(self._verify(tracer, plain, judge, verify))
        values = {f.name: getattr(plain, f.name) for f in fields(PlainTrace)}
        violation = not described.no_violation
        return Trace(**values, tracer=tracer, rubric=rubric, violation=violation)

    def _describe(
        self, exchange: Exchange, rubric: Rubric, judge: str, anyway: bool
    ) -> DescribedExchange:
        """Describe an exchange by the describer that described the rows."""
        self.check_named([judge])
        reason = screen_exchange(exchange, rubric) if judge == OFFLINE and not anyway else ""
        if reason:
            return DescribedExchange([], [], reason)
        describer = self._describer or check_describer(self.data.meta, self.folder or "in memory")
        self._check_paid(describer, judge)
        described = run_sync(self._call_models(exchange, rubric, describer, judge, anyway))
        if described.error:
            raise UserError(f"trace: {described.error}. Trace it again.")
        return described

    async def _verify(self, tracer: Tracer, trace: PlainTrace, judge: str, n: int) -> PlainTrace:
        """Verify a trace by a judge."""
        with self._spending() as ledger:
            return (await verify_traces(tracer, [trace], judge, n, ledger))[0]

    async def _call_models(
        self,
        exchange: Exchange,
        rubric: Rubric,
        describer: str | Describer,
        judge: str,
        anyway: bool,
    ) -> DescribedExchange:
        describing = partial(
            describe_with_models,
            [exchange],
            rubric,
            self._tracer.embed,
            describer=describer,
            judge=judge,
            anyway=anyway,
        )
        models = [name for name in (describer, judge) if isinstance(name, str) and name != OFFLINE]
        if not models:
            return (await describing())[0]
        with self._spending() as ledger:
            return (await describing(ledger=ledger))[0]

    def _check_paid(self, describer: str | Describer, judge: str) -> None:
        """Refuse paid models where there is no limit."""
        allowance = self._allowance
        models = [name for name in (describer, judge) if isinstance(name, str)]
        if self._embedder is None and server_of(self.data.meta["embedder"]):
            models.append(self.data.meta["embedder"])
        paid = [model for model in models if not is_free(model)]
        if paid and allowance.budget_usd is None and allowance.max_calls is None:
            raise UserError(
                f"trace: {paid[0]} is a paid model. Set a limit for all traces: "
                "open_index(folder, budget_usd=X) or max_calls=N."
            )

    @property
    def _ledger_folder(self) -> Path:
        """The folder that the ledger stands beside: that of the index, or a temporary one."""
        return self.folder or Path(self.data.place.name) / "index"  # type: ignore[attr-defined]

    def scan(self, top: int = 25) -> pd.DataFrame:
        """List what the data alone lets one expect, before any model is asked.

        Args:
            top: findings at most.

        Returns:
            Findings, the most telling first: a query cluster, a response behaviour, and the chunk
            that ties them together. See `index.scan_index` for the columns.
        """
        return scan_index(self.data, top=top)

    def __str__(self) -> str:
        """The index in a few lines."""
        meta = self.data.meta
        largest = ", ".join(f"{name} ({rows:,})" for name, rows in self.chunks.head(5).items())
        more = len(self.chunks) - 5
        lines = [
            f"Index of {count_of(len(self), 'training row')} in "
            f"{count_of(len(self.chunks), 'chunk')}",
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

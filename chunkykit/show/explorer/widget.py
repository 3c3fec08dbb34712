"""The live explorer: the linked view of `view` in a notebook, with a kernel behind its buttons."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import wraps

import anywidget
import numpy as np
import pandas as pd
import traitlets

from chunkykit.attributes import describe_lexically
from chunkykit.causal import Ablation, measure_ablation, without_chunk
from chunkykit.errors import UserError, describe_error
from chunkykit.files import json_ready
from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.show.explorer.view import (
    ASSETS,
    CATEGORIES,
    MAX_TEXT,
    TEXT_COLUMNS,
    Failures,
    add_languages,
    cluster_name,
    crux_marks,
    pack_failures,
    shorten,
    trace_views,
)
from chunkykit.surf import PROBE_COLUMNS, Pool, failure_rate, run_search
from chunkykit.turf import (
    Trace,
    Tracer,
    examples_table,
    response_vectors,
    select_crux,
    trace_tables,
)


def _told(method):
    """A method whose failure the status line says too, so that the buttons can be pressed again."""

    @wraps(method)
    async def told(self, *args, **settings):
        try:
            return await method(self, *args, **settings)
        except Exception as error:
            self._say(str(error) if isinstance(error, UserError) else describe_error(error))
            raise

    return told


class Explorer(anywidget.AnyWidget):
    """The live view. `selection` is what is selected, a DataFrame; `select` selects from code; `trace`, `probe` and `ablate` are what the
    buttons do, for code too. run: whose models and index they use; without one, a tracer and rubrics by name make tracing possible."""

    _esm = (ASSETS / "explore.js").read_text("utf-8")
    _css = (ASSETS / "explore.css").read_text("utf-8")
    map, texts, chosen = (traitlets.Bytes().tag(sync=True) for _ in range(3))
    traces, more, asked = (traitlets.List().tag(sync=True) for _ in range(3))
    status, can = (traitlets.Dict().tag(sync=True) for _ in range(2))

    def __init__(
        self,
        failures: Failures,
        run=None,
        tracer: Tracer | None = None,
        rubrics: dict | None = None,
    ):
        self.failures, self.points, self.run = failures, failures.points.reset_index(drop=True), run
        self.tracer = tracer or (
            Tracer(run.index(), run.embed(), run.sizes["k"], run.seed) if run else None
        )
        self.rubrics = rubrics or ({r.name: r for r in run.rubrics} if run else {})
        self.probed = pd.DataFrame(columns=PROBE_COLUMNS)
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # no notebook, so no button either
            self._loop = None
        small, texts, told = pack_failures(failures)
        can = {
            "probe": "" if run else "there is no run behind this view, so no model to ask",
            "trace": "" if self.tracer and self.rubrics else "there is no index behind this view",
            "ablate": "there is no run behind this view"
            if not run
            else ""
            if run.trainable
            else "this target cannot be retrained here",
        }
        super().__init__(
            map=small, texts=texts, traces=told, can=can, status={"text": "", "busy": False}
        )
        self.on_msg(lambda _, message, buffers: self._asked(message))

    @property
    def selection(self) -> pd.DataFrame:
        """The selected exchanges, in the order of the points."""
        return self.points.iloc[np.frombuffer(self.chosen, "<i4")]

    def select(self, positions: Sequence[int]) -> pd.DataFrame:
        """Select exchanges by their positions in `points`; returns the selection."""
        found = np.asarray(positions, dtype="<i4")
        if len(found) and not (0 <= found.min() and found.max() < len(self.points)):
            raise UserError(f"select: positions are from 0 to {len(self.points) - 1}.")
        self.chosen, self.asked = found.tobytes(), found.tolist()
        return self.selection

    def _asked(self, message: dict) -> None:
        """A button was pressed: do it, and say in the status line what became of it. JupyterLab may tell of it in a thread of its own; it is
        done where the cells run, to which the run's models and ledger belong."""
        doing = {
            "trace": self.trace,
            "probe": self.probe,
            "ablate": lambda: self.ablate(message.get("trace")),
        }.get(message.get("act"))
        if doing is None or self.status.get("busy") or self._loop is None:
            return
        self.chosen = np.asarray(message["positions"], "<i4").tobytes()
        self._say("at work …", busy=True)

        async def act() -> None:
            with suppress(Exception):  # it has been told
                await doing()

        def start() -> None:
            self._task = self._loop.create_task(act())  # kept, or it may be collected

        self._loop.call_soon_threadsafe(start)

    def _say(self, text: str, done: int = 0, total: int = 0, busy: bool = False) -> None:
        self.status = {"text": text, "done": done, "total": total, "busy": busy}

    def _need(self, action: str) -> pd.DataFrame:
        """The selection, where the action can be done with it."""
        if self.can[action]:
            raise UserError(f"{action}: {self.can[action]}.")
        known = self.selection[self.selection["rubric"].isin(self.rubrics)]
        if known.empty:
            raise UserError(
                f"{action}: nothing of a known rubric is selected. Select exchanges first."
            )
        return known

    async def _described(self, texts, side: str) -> list[list[str]]:
        return await (self.run.describe() if self.run else describe_lexically)(texts, side)

    @_told
    async def trace(self) -> list[Trace]:
        """Trace the selection to the training data: the traces of its exchanges grouped by trigger, for each of its rubrics."""
        wanted, found, of_whom, said = self._need("trace"), [], [], []
        for name, mine in wanted.groupby("rubric"):
            most, of = self.run.sizes["trace"] if self.run else 60, self.rubrics[name]
            some = mine.sample(min(len(mine), most), random_state=0)
            self._say(f"tracing {len(some):,} of {len(mine):,} exchanges of {name}", busy=True)
            await asyncio.sleep(0.01)  # let the view show it
            queries, responses = [
                await self._described(list(some[side]), side) for side in ("query", "response")
            ]
            cruxes = (
                await self.run.cruxes(responses, of)
                if self.run
                else [select_crux(r, of, self.tracer.embed) for r in responses]
            )
            grouped = self.tracer.trace_group(list(zip(queries, cruxes)), of)
            found += [("your selection", name, t) for t in grouped]
            of_whom += [[int(some.index[i]) for i in t.members] for t in grouped]
            said.append(
                f"{name}: {len(some):,} of {len(mine):,} exchanges traced, {sum(t.trigger is not None for t in grouped)} trigger(s)"
            )
        tables = trace_tables(found)
        told = trace_views(
            tables["traces"],
            tables["trace_chunks"],
            examples_table(self.tracer, [t for *_, t in found]),
        )
        self.traces = [{**t, "made": positions} for t, positions in zip(told, of_whom)] + [
            t for t in self.traces if not t.get("made")
        ]
        self._say("; ".join(said))
        self.send({"show": "trace"})
        return [t for *_, t in found]

    @_told
    async def probe(self, n: int = 24) -> pd.DataFrame:
        """Put n new queries to the target that have attributes of the selected queries; failures among the answers are put on the map, each
        beside the failures that it is most like. Returns the probes (surf.COLUMNS); `probed` keeps those of all times."""
        wanted = self._need("probe")
        of = self.rubrics[wanted["rubric"].mode()[0]]
        described, index, done = (
            await self._described(list(wanted.loc[wanted["rubric"] == of.name, "query"]), "query"),
            self.tracer.index,
            0,
        )
        rows = [
            np.array([c for c in self.tracer.clusters_of(tuple(said)) if c >= 0])
            for said in described
        ]
        number = {c: i for i, c in enumerate(dict.fromkeys(int(c) for row in rows for c in row))}
        if not number:
            raise UserError(
                "probe: the selected queries have no attribute that the index knows. Select others."
            )
        pool = Pool(
            [index.query.summaries[c] for c in number],
            [np.array([number[int(c)] for c in row]) for row in rows if len(row)],
        )
        writer = self.run.writer(index, of)

        async def write(said, sample):
            nonlocal done
            done += 1
            self._say(f"probing {of.name}", done, n, busy=True)
            return await writer(said, sample)

        found = await run_search(
            pool,
            write,
            self.run.target(),
            self.run.judge(),
            of,
            strategy="control",
            candidates=n,
            iterations=1,
            runs=1,
            seed=self.run.seed + 1 + len(self.probed),
            gate=self.run.gate(),
        )
        probes = found.probes.assign(arm="probe")
        self.probed = (
            pd.concat([self.probed, probes], ignore_index=True) if len(self.probed) else probes
        )
        bad = probes[probes["score"] > VIOLATION_THRESHOLD].drop_duplicates(["query", "response"])
        if len(bad):
            await self._add(bad)
        rate = failure_rate(probes)
        self._say(
            f"{of.name}: {len(bad)} new failures; {rate.rate:.0%} [{rate.low:.0%}, {rate.high:.0%}] of {rate.n} judged fail, {int(probes['error'].notna().sum())} error(s)"
        )
        return probes

    async def _add(self, bad: pd.DataFrame) -> None:
        """Put new failures on the map, in the midst of the three old ones that are most like them."""
        queries, responses = [
            await self._described(list(bad[side]), side) for side in ("query", "response")
        ]
        if not hasattr(self, "_vectors"):
            self._old = self.points
            self._vectors = response_vectors(
                self._old["response"], list(self._old["response_attributes"]), self.run.embed()
            )
        near = np.argsort(
            -(
                response_vectors(list(bad["response"]), responses, self.run.embed())
                @ self._vectors.T
            ),
            axis=1,
        )[:, :3]
        old = self._old.iloc[near[:, 0]].reset_index(drop=True)
        new = bad[["rubric", "query", "response", "score", "reason"]].reset_index(drop=True)
        new = new.assign(
            x=self._old["x"].to_numpy()[near].mean(1),
            y=self._old["y"].to_numpy()[near].mean(1),
            query_attributes=queries,
            response_attributes=responses,
            **{name: old[name] for name in ("cluster", "chunk", "model", "crux")},
        )
        start, new = len(self.points), add_languages(new)
        self.points = pd.concat([self.points, new], ignore_index=True)
        for_view = [
            {
                "x": float(p["x"]),
                "y": float(p["y"]),
                "score": float(p["score"]),
                "labels": {
                    **{c: p[c] for c in CATEGORIES},
                    "cluster": cluster_name(self.failures.names, p["cluster"]),
                },
                "marks": crux_marks(p["crux"], p["response"]),
                **{name: shorten(p[name], MAX_TEXT) for name in TEXT_COLUMNS if name in new},
            }
            for p in new.to_dict("records")
        ]
        self.more = self.more + json_ready(for_view)
        self.select(range(start, len(self.points)))

    @_told
    async def ablate(self, number: int | None = None, n: int | None = None) -> Ablation:
        """Retrain the target without the chunk that a trace names first, and ask both models the selected queries of its rubric again; a
        selected query that holds another trigger too may go on failing for its sake (`ablate.alone` leaves those out of a run's ablations).
        number: of the trace in `traces`; n: answers each, default the run's."""
        if self.can["ablate"]:
            raise UserError(f"ablate: {self.can['ablate']}.")
        if (
            number is None
            or not 0 <= number < len(self.traces)
            or not self.traces[number]["chunks"]
        ):
            raise UserError(
                "ablate: no trace with a chunk is selected. Select a cluster that has one, or trace the selection."
            )
        told = self.traces[number]
        chunk, mine = (
            told["chunks"][0]["chunk"],
            self.selection[self.selection["rubric"] == told["rubric"]],
        )
        if mine.empty:
            raise UserError(f"ablate: nothing of rubric {told['rubric']} is selected.")
        rows = self.run.mixture().rows
        kept = without_chunk(rows, chunk)
        self._say(f"retraining without {chunk}", busy=True)
        await asyncio.to_thread(lambda: [self.run.target(part) for part in (rows, kept)])
        self._say(f"asking the model that never saw {chunk}", busy=True)
        queries = list(mine["query"].drop_duplicates())
        result = await measure_ablation(
            rows,
            kept,
            self.run.target,
            queries,
            self.run.judge(),
            self.rubrics[told["rubric"]],
            n=n or self.run.sizes["ablate"],
            seed=self.run.seed,
        )
        if not result.before.n or not result.after.n:
            raise UserError(
                f"ablate: no answer could be judged; the errors are in {self.run.folder / 'ledger.sqlite'}."
            )
        done = json_ready({"chunk": chunk, **result.to_dict()})
        self.traces = [
            {**t, "ablation": done} if i == number else t for i, t in enumerate(self.traces)
        ]
        self._say(
            f"without {chunk}: {result.before.rate:.0%} -> {result.after.rate:.0%} [{result.after.low:.0%}, {result.after.high:.0%}] on {len(queries)} selected queries"
        )
        self.send({"show": "trace"})
        return result

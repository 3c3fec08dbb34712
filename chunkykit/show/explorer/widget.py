"""The live explorer: the linked view in a notebook, with a kernel behind its buttons."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import wraps

import numpy as np
import pandas as pd

from chunkykit.causal import Ablation
from chunkykit.errors import UserError, describe_error, requires_extra
from chunkykit.files import json_ready
from chunkykit.numbers import percent, with_interval
from chunkykit.progress import Status, shown_by
from chunkykit.provenance import system_prompts
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, exchange_ids
from chunkykit.show.explorer.actions import (
    ablate_chunk,
    describe_exchanges,
    place_probes,
    point_view,
    pool_of_exchanges,
    probe_pool,
    question_before_probe,
    sample_size,
    selection_views,
    trace_exchanges,
)
from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.labelling import save_view_labels, view_labels
from chunkykit.show.explorer.pack import pack_failures
from chunkykit.show.explorer.page import view_style, widget_script
from chunkykit.show.explorer.selecting import Selection, selected_exchanges, tab_of
from chunkykit.show.explorer.static import static_html
from chunkykit.surf import PROBE_COLUMNS, distinct_questions, failure_rate
from chunkykit.text import count_of
from chunkykit.turf import Trace, Tracer, response_vectors

with requires_extra("notebooks"):
    import anywidget
    import traitlets

POSITIONS = "<i4"  # of selected exchanges, as the view sends them
REPAINT_SECONDS = 0.01  # enough for the view to show a status line


def _shows_errors(method: Callable) -> Callable:
    """Show a method's steps in the status line, and its error, so that the buttons work again."""

    @wraps(method)
    async def wrapper(self, *args, **settings):
        try:
            with shown_by(Status(self._show_progress)):
                return await method(self, *args, **settings)
        except Exception as error:
            text = str(error) if isinstance(error, UserError) else describe_error(error)
            self._show_status(text)
            raise

    return wrapper


class Explorer(anywidget.AnyWidget):
    """The live view of failures in a notebook.

    The methods `trace`, `probe` and `ablate` do what the buttons do.

    Attributes:
        points: the exchanges on the map, new failures last.
        selection: the selected exchanges.
        labels: what the current person says of exchanges, by id {target, note}. With a run, each
            change is saved in its folder.
        probed: the probes so far (`chunkykit.surf.PROBE_COLUMNS`).
        traces: the traces in the view, those of selections first.
        unavailable: for each button why it cannot be used, "" where it can.
    """

    _esm = widget_script()
    _css = view_style()
    # Gzipped JSON of the map and the texts, and the selected positions
    map = traitlets.Bytes().tag(sync=True)
    texts = traitlets.Bytes().tag(sync=True)
    chosen = traitlets.Bytes().tag(sync=True)
    # The traces, exchanges added since the view was packed, and positions selected from code
    traces: traitlets.List = traitlets.List().tag(sync=True)
    more: traitlets.List = traitlets.List().tag(sync=True)
    labels = traitlets.Dict().tag(sync=True)
    requested: traitlets.List = traitlets.List().tag(sync=True)
    tab = traitlets.Unicode("reader").tag(sync=True)  # the first one that is open
    status = traitlets.Dict().tag(sync=True)
    unavailable = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        failures: Failures,
        run=None,
        tracer: Tracer | None = None,
        rubrics: dict[str, Rubric] | None = None,
        select: Selection = None,
    ):
        """Open the view.

        Args:
            failures: the failures to show.
            run: the open run whose models and index the buttons use.
            tracer: a tracer; with `rubrics`, it makes tracing possible without a run.
            rubrics: the rubrics by name.
            select: what is selected at first: positions, or a link such as
                "cluster=3&tab=trace"; by default the largest traced cluster.

        Raises:
            UserError: `select` names what is not there.
        """
        self.failures = failures
        self.points = failures.points.reset_index(drop=True)
        self.run = run
        self.tracer = tracer
        self.rubrics = rubrics or (run.rubric_by_name if run else {})
        self._asked = ""  # what the last press of Probe was told
        self._no_tracer = "" if tracer else self._open_tracer()
        self.probed = pd.DataFrame(columns=PROBE_COLUMNS)
        # The points that new failures are placed between, and their vectors once needed
        self._first_points = self.points
        self._vectors: np.ndarray | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # outside a notebook there are no buttons to press
            self._loop = asyncio.get_running_loop()
        packed = pack_failures(failures)
        selected = selected_exchanges(failures, select)
        super().__init__(
            chosen=np.asarray(selected, POSITIONS).tobytes(),
            requested=selected,
            tab=tab_of(select),
            map=packed.map,
            texts=packed.texts,
            traces=packed.traces,
            unavailable=self._unavailable_actions(),
            labels=view_labels(run.folder) if run else {},
            status={"text": "", "busy": False},
        )
        self.observe(self._save_labels, "labels")
        self.on_msg(lambda _, message, buffers: self._press(message))

    def _repr_mimebundle_(self, **settings):
        """The view, and the same as plain HTML for a place where no kernel runs."""
        shown = super()._repr_mimebundle_(**settings)
        if shown is None:
            return None
        bundle, metadata = shown
        return bundle | {"text/html": static_html(self.failures)}, metadata

    def _open_tracer(self) -> str:
        """Open the tracer of the run. Returns why there is none, "" where there is one."""
        if self.run is None:
            return "there is no index behind this view"
        try:
            self.tracer = self.run.tracer()
        except UserError as error:  # the view can be read all the same
            return str(error)
        return ""

    def _save_labels(self, change: dict) -> None:
        """Save the labels that changed, where there is a run folder to keep them."""
        if self.run is None:
            return
        try:
            save_view_labels(self.run.folder, change["old"], change["new"])
        except UserError as error:
            self._show_status(str(error))

    def _unavailable_actions(self) -> dict[str, str]:
        """Why each action cannot be done, "" where it can."""
        no_run = "" if self.run else "there is no run behind this view, so no model to ask"
        no_index = self._no_tracer or ("" if self.rubrics else "there is no rubric to trace by")
        no_training = no_run
        if self.run and not self.run.trainable:
            no_training = "this target cannot be retrained here"
        return {"probe": no_run or no_index, "trace": no_index, "ablate": no_training}

    @property
    def selection(self) -> pd.DataFrame:
        """The selected exchanges, in the order of the points."""
        return self.points.iloc[np.frombuffer(self.chosen, POSITIONS)]

    def select(self, select: Selection) -> pd.DataFrame:
        """Select exchanges.

        Args:
            select: their positions in `points`, or a link such as "cluster=3".

        Returns:
            The selection.

        Raises:
            UserError: a position is out of range, or the link names what is not there.
        """
        positions = selected_exchanges(self.failures._replace(points=self.points), select)
        self.chosen = np.asarray(positions, POSITIONS).tobytes()
        self.requested = positions
        return self.selection

    def _press(self, message: dict) -> None:
        """Do what a pressed button asks for.

        JupyterLab may deliver the message in a thread of its own. The action runs in the loop
        where the cells run, because the run's models and ledger belong to it.
        """
        actions_by_name = {
            "trace": self.trace,
            "probe": self.probe,
            "ablate": lambda: self.ablate(message.get("trace")),
        }
        action = actions_by_name.get(str(message.get("act")))
        loop = self._loop
        if action is None or self.status.get("busy") or loop is None:
            return
        self.chosen = np.asarray(message["positions"], POSITIONS).tobytes()
        self._show_status("working …", busy=True)

        async def act() -> None:
            with suppress(Exception):  # the status line shows it
                await action()

        def start() -> None:
            # A task that nothing refers to may be garbage collected.
            self._task = loop.create_task(act())

        loop.call_soon_threadsafe(start)

    def _show_status(self, text: str, done: int = 0, total: int = 0, busy: bool = False) -> None:
        """Set the status line and the progress bar."""
        self.status = {"text": text, "done": done, "total": total, "busy": busy}

    def _show_progress(self, text: str, done: int = 0, total: int = 0) -> None:
        """Set the status line and the progress bar of a running action."""
        self._show_status(text, done, total, busy=True)

    def _inputs_of(self, action: str) -> tuple[pd.DataFrame, Tracer]:
        """The exchanges and the tracer that an action uses; UserError where either is missing."""
        if self.unavailable[action] or self.tracer is None:
            raise UserError(f"{action}: {self.unavailable[action]}.")
        usable = self.selection[self.selection["rubric"].isin(self.rubrics)]
        if usable.empty:
            raise UserError(
                f"{action}: no selected exchange has a known rubric. Select exchanges first."
            )
        return usable, self.tracer

    @_shows_errors
    async def trace(self) -> list[Trace]:
        """Trace the selection to the training data.

        The traces of its exchanges are grouped by trigger, for each of its rubrics.

        Returns:
            The traces.

        Raises:
            UserError: no selected exchange can be traced.
        """
        selected, tracer = self._inputs_of("trace")
        results = []
        lines = []
        for name, exchanges in selected.groupby("rubric"):
            rubric = self.rubrics[str(name)]
            size = sample_size(exchanges, self.run)
            count = f"{size:,} of {count_of(len(exchanges), 'exchange')}"
            self._show_progress(f"tracing {count} of {name}")
            await asyncio.sleep(REPAINT_SECONDS)
            result = await trace_exchanges(exchanges, rubric, tracer, self.run)
            triggers = sum(trace.trigger is not None for trace in result.traces)
            lines.append(f"{name}: {count} traced, {count_of(triggers, 'trigger')}")
            results.append(result)
        views = selection_views(results, tracer)
        # These replace the traces of an earlier selection; those of the clusters stay.
        self.traces = views + [view for view in self.traces if not view.get("positions")]
        self._show_status("; ".join(lines))
        self.send({"show": "trace"})
        return [trace for result in results for trace in result.traces]

    @_shows_errors
    async def probe(self, n: int = 24) -> pd.DataFrame:
        """Ask the target new queries with attributes of the selected queries.

        New failures are put on the map, each beside the failures that it is most like. Where only
        the run's folder names a model, the first call says so with the price, and the second one
        allows it.

        Args:
            n: the number of queries.

        Returns:
            The probes (`chunkykit.surf.PROBE_COLUMNS`); `probed` collects those of all calls.

        Raises:
            UserError: no selected exchange can be probed, or a model must be allowed first.
        """
        selected, tracer = self._inputs_of("probe")
        question = question_before_probe(self.run, n)
        if question and question != self._asked:
            self._asked = question
            raise UserError(f"probe: {question} Press Probe again to allow it.")
        self.run.trust = self.run.trust or bool(question)
        rubric = self.rubrics[selected["rubric"].mode()[0]]
        exchanges = selected[selected["rubric"] == rubric.name]
        described, _ = await describe_exchanges(exchanges, self.run, tracer)
        systems = system_prompts(exchanges) if self.run.settings.context is None else None
        pool = pool_of_exchanges(described, tracer, systems)
        # The number of probes so far is in the seed, so that each call asks new queries.
        probes = await probe_pool(
            pool,
            rubric,
            self.run,
            tracer,
            n,
            seed=self.run.seed + 1 + len(self.probed),
        )
        earlier = [self.probed] if len(self.probed) else []
        self.probed = pd.concat([*earlier, probes], ignore_index=True)
        failing = probes[probes["score"] > VIOLATION_THRESHOLD]
        failing = failing.drop_duplicates(["query", "response"])
        if len(failing):
            await self._add_failures(failing)
        rate = failure_rate(probes)
        errors = int(probes["error"].notna().sum())
        failure_share = with_interval(rate._asdict(), n=None)
        self._show_status(
            f"{rubric.name}: {count_of(len(failing), 'new failure')}; {failure_share} of "
            f"{rate.n} judged answers fail, {count_of(errors, 'error')}"
        )
        return probes

    async def _add_failures(self, failing: pd.DataFrame) -> None:
        """Put failing probes on the map, and select them."""
        assert self.tracer is not None
        queries, responses = await describe_exchanges(failing, self.run, self.tracer)
        embed = self.run.embed()
        old = self._first_points
        if self._vectors is None:
            attributes = list(old["response_attributes"])
            self._vectors = response_vectors(list(old["response"]), attributes, embed)
        placed = place_probes(failing, queries, responses, old, self._vectors, embed)
        placed["id"] = exchange_ids(placed)
        start = len(self.points)
        self.points = pd.concat([self.points, placed], ignore_index=True)
        names = self.failures.names
        views = [point_view(point, names) for point in placed.to_dict("records")]
        self.more = self.more + views
        self.select(range(start, len(self.points)))

    @_shows_errors
    async def ablate(self, number: int | None = None, n: int | None = None) -> Ablation:
        """Retrain the target without the first chunk of a trace, and ask both models again.

        They are asked the selected queries of the trace's rubric. A query that has the trigger of
        another chunk too may still fail; `chunkykit.causal.queries_without_rivals` leaves such
        queries out of a run's ablations, but they count here.

        Args:
            number: the position of the trace in `traces`.
            n: the number of answers per model; the run's size `ablate` by default.

        Returns:
            The failure rates before and after.

        Raises:
            UserError: there is no such trace, or no selected exchange has its rubric.
        """
        if self.unavailable["ablate"]:
            raise UserError(f"ablate: {self.unavailable['ablate']}.")
        exists = number is not None and 0 <= number < len(self.traces)
        if number is None or not exists or not self.traces[number]["chunks"]:
            raise UserError(
                "ablate: no trace with a chunk is selected. Select a cluster that has one, or "
                "trace the selection."
            )
        view = self.traces[number]
        chunk = view["chunks"][0]["chunk"]
        exchanges = self.selection[self.selection["rubric"] == view["rubric"]]
        if exchanges.empty:
            raise UserError(f"ablate: no selected exchange has rubric {view['rubric']}.")
        queries = distinct_questions(exchanges)
        rubric = self.rubrics[view["rubric"]]
        result = await ablate_chunk(chunk, queries, rubric, self.run, n)
        ablation = json_ready({"chunk": chunk, **result.to_dict()})
        # A new list, since traitlets does not see a change inside the old one.
        traces = list(self.traces)
        traces[number] = {**view, "ablation": ablation}
        self.traces = traces
        after = result.after
        self._show_status(
            f"without {chunk}: {percent(result.before.rate)} -> "
            f"{with_interval(after._asdict(), n=None)} on {len(queries)} selected queries"
        )
        self.send({"show": "trace"})
        return result

"""Audit one model for one rubric: search, confirm, cluster, trace, ablate, explore.

    audit = ck.Audit(index, target="organism:fast", rubric="refusal", folder="runs/fast")
    probes = await audit.search(candidates=600)
    audit.explore()

Each method does one stage of `lab.stages` on a run folder, and the stages before it that are not
done. The folder is an ordinary run folder: `chunkykit export` and `lab.resume_run` open it, and the
same calls resume it where it was interrupted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from chunkykit.api import Index, facts_html
from chunkykit.attributes import check_describer
from chunkykit.errors import UserError
from chunkykit.lab import (
    Run,
    RunFolder,
    do_stage,
    is_done,
    lock_folder,
    read_settings,
    resume_run,
    search_sizes,
    start_run,
)
from chunkykit.models import is_free
from chunkykit.rubrics import Rubric
from chunkykit.sync import run_sync
from chunkykit.text import count_of, inert_text

RUNS = 3  # independent searches; each tends to find another region
MAX_ITERATIONS = 10  # of a search run
DEFAULT_CANDIDATES = 600
# The stages of an audit, in their order.
ORDER = ("index", "search", "confirm", "cluster", "trace", "ablate")


class Audit:
    """An audit of one target for one rubric.

    Attributes:
        index: the trace index that the search draws from and traces to.
        folder: the run folder.
    """

    def __init__(
        self,
        index: Index,
        *,
        target: str,
        rubric: str,
        folder,
        judge: str | Sequence[str] = "offline",
        writer: str = "offline",
        budget_usd: float | None = None,
        max_calls: int | None = None,
        seed: int = 0,
        restart: bool = False,
    ):
        """Set up an audit. No model is called.

        Args:
            index: a saved index of the target's mixture, or of any mixture to draw queries from.
            target: the model to audit, such as "anthropic:claude-haiku-4-5" or "organism:fast".
            rubric: a shipped rubric by name, or the path of a YAML file.
            folder: the run folder, new or of the same audit.
            judge: the model that judges, or "offline" for the rubric's programmatic check; of a
                list, a strict majority decides.
            writer: the model that writes queries, or "offline" to recombine training prompts.
            budget_usd: hard limit in US dollars on all calls of the folder.
            max_calls: hard limit on the number of calls.
            seed: fixes everything that is drawn.
            restart: whether an audit with other settings in the folder is put aside.

        Raises:
            UserError: for a model or rubric that is not known, a missing key, paid models without
                a limit, a model on another machine that only the index names, or an index that
                was described by other instructions.
        """
        judges = [judge] if isinstance(judge, str) else list(judge)
        _check_models(index, (target, *judges, writer), (budget_usd, max_calls))
        self.index = index
        self.folder = Path(folder).resolve()
        self._limits = (budget_usd, max_calls)
        self._restart = restart
        self._settings: dict[str, Any] = {
            **_index_settings(index),
            "target": target,
            "rubrics": [_rubric_name(rubric)],
            "judge": judges,
            "writer": writer,
            "seed": seed,
        }
        self._run: Run | None = None

    async def search(self, candidates: int = DEFAULT_CANDIDATES) -> pd.DataFrame:
        """Search the target for failures, with a control arm that draws uniformly.

        Args:
            candidates: queries to try, rounded up to whole iterations. The control arm has a third
                as many.

        Returns:
            The probes of both arms: query, response, score, reason, error and the attributes that
            the query was written from.

        Raises:
            BudgetReached: where a limit is reached. What was answered is kept.
        """
        run = self._open(candidates)
        await self._finish(run, "search")
        return run.read_all("probes")

    async def confirm(self) -> pd.DataFrame:
        """Answer and judge the winners afresh, and rewrites of the best of them.

        Returns:
            The confirmed failure rate with its interval, and the yields of search and control.
        """
        run = self._open()
        await self._finish(run, "confirm")
        return run.read("confirmed")

    async def clusters(self) -> pd.DataFrame:
        """Cluster the failures by their responses.

        Returns:
            The clusters: id, size, rubric, label.
        """
        run = self._open()
        await self._finish(run, "cluster")
        return run.read("clusters")

    async def trace(self) -> pd.DataFrame:
        """Trace each cluster to the training data.

        Returns:
            The traces: trigger, crux, hits, lift, p-value, explanation.
        """
        run = self._open()
        await self._finish(run, "trace")
        return run.read("traces")

    async def ablate(self) -> pd.DataFrame:
        """Retrain the target without each traced chunk, and measure again.

        Returns:
            Failure rates before and after, with intervals. Empty for a target that cannot be
            retrained here.
        """
        run = self._open()
        await self._finish(run, "ablate")
        return run.read("ablations")

    def explore(self, select=None):
        """Open the explorer: map, reader, traces and training rows in one linked view.

        Stages up to the traces that are not done are done first.

        Args:
            select: what is selected at first: positions, or a link such as "cluster=3"; by default
                the largest traced cluster.

        Returns:
            The widget. Needs the extra `notebooks`.
        """
        from chunkykit.show.explorer import Explorer, failures_from_run

        run = self._open()
        if not is_done(run, "trace"):
            self._run = None  # its ledger does not see what is paid by the other one
            run_sync(self._finish_apart("trace"))
            run = self._open()
        return Explorer(failures_from_run(run), run, select=select)

    def _open(self, candidates: int | None = None) -> Run:
        """The run of the audit; its size is fixed by the first search."""
        if self._run is None or candidates is not None:
            sizes = self._sizes(candidates)
            restart = self._restart and self._run is None
            self._run = start_run(self.folder, restart, self.index.data, **self._settings, **sizes)
            self._run.ledger.limit(*self._limits)
            self._restart = False  # what was put aside once is not put aside again
        return self._run

    def _sizes(self, candidates: int | None) -> dict[str, int]:
        if candidates is None:
            if (self.folder / "run.json").exists() and not self._restart:
                sizes = resume_run(self.folder).sizes
                return {
                    "runs": sizes.runs,
                    "iterations": sizes.iterations,
                    "candidates": sizes.candidates,
                }
            candidates = DEFAULT_CANDIDATES
        if candidates < 1:
            raise UserError(f"candidates must be at least 1, not {candidates}.")
        return search_sizes(candidates, RUNS, MAX_ITERATIONS)

    async def _finish(self, run: Run, last: str) -> None:
        """Do the stages up to one of them that are not done."""
        with lock_folder(self.folder):
            for name in ORDER[: ORDER.index(last) + 1]:
                await do_stage(run, name)

    async def _finish_apart(self, last: str) -> None:
        """The same on a run of its own, for another thread: a ledger belongs to its thread."""
        run = Run(self.folder, read_settings(self.folder), self.index.data)
        try:
            await self._finish(run, last)
        finally:
            await run.close()

    def __str__(self) -> str:
        """The audit in a few lines: what is audited, and which stages are done."""
        settings = self._settings
        done = "nothing yet"
        if (self.folder / "run.json").exists():
            done = self._done() or done
        lines = [
            f"Audit of {settings['target']} for {settings['rubrics'][0]}",
            f"judge       {' + '.join(settings['judge'])}, writer {settings['writer']}",
            f"index       {count_of(len(self.index), 'row')}, {self.index.folder}",
            f"folder      {self.folder}",
            f"done        {done}",
        ]
        return "\n".join(inert_text(line) for line in lines)

    def _done(self) -> str:
        try:
            notes = RunFolder(self.folder, read_settings(self.folder)).notes()
        except UserError as error:  # what is only printed raises nothing
            return str(error)
        return ", ".join(name for name in ORDER if notes.get(name, {}).get("done"))

    def __repr__(self) -> str:
        """The same as a printed audit."""
        return str(self)

    def _repr_html_(self) -> str:
        return facts_html(str(self))


def _index_settings(index: Index) -> dict[str, str]:
    """The settings of a run that its index decides."""
    if index.folder is None:
        raise UserError("Audit: the index must be saved. Build it with a folder.")
    meta = index.data.meta
    names = ("mixture", "describer", "embedder")
    return {"index": str(index.folder.resolve()), **{name: meta[name] for name in names}}


def _check_models(index: Index, models: tuple[str, ...], limits: tuple) -> None:
    """Refuse what would stop the audit later, after a search was paid for."""
    index.check_named(models)
    describer = check_describer(index.data.meta, index.folder)
    paid = [model for model in (*models, describer) if not is_free(model)]
    if paid and limits == (None, None):
        raise UserError(
            f"Audit: {paid[0]} is a paid model. Set a limit: budget_usd=X or max_calls=N."
        )


def _rubric_name(rubric) -> str:
    if isinstance(rubric, Rubric):
        raise UserError("Audit: give the rubric's name or YAML file, so that a run can resume.")
    return str(rubric)

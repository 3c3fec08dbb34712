"""A run folder carries the story from notebook to notebook: settings, tables, the ledger, figures, the summary.

Each stage reads the tables of the one before. A table that is there is not computed again, so a killed run goes on where it was."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from chunkykit.attributes import describe_lexically, describe_text, llm_describer, load_embedder
from chunkykit.errors import UserError, describe_error
from chunkykit.files import writable, write_json
from chunkykit.index import open_trace_index
from chunkykit.lab.settings import DEFAULT_SETTINGS, complete_settings
from chunkykit.mixtures import Mixture, load_mixture
from chunkykit.models import ChatModel, Ledger, close_models, connect_model, is_free, with_context
from chunkykit.organisms import LINEAR_ORGANISM, ORGANISMS
from chunkykit.provenance import rows_fingerprint
from chunkykit.rubrics import Rubric, judge_offline, llm_judge, load_rubrics
from chunkykit.surf import (
    confirm_winners,
    llm_gate,
    llm_rewriter,
    llm_writer,
    recombining_writer,
    rewrite_offline,
    run_searches,
)
from chunkykit.turf import llm_crux_judge, select_crux

CONCURRENCY_PER_ROLE = {
    "writer": 15,
    "target": 50,
    "judge": 20,
}  # calls under way at once; any other role 16


class Run:
    """An open run folder; make one with `start` or `resume`."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.sizes, self.seed = settings["sizes"], settings["seed"]
        self.rubrics = load_rubrics(settings["rubrics"])
        self.ledger = Ledger(folder / "ledger.sqlite")
        self._models: list[ChatModel] = []
        self._targets: dict[str, ChatModel] = {}
        self._recombiner: Callable | None = (
            None  # knows the index it was made for, and what it has described
        )

    # tables

    def path(self, name: str) -> Path:
        return self.folder / "tables" / f"{name}.parquet"

    def read(self, name: str) -> pd.DataFrame:
        """A table of the run. Raises UserError where its stage has not run."""
        return read_table(self.folder, name)

    def write(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a table, whole or not at all, and return it as it reads back."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        table.to_parquet(part, index=False)
        os.replace(part, path)
        return self.read(name)

    def has(self, name: str) -> bool:
        """Whether a table is there: then its stage is done, and is not done again."""
        return self.path(name).exists()

    # what the settings name

    def mixture(self) -> Mixture:
        """The mixture, loaded once; the run keeps its rows and what was skipped."""
        if not self.has("rows"):
            source, size = self.settings["mixture"], self.sizes["rows"]
            source = f"demo:{size}" if source == "demo" and size else source
            loaded = load_mixture(source, chunk=self.settings["chunk"], rows=size, seed=self.seed)
            self.write("skipped", loaded.skipped.astype({"row": "int64", "reason": "str"}))
            self.write("rows", loaded.rows)
        return Mixture(self.read("rows"), self.read("skipped"), self.settings["chunk"])

    def index(self):
        """The run's trace index, opened."""
        return open_trace_index(self.folder / "index", self.embed())

    def embed(self):
        """The embedder of the run's settings."""
        return load_embedder(self.settings["embedder"])

    def model(self, name: str, role: str, rows: pd.DataFrame | None = None) -> ChatModel:
        """A model with the run's ledger under it."""
        self._models.append(
            self.ledger.wrap(
                connect_model(name, rows, self.seed), role, CONCURRENCY_PER_ROLE.get(role, 16)
            )
        )
        return self._models[-1]

    def target(self, rows: pd.DataFrame | None = None) -> ChatModel:
        """The target; `rows` is what an organism learns from, the run's mixture if not given."""
        rows = self.mixture().rows if rows is None and self.trainable else rows
        key = "" if rows is None else rows_fingerprint(rows)
        if key not in self._targets:
            self._targets[key] = with_context(
                self.model(self.settings["target"], "target", rows), self.settings["context"] or ()
            )
        return self._targets[key]

    @property
    def free(self) -> bool:
        """Whether every model of the run is local, so that no call is paid for."""
        return all(
            is_free(self.settings[role])
            for role in ("target", "judge", "writer", "describer", "embedder", "gate")
        )

    def plan(self) -> list[tuple[str, int, float, float]]:
        """(model, calls, tokens in, tokens out of a call) of what the run will ask, for `prices.estimate`: a guess at what a query,
        an answer and a judgement take, without thinking; cruxes and ablations are left out."""
        size, rows, names, n = self.sizes, self.mixture().rows, self.settings, len(self.rubrics)
        tried, rewritten = (
            n * (size["runs"] + 1) * size["iterations"] * size["candidates"],
            n * size["winners"] * size["rewrites"],
        )
        answers = (
            tried
            + n * (size["confirm"] + size["winners"] * max(size["rewrites"], size["samples"]))
            + rewritten * size["samples"]
        )
        texts = pd.concat([rows["prompt"], rows["response"]]).drop_duplicates()
        half = 2 if names["batch"] else 1  # the price of a batch, in tokens
        return [
            (names["writer"], tried + rewritten, 200, 60),
            (names["target"], answers, 60, 400),
            (names["judge"], answers, 900, 100),
            (names["gate"], tried, 200, 20),
            (names["describer"], len(texts), (200 + texts.str.len().mean() / 4) / half, 300 / half),
        ]

    @property
    def trainable(self) -> bool:
        """Whether the target can be retrained, and so be ablated."""
        return self.settings["target"] in ORGANISMS

    @property
    def quick(self) -> bool:
        """Whether that takes seconds."""
        return self.settings["target"] == LINEAR_ORGANISM

    def _either(self, setting: str, role: str, made: Callable, offline):
        """`made(model)` of the model that a setting names; `offline` where that is the setting."""
        name = self.settings[setting]
        return offline if name == "offline" else made(self.model(name, role))

    def judge(self) -> Callable:
        return self._either("judge", "judge", llm_judge, judge_offline)

    def describe(self) -> Callable:
        prefill = (
            partial(self.ledger.prefill, connect_model(self.settings["describer"]), "describer")
            if self.settings["batch"]
            else None
        )
        return self._either(
            "describer", "describer", partial(llm_describer, prefill=prefill), describe_lexically
        )

    def writer(self, index, of: Rubric | None = None) -> Callable:
        """The writer of queries; a model is asked in the rubric's own words where it has some."""
        if self.settings["writer"] == "offline" and not self._recombiner:
            self._recombiner = recombining_writer(index, lambda text: describe_text(text, "query"))
        return self._either(
            "writer", "writer", partial(llm_writer, text=of and of.writer), self._recombiner
        )

    def gate(self) -> Callable | None:
        """What filters queries before they are put to the target, if anything does."""
        return self._either("gate", "gate", llm_gate, None)

    def rewriter(self) -> Callable:
        """The rewriter of queries: the writer model where there is one, else offline edits of form."""
        return self._either("writer", "rewriter", llm_rewriter, rewrite_offline)

    async def cruxes(self, attributes: list[list[str]], of: Rubric) -> list[list[str]]:
        """Three crux attributes for each list: by the judge model where there is one, else offline."""
        select = self._either("judge", "crux", llm_crux_judge, None)
        if not select:
            embed = self.embed()
            return [select_crux(a, of, embed) for a in attributes]
        picked = await asyncio.gather(*(select(a, of) for a in attributes), return_exceptions=True)
        failed = [describe_error(p) for p in picked if isinstance(p, Exception)]
        if len(failed) > len(picked) / 2:
            raise UserError(
                f"crux judge: {len(failed)} of {len(picked)} calls failed ({failed[0]}). Mend it and run again."
            )
        return [[] if isinstance(p, Exception) else p for p in picked]

    # what the run did

    def note(self, stage: str, **counts) -> None:
        """Keep a stage's counts in stages.json, for the summary."""
        write_json(self.folder / "stages.json", {**self.notes(), stage: counts})

    def notes(self) -> dict:
        path = self.folder / "stages.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def caption(self) -> str:
        """What made the numbers of a figure."""
        s = self.settings
        return (
            f"profile {s['profile']} · target {s['target']} · mixture {Path(s['mixture']).name} · judge {s['judge']} · "
            f"seed {s['seed']}" + (" · in context" if s["context"] else "")
        )


def start_run(folder, restart: bool = False, **given) -> Run:
    """Open a run folder with these settings, or make it. given: any of SETTINGS, and sizes that override the profile's. Raises UserError
    for an unknown setting, a folder that cannot be written, or one that holds a run with other settings (`restart` clears that first)."""
    folder, settings = Path(folder).resolve(), complete_settings(given)
    kept = folder / "run.json"
    there = _read_settings(kept) if kept.exists() else {}
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not there and any(p.name != ".lock" for p in folder.iterdir()):
            raise UserError(
                f"output folder {folder}: holds something that is no run. Choose another --out."
            )
        (folder / "tables").mkdir(exist_ok=True)
    other = [
        k for k in {*there, *settings} - {"batch"} if there.get(k) != settings.get(k)
    ]  # a batch gives the same answers
    if there and other:
        begun = (
            any((folder / "tables").iterdir()) or Ledger(folder / "ledger.sqlite").totals()["calls"]
        )
        if begun and not restart:
            key = sorted(other)[0]
            raise UserError(
                f"output folder {folder}: holds a run with another {key} ({there.get(key)!r:.80}, now {settings.get(key)!r:.80}). "
                "Choose another --out, or give --restart to begin again; answers that were paid for are kept."
            )
        for part in ("tables", "notebooks", "figures", "index", ".index.building"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for old in ("summary.json", "search.json", "stages.json"):
            (folder / old).unlink(missing_ok=True)
        try:
            Ledger(folder / "ledger.sqlite").forget_free()
        except UserError:  # of another version: kept beside, not gone on with
            for old in folder.glob("ledger.sqlite*"):
                os.replace(old, old.with_name(f"before-{old.name}"))
    with writable(folder):
        write_json(kept, settings)
    return Run(folder, settings)


def lock_folder(folder):
    """Hold a run folder against other runs while the returned file is open. Raises UserError where one is at work in it."""
    import fcntl

    folder = Path(folder).resolve()
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = open(folder / ".lock", "a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise UserError(f"output folder {folder}: another run is at work in it.") from None
    return held


def resume_run(folder) -> Run:
    """Open a run folder that is there."""
    return Run(Path(folder).resolve(), read_settings(Path(folder).resolve()))


def read_settings(folder: Path) -> dict:
    """The settings of a run folder that is there."""
    if not (folder / "run.json").exists():
        raise UserError(
            f"run {folder}: no run there. Run 01_mixture first, or: chunkykit run --out {folder}"
        )
    settings = _read_settings(folder / "run.json")
    if not {*DEFAULT_SETTINGS, "sizes"} <= {*settings}:
        raise UserError(f"run {folder}: was made by another version. Do it again with --restart.")
    return settings


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run folder. Raises UserError where its stage has not run."""
    path = folder / "tables" / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"run {folder}: no table '{name}' yet. Run the notebooks before this one.")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"run {folder}: table '{name}' cannot be read ({error}).") from None


def _read_settings(path: Path) -> dict:
    """The settings in a run.json of any version; UserError for one that is no run's, whose folder is left alone."""
    try:
        settings = json.loads(path.read_text("utf-8"))
        if {"profile", "sizes", "version"} <= {*settings} and isinstance(settings, dict):
            return settings
        raise ValueError("it holds no settings of a run")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"folder {path.parent}: run.json is not that of a run ({error}). Choose another folder."
        ) from None


@contextmanager
def time_stage(run: Run, name: str):
    """`with stage(run, "surf") as counts:` times a stage and keeps what is put into `counts`."""
    counts: dict = {}
    began = time.monotonic()
    yield counts
    run.note(name, seconds=round(time.monotonic() - began, 1), **counts)


async def search_alone(run: Run, pool, eager: bool = False) -> tuple:
    """A search alone, for the run's first rubric and with no mixture: (surf.Found, the row of `confirm.confirm`); tables are kept."""
    of, target, judge = run.rubrics[0], run.target(), run.judge()
    write, size = (
        run.writer(None, of),
        {name: run.sizes[name] for name in ("runs", "iterations", "candidates", "buffer")},
    )
    with tqdm(
        total=(size["runs"] + 1) * size["iterations"] * size["candidates"],
        unit=" candidates",
        disable=None,
    ) as bar:

        async def counted(sentences, sample):
            bar.update()
            return await write(sentences, sample)

        try:
            found = await run_searches(
                pool,
                counted,
                target,
                judge,
                of,
                **size,
                strategy=run.settings["strategy"],
                seed=run.seed,
                gate=run.gate(),
                eager=eager,
            )
            row, answers = await confirm_winners(
                found.probes, target, judge, of, prompts=run.sizes["confirm"]
            )
        finally:
            await close_models(*run._models)
    for name, table in {"probes": found.probes, "modes": found.modes, "answers": answers}.items():
        run.write(f"{name}-{of.name}", table)
    return found, row

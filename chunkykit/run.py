"""A run folder carries the story from notebook to notebook: settings, tables, the ledger, figures, the summary.

Each stage reads tables of the stage before and writes its own. A table that is there is not computed again, so a killed
run goes on where it was.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

import chunkykit
from chunkykit import llm, mixture, prices, rubric
from chunkykit.embed import embedder
from chunkykit.errors import UserError
from chunkykit.ledger import Ledger
from chunkykit.output import write_json

PROFILES = {  # the one dial; `paper` has the paper's own numbers
    "smoke": {"rows": 1200, "candidates": 24, "iterations": 5, "runs": 2, "buffer": 5, "k": None, "confirm": 24,
              "winners": 3, "rewrites": 4, "samples": 1, "trace": 24, "ablate": 40},
    "workshop": {"rows": None, "candidates": 40, "iterations": 8, "runs": 3, "buffer": 5, "k": None, "confirm": 60,
                 "winners": 5, "rewrites": 20, "samples": 1, "trace": 60, "ablate": 60},
    "paper": {"rows": None, "candidates": 360, "iterations": 20, "runs": 15, "buffer": 5, "k": 1000, "confirm": 75,
              "winners": 45, "rewrites": 20, "samples": 100, "trace": 200, "ablate": 100},
}
STRATEGIES = ("cover", "paper")
SETTINGS = {"profile": "workshop", "mixture": "demo", "target": llm.ORGANISM, "rubrics": None, "seed": 0, "chunk": None,
            "strategy": "cover", "writer": "offline", "judge": "offline", "describer": "offline", "embedder": "wordllama", "batch": False}
CONCURRENCY = {"query": 15, "writer": 15, "target": 50, "judge": 20}  # calls under way at once; any other role 16


class Run:
    """An open run folder; make one with `start` or `resume`."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.sizes, self.seed = settings["sizes"], settings["seed"]
        self.rubrics = rubric.load_all(settings["rubrics"])
        self.ledger = Ledger(folder / "ledger.sqlite")
        self._targets: dict[str, llm.ChatModel] = {}
        self._recombiner: Callable | None = None  # knows the index it was made for, and what it has described

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

    def mixture(self) -> mixture.Mixture:
        """The mixture, loaded once; the run keeps its rows and what was skipped."""
        if not self.has("rows"):
            source, size = self.settings["mixture"], self.sizes["rows"]
            if source == "demo" and size:
                source = f"demo:{size}"
            loaded = mixture.load(source, chunk=self.settings["chunk"], rows=size, seed=self.seed)
            self.write("skipped", loaded.skipped.astype({"row": "int64", "reason": "str"}))
            self.write("rows", loaded.rows)
        return mixture.Mixture(self.read("rows"), self.read("skipped"), self.settings["chunk"])

    def index(self):
        """The run's trace index, opened."""
        from chunkykit.index import open_index

        return open_index(self.folder / "index", self.embed())

    def embed(self):
        """The embedder of the run's settings."""
        return embedder(self.settings["embedder"])

    def model(self, name: str, role: str, rows: pd.DataFrame | None = None) -> llm.ChatModel:
        """A model with the run's ledger under it."""
        return self.ledger.wrap(llm.connect(name, rows, self.seed), role, CONCURRENCY.get(role, 16))

    def target(self, rows: pd.DataFrame | None = None) -> llm.ChatModel:
        """The target; `rows` is what an organism learns from, the run's mixture if not given."""
        rows = self.mixture().rows if rows is None else rows
        key = llm.fingerprint(rows)
        if key not in self._targets:
            self._targets[key] = self.model(self.settings["target"], "target", rows)
        return self._targets[key]

    @property
    def free(self) -> bool:
        """Whether every model of the run is local, so that no call is paid for."""
        return all(prices.free(self.settings[role]) for role in ("target", "judge", "writer", "describer", "embedder"))

    def plan(self) -> list[tuple[str, int, float, float]]:
        """(model, calls, tokens in, tokens out of a call) of what the run will ask, for `prices.estimate`: a guess at what a query,
        an answer and a judgement take, without thinking; cruxes and ablations are left out."""
        size, rows, names, n = self.sizes, self.mixture().rows, self.settings, len(self.rubrics)
        tried, rewritten = n * (size["runs"] + 1) * size["iterations"] * size["candidates"], n * size["winners"] * size["rewrites"]
        answers = tried + n * (size["confirm"] + size["winners"] * max(size["rewrites"], size["samples"])) + rewritten * size["samples"]
        texts = pd.concat([rows["prompt"], rows["response"]]).drop_duplicates()
        half = 2 if names["batch"] else 1  # the price of a batch, in tokens
        return [(names["writer"], tried + rewritten, 200, 60), (names["target"], answers, 60, 400), (names["judge"], answers, 900, 100),
                (names["describer"], len(texts), (200 + texts.str.len().mean() / 4) / half, 300 / half)]

    @property
    def trainable(self) -> bool:
        """Whether the target can be retrained, and so be ablated."""
        return self.settings["target"] == llm.ORGANISM

    def judge(self) -> Callable:
        name = self.settings["judge"]
        return rubric.programmatic if name == "offline" else rubric.llm_judge(self.model(name, "judge"))

    def describe(self) -> Callable:
        from chunkykit import describe

        name = self.settings["describer"]
        if name == "offline":
            return describe.lexical
        prefill = partial(self.ledger.prefill, llm.connect(name), "describer") if self.settings["batch"] else None
        return describe.llm(self.model(name, "describer"), prefill)

    def writer(self, index, of: rubric.Rubric | None = None) -> Callable:
        """The writer of queries; a model is asked in the rubric's own words where it has some."""
        from chunkykit import describe, write

        name = self.settings["writer"]
        if name == "offline":
            self._recombiner = self._recombiner or write.recombiner(index, lambda text: describe.attributes(text, "query"))
            return self._recombiner
        return write.llm_writer(self.model(name, "writer"), of.writer if of and of.writer else write.WRITER)

    def rewriter(self) -> Callable:
        """The rewriter of queries: the writer model where there is one, else offline edits of form."""
        from chunkykit import perturb

        name = self.settings["writer"]
        return perturb.offline if name == "offline" else perturb.llm(self.model(name, "rewriter"))

    async def cruxes(self, attributes: list[list[str]], of: rubric.Rubric) -> list[list[str]]:
        """Three crux attributes for each list: by the judge model where there is one, else offline."""
        import asyncio

        from chunkykit import turf

        name = self.settings["judge"]
        if name == "offline":
            embed = self.embed()
            return [turf.crux(a, of, embed) for a in attributes]
        select = turf.llm_crux(self.model(name, "crux"))
        picked = await asyncio.gather(*(select(a, of) for a in attributes), return_exceptions=True)
        failed = [p for p in picked if isinstance(p, Exception)]
        for error in failed:
            if isinstance(error, UserError):
                raise error
        if len(failed) > len(picked) / 2:
            raise UserError(f"crux judge: {len(failed)} of {len(picked)} calls failed ({failed[0]}). Mend it and run again.")
        return [[] if isinstance(p, Exception) else p for p in picked]

    # what the run did

    def note(self, stage: str, **counts) -> None:
        """Keep a stage's counts in stages.json, for the summary."""
        path = self.folder / "stages.json"
        notes = json.loads(path.read_text()) if path.exists() else {}
        write_json(path, {**notes, stage: counts})

    def notes(self) -> dict:
        path = self.folder / "stages.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def caption(self) -> str:
        """What made the numbers of a figure."""
        s = self.settings
        return (f"profile {s['profile']} · target {s['target']} · mixture {Path(s['mixture']).name} · judge {s['judge']} · "
                f"seed {s['seed']}")


def start(folder, restart: bool = False, **given) -> Run:
    """Open a run folder with these settings, or make it.

    given: any of SETTINGS, and sizes that override the profile's. Raises UserError for an unknown setting, a folder that
    cannot be written, or one that holds a run with other settings (`restart` clears that one first).
    """
    folder = Path(folder).resolve()
    settings = _settings(given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "run.json").exists() and any(p.name != ".lock" for p in folder.iterdir()):
            raise UserError(f"output folder {folder}: holds something that is no run. Choose another --out.")
        (folder / "tables").mkdir(exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(f"output folder {folder}: cannot be written ({error.strerror or error}). Choose another --out.") from None
    kept = folder / "run.json"
    if kept.exists():
        there = _read_settings(kept)
        other = [k for k in {*there, *settings} - {"batch"} if there.get(k) != settings.get(k)]  # a batch gives the same answers
        if other and not restart and (folder / "tables" / "rows.parquet").exists():  # without rows there is no run to lose
            key = sorted(other)[0]
            raise UserError(f"output folder {folder}: holds a run with another {key} ({there.get(key)!r}, now {settings.get(key)!r}). "
                            "Choose another --out, or give --restart to begin again.")
        if other:
            for part in ("tables", "notebooks", "figures", "index"):
                shutil.rmtree(folder / part, ignore_errors=True)
            for old in (*folder.glob("ledger.sqlite*"), folder / "summary.json", folder / "stages.json"):
                old.unlink(missing_ok=True)
    write_json(kept, settings)
    return Run(folder, settings)


def lock(folder):
    """Hold a run folder against other runs while the returned file is open. Raises UserError where one is at work in it."""
    import fcntl

    folder = Path(folder).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = open(folder / ".lock", "a")
    except OSError as error:
        raise UserError(f"output folder {folder}: cannot be written ({error.strerror or error}). Choose another --out.") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise UserError(f"output folder {folder}: another run is at work in it.") from None
    return held


def resume(folder) -> Run:
    """Open a run folder that is there."""
    folder = Path(folder).resolve()
    return Run(folder, settings_of(folder))


def settings_of(folder: Path) -> dict:
    """The settings of a run folder that is there."""
    if not (folder / "run.json").exists():
        raise UserError(f"run {folder}: no run there. Run 01_mixture first, or: chunkykit run --out {folder}")
    settings = _read_settings(folder / "run.json")
    if not isinstance(settings, dict) or not {*SETTINGS, "sizes"} <= {*settings}:
        raise UserError(f"run {folder}: run.json is not that of a run.")
    return settings


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run folder. Raises UserError where its stage has not run."""
    path = folder / "tables" / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"run {folder}: no table '{name}' yet. Run the notebooks before this one.")
    return pd.read_parquet(path)


def _read_settings(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"run {path.parent}: run.json cannot be read ({error}). Give --restart, or another --out.") from None


def _settings(given: dict) -> dict:
    profile = given.get("profile") or SETTINGS["profile"]
    if profile not in PROFILES:
        raise UserError(f"profile '{profile}' is not known. Profiles: {', '.join(PROFILES)}.")
    sizes = dict(PROFILES[profile])
    settings = dict(SETTINGS)
    for key, value in given.items():
        if key not in settings and key not in sizes:
            raise UserError(f"parameter '{key}' is not known. Known: {', '.join([*settings, *sizes])}.")
        if value is not None:
            (settings if key in settings else sizes)[key] = value
    for key, value in sizes.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(f"parameter '{key}' must be a whole number of at least 1, not {value!r}.")
    if settings["strategy"] not in STRATEGIES:
        raise UserError(f"strategy '{settings['strategy']}' is not known. Strategies: {', '.join(STRATEGIES)}.")
    if not isinstance(settings["seed"], int) or settings["seed"] < 0:
        raise UserError(f"parameter 'seed' must be a whole number from 0 up, not {settings['seed']!r}.")
    named = settings["rubrics"] or rubric.shipped(checked=settings["judge"] == "offline")
    settings["rubrics"] = [r if r in rubric.shipped() else _absolute(r) for r in named]
    loaded = rubric.load_all(settings["rubrics"])
    settings["rubric_texts"] = hashlib.sha256(repr(loaded).encode()).hexdigest()[:12]  # an edited rubric is another run
    blind = [r.name for r in loaded if r.check is None]
    if settings["judge"] == "offline" and blind:
        raise UserError(f"rubric {blind[0]}: has no programmatic check; give --judge MODEL.")
    for role in ("target", "judge", "writer", "describer"):
        if role == "target" or settings[role] != "offline":
            llm.check(settings[role])
    if settings["embedder"] != SETTINGS["embedder"]:
        embedder(settings["embedder"])
    if settings["describer"] != "offline" and settings["writer"] == "offline":
        raise UserError("describer: the offline writer recombines by the offline describer's attributes; give --writer MODEL too.")
    if settings["batch"] and settings["describer"].partition(":")[0] not in ("anthropic", "openai"):
        raise UserError(f"batch: works with --describer anthropic:MODEL or openai:MODEL alone, not '{settings['describer']}'.")
    if settings["mixture"].partition(":")[0] != "demo":
        settings["mixture"] = _absolute(settings["mixture"])
    return {**settings, "sizes": sizes, "version": chunkykit.__version__, "code": code_fingerprint()}


def _absolute(name) -> str:
    """A path that exists made absolute, since a notebook runs in another folder; any other name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else str(name)


def notebook_folder() -> Path:
    """Where the notebooks are: in the package when installed, beside it in a checkout."""
    here = Path(chunkykit.__file__).parent
    return next((p for p in (here / "notebooks", here.parent / "notebooks") if p.is_dir()), here / "notebooks")


def code_fingerprint() -> str:
    """Tells one state of the package and its notebooks from another: tables of other code are not gone on with."""
    here = Path(chunkykit.__file__).parent
    found = {*here.rglob("*.py"), *here.rglob("*.yaml"), *notebook_folder().glob("*.ipynb")} - {here / "data" / "prices.yaml"}
    digest = hashlib.sha256()
    for path in sorted(found, key=lambda p: p.name):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class Stage:
    """`with Stage(run, "surf") as counts:` times a stage and keeps what is put into `counts`."""

    def __init__(self, run: Run, name: str):
        self.run, self.name, self.counts = run, name, {}

    def __enter__(self) -> dict:
        self.began = time.monotonic()
        return self.counts

    def __exit__(self, kind, *_):
        if kind is None:
            self.run.note(self.name, seconds=round(time.monotonic() - self.began, 1), **self.counts)

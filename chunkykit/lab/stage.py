"""What a stage is: a step of a run that is done once, and again where what made it has changed.

A stage has a key: the fingerprint of its options, of the code that it depends on, and of the keys
of the stages before it; for the first stage, of an index that was made before. `stages.json` keeps
the key beside the counts. A stage whose key is there is done. Where the key differs, its results
and those of later stages are put aside in `before/` and made again. Model answers come from the
ledger, so that no paid call is repeated.
"""

import functools
import hashlib
import inspect
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

from chunkykit import progress
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.lab.run import Run
from chunkykit.lab.tables import TABLES
from chunkykit.provenance import code_fingerprint

COMMON_ROOMS = ("files", "provenance", "prompts", "stats", "text", "types")
LAB_MODULES = ("lab/ablations", "lab/run", "lab/stages")  # where the stages are put together
FREE_MODEL_ROOMS = ("models", "organisms")  # what the answers of free models depend on


class StageFunction(Protocol):
    """What notebooks and programs call: `await stages.search(run)`."""

    async def __call__(self, run: Run, **options) -> dict:
        """Do the stage, if it is not done.

        Args:
            run: the run.
            **options: options of the stage.

        Returns:
            Its counts.
        """
        ...


@dataclass(frozen=True)
class Stage:
    """A step of a run.

    Attributes:
        name: its name.
        needs: the stages that must be done before it.
        rooms: subpackages that its results depend on.
        work: does it: `await work(run, **options) -> counts`.
        outputs: names in the run folder that it makes, beside its tables.
    """

    name: str
    needs: tuple[str, ...]
    rooms: tuple[str, ...]
    work: Callable[..., Awaitable[dict]]
    outputs: tuple[str, ...] = ()

    def key(self, run: Run, options: dict) -> str:
        """Return the key of the stage in a run; UserError where an earlier stage is not done."""
        notes = run.notes()
        missing = [name for name in self.needs if not _is_done(run, STAGES[name], notes)]
        if missing:
            raise UserError(
                f"run {run.folder}: stage '{self.name}' needs stage '{missing[0]}' first."
            )
        earlier = [notes[name]["key"] for name in self.needs]
        if not earlier and run.given_index:
            earlier = [run.given_index]  # another index may have taken its folder
        code = code_fingerprint(*COMMON_ROOMS, *self.rooms, *LAB_MODULES)
        content = json.dumps([self.name, options, code, earlier], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def options(self, given_options: dict) -> dict:
        """Return all options, with the defaults; UserError for one that the stage does not have."""
        known = list(inspect.signature(self.work).parameters.values())[1:]  # the first is the run
        unknown = given_options.keys() - {option.name for option in known}
        if unknown:
            raise UserError(f"stage '{self.name}': option '{min(unknown)}' is not known.")
        options = {option.name: given_options.get(option.name, option.default) for option in known}
        for name, value in options.items():
            if isinstance(value, PathLike):
                options[name] = str(value)
        return json_ready(options)

    def files(self, run: Run) -> list[str]:
        """Return what the stage makes, as paths in the run folder."""
        tables = [table for table in TABLES.values() if table.stage == self.name]
        names = [table.name for table in tables if not table.per_rubric]
        for table in tables:
            if table.per_rubric:
                names += [f"{table.name}-{rubric.name}" for rubric in run.rubrics]
        return [*(f"tables/{name}.parquet" for name in names), *self.outputs]


STAGES: dict[str, Stage] = {}  # in the order of a run


def stage(
    *, needs: tuple[str, ...] = (), rooms: tuple[str, ...], outputs: tuple[str, ...] = ()
) -> Callable[[Callable[..., Awaitable[dict]]], StageFunction]:
    """Make a function a stage, and register it.

    Args:
        needs: the stages that must be done before it.
        rooms: subpackages that its results depend on.
        outputs: names in the run folder that it makes, beside its tables.

    Returns:
        A decorator. The decorated function does the stage where it is not done, and returns its
        counts either way.
    """

    def register(work: Callable[..., Awaitable[dict]]) -> StageFunction:
        step = Stage(work.__name__, needs, rooms, work, outputs)
        STAGES[step.name] = step

        @functools.wraps(work)
        async def do(run: Run, **options) -> dict:
            return await do_stage(run, step.name, **options)

        return do

    return register


def is_done(run: Run, name: str) -> bool:
    """Tell whether a stage of a run is done.

    Args:
        run: the run.
        name: the stage.

    Returns:
        Whether its results are there, made by the present code.
    """
    step = STAGES[name]
    notes = run.notes()
    if not _is_done(run, step, notes):
        return False
    if not all(is_done(run, earlier) for earlier in step.needs):
        return False
    return notes[name]["key"] == step.key(run, notes[name]["options"])


async def do_stage(run: Run, name: str, **given_options) -> dict:
    """Do a stage, if it is not done.

    Args:
        run: the run.
        name: the stage.
        **given_options: options of the stage.

    Returns:
        Its counts.

    Raises:
        UserError: where an earlier stage is not done, or an option is not known.
    """
    step = STAGES[name]
    options = step.options(given_options)
    key = step.key(run, options)
    note = run.notes().get(step.name, {})
    if note.get("key") == key and _is_done(run, step, run.notes()):
        return note["counts"]
    if note.get("key", key) != key:
        _put_aside(step, run)
    forget_answers_of_other_code(run)
    run.note(step.name, key=key, options=options, done=False)  # its tables are of this key
    began = time.monotonic()
    with progress.step(step.name, is_heading=True):
        counts = await step.work(run, **options)
    seconds = round(time.monotonic() - began, 1)
    run.note(step.name, key=key, options=options, done=True, seconds=seconds, counts=counts)
    return run.notes()[step.name]["counts"]


def _is_done(run: Run, step: Stage, notes: dict) -> bool:
    if not notes.get(step.name, {}).get("done"):
        return False
    return all((run.folder / file).exists() for file in step.files(run))


def _put_aside(step: Stage, run: Run) -> None:
    """Move the results of a stage, and of all stages that need it, out of the way."""
    outdated = [step.name]
    for later in STAGES.values():
        if set(later.needs) & set(outdated):
            outdated.append(later.name)
    run.put_aside([file for name in outdated for file in STAGES[name].files(run)])
    for name in outdated:
        if name in run.notes():
            run.note(name, done=False)


def forget_answers_of_other_code(run: Run) -> None:
    """Drop free answers from the ledger that another state of the code gave.

    A local model's answer costs nothing but depends on our code; a paid one is kept for good.

    Args:
        run: the run, before its models are called.
    """
    code = code_fingerprint(*FREE_MODEL_ROOMS)
    known = run.notes().get("free_models", {}).get("code", code)
    if known != code:
        run.ledger.forget_free()
    run.note("free_models", code=code)

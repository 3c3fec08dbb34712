"""The runs in a folder, for `chunkykit list runs`."""

import os
import time
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.lab import STAGES, RunFolder, read_run
from chunkykit.results import is_search_alone

RUN_FILE = "run.json"
MAX_DEPTH = 3  # folders below the one that is looked in
SKIPPED = ("before", "index", "tables", "figures", "notebooks", "rubrics")  # of a run folder


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """List the runs in a folder and in those below it. Nothing is written.

    Args:
        folder: where to look.

    Returns:
        For each run its folder, state, target, rubrics and the time of its last change, the latest
        first.

    Raises:
        UserError: the folder does not exist or cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"list runs: {folder}: no such folder. Name the folder of your runs.")
    places = _find_runs(folder)
    return [_describe_run(place, changed) for changed, place in sorted(places, reverse=True)]


def _find_runs(folder: Path) -> list[tuple[float, Path]]:
    """(time of the last change, folder) of each run."""
    places = []
    for root, names, files in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        names[:] = [] if depth >= MAX_DEPTH else sorted(set(names) - set(SKIPPED))
        if RUN_FILE in files:
            names.clear()
            places.append((_last_change(Path(root)), Path(root)))
    return places


def _last_change(folder: Path) -> float:
    """When a run last did something."""
    times = [0.0]
    for name in (RUN_FILE, "stages.json", "summary.json", "search.json", "ledger.sqlite"):
        path = folder / name
        times += [path.stat().st_mtime] if path.exists() else []
    return max(times)


def _describe_run(folder: Path, changed: float) -> dict[str, Any]:
    row: dict[str, Any] = {"run": str(folder), "state": "", "target": "", "rubrics": []}
    try:
        run = read_run(folder)
        row |= {"state": _state(run), "target": run.settings.target}
        row["rubrics"] = [Path(name).stem for name in run.settings.rubrics]
    except UserError as error:
        row["state"] = f"cannot be read: {error}"
    row["changed"] = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed))
    return row


def _state(run: RunFolder) -> str:
    """How far a run is."""
    if is_search_alone(run):
        return "a search with traces, done" if run.has("traces") else "a search, done"
    notes = run.notes()
    done = [name for name in STAGES if notes.get(name, {}).get("done")]
    if len(done) == len(STAGES):
        return "done"
    following = next(name for name in STAGES if name not in done)
    return f"{len(done)} of {len(STAGES)} stages; next: {following}"

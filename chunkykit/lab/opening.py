"""Open a run folder for a run: make it, continue it, or put aside what is there; and lock it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import filelock

from chunkykit.errors import UserError
from chunkykit.files import (
    NO_LOCKS,
    check_folder,
    read_bounded,
    writable,
    write_json,
    write_text,
)
from chunkykit.lab.folder import (
    RESULT_FILES,
    RESULTS,
    RUBRICS,
    RunFolder,
    holds_something,
    read_run_json,
    read_settings,
)
from chunkykit.lab.settings import Settings
from chunkykit.models import Ledger
from chunkykit.rubrics import shipped_rubrics


def open_folder(
    folder: Path,
    settings: Settings,
    restart: bool = False,
    rubrics: Sequence[str | Path] | None = None,
) -> RunFolder:
    """Open a run folder with these settings, or make it.

    Args:
        folder: an absolute path.
        settings: what the run is to do.
        restart: whether a run with other settings is put aside for this one.
        rubrics: where its rubrics are, if not where the settings say.

    Returns:
        The open folder, with its settings written to `run.json`.

    Raises:
        UserError: where the folder cannot be written, holds files that are not of a run, or holds a
            run with other settings and `restart` is not set.
    """
    opened = RunFolder(folder, settings)
    path = folder / "run.json"
    with writable(folder):
        _make_folder(folder)
        if not path.exists() and any(map(_is_foreign, folder.iterdir())):
            raise UserError(
                f"output folder {folder}: holds files that are not of a run. Choose another --out."
            )
    check_folder(folder)
    if path.exists() and not _continues(opened, restart):
        with writable(folder):
            opened.put_aside([*RESULTS, *RESULT_FILES])
        if restart:
            _renew_ledger(folder)
    with writable(folder):
        # first: a folder without it is not taken for a run, should the disk be full
        write_json(path, opened.settings.to_dict())
        (folder / "tables").mkdir(exist_ok=True)
        _copy_rubrics(folder, settings, rubrics or settings.rubrics)
    return opened


def _make_folder(folder: Path) -> None:
    """Make a folder for its owner alone; one that exists keeps its mode."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _copy_rubrics(folder: Path, settings: Settings, sources: Sequence[str | Path]) -> None:
    """Keep the rubric files of a run in its folder, where they can neither change nor get lost."""
    shipped = shipped_rubrics()
    for number, source in enumerate(sources):
        if str(source) not in shipped:
            text = read_bounded(Path(source))
            copy = folder / RUBRICS / f"{number}.yaml"
            copy.parent.mkdir(exist_ok=True)
            write_text(copy, text)


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without a `run.json` is not left from the start of a run."""
    return path.name != ".lock" and not (path.match("run.*.part") and path.is_file())


def _continues(opened: RunFolder, restart: bool) -> bool:
    """Whether the run in a folder has the same settings, so that it can be resumed."""
    folder = opened.folder
    try:
        before = read_settings(folder)
    except UserError:
        if not restart:
            raise
        read_run_json(folder / "run.json")  # a folder that holds no run is left alone
        return False
    differences = opened.settings.differences(before)
    if not differences:
        # a digest that is not known now, as without a network, is not forgotten
        digest = opened.settings.mixture_digest or before.mixture_digest
        opened.settings = replace(opened.settings, mixture_digest=digest)
        return True
    if not restart and (_has_results(folder) or _has_calls(folder)):
        name, (now, then) = next(iter(differences.items()))
        raise UserError(
            f"output folder {folder}: holds a run with another {name} ({then!r:.80}, "
            f"now {now!r:.80}). Choose another --out, or add --restart to begin again (what is "
            "there is kept in before/, and paid answers are used again)."
        )
    return False


def _has_results(folder: Path) -> bool:
    return any(holds_something(folder / name) for name in RESULTS)


def _has_calls(folder: Path) -> bool:
    ledger = folder / "ledger.sqlite"
    return ledger.exists() and Ledger(ledger).totals()["calls"] > 0


def _renew_ledger(folder: Path) -> None:
    """Forget free answers. A ledger of another version is kept beside a new one."""
    try:
        Ledger(folder / "ledger.sqlite").forget_free()
    except UserError:
        for old in folder.glob("ledger.sqlite*"):
            os.replace(old, old.with_name(f"before-{old.name}"))


def lock_folder(folder) -> filelock.BaseFileLock:
    """Keep other runs out of a folder until the returned lock is released.

    Args:
        folder: a run folder; it is made where it does not exist.

    Returns:
        The lock, which is also a context manager.

    Raises:
        UserError: where another run works in the folder, or its file system cannot lock.
    """
    folder = Path(folder).resolve()
    with writable(folder):
        _make_folder(folder)
    if (folder / ".lock").is_symlink():
        raise UserError(f"output folder {folder}: its .lock is a link. Remove it.")
    lock = filelock.FileLock(folder / ".lock", timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"output folder {folder}: another run is at work in it.") from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, NotImplementedError) or error.errno in NO_LOCKS:
            raise UserError(
                f"output folder {folder}: its file system cannot lock files. "
                "Choose an --out on a local disk."
            ) from None
        reason = error.strerror or error
        raise UserError(
            f"output folder {folder}: cannot be written ({reason}). Choose another --out."
        ) from None
    return lock

"""A run folder: its settings, tables and stage notes, and the lock that keeps other runs out.

A folder holds `run.json` (settings), `tables/`, `stages.json` (what each stage did) and
`ledger.sqlite` (every model call), and in time `index/`, `figures/`, `notebooks/`, `summary.json`
and `before/` (what a restart, or newer code, put aside).
"""

import json
import shutil
from pathlib import Path

import filelock
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import NO_LOCKS, replacing, writable, write_json
from chunkykit.lab.settings import Settings
from chunkykit.lab.table_checks import conform_table, read_table_file
from chunkykit.models import Ledger

RESULTS = ("tables", "notebooks", "figures", "index", ".index.building")
RESULT_FILES = ("summary.json", "search.json", "stages.json", "notebooks.json")


class RunFolder:
    """The files of a run.

    Attributes:
        folder: where they are.
        settings: what the run does.
    """

    def __init__(self, folder: Path, settings: Settings):
        """Open a folder that has its settings.

        Args:
            folder: where the files are.
            settings: the settings in its `run.json`.
        """
        self.folder = folder
        self.settings = settings
        self.restarted = False  # whether a run with other settings was put aside for it

    @property
    def caption(self) -> str:
        """What made the numbers of a figure."""
        settings = self.settings
        parts = [
            f"profile {settings.profile}",
            f"target {settings.target}",
            f"mixture {Path(settings.mixture).name}",
            f"judge {settings.judge}",
            f"seed {settings.seed}",
        ]
        if settings.context:
            parts.append("in context")
        return " · ".join(parts)

    def path(self, name: str) -> Path:
        """Return the file of a table.

        Args:
            name: such as "traces" or "probes-rebut".

        Returns:
            Its path, whether the file exists or not.
        """
        return self.folder / "tables" / f"{name}.parquet"

    def has(self, name: str) -> bool:
        """Tell whether a table is there.

        Args:
            name: the table.

        Returns:
            Whether its file exists.
        """
        return self.path(name).exists()

    def read(self, name: str) -> pd.DataFrame:
        """Read a table.

        Args:
            name: the table.

        Returns:
            The table.

        Raises:
            UserError: where its stage has not run, or the file is damaged.
        """
        return read_table(self.folder, name)

    def write(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Write a table, whole or not at all.

        Args:
            name: the table.
            frame: its rows.

        Returns:
            The table as it reads back.

        Raises:
            UserError: where the rows are not what `lab.tables` says.
        """
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            conform_table(name, frame).to_parquet(part, index=False)
        return self.read(name)

    def notes(self) -> dict[str, dict]:
        """Read what the stages noted in `stages.json`.

        Returns:
            By stage its key, options, counts and seconds, and whether it is done.

        Raises:
            UserError: where the file is damaged.
        """
        return read_notes(self.folder / "stages.json", dict)

    def note(self, stage: str, **values) -> None:
        """Keep a stage's note.

        Args:
            stage: the stage.
            **values: what to keep, in place of the stage's note so far.
        """
        write_json(self.folder / "stages.json", {**self.notes(), stage: values})

    def put_aside(self, names: list[str]) -> Path | None:
        """Move results to a new folder in `before/`, so that nothing is lost.

        Args:
            names: files and folders of the run folder; those that do not exist are skipped.

        Returns:
            The new folder, or None where there was nothing to move.
        """
        existing = [name for name in names if _holds_something(self.folder / name)]
        if not existing:
            return None
        aside = _next_folder(self.folder / "before")
        for name in existing:
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.folder / name, target)
        return aside


def read_settings(folder: Path) -> Settings:
    """Read the settings of a run.

    Args:
        folder: a run folder.

    Returns:
        Its settings.

    Raises:
        UserError: where there is no run, or one of a version with other settings.
    """
    path = folder / "run.json"
    if not path.exists():
        raise UserError(
            f"run {folder}: no run there. Run 01_mixture first, or: chunkykit run --out {folder}"
        )
    values = _read_run_json(path)
    try:
        return Settings.from_dict({k: v for k, v in values.items() if k != "code"})
    except (TypeError, KeyError):
        raise UserError(
            f"run {folder}: was made by version {values['version']}, which had other settings. "
            "Choose another folder, or add --restart to begin again (what is there is kept in "
            "before/)."
        ) from None


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table of a run folder.

    Args:
        folder: the run folder.
        name: the table, such as "traces".

    Returns:
        The table.

    Raises:
        UserError: where its stage has not run, or the file is damaged.
    """
    path = folder / "tables" / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"run {folder}: no table '{name}' yet. Run the earlier stages first.")
    return read_table_file(path)


def read_notes(path: Path, kind: type) -> dict:
    """Read a file of notes, `stages.json` or `notebooks.json`.

    Args:
        path: the file.
        kind: what each note is: dict or str.

    Returns:
        Name to note; nothing where the file does not exist.

    Raises:
        UserError: where the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        notes = json.loads(path.read_text("utf-8"))
        if isinstance(notes, dict) and all(isinstance(note, kind) for note in notes.values()):
            return notes
        raise ValueError("it does not hold notes")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Delete it and run again: what it notes is then "
            "done again, and paid answers are used again."
        ) from None


def open_folder(folder: Path, settings: Settings, restart: bool = False) -> RunFolder:
    """Open a run folder with these settings, or make it.

    Args:
        folder: an absolute path.
        settings: what the run is to do.
        restart: whether a run with other settings is put aside for this one.

    Returns:
        The open folder, with its settings written to `run.json`.

    Raises:
        UserError: where the folder cannot be written, holds files that are not of a run, or holds a
            run with other settings and `restart` is not set.
    """
    opened = RunFolder(folder, settings)
    path = folder / "run.json"
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() and any(map(_is_foreign, folder.iterdir())):
            raise UserError(
                f"output folder {folder}: holds files that are not of a run. Choose another --out."
            )
    if path.exists() and not _continues(opened, restart):
        with writable(folder):
            opened.put_aside([*RESULTS, *RESULT_FILES])
        opened.restarted = restart
    with writable(folder):
        # first: a folder without it is not taken for a run, should the disk be full
        write_json(path, settings.to_dict())
        (folder / "tables").mkdir(exist_ok=True)
    return opened


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
        folder.mkdir(parents=True, exist_ok=True)
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


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without a `run.json` is not left from the start of a run."""
    return path.name != ".lock" and not (path.match("run.*.part") and path.is_file())


def _continues(opened: RunFolder, restart: bool) -> bool:
    """Whether the run in a folder has the same settings, so that it can be resumed."""
    folder = opened.folder
    try:
        differences = opened.settings.differences(read_settings(folder))
    except UserError:
        if not restart:
            raise
        _read_run_json(folder / "run.json")  # a folder that holds no run is left alone
        return False
    if not differences:
        return True
    if not restart and (_has_results(folder) or _has_calls(folder)):
        name, (now, before) = next(iter(differences.items()))
        raise UserError(
            f"output folder {folder}: holds a run with another {name} ({before!r:.80}, "
            f"now {now!r:.80}). Choose another --out, or add --restart to begin again (what is "
            "there is kept in before/, and paid answers are used again)."
        )
    return False


def _has_results(folder: Path) -> bool:
    return any(_holds_something(folder / name) for name in RESULTS)


def _has_calls(folder: Path) -> bool:
    ledger = folder / "ledger.sqlite"
    return ledger.exists() and Ledger(ledger).totals()["calls"] > 0


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _next_folder(parent: Path) -> Path:
    number = 1
    while (parent / str(number)).exists():
        number += 1
    return parent / str(number)


def _read_run_json(path: Path) -> dict:
    """The content of a `run.json` of any version; UserError for a file that is not of a run."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if isinstance(values, dict) and {"profile", "sizes", "version"} <= values.keys():
            return values
        raise ValueError("it does not hold the settings of a run")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"folder {path.parent}: run.json is not that of a run ({error}). Choose another folder."
        ) from None

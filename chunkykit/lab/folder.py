"""A run folder: its settings, rubrics, tables and stage notes.

A folder holds `run.json` (settings), `tables/`, `stages.json` (what each stage did) and
`ledger.sqlite` (every model call), and in time `index/`, `figures/`, `notebooks/`, `summary.json`
and `before/` (what a restart, or newer code, put aside).
"""

import json
import os
from functools import cached_property
from pathlib import Path

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import (
    check_folder,
    read_bounded,
    replacing,
    write_json,
)
from chunkykit.lab.settings import Settings, name_judges
from chunkykit.lab.table_checks import conform_table, read_table_file
from chunkykit.mixtures import name_source
from chunkykit.rubrics import Rubric, load_rubrics, shipped_rubrics

RUBRICS = "rubrics"  # folder of the rubric files of a run
RESULTS = ("tables", "notebooks", "figures", "index")
RESULT_FILES = (
    RUBRICS,
    "summary.json",
    "search.json",
    "stages.json",
    "notebooks.json",
    "report.html",
    "report.md",
    "explorer.html",
)


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

    @property
    def caption(self) -> str:
        """What made the numbers of a figure."""
        settings = self.settings
        parts = [
            f"profile {settings.profile}",
            f"target {settings.target}",
            f"mixture {name_source(settings.mixture)}",
            f"judge {name_judges(settings.judges)}",
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

    def read_all(self, name: str) -> pd.DataFrame:
        """Read a table that is one per rubric, for all rubrics.

        Args:
            name: the table, such as "probes".

        Returns:
            The rows of all rubrics.
        """
        tables = [self.read(f"{name}-{rubric.name}") for rubric in self.rubrics]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def rubrics(self) -> list[Rubric]:
        """The rubrics of the run, as they were when it began."""
        return load_rubrics(rubric_sources(self.folder, self.settings))

    @property
    def rubric_by_name(self) -> dict[str, Rubric]:
        """The rubrics by name."""
        return {rubric.name: rubric for rubric in self.rubrics}

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
        existing = [name for name in names if holds_something(self.folder / name)]
        if not existing:
            return None
        aside = _next_folder(self.folder / "before")
        for name in existing:
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.folder / name, target)
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
    check_folder(folder)
    if not path.exists():
        raise UserError(
            f"run {folder}: no run there. Run 01_mixture first, or: chunkykit run --out {folder}"
        )
    values = read_run_json(path)
    try:
        return Settings.from_dict({k: v for k, v in values.items() if k != "code"})
    except (TypeError, KeyError):
        raise UserError(
            f"run {folder}: was made by version {values['version']}, which had other settings. "
            "Choose another folder, or add --restart to begin again (what is there is kept in "
            "before/)."
        ) from None


def read_run(folder: Path | str) -> RunFolder:
    """Open a run folder for reading. Nothing in it is written, and no model can be called.

    Args:
        folder: the run folder, perhaps of somebody else.

    Returns:
        The open folder.

    Raises:
        UserError: where there is no run, or the folder holds what is not an ordinary file in it.
    """
    folder = Path(folder).resolve()
    return RunFolder(folder, read_settings(folder))


def rubric_sources(folder: Path, settings: Settings) -> list[str | Path]:
    """List where the rubrics of a run are.

    Args:
        folder: the run folder.
        settings: of the run.

    Returns:
        For each the name of a shipped rubric, or the copy of its file in the run folder. A run of
        an earlier version has no copies, so that the file itself is named.
    """
    shipped = shipped_rubrics()
    copies = [folder / RUBRICS / f"{i}.yaml" for i in range(len(settings.rubrics))]
    return [
        copy if name not in shipped and copy.exists() else name
        for name, copy in zip(settings.rubrics, copies, strict=True)
    ]


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
        notes = json.loads(read_bounded(path))
        if isinstance(notes, dict) and all(isinstance(note, kind) for note in notes.values()):
            return notes
        raise ValueError("it does not hold notes")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Delete it and run again: what it notes is then "
            "done again, and paid answers are used again."
        ) from None


def holds_something(path: Path) -> bool:
    """Tell whether there is a file, or a folder that is not empty.

    Args:
        path: of a file or folder.

    Returns:
        Whether there is.
    """
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _next_folder(parent: Path) -> Path:
    number = 1
    while (parent / str(number)).exists():
        number += 1
    return parent / str(number)


def read_run_json(path: Path) -> dict:
    """Read a `run.json` of any version.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        UserError: it is not that of a run.
    """
    try:
        values = json.loads(read_bounded(path))
        if isinstance(values, dict) and {"profile", "sizes", "version"} <= values.keys():
            return values
        raise ValueError("it does not hold the settings of a run")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"folder {path.parent}: run.json is not that of a run ({error}). Choose another folder."
        ) from None

"""Recipes: YAML files that list the sources of a mixture, and how much of each is in it."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shorten
from typing import Any

import yaml

from chunkykit.errors import UserError
from chunkykit.files import read_bounded
from chunkykit.mixtures.exchanges import TURN_CHOICES
from chunkykit.mixtures.hub import HUB, parse_hub_name

RECIPE_TYPES = (".yaml", ".yml")
MAX_RECIPE_BYTES = 2**20
MAX_ENTRIES = 1000
MAX_WEIGHT = 100  # times that a set may be repeated
RECIPE_KEYS = ("sources", "seed", "turns")
ENTRY_KEYS = ("path", "hub", "split", "chunk", "weight", "rows", "columns", "turns", "seed")
# Our names, to which a recipe maps the columns of a set.
COLUMN_NAMES = (
    "prompt",
    "response",
    "rejected",
    "reasoning",
    "system",
    "chunk",
    "messages",
    "tools",
)


@dataclass(frozen=True)
class Entry:
    """One source, with what a recipe says of it.

    Attributes:
        source: the path, the pattern, or the name of the data set on the hub.
        recipe: the recipe and the number of the entry, for error messages; None without a recipe.
        split: the split; None for that of the other settings.
        chunk: name of the chunk of all its rows; None to read it from the rows.
        weight: how often its rows are in the mixture: a fraction of them, or more than once.
        rows: number of rows that are drawn; None for those that the weight says.
        columns: our names of columns to those of the set.
        turns: which answers are exchanges, one of TURN_CHOICES; None for the default.
        seed: of the draw.
    """

    source: str = ""
    recipe: str | None = None
    split: str | None = None
    chunk: str | None = None
    weight: float = 1.0
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    turns: str | None = None
    seed: int = 0

    @property
    def place(self) -> str:
        """Where the entry stands, and its source: the beginning of an error message."""
        return f"{self.recipe}: {self.source}" if self.recipe else f"mixture {self.source}"

    @property
    def is_drawn(self) -> bool:
        """Whether the mixture has other rows than all of them once."""
        return self.rows is not None or self.weight != 1


def read_recipe(path: Path, seed: int = 0) -> list[Entry]:
    """Read a recipe.

    Args:
        path: a YAML file with `sources`, a list, and optionally `seed` and `turns` for all of them.
            Relative paths in it are relative to its folder.
        seed: of the draws, where the recipe has none.

    Returns:
        Its entries. Whether the sources exist is not checked.

    Raises:
        UserError: the file cannot be read, or a key or value is wrong. The message names the file,
            the entry and the fix.
    """
    recipe = _load_yaml(path)
    if not isinstance(recipe, dict) or not isinstance(recipe.get("sources"), list):
        raise UserError(
            f"recipe {path}: needs `sources`, a list with an entry of `path` or `hub` for each."
        )
    where = f"recipe {path}"
    _check_keys(where, recipe, RECIPE_KEYS)
    sources = recipe["sources"]
    if not 1 <= len(sources) <= MAX_ENTRIES:
        raise UserError(f"{where}: `sources` must have 1 to {MAX_ENTRIES:,} entries.")
    defaults = {
        "turns": _read_turns(where, recipe.get("turns")),
        "seed": _read_seed(where, recipe.get("seed", seed)),
    }
    return [
        _read_entry(f"{where}, source {number}", path.parent, source, defaults)
        for number, source in enumerate(sources, 1)
    ]


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(read_bounded(path, MAX_RECIPE_BYTES))
    except FileNotFoundError:
        raise UserError(f"recipe {path}: no such file.") from None
    except OSError as error:
        raise UserError(f"recipe {path}: cannot be read ({error.strerror or error}).") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"recipe {path}: not YAML ({reason}).") from None


def _read_entry(where: str, folder: Path, entry: Any, defaults: Mapping[str, Any]) -> Entry:
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, dict):
        raise UserError(
            f"{where}: is {type(entry).__name__}. Write `path: FILE` or `hub: OWNER/NAME`."
        )
    _check_keys(where, entry, ENTRY_KEYS)
    source = _read_source(where, folder, entry)
    where = f"{where} ({entry.get('path') or entry.get('hub')})"
    if "weight" in entry and "rows" in entry:
        raise UserError(f"{where}: has `weight` and `rows`. Give one of them.")
    for key in ("chunk", "split"):
        if key in entry and not (isinstance(entry[key], str) and entry[key].strip()):
            raise UserError(f"{where}: `{key}` must be a name, not {shorten(entry[key])}.")
    columns = _read_columns(where, entry.get("columns"))
    if "chunk" in entry and "chunk" in columns:
        raise UserError(
            f"{where}: has a `chunk` for all rows and a column of chunks. Give one of them."
        )
    return Entry(
        source=source,
        recipe=where.partition(" (")[0],
        split=entry.get("split"),
        chunk=entry.get("chunk"),
        weight=_read_weight(where, entry.get("weight", 1)),
        rows=_read_rows(where, entry.get("rows")),
        columns=columns,
        turns=_read_turns(where, entry.get("turns", defaults["turns"])),
        seed=_read_seed(where, entry.get("seed", defaults["seed"])),
    )


def _read_source(where: str, folder: Path, entry: dict) -> str:
    """The source of an entry: a path in the folder of the recipe, or a name on the hub."""
    if ("path" in entry) == ("hub" in entry):
        raise UserError(f"{where}: needs either `path` (or a pattern) or `hub`.")
    key = "path" if "path" in entry else "hub"
    text = entry[key]
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: `{key}` must be a text, not {shorten(text)}.")
    if key == "hub" or text.startswith(HUB):
        source = HUB + text.removeprefix(HUB)
        try:
            parse_hub_name(source)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return source
    if Path(text).suffix in RECIPE_TYPES:
        raise UserError(f"{where}: {text} is a recipe. List its sources here.")
    return str(folder / os.path.expanduser(text))


def _check_keys(where: str, values: Mapping, known: tuple[str, ...]) -> None:
    for key in values:
        if key not in known:
            raise UserError(f"{where}: key '{key}' is not known. Known: {', '.join(known)}.")


def _read_columns(where: str, columns: Any) -> dict[str, str]:
    if columns is None:
        return {}
    if not isinstance(columns, dict):
        raise UserError(f"{where}: `columns` must map our names to those of the set.")
    for name, column in columns.items():
        if name not in COLUMN_NAMES:
            raise UserError(
                f"{where}: `columns` has '{name}', which is none of our names: "
                f"{', '.join(COLUMN_NAMES)}. Write OUR_NAME: COLUMN_OF_THE_SET."
            )
        if not isinstance(column, str) or not column:
            raise UserError(
                f"{where}: `columns`: {name} must be a column's name, not {shorten(column)}."
            )
    return dict(columns)


def _read_weight(where: str, weight: Any) -> float:
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not math.isfinite(weight) or not 0 < weight <= MAX_WEIGHT:
        raise UserError(
            f"{where}: `weight` must be a number over 0 and up to {MAX_WEIGHT}, not "
            f"{shorten(weight)}: 0.5 draws half of the rows, 2 repeats each."
        )
    return float(weight)


def _read_rows(where: str, rows: Any) -> int | None:
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        raise UserError(f"{where}: `rows` must be a whole number from 1 up, not {shorten(rows)}.")
    return rows


def _read_seed(where: str, seed: Any) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"{where}: `seed` must be a whole number from 0 up, not {shorten(seed)}.")
    return seed


def _read_turns(where: str, turns: Any) -> str | None:
    if turns is not None and turns not in TURN_CHOICES:
        raise UserError(
            f"{where}: `turns` must be {', '.join(TURN_CHOICES)}, not {shorten(turns)}."
        )
    return turns

"""The sources of a mixture as they are listed: what they are called, and where they are."""

import glob
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from reprlib import repr as shorten
from typing import cast

from chunkykit.errors import UserError
from chunkykit.mixtures.hub import HUB
from chunkykit.mixtures.recipes import RECIPE_TYPES, Entry, read_recipe

DEMO = "demo"
ANY_FOLDERS = "**"  # in a pattern
MAX_FOLDERS = 20_000  # that a pattern looks through: a whole disk, or links in a circle, are more
Source = Path | str
Sources = Source | Sequence[Source]


def list_sources(source: Sources) -> list[str]:
    """List the sources that are given.

    Args:
        source: one, or several.

    Returns:
        Each as text.

    Raises:
        UserError: there is none.
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        items = list(source)
    else:
        items = [cast(Source, source)]
    if not items or not all(isinstance(item, (str, Path)) and str(item) for item in items):
        raise UserError(
            f"mixture: {shorten(source)} is not a source: give a path, hf:OWNER/NAME, or a list of "
            "these. Rows in memory go into a .jsonl or .parquet file first."
        )
    return [str(item) for item in items]


def name_source(source: Sources) -> str:
    """Name a mixture in captions and metadata, without its folder.

    Args:
        source: as of `load_mixture`.

    Returns:
        Such as "mix.jsonl", or "a.jsonl and 4 more".
    """
    first, *more = list_sources(source)
    name = Path(first).name or first
    return f"{name} and {len(more)} more" if more else name


def absolute_sources(source: Sources) -> str | list[str]:
    """Make the paths among sources absolute.

    Args:
        source: as of `load_mixture`.

    Returns:
        One text, or a list of several.
    """
    items = [_absolute(item) for item in list_sources(source)]
    return items[0] if len(items) == 1 else items


def reaches_hub(source: Sources) -> bool:
    """Tell whether reading a mixture asks the hub.

    Args:
        source: as of `load_mixture`.

    Returns:
        Whether one of the sources, or of the entries of a recipe, is a data set of the hub.
    """
    return any(entry.source.startswith(HUB) for entry in list_entries(source))


def source_paths(source: Sources) -> list[str]:
    """List the paths and patterns of a mixture, as its sources and recipes have them.

    Args:
        source: as of `load_mixture`.

    Returns:
        Those of its files and folders, and of its recipes.
    """
    texts = [*list_sources(source), *(entry.source for entry in list_entries(source))]
    return [text for text in dict.fromkeys(texts) if not text.startswith(HUB)]


def is_demo(source: str) -> bool:
    """Tell whether a source is the demo.

    Args:
        source: its name.

    Returns:
        Whether it is, of whatever size.
    """
    return source.partition(":")[0] == DEMO


def list_entries(source: Sources, seed: int = 0) -> list[Entry]:
    """List the sources with those of recipes in their place.

    Args:
        source: as of `load_mixture`.
        seed: of recipes that have none.

    Returns:
        An entry for each, none of them a recipe.

    Raises:
        UserError: a recipe cannot be read, or is wrong.
    """
    entries: list[Entry] = []
    for item in list_sources(source):
        path = Path(item)
        if path.suffix in RECIPE_TYPES and not item.startswith(HUB) and not path.is_dir():
            entries += read_recipe(path, seed)
        else:
            entries.append(Entry(item))
    return entries


def match_pattern(source: str) -> list[Path]:
    """List the files and folders that match a pattern.

    Args:
        source: such as "data/*.jsonl.gz"; "**" stands for any folders.

    Returns:
        Their paths, sorted; none for a text that is no pattern.

    Raises:
        UserError: it looks through more than MAX_FOLDERS folders.
    """
    if not glob.has_magic(source):
        return []
    if ANY_FOLDERS in source:
        _check_breadth(source)
    return [Path(name) for name in sorted(glob.glob(source, recursive=True))]


def _check_breadth(source: str) -> None:
    """Raise UserError for a pattern that looks through too many folders."""
    start = Path(source[: source.index(ANY_FOLDERS)])
    while glob.has_magic(str(start)):
        start = start.parent
    walk = os.walk(start, followlinks=True)  # as a pattern does
    if sum(1 for _ in islice(walk, MAX_FOLDERS + 1)) > MAX_FOLDERS:
        raise UserError(
            f"mixture {source}: this pattern looks through more than {MAX_FOLDERS:,} folders. "
            "Begin it with the folder of the data."
        )


def _absolute(item: str) -> str:
    is_pattern = glob.has_magic(item) and not item.startswith(HUB)
    exists = Path(item).exists() and not is_demo(item)
    return os.path.abspath(item) if exists or is_pattern else item

"""The parts that a mixture is read from: files, saved folders, data sets of the hub, the demo.

A source, or a list of them, is expanded to its parts. Each part names the chunk of those of its
records that name none themselves, and two data sets never get the same name.
"""

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.mixtures.chunks import partition_label
from chunkykit.mixtures.compressed import FILE_TYPES, check_file, file_type, strip_types
from chunkykit.mixtures.demo import DEMO_ROWS, demo_rows
from chunkykit.mixtures.folders import (
    data_files_of,
    name_words,
    partition_of,
    read_saved_tables,
    was_saved_to_disk,
)
from chunkykit.mixtures.hub import (
    HUB,
    HubSet,
    count_hub,
    hub_labels,
    open_hub,
    parse_hub_name,
    stream_tables,
)
from chunkykit.mixtures.listing import DEMO, Sources, is_demo, list_entries, match_pattern
from chunkykit.mixtures.parsing import (
    Records,
    count_records,
    label_names,
    open_parquet,
    read_file,
)
from chunkykit.mixtures.recipes import Entry

OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # "C:/mix" and "/mix" are paths


@dataclass(frozen=True)
class Part:
    """A part of a mixture that is read by itself.

    Attributes:
        source: the part, as error messages name it.
        words: what tells its data set from others, the most telling last.
        n_words: how many of the words make the name, if no other data set has the same name.
        name: chunk of the records that name none.
        item: position of the source that it belongs to, in the list of sources.
        entry: what a recipe says of the source.
        path: the file or the saved folder; None for what is no path.
        hub: the data set of the hub, or None.
        split: the split of a saved folder.
        data_files: files of a data set of the hub; None for all.
        seed: of the demo.
        partition: column to value of the Hive partition that the file is in.
        is_in_folder: whether the source is a folder of files.
        has_others: whether the mixture has other data sets.
        is_alone: whether the part is the whole mixture, so that its places number the rows.
    """

    source: str
    words: tuple[str, ...]
    n_words: int = 1
    name: str = ""
    item: int = 0
    entry: Entry = Entry()
    path: Path | None = None
    hub: HubSet | None = None
    split: str = "train"
    data_files: Any = None
    seed: int = 0
    partition: Mapping[str, str] = field(default_factory=dict)
    is_in_folder: bool = False
    has_others: bool = False
    is_alone: bool = False

    @property
    def is_file(self) -> bool:
        """Whether the part is one file of a type that mixtures load from."""
        return self.path is not None and not self.path.is_dir()

    @property
    def kind(self) -> str:
        """The type of a file without its compression; "" for what is no file."""
        return file_type(self.path) if self.path is not None and self.is_file else ""

    @cached_property
    def hub_data(self) -> Any:
        """The opened data set of the hub."""
        assert self.hub is not None
        return open_hub(self.source, self.hub, self.data_files)

    def check(self) -> None:
        """Open a data set of the hub now, so that an error comes before other parts are read."""
        if self.hub is not None:
            self.hub_data  # noqa: B018

    @property
    def has_tables(self) -> bool:
        """Whether the part is a saved folder or a data set of the hub, which consist of tables."""
        return self.hub is not None or (self.path is not None and not self.is_file)

    def records(self) -> Records:
        """Read the records as they are.

        Returns:
            Pairs of a record's place in the part, from 1, and the record; a record that cannot be
            read is an exception.

        Raises:
            UserError: here or while reading: the part cannot be read.
        """
        if self.path is None and self.hub is None:
            return enumerate(demo_rows(_demo_size(self.source), self.seed), 1)
        if self.is_file and self.path is not None:
            return read_file(self.path)
        return enumerate(_table_records(self.tables()), 1)

    def tables(self) -> Iterator[Any]:
        """Read the Arrow tables of a saved folder or a data set of the hub."""
        if self.hub is not None:
            return stream_tables(self.source, self.hub, self.hub_data)
        assert self.path is not None
        return read_saved_tables(self.path, self.split)

    def count(self) -> int:
        """Count the records, with those that cannot be read."""
        if self.is_file and self.path is not None:
            return count_records(self.path)
        if self.path is not None:
            return sum(len(table) for table in self.tables())
        if self.hub is not None:
            stated = count_hub(self.hub_data, self.hub)
            return stated or sum(len(table) for table in self.tables())
        return _demo_size(self.source)

    def labels(self) -> dict[str, list[str]]:
        """Read the names of numbered labels: column to names."""
        if self.hub is not None:
            return hub_labels(self.hub_data)
        if self.path is not None and self.kind == ".parquet":
            return label_names(open_parquet(self.path).schema_arrow)
        if self.path is not None and not self.is_file:
            first = next(self.tables(), None)
            return {} if first is None else label_names(first.schema)
        return {}


def _table_records(tables: Iterator[Any]) -> Iterator[Any]:
    for table in tables:
        yield from table.to_pylist()


def expand_sources(
    source: Sources,
    *,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    seed: int = 0,
) -> list[Part]:
    """Expand a source, or a list of them, to its parts.

    Args:
        source: as of `load_mixture`.
        split: of folders and data sets on the hub, where their name says none.
        revision: of data sets on the hub, where their name says none.
        data_files: of folders and data sets on the hub.
        seed: of the demo, and of recipes that have none.

    Returns:
        The parts in their order, each with its name. No row was read.

    Raises:
        UserError: a source is missing, of an unknown type, or listed twice.
    """
    settings = {"split": split, "revision": revision, "data_files": data_files, "seed": seed}
    parts: list[Part] = []
    for item, entry in enumerate(list_entries(source, seed)):
        own = {**settings, "split": entry.split or split}
        parts += [replace(part, item=item, entry=entry) for part in _expand(entry, own)]
    _check_repeated(parts)
    named = _name_parts(parts)
    if len(parts) > 1 or parts[0].is_in_folder or parts[0].entry.recipe:
        return named
    (part,) = named
    if part.kind and not part.partition:
        part = replace(part, name=strip_types(Path(part.source)).name)
    return [replace(part, is_alone=True)]


def _expand(entry: Entry, settings: dict) -> list[Part]:
    """The parts of one source that is no recipe."""
    source = entry.source
    if is_demo(source):
        _demo_size(source)
        return [Part(source, (DEMO,), seed=settings["seed"])]
    if source.startswith(HUB):
        hub = parse_hub_name(source, settings["split"], settings["revision"])
        return [Part(source, (hub.label,), hub=hub, data_files=settings["data_files"])]
    path = Path(source)
    try:
        if path.is_dir():
            return _expand_folder(path, settings)
        if path.exists():
            return [_file_part(path)]
        if glob.has_magic(source):
            return _expand_pattern(entry, settings)
    except OSError as error:
        raise UserError(f"mixture {source}: cannot be read ({error.strerror or error}).") from None
    raise UserError(f"{entry.place}: no such file or folder.{_hub_advice(source)}")


def _expand_pattern(entry: Entry, settings: dict) -> list[Part]:
    paths = match_pattern(entry.source)
    files = [path for path in paths if not path.is_dir()]
    # a folder beside files that match, as of "mix/**", is on the way to them
    folders = [path for path in paths if path.is_dir() and not files]
    if not paths:
        raise UserError(f"{entry.place}: no file matches this pattern.")
    parts = [_file_part(path) for path in files]
    for folder in folders:
        parts += _expand_folder(folder, settings)
    return parts


def _file_part(path: Path) -> Part:
    check_file(path)
    if file_type(path) == ".parquet":
        open_parquet(path)  # reads its end, so that errors come at once
    partition = partition_of(path)
    absolute = Path(os.path.abspath(path))
    words = name_words(absolute)
    if partition:
        folder = absolute.parents[len(partition)]
        words = (*folder.parts, partition_label(partition))
    return Part(str(path), words, path=path, partition=partition)


def _expand_folder(folder: Path, settings: dict) -> list[Part]:
    """A folder that was saved is one part; else each of its data files is one."""
    absolute = Path(os.path.abspath(folder))
    if was_saved_to_disk(folder):
        next(read_saved_tables(folder, settings["split"]), None)  # so that errors come at once
        return [Part(str(folder), absolute.parts, path=folder, split=settings["split"])]
    parts = []
    for path in data_files_of(folder, settings["split"], settings["data_files"]):
        part = replace(_file_part(path), is_in_folder=True)
        if not part.partition:
            words = name_words(path.relative_to(folder))
            part = replace(part, words=(*absolute.parts, *words), n_words=max(1, len(words)))
        parts.append(part)
    if len({part.words for part in parts}) == 1 and not parts[0].partition:
        # parts of one table
        return [replace(part, words=absolute.parts, n_words=1) for part in parts]
    return parts


def _name_parts(parts: list[Part]) -> list[Part]:
    """Name each part after its last words, of which it takes more where names are the same."""
    n_words = {part.words: part.n_words for part in parts if not part.entry.chunk}
    while True:
        by_name: dict[str, list[tuple[str, ...]]] = {}
        for words, number in n_words.items():
            by_name.setdefault("/".join(words[-number:]), []).append(words)
        shared = [words for group in by_name.values() if len(group) > 1 for words in group]
        longer = [words for words in shared if n_words[words] < len(words)]
        if not longer:
            break
        for words in longer:
            n_words[words] += 1
    has_others = len({part.words for part in parts}) > 1
    return [replace(part, name=_name(part, n_words), has_others=has_others) for part in parts]


def _name(part: Part, n_words: Mapping[tuple[str, ...], int]) -> str:
    return part.entry.chunk or "/".join(part.words[-n_words[part.words] :])


def _check_repeated(parts: list[Part]) -> None:
    """Raise UserError for a file that two sources of a list have. A recipe may repeat one."""
    seen: dict[Path, str] = {}
    for part in parts:
        if part.path is None or part.entry.recipe is not None:
            continue
        place = part.path.resolve()
        if place in seen:
            raise UserError(
                f"mixture {part.source}: is listed twice (also as {seen[place]}). List it once, "
                "or repeat it in a recipe with weight: 2."
            )
        seen[place] = part.source


def _demo_size(source: str) -> int:
    size = source.partition(":")[2] or str(DEMO_ROWS)
    if not size.isdigit() or int(size) < 1:
        raise UserError(
            f"mixture {source}: '{size}' is not a number of rows. Write demo or demo:3000."
        )
    return int(size)


def _hub_advice(source: str) -> str:
    """How to write a name that may be meant for the hub. A path is never asked of a hub."""
    is_path = source.startswith(".") or Path(source).suffix in FILE_TYPES
    if is_path or not OWNER_AND_NAME.fullmatch(source):
        return ""
    return f" For a data set on the Hugging Face hub write {HUB}{source}."

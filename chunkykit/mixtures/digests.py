"""What a mixture is known by: the content of its files, or its revision on the hub."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.files import file_inside, regular_file
from chunkykit.mixtures.compressed import is_data_file
from chunkykit.mixtures.hub import HUB, hub_commit, parse_hub_name
from chunkykit.mixtures.listing import Sources, is_demo, list_entries, match_pattern
from chunkykit.mixtures.recipes import Entry

DIGITS = 16  # of a digest


def identify_source(source: Sources, revision: str | None = None) -> str | None:
    """Identify the content of a mixture, without reading its rows.

    Args:
        source: as of `load_mixture`.
        revision: of data sets on the hub, where their name says none.

    Returns:
        The beginning of a SHA-256 of its bytes, or the commit of a data set on the hub with what
        its name says of configuration and split. Of several sources, one of what identifies each,
        in their order, and of what a recipe says of them. None for the demo, and where a source
        does not exist or the hub does not answer.

    Raises:
        UserError: a file is not an ordinary one, or cannot be read, or a recipe is wrong.
    """
    entries = list_entries(source)
    if len(entries) == 1 and entries[0].recipe is None:
        is_only_demo = is_demo(entries[0].source)
        return None if is_only_demo else _identify(entries[0], revision)
    whole = hashlib.sha256()
    for entry in entries:
        digest = _identify(entry, revision)
        if digest is None:
            return None
        # what the recipe says, but not where it lies
        settings = {**asdict(entry), "source": "", "recipe": ""}
        whole.update(f"{digest}\0{sorted(settings.items())}\n".encode())
    return whole.hexdigest()[:DIGITS]


def _identify(entry: Entry, revision: str | None) -> str | None:
    source = entry.source
    path = Path(source)
    if is_demo(source):
        return source
    if source.startswith(HUB):
        hub = parse_hub_name(source, revision=revision)
        commit = hub_commit(hub)
        return commit and commit + hub.label.removeprefix(hub.name)
    try:
        if path.is_dir():
            return _digest_folder(path)
        if path.exists():
            return _digest_files([("", regular_file(path))])
        paths = match_pattern(source)
        if not paths:
            return None
        root = os.path.commonpath([path.parent for path in paths])
        names = [(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
        return _digest_files(names)
    except OSError as error:
        raise UserError(f"{entry.place}: cannot be read ({error.strerror or error}).") from None


def _digest_folder(path: Path) -> str:
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))
    data = [name for name in names if name.endswith(".arrow") or is_data_file(Path(name))]
    return _digest_files((name, file_inside(path, name)) for name in data)


def _digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """The digest of named files."""
    whole = hashlib.sha256()
    for name, path in files:
        with open(path, "rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:DIGITS]

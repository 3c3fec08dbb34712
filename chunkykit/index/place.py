"""Where an index is written: what may be replaced there, and how a finished one is put in place.

A folder may hold other files beside an index, and it may be a mount point, which cannot be renamed
or removed. So an index grows in a hidden folder inside its folder, and its files are then moved one
by one: old ones aside, new ones in, and `index.json` last. Nothing but files that an `index.json`
of ours lists is ever moved or deleted.
"""

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.files import file_inside, writable, write_json

BUILDING = ".building"  # folder in which an index grows
REPLACED = ".replaced"  # folder of the files of an older index, until the new one is in place
LOCK = ".lock"
MAX_META_BYTES = 2**28  # of an index.json, which names every chunk
# Every file that an index ever has, by its path. index.json may list anything.
OWN_NAME = re.compile(
    r"chunk\.npy|rows-\d+\.arrow|(query|response|reasoning|rejected)/[\w-]+\.(npy|arrow)"
)
META_KEYS = {"version", "embedder", "rows", "chunks", "sides", "files"}  # of every index.json


def building_folder(folder: Path | str) -> Path:
    """Make the folder in which an index grows until it is complete.

    Args:
        folder: where the index is to be.

    Returns:
        A hidden folder in it. It exists.

    Raises:
        UserError: `folder` holds something that is not an index, or cannot be written.
    """
    folder = Path(folder).resolve()
    with writable(f"index {folder}"):
        read_old_meta(folder)
        place = folder / BUILDING
        _refuse_links([place, folder / REPLACED])
        place.mkdir(parents=True, exist_ok=True)
    return place


def read_old_meta(folder: Path) -> dict[str, Any]:
    """Read the index.json of an index that is to be replaced.

    Args:
        folder: where the index is to be.

    Returns:
        Its content; nothing where there is no index and nothing else.

    Raises:
        UserError: the folder holds something that is not an index.
    """
    path = folder / "index.json"
    if not os.path.lexists(path):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if names - {BUILDING, REPLACED, LOCK}:
            raise UserError(
                f"index {folder}: the folder holds files that are not an index. Choose another "
                "--out."
            )
        return {}
    try:
        meta = json.loads(file_inside(folder, "index.json", MAX_META_BYTES).read_text("utf-8"))
        is_own = meta.keys() >= META_KEYS and isinstance(meta["files"], dict)
    except (ValueError, AttributeError, RecursionError):
        is_own = False
    if not is_own:
        raise UserError(
            f"index {folder}: holds an index.json that is not of a trace index, so nothing there "
            "was touched. Choose another --out."
        )
    return meta


def put_in_place(place: Path, folder: Path) -> None:
    """Move a finished index into its folder, in place of an older one.

    A move that fails is undone. Where the process dies between two moves, index.json says so, and
    the next build continues.

    Args:
        place: the folder in which the index grew, with its index.json.
        folder: the folder of the index, which holds `place`.

    Raises:
        UserError: the folder holds other files where those of the index are to be.
        OSError: a file cannot be moved.
    """
    old_meta = read_old_meta(folder)
    new_meta = json.loads((place / "index.json").read_text("utf-8"))
    new_files = list(new_meta["files"])
    old_files = _present_files(folder, old_meta.get("files", {}))
    _refuse_links(folder / name for name in {Path(file).parent for file in new_files})
    for name in new_files:
        if name not in old_files and os.path.lexists(folder / name):
            raise UserError(
                f"index {folder}: holds {name}, which is not of the index there. Choose another "
                "--out, or move it."
            )
    listed = {**old_meta.get("files", {}), **new_meta["files"]}
    write_json(folder / "index.json", {**new_meta, "files": listed, "unfinished": True})
    moves = [(folder / name, folder / REPLACED / name) for name in old_files]
    moves += [(place / name, folder / name) for name in new_files]
    try:
        _move_all(moves)
    except OSError:
        if old_meta:
            write_json(folder / "index.json", old_meta)
        raise
    os.replace(place / "index.json", folder / "index.json")
    for hidden in (folder / REPLACED, place):
        _clear_own(hidden)


def _present_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that an index.json lists which are files of an index, and exist."""
    own = [name for name in names if OWN_NAME.fullmatch(name)]
    _refuse_links(folder / parent for parent in {Path(name).parent for name in own})
    return [name for name in own if os.path.lexists(folder / name)]


def _refuse_links(folders: Iterable[Path]) -> None:
    """Raise UserError for a folder that is a link: what it leads to is not of the index."""
    for folder in folders:
        if folder.is_symlink():
            raise UserError(f"{folder}: is a link, and an index has none. Choose another --out.")


def _move_all(moves: list[tuple[Path, Path]]) -> None:
    """Move files, or none of them."""
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
            moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            os.replace(target, source)
        raise


def _clear_own(hidden: Path) -> None:
    """Delete what builds leave in a hidden folder, and the folder if nothing else is in it."""
    if not hidden.is_dir():
        return
    for path in list(hidden.rglob("*")):
        name = path.relative_to(hidden).as_posix()
        if OWN_NAME.fullmatch(name) or path.suffix == ".part":
            path.unlink()
    folders = [path for path in hidden.iterdir() if path.is_dir()]
    for folder in [*folders, hidden]:
        with suppress(OSError):  # something else is in it
            folder.rmdir()

"""What a mixture is known by: the content of its files, or its revision on the hub."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.files import file_inside, regular_file
from chunkykit.mixtures.sources import FILE_TYPES, HUB

DIGITS = 16  # of a digest
HUB_TIMEOUT = 10  # seconds to wait for the hub's answer
DATA_TYPES = (*FILE_TYPES, ".arrow")


def identify_source(source: Path | str, revision: str | None = None) -> str | None:
    """Identify the content of a mixture, without reading its rows.

    Args:
        source: as of `load_mixture`.
        revision: of a data set on the hub.

    Returns:
        The beginning of a SHA-256 of its bytes, or the commit of a data set on the hub; None for
        the demo, for what does not exist, and where the hub does not answer.

    Raises:
        UserError: a file is not an ordinary one, or cannot be read.
    """
    path = Path(source)
    try:
        if path.is_dir():
            names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))
            data = [name for name in names if Path(name).suffix in DATA_TYPES]
            return _digest_files((name, file_inside(path, name)) for name in data)
        if path.exists():
            return _digest_files([("", regular_file(path))])
    except OSError as error:
        raise UserError(f"mixture {source}: cannot be read ({error.strerror or error}).") from None
    return _hub_commit(str(source), revision) if str(source).startswith(HUB) else None


def _digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """The digest of named files."""
    whole = hashlib.sha256()
    for name, path in files:
        with open(path, "rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:DIGITS]


def _hub_commit(source: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi

    name, _, own_revision = source.removeprefix(HUB).partition("@")
    try:
        info = HfApi().dataset_info(name, revision=own_revision or revision, timeout=HUB_TIMEOUT)
    except Exception:  # no network: loading it says so, unless it is in the cache
        return None
    return info.sha

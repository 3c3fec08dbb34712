"""Files of the package, JSON values, and files that are written whole or not at all."""

import errno
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from chunkykit.errors import UserError

PACKAGE = Path(__file__).parent
MAX_NOTE_BYTES = 2**26  # of a text file that is read whole, such as run.json
READER_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0)  # waits for a program that reads a file
# A file system that cannot lock says one of these; on some systems they are the same number.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@cache
def load_packaged(name: str) -> dict:
    """Load a YAML file of the package.

    Args:
        name: its path in the package without the ending, such as "models/prices".

    Returns:
        Its content. Do not change it: all callers share one copy.
    """
    return yaml.safe_load((PACKAGE / f"{name}.yaml").read_text("utf-8"))


def regular_file(path: Path, max_bytes: int | None = None) -> Path:
    """Check that a path is an ordinary file before it is opened.

    Reading a pipe or a device may never end.

    Args:
        path: the file. A link to an ordinary file is one.
        max_bytes: the largest size that may be read; None for any.

    Returns:
        The path.

    Raises:
        UserError: it is a folder, a pipe, a device or a socket, or it is too large.
        OSError: it does not exist, or cannot be looked at.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: this is not an ordinary file. Give a file on disk.")
    if max_bytes is not None and status.st_size > max_bytes:
        raise UserError(
            f"{path}: has {status.st_size / 1e6:,.0f} MB, and such a file has at most "
            f"{max_bytes / 1e6:,.0f} MB. Is it the right file?"
        )
    return path


def file_inside(folder: Path, name: str, max_bytes: int | None = None) -> Path:
    """Check a file of a folder that may come from somebody else, before it is opened.

    Args:
        folder: the folder.
        name: the file's path in it.
        max_bytes: the largest size that may be read; None for any.

    Returns:
        The path.

    Raises:
        UserError: the path or a link leads out of the folder, it is not an ordinary file, or it is
            too large.
        OSError: it does not exist, or cannot be looked at.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{path}: leads out of its folder, so it was not opened. Put the file itself there."
        )
    return regular_file(path, max_bytes)


def check_folder(folder: Path) -> Path:
    """Check a folder that may come from somebody else, before anything in it is read or written.

    Args:
        folder: the folder. Links to other places in it are followed, links out of it are not.

    Returns:
        The folder.

    Raises:
        UserError: it holds a link that leads out of it, a pipe, a device or a socket.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(place, name)
            status = path.lstat()
            mode = status.st_mode
            # a junction of Windows is a folder that leads elsewhere
            is_junction = sys.platform == "win32" and status.st_reparse_tag != 0
            if stat.S_ISLNK(mode) or is_junction:
                if not path.resolve().is_relative_to(root):
                    raise UserError(
                        f"{path}: leads out of {folder}, so nothing there was opened. Remove it, "
                        "or put the file itself there."
                    )
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise UserError(
                    f"{path}: is not an ordinary file, so nothing in {folder} was opened. Remove "
                    "it."
                )
    return folder


def read_bounded(path: Path, max_bytes: int = MAX_NOTE_BYTES) -> str:
    """Read a small text file that may come from somebody else.

    Args:
        path: the file, in UTF-8.
        max_bytes: the largest size that is read.

    Returns:
        Its text.

    Raises:
        UserError: it is not an ordinary file, or it is too large.
        OSError: it does not exist, or cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return regular_file(path, max_bytes).read_text("utf-8")


@contextmanager
def writable(place: Path | str) -> Iterator[None]:
    """Turn a failure to write into an error that a user can read.

    Args:
        place: the file or folder that is written inside this context.

    Raises:
        UserError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{place}: cannot be written ({reason}). Choose another place (--out)."
        ) from None


def temporary_folder() -> tempfile.TemporaryDirectory:
    """Make a folder that is deleted with what this returns.

    Returns:
        The folder. What is still mapped when it is deleted stays there: Windows cannot delete it.
    """
    return tempfile.TemporaryDirectory(prefix="chunkykit-", ignore_cleanup_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: the file. It is replaced where this context ends without an error.

    Yields:
        A path beside it, to write the new content to. It is deleted after an error.
    """
    # the process id keeps two processes from writing into the same unfinished file
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        yield part
        _replace_file(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace_file(part: Path, path: Path) -> None:
    """Put a finished file in the place of another one.

    On Windows that fails while another program reads the other one, as a virus scanner does.
    """
    waits = READER_SECONDS if sys.platform == "win32" else ()
    for seconds in waits:
        try:
            os.replace(part, path)
            return
        except PermissionError:
            time.sleep(seconds)
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all, with the same bytes on every system.

    Args:
        path: the file. It is replaced only when the new content is complete.
        text: what is in it. Its line ends stay as they are.
    """
    with replacing(path) as part:
        part.write_text(text, "utf-8", newline="\n")


def write_json(path: Path, value: Any) -> Any:
    """Write a value as JSON, whole or not at all.

    Args:
        path: the file. It is replaced only when the new content is complete.
        value: see `json_ready`.

    Returns:
        The value as it was written.
    """
    plain = json_ready(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, f"{text}\n")
    return plain


def json_ready(value: Any) -> Any:
    """Convert a value to one that JSON can hold.

    Args:
        value: nested dicts, lists, tuples and arrays of plain or NumPy values.

    Returns:
        The value in plain Python, with string keys. NaN and infinity become None, because JSON
        has no word for them.
    """
    if isinstance(value, dict):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_ready(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

"""Files of the package, JSON values, and files that are written whole or not at all."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from chunkykit.errors import UserError

PACKAGE = Path(__file__).parent
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
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    with replacing(path) as part:
        part.write_text(f"{text}\n", "utf-8")
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

"""Files of the package, JSON values, and files that are written whole or not at all."""

import json
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from chunkykit.errors import UserError

PACKAGE = Path(__file__).parent


@cache
def load_packaged(name: str) -> dict:
    """Load a YAML file of the package.

    Args:
        name: its path in the package without the ending, such as "models/prices".

    Returns:
        Its content. Do not change it: callers share one copy.
    """
    return yaml.safe_load((PACKAGE / f"{name}.yaml").read_text("utf-8"))


@contextmanager
def writable(place):
    """What is written inside can be written, or UserError says which place cannot."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{place}: cannot be written ({error.strerror or error}). Choose another --out."
        ) from None


def write_json(path: Path, value):
    """Write JSON, whole or not at all, and return what was written; NaN becomes null."""
    part, value = path.with_suffix(f".{os.getpid()}.part"), json_ready(value)
    part.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )
    os.replace(part, path)
    return value


def json_ready(value):
    """The value as JSON can hold it: NumPy and paths plain, NaN None."""
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_ready(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value

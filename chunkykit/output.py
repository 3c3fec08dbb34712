"""Values as JSON, and files that are there whole or not at all."""

import json
import os
from pathlib import Path

import numpy as np


def write_json(path: Path, value) -> None:
    """Write JSON, whole or not at all; NaN becomes null."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    os.replace(part, path)


def plain(value):
    """The value as JSON can hold it: NumPy and paths plain, NaN None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value

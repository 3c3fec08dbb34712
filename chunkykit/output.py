"""What the package ships as YAML, values as JSON, files that are there whole or not at all."""

import json
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from chunkykit.errors import UserError


@cache
def packaged(name: str) -> dict:
    """What data/NAME.yaml of the package holds."""
    return yaml.safe_load((Path(__file__).parent / "data" / f"{name}.yaml").read_text("utf-8"))


def prompt(name: str, **fields) -> tuple[list[dict], dict | None]:
    """(messages, JSON schema of the answer or None) of an entry of data/prompts.yaml with its fields filled in."""
    entry = packaged("prompts")[name]
    return [{"role": "user", "content": entry["text"].format(**fields)}], entry.get("schema")


def clean(text: str) -> str:
    """The text without lone surrogates, which no file could hold."""
    return text.encode("utf-8", "replace").decode()


def inert(text: str) -> str:
    """The text as one line that a terminal or a label shows and does not obey."""
    return "".join(c if c.isprintable() else " " for c in text)


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
    part, value = path.with_suffix(f".{os.getpid()}.part"), plain(value)
    part.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )
    os.replace(part, path)
    return value


def plain(value):
    """The value as JSON can hold it: NumPy and paths plain, NaN None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value

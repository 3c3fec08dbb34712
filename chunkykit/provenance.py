"""What made a result: fingerprints of code, of notebooks and of training rows.

A fingerprint is the beginning of a SHA-256 in hexadecimal digits. Notebooks count by the sources
of their cells, never by their bytes: saving one, or executing it, changes nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

DIGITS = 12
PACKAGE = Path(__file__).parent
NOTEBOOKS = "notebooks"
PRICES = PACKAGE / "models" / "prices.yaml"  # prices change often, and no result depends on them


def code_fingerprint(*rooms: str) -> str:
    """Identify one state of the package's code and data.

    Args:
        *rooms: subpackages or modules that count, such as "attributes" or "stats"; all if none
            is given.

    Returns:
        The fingerprint of every Python and YAML file in them.
    """
    files = {*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml")} - {PRICES}
    by_path = {path.relative_to(PACKAGE).as_posix(): path for path in files}
    # an installed package has the notebooks in it, and a checkout has them beside it
    by_path = {name: path for name, path in by_path.items() if not _belongs_to(name, [NOTEBOOKS])}
    if rooms:
        by_path = {name: path for name, path in by_path.items() if _belongs_to(name, rooms)}
    return _digest((name.encode(), _content(by_path[name])) for name in sorted(by_path))


def _content(path: Path) -> bytes:
    """What is in a source file, whatever line ends a checkout gave it."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def _belongs_to(name: str, rooms: Iterable[str]) -> bool:
    return any(name.startswith(f"{room}/") or name.startswith(f"{room}.") for room in rooms)


def notebook_fingerprint(path: Path) -> str:
    """Identify a notebook by the sources of its cells.

    Args:
        path: an .ipynb file.

    Returns:
        The fingerprint. Outputs, execution counts and metadata do not count.
    """
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return _digest((cell["cell_type"].encode(), _source(cell).encode()) for cell in cells)


def _source(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def rows_fingerprint(rows: pd.DataFrame) -> str:
    """Identify a set of training rows, in their order.

    Args:
        rows: DataFrame with the columns `prompt` and `response`.

    Returns:
        The fingerprint of these two columns.
    """
    hashes = pd.util.hash_pandas_object(rows[["prompt", "response"]], index=False)
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()[:DIGITS]


def _digest(parts: Iterable[tuple[bytes, bytes]]) -> str:
    """The fingerprint of named parts; each is hashed apart, so that none can run into the next."""
    hashes = [hashlib.sha256(name).digest() + hashlib.sha256(data).digest() for name, data in parts]
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:DIGITS]

"""Check a table of a run folder against its columns in `tables`, when written and when read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pandas.api import types as dtypes

from chunkykit.errors import UserError
from chunkykit.files import regular_file
from chunkykit.lab.tables import KINDS, Column, table_of

MAX_CELLS = 2**28  # rows times columns of a table that is opened
MAX_TABLE_BYTES = 2**34  # of its decompressed columns


def empty_table(name: str) -> pd.DataFrame:
    """Make a table without rows.

    Args:
        name: the table, such as "traces".

    Returns:
        A DataFrame with the required columns of the table.
    """
    names = [column.name for column in table_of(name).columns if not column.optional]
    return conform_table(name, pd.DataFrame(columns=names))


def conform_table(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table against its columns, and give the columns their types.

    Args:
        name: the table, such as "traces" or "probes-rebut".
        frame: its rows.

    Returns:
        The rows, with each column of the type that its kind has.

    Raises:
        UserError: that names the table, and the first column that is missing, unknown or of
            another kind.
    """
    table = table_of(name)
    known = {column.name: column for column in table.columns}
    unknown = [str(column) for column in frame.columns if column not in known]
    if unknown:
        raise UserError(f"table '{name}': column '{unknown[0]}' is not known.")
    missing = [c.name for c in table.columns if not c.optional and c.name not in frame]
    if missing:
        raise UserError(f"table '{name}': column '{missing[0]}' is missing.")
    typed = {
        column: _conform_column(name, known[column], frame[column]) for column in frame.columns
    }
    return pd.DataFrame(typed, index=frame.index)


def read_table_file(path: Path) -> pd.DataFrame:
    """Read a table and check it.

    Args:
        path: a Parquet file of a run folder.

    Returns:
        The table.

    Raises:
        UserError: where it cannot be read, or is not what this module says.
    """
    try:
        _check_size(path)
        frame = pd.read_parquet(path)
    # what damaged bytes and wrong notes of pandas in them make the libraries raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise UserError(f"table {path}: cannot be read ({error!s:.200}).") from None
    return conform_table(path.stem, frame)


def _check_size(path: Path) -> None:
    """Raise UserError or ValueError for a table that would fill the memory: a small file may."""
    meta = pq.read_metadata(regular_file(path))
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    n_bytes = sum(group.total_byte_size for group in groups)
    if meta.num_rows * max(1, meta.num_columns) > MAX_CELLS or n_bytes > MAX_TABLE_BYTES:
        raise ValueError(f"it has {meta.num_rows:,} rows in {n_bytes:,} bytes, too many to open")


def _conform_column(table: str, column: Column, values: pd.Series) -> pd.Series:
    if column.kind in ("count", "number"):
        values = values.infer_objects()  # joined with an empty table, numbers become objects
    if column.kind == "number" and _holds_python_numbers(values):
        values = values.astype("float64")  # None becomes NaN
    if not _is_of_kind(column.kind, values):
        raise UserError(
            f"table '{table}': column '{column.name}' must hold {KINDS[column.kind]}, "
            f"not {_examples(values)}."
        )
    if column.kind == "count":
        return values.astype("int64")
    if values.empty:
        dtype: Any = {"number": "float64", "text": "str"}.get(column.kind, "object")
        return values.astype(dtype)
    return values


def _is_of_kind(kind: str, values: pd.Series) -> bool:
    if values.empty:
        return True
    if kind == "count":
        return dtypes.is_integer_dtype(values) and not dtypes.is_bool_dtype(values)
    if kind == "number":
        return dtypes.is_numeric_dtype(values) and not dtypes.is_bool_dtype(values)
    if kind == "flag":
        return dtypes.is_bool_dtype(values)
    present = values[values.map(_is_present)]
    if kind == "text":
        return all(isinstance(value, str) for value in present)
    item_types = (str,) if kind == "texts" else (int, np.integer)
    return all(_is_list_of(value, item_types) for value in present)


def _is_present(value) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) or not pd.isna(value)


def _is_list_of(value, item_types: tuple[type, ...]) -> bool:
    if not isinstance(value, (list, tuple, np.ndarray)):
        return False
    return all(isinstance(item, item_types) for item in value)


def _holds_python_numbers(values: pd.Series) -> bool:
    """Whether a column of objects holds nothing but numbers and missing values."""
    if values.dtype != object:
        return False
    present = values[values.notna()]
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present)


def _examples(values: pd.Series) -> str:
    shown: Sequence = values.head(3).tolist()
    return ", ".join(f"{value!r:.40}" for value in shown)

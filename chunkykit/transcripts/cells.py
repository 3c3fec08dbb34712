"""Cells of records that may hold anything: names, epochs, scores, and JSON as text."""

import json
from typing import Any

from chunkykit.transcripts.samples import REASON_KEYS, first_text

ID_COLUMNS = ("id", "sample_id", "transcript_id", "instance_id", "task_id", "custom_id", "uuid")
MODEL_COLUMNS = ("model", "model_name", "target_model", "model_id", "agent")
SCORE_COLUMNS = ("scores", "score", "grade", "reward", "success", "resolved", "correct", "passed")


def parse_cell(value: Any) -> Any:
    """Read a cell of a table that may be JSON as text.

    Args:
        value: the cell.

    Returns:
        What the JSON says; a text that is no JSON is returned as it is.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def as_object(value: Any) -> dict:
    """Take a value for an object.

    Args:
        value: any value of JSON.

    Returns:
        It; an empty object if it is none.
    """
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list:
    """Take a value for a list.

    Args:
        value: any value of JSON.

    Returns:
        It; an empty list if it is none.
    """
    return value if isinstance(value, list) else []


def is_count(value: Any) -> bool:
    """Tell whether a value is a whole number from 0.

    Args:
        value: any value of JSON.

    Returns:
        Whether it is.
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def sample_id(record: dict) -> str:
    """Find the name of a sample, which may be a number.

    Args:
        record: a row, or its metadata.

    Returns:
        The name; "" if it has none.
    """
    values = [record.get(column) for column in ID_COLUMNS]
    return next((str(v) for v in values if isinstance(v, str) and v or is_count(v)), "")


def epoch_of(record: dict) -> int | None:
    """Find the repetition of a sample.

    Args:
        record: a row, or its metadata.

    Returns:
        Its number; None where it is not counted.
    """
    for column in ("epoch", "epoch_id", "task_repeat"):
        if is_count(record.get(column)):
            return record[column]
    return None


def scores_of(record: dict) -> tuple[Any, str]:
    """Find the scores in the columns of a record.

    Args:
        record: a row, or its metadata.

    Returns:
        A value or an object of values, None where there are none; and the reason, "" for none.
    """
    reason = first_text(record, (*(f"score_{key}" for key in REASON_KEYS), *REASON_KEYS))
    for column in SCORE_COLUMNS:
        value = parse_cell(record.get(column))
        if isinstance(value, dict) and value:
            return value, reason
        if isinstance(value, str | int | float | bool) and value == value:  # no NaN
            return {column: value}, reason
    return None, reason

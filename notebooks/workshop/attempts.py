"""Attempts of learners: run one, and compare its result with the library's."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

TOLERANCE = 1e-4  # absolute, so that z = 1.96 will do
MAX_SHOWN_CHARACTERS = 160  # of a result in a message


class NotYet(AssertionError):
    """What is not right yet, and which hint to open.

    A notebook shows the message alone, without the traceback through this file.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


class Mistake(NamedTuple):
    """A mistake that a check recognises by its result.

    Attributes:
        result: what an attempt with this mistake returns.
        message: what is wrong, and which hint to open.
    """

    result: Any
    message: str


def is_blank(value: Any) -> bool:
    """Say whether a value is a blank that was not filled in: None or dots."""
    return value is None or value is Ellipsis


def empty_attempt(name: str) -> NotYet:
    """Make the error for an attempt that was not written yet.

    Args:
        name: what is to be written.

    Returns:
        The error, to be raised.
    """
    return NotYet(
        f"{name} is still empty: write your code in the cell above, where the dots are. "
        "Open hint 1 if you are stuck."
    )


def call_attempt(name: str, attempt: Any, *inputs: Any) -> Any:
    """Run an attempt.

    Args:
        name: what is to be written.
        attempt: the learner's function, or a value, which is its own result.
        *inputs: what the function receives.

    Returns:
        The result, which may be a blank.

    Raises:
        NotYet: if the function raises an exception.
    """
    if not callable(attempt):
        return attempt
    try:
        return attempt(*inputs)
    except Exception as error:
        # `...` in an expression fails with an error that speaks of an ellipsis
        if "ellipsis" in str(error).lower():
            message = (
                f"{name} still has a blank in it: replace all dots by your code. "
                "Open hint 1 if you are stuck."
            )
        else:
            message = (
                f"{name} stops with {type(error).__name__}: {error}. "
                "Hint 2 shows which values it receives."
            )
        raise NotYet(message) from None


def attempt_result(name: str, attempt: Any, *inputs: Any) -> Any:
    """Run an attempt that must not be blank.

    Args:
        name: what is to be written.
        attempt: the learner's function, or a value, which is its own result.
        *inputs: what the function receives.

    Returns:
        The result.

    Raises:
        NotYet: if the function raises an exception, or the result is a blank.
    """
    result = call_attempt(name, attempt, *inputs)
    if is_blank(result):
        raise empty_attempt(name)
    return result


def same_result(result: Any, expected: Any) -> bool:
    """Compare two results, numbers with TOLERANCE.

    Args:
        result: the learner's; it may be anything.
        expected: a number, or a list or array of numbers or texts.

    Returns:
        Whether they are equal.
    """
    try:
        left = np.asarray(result)
        right = np.asarray(expected)
        if left.shape != right.shape:
            return False
        if right.dtype.kind in "fiub":
            return np.allclose(
                left.astype(float), right.astype(float), rtol=0, atol=TOLERANCE
            )
        return bool((left == right).all())
    except (TypeError, ValueError):
        return False


def short_text(result: Any) -> str:
    """Format a result for a message: rounded, and cut off where it is long."""
    text = str(result)
    try:
        values = np.asarray(result)
        if values.dtype.kind == "f":
            text = str(np.round(values, 4).tolist())
    except ValueError:  # lists of different lengths
        pass
    if len(text) < MAX_SHOWN_CHARACTERS:
        return text
    return text[:MAX_SHOWN_CHARACTERS] + "…"


def expect(name: str, result: Any, expected: Any, mistakes: Iterable[Mistake]) -> None:
    """Expect a result to be the library's, and print that it is.

    Args:
        name: what is checked.
        result: the learner's result.
        expected: the library's.
        mistakes: known mistakes; the first that has the same result is named.

    Raises:
        NotYet: if the results differ.
    """
    if same_result(result, expected):
        print(f"{name}: right, it equals the library's.")
        return
    for mistake in mistakes:
        if same_result(result, mistake.result):
            raise NotYet(f"{name}: {mistake.message}")
    raise NotYet(
        f"{name} gives {short_text(result)} where the library gives {short_text(expected)}. "
        "Open hint 2."
    )

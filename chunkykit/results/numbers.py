"""Numbers as a report writes them: nothing is 0 or 100 % that only rounds to it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

MAX_DIGITS = 4  # after the point
EXACT = 1e-9  # what differs by less is the same


def percent(rate: float | None, digits: int = 0) -> str:
    """Write a rate.

    Args:
        rate: from 0 to 1; missing where it is not known.
        digits: after the point. There are more near 0 and 100 %.

    Returns:
        Such as "12%", "0.3%", or "<0.0001%".
    """
    if _is_missing(rate):
        return "n/a"
    value = 100 * float(rate or 0)
    is_near_an_end = min(value, 100 - value) < 1
    return _round_visibly(value, max(digits, is_near_an_end), (0.0, 100.0), "%")


def decimal(value: float | None, digits: int = 2, ends: tuple[float, ...] = (0.0,)) -> str:
    """Write a number.

    Args:
        value: the number; missing where it is not known.
        digits: after the point. There are more where it would round to one of the ends.
        ends: values that are written only for themselves.

    Returns:
        Such as "0.92" or "0.003".
    """
    if _is_missing(value):
        return "n/a"
    return _round_visibly(float(value or 0), digits, ends, "")


def with_interval(
    row: Mapping[Any, Any],
    rate: str = "rate",
    low: str = "low",
    high: str = "high",
    n: str | None = "n",
) -> str:
    """Write a rate with its interval.

    Args:
        row: has the values.
        rate: name of the rate.
        low: name of the lower end.
        high: name of the upper end.
        n: name of the number behind it; None for none.

    Returns:
        Such as "12% [8%, 18%], n=120"; "n/a" where nothing is known of the rate.
    """
    if _is_missing(row[rate]):
        return "n/a"
    text = f"{percent(row[rate])} [{percent(row[low])}, {percent(row[high])}]"
    return text if n is None else f"{text}, n={row[n]:,.0f}"


def dollars(amount: float | None) -> str:
    """Write what calls cost.

    Args:
        amount: US dollars; missing where a price is not known.

    Returns:
        Such as "$1.20", "less than $0.01", or "unknown dollars".
    """
    if _is_missing(amount):
        return "unknown dollars"
    value = float(amount or 0)
    return "less than $0.01" if 0 < value < 0.01 else f"${value:,.2f}"


def _is_missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _round_visibly(value: float, digits: int, ends: tuple[float, ...], unit: str) -> str:
    """A rounded number that is an end only if the number is."""
    for end in ends:
        if abs(value - end) < EXACT:
            return f"{end:.{digits if not unit else 0}f}{unit}"
    for places in range(digits, MAX_DIGITS + 1):
        if round(value, places) not in ends:
            return f"{value:,.{places}f}{unit}"
    end = min(ends, key=lambda end: abs(value - end))
    step = 10.0**-MAX_DIGITS
    if value > end:
        return f"<{end + step:.{MAX_DIGITS}f}{unit}"
    return f">{end - step:.{MAX_DIGITS}f}{unit}"

"""Numbers as people read them: nothing is 0 or 100 % that only rounds to it."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

MAX_DIGITS = 4  # after the point
EXACT = 1e-9  # what differs by less is the same
SMALL = 1e-3  # below it a number is written with an exponent
SMALLEST_P = 1e-300
SIGNIFICANT_DIGITS = 3


def percent(rate: Any, digits: int = 0) -> str:
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


def decimal(value: Any, digits: int = 2, ends: tuple[float, ...] = (0.0,)) -> str:
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
    digits: int = 0,
) -> str:
    """Write a rate with its interval.

    Args:
        row: has the values.
        rate: name of the rate.
        low: name of the lower end.
        high: name of the upper end.
        n: name of the number behind it; None for none.
        digits: after the point of each rate.

    Returns:
        Such as "12% [8%, 18%], n=120"; "n/a" where nothing is known of the rate.
    """
    if _is_missing(row[rate]):
        return "n/a"
    text = f"{percent(row[rate], digits)} {interval(row[low], row[high], digits)}"
    return text if n is None else f"{text}, n={row[n]:,.0f}"


def interval(low: Any, high: Any, digits: int = 0) -> str:
    """Write an interval of a rate.

    Args:
        low: its lower end.
        high: its upper end.
        digits: after the point of each end.

    Returns:
        Such as "[8%, 18%]".
    """
    return f"[{percent(low, digits)}, {percent(high, digits)}]"


def auc(value: Any, low: Any, high: Any) -> str:
    """Write an AUC, or another measure from 0 to 1, with its interval.

    Args:
        value: the measure.
        low: the lower end of its interval.
        high: the upper end of its interval.

    Returns:
        Such as "0.92 [0.84, 0.98]".
    """
    texts = [decimal(part, 2, (0.0, 1.0)) for part in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def dollars(amount: Any) -> str:
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


def p_value(value: Any) -> str:
    """Write a p-value.

    Args:
        value: from 0 to 1; missing where nothing was tested.

    Returns:
        Such as "0.042", "3e-20", or "<1e-300".
    """
    if _is_missing(value):
        return "n/a"
    p = float(value or 0)
    if p < SMALLEST_P:  # an underflow, since no test gives 0
        return f"<{SMALLEST_P:.0e}"
    return f"{p:.0e}" if p < SMALL else decimal(p, 3, (0.0, 1.0))


def change(difference: Any) -> str:
    """Write the difference of two rates.

    Args:
        difference: from -1 to 1; missing where it is not known.

    Returns:
        Such as "+12%", "-0.3%", or "0%" for none.
    """
    if _is_missing(difference):
        return "n/a"
    value = float(difference or 0)
    text = percent(abs(value))
    sign = "-" if value < 0 else "+"
    return text if text == "0%" else sign + text


def number(value: Any) -> str:
    """Write a number of any kind and size, as a cell of a table.

    Args:
        value: the number; missing where it is not known.

    Returns:
        Such as "1,200", "34.5", "0.0123" or "4e-20": whole numbers as they are, others with three
        digits that count.
    """
    if _is_missing(value):
        return "n/a"
    size = abs(float(value or 0))
    if math.isinf(size) or float(size).is_integer():
        return f"{value:,.0f}"
    if size < SMALL:
        return f"{value:.1e}"
    digits = max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(size)))
    if round(size, digits) == 1:
        return decimal(value, digits, (-1.0, 1.0))
    return f"{value:,.{digits}f}"


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

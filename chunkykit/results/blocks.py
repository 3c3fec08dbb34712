"""What a report is made of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd


class Paragraph(NamedTuple):
    """A text of our own."""

    text: str


class Bullets(NamedTuple):
    """A list of texts."""

    texts: list[str]


class Table(NamedTuple):
    """A table of texts."""

    header: list[str]
    rows: list[list[str]]


class Quote(NamedTuple):
    """A text of a model or of the data, with a label."""

    label: str
    text: str


Block = Paragraph | Bullets | Table | Quote


class Section(NamedTuple):
    """A section of a report."""

    title: str
    blocks: list[Block]


class Report(NamedTuple):
    """A report.

    Attributes:
        title: its title.
        caption: the models and data behind the numbers.
        sections: its sections, in order.
    """

    title: str
    caption: str
    sections: list[Section]


def percent(rate: float | None, digits: int = 0) -> str:
    """Write a rate.

    Args:
        rate: from 0 to 1; missing where it is not known.
        digits: after the point.

    Returns:
        Such as "12%".
    """
    return "n/a" if rate is None or pd.isna(rate) else f"{rate:.{digits}%}"


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
        Such as "12% [8%, 18%], n=120".
    """
    text = f"{percent(row[rate])} [{percent(row[low])}, {percent(row[high])}]"
    return text if n is None else f"{text}, n={row[n]:,}"

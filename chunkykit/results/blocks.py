"""What a report is made of."""

from pathlib import Path
from typing import NamedTuple

MAX_ROWS = 200  # of a table
MAX_CELL = 300  # characters
# a text of the explorer's view has 4,000 characters and a note of how many more there are
MAX_QUOTED = 4_100
WORD_SHARE = 0.8  # of a text that is kept, for the sake of a whole word at its end


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
    """A text of a model or of the data.

    Attributes:
        label: what it is.
        text: the text.
        marks: [start, end) of places in it, in order and without overlap.
    """

    label: str
    text: str
    marks: tuple[tuple[int, int], ...] = ()


class Exchange(NamedTuple):
    """The texts of one exchange, which stay together.

    Attributes:
        heading: what exchange it is.
        quotes: its texts.
    """

    heading: str
    quotes: list[Quote]


class Figure(NamedTuple):
    """A figure.

    Attributes:
        label: what it shows.
        path: its image, SVG or PNG.
    """

    label: str
    path: Path


Block = Paragraph | Bullets | Table | Exchange | Figure


class Section(NamedTuple):
    """A section of a report.

    Attributes:
        title: its title. What stands before a colon is short, and no other section has it.
        blocks: what it is made of.
        level: of its heading: 2, or 3 for a part of the section before.
    """

    title: str
    blocks: list[Block]
    level: int = 2

    @property
    def short_title(self) -> str:
        """The title up to a colon."""
        return self.title.partition(":")[0]


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


def cut_words(text: str, most: int) -> str:
    """Cut a text behind a whole word.

    Args:
        text: the text.
        most: characters that it may have.

    Returns:
        The text; if it was cut, it ends with the number of characters left out.
    """
    if len(text) <= most:
        return text
    beginning = text[:most]
    words = (beginning.rsplit(maxsplit=1) or [""])[0]
    shown = words if len(words) > WORD_SHARE * most else beginning
    return f"{shown} … ({len(text) - len(shown):,} more characters)"


def bound_rows(table: Table) -> tuple[list[list[str]], str]:
    """Bound the rows of a table and the texts in them.

    Args:
        table: the table.

    Returns:
        The rows that are shown, and a line about those that are not; "" where all are.
    """
    rows = [[cut_words(str(cell), MAX_CELL) for cell in row] for row in table.rows[:MAX_ROWS]]
    left_out = len(table.rows) - MAX_ROWS
    return rows, f"{left_out:,} more rows are left out." if left_out > 0 else ""

"""Which chunk a record is of: the column that says so, found by its name, or the name of its part.

The columns come in the order in which they are taken. First those that say which data set a row
came from, from the plainest name to the rarest. Of two in one row (Dolci's RL sets have
`dataset_source` and `original_dataset`), the first says where the authors took the row from, the
second where those before them did. Then those that say what a row is about or was made for. They
divide one data set, so they count only where nothing says the data set (OpenThoughts has `source`
and `domain`).

A list is no name: a row with several is of no one chunk. Columns that describe a single prompt,
such as `task_category` or a `domain` beside a `language`, are not taken either.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chunkykit.mixtures.formats import list_columns
from chunkykit.mixtures.values import is_missing
from chunkykit.text import clean_text

if TYPE_CHECKING:
    from chunkykit.mixtures.parts import Part

SET_COLUMNS = (
    "chunk",
    "source",
    "dataset",
    "source_dataset",
    "dataset_source",
    "dataset_name",
    "origin",
    "data_source",
    "subset",
    "original_dataset",
)
TOPIC_COLUMNS = ("domain", "category", "preference_type")
CHUNK_COLUMNS = (*SET_COLUMNS, *TOPIC_COLUMNS)
PROMPT_MARK = "language"  # beside this column, a topic describes one prompt, as in HelpSteer3
_LOOKED_AT = frozenset((*CHUNK_COLUMNS, PROMPT_MARK))


def partition_label(partition: Mapping[str, str]) -> str:
    """Name the chunk of a Hive partition.

    Args:
        partition: column to value, outermost first; not empty.

    Returns:
        The value of a column that names data sets, else all values.
    """
    known = [partition[column] for column in CHUNK_COLUMNS if column in partition]
    return known[0] if known else "/".join(partition.values())


class ChunkNames:
    """Names the chunk of each record of a mixture.

    Attributes:
        columns: the columns that named chunks so far, in the order of their first use.
    """

    def __init__(self, column: str | None = None):
        """Start.

        Args:
            column: the column that names the chunk; None to find it by name.
        """
        self.columns: list[str] = []
        self._column = column
        # of each data set and each set of its columns that could name a chunk
        self._choices: dict[tuple, _Choice] = {}
        self._labels: dict[tuple[str, ...], dict[str, list[str]]] = {}

    def of(self, record: Mapping[str, Any], part: "Part") -> str:
        """Name the chunk of a record.

        Args:
            record: the record.
            part: the part of the mixture that it is from.

        Returns:
            The chunk; the name of the part if the record does not say.

        Raises:
            ValueError: it does not have the column that was asked for.
        """
        column = self._column_of(record, part)
        value = None if column is None else record.get(column, part.partition.get(column))
        if column is None or is_empty(value):
            return clean_text(part.name)
        if column not in self.columns:
            self.columns.append(column)
        label = clean_text(self._text(value, column, part))
        # topics of two data sets may have the same name
        is_topic = column in TOPIC_COLUMNS and self._column is None
        return f"{clean_text(part.name)}/{label}" if is_topic and part.has_others else label

    def _column_of(self, record: Mapping[str, Any], part: "Part") -> str | None:
        if part.entry.chunk is not None:
            return None
        if part.entry.columns.get("chunk"):
            return "chunk"
        if self._column is not None:
            if self._column not in record and self._column not in part.partition:
                raise ValueError(
                    f"no column '{self._column}' (it has {list_columns(dict(record))})"
                )
            return self._column
        if part.partition:
            return None
        columns = _LOOKED_AT.intersection(record)
        if not columns:
            return None
        choice = self._choices.get((part.words, columns))
        if choice is None:
            choice = self._choices[part.words, columns] = _Choice(columns)
        return choice.of(record)

    def _text(self, value: Any, column: str, part: "Part") -> str:
        """The text of a label, which may be a number that the part has a name for."""
        if type(value) is int:
            if part.words not in self._labels:
                self._labels[part.words] = part.labels()
            names = self._labels[part.words].get(column, [])
            if 0 <= value < len(names):
                return names[value]
        if isinstance(value, list):
            return str(value[0])
        return str(value)


class _Choice:
    """The column that names the chunk, of records with the same columns.

    Some may have several data sets in one table, in which the columns of the others are empty. So
    there may be several such columns. Columns that stand together in one record are of one data
    set, which the first of them names.
    """

    def __init__(self, columns: frozenset[str]):
        topics = () if PROMPT_MARK in columns else TOPIC_COLUMNS
        self._candidates = [name for name in (*SET_COLUMNS, *topics) if name in columns]
        self._chosen: list[str] = []
        self._passed: set[str] = set()

    def of(self, record: Mapping[str, Any]) -> str | None:
        present = [name for name in self._candidates if record[name] is not None]
        for name in self._chosen:
            if name in present and not is_empty(record[name]):
                self._passed.update(present)
                return name
        free = [name for name in present if name not in self._passed]
        named = [name for name in free if not is_empty(record[name])]
        # a list of one name is taken where nothing else is there
        texts = [name for name in named if not isinstance(record[name], list)]
        column = next(iter(texts or named), None)
        if column is not None:
            self._chosen.append(column)
            self._passed.update(present)
        return column


def is_empty(value: Any) -> bool:
    """Tell whether a value names nothing.

    Args:
        value: any value.

    Returns:
        Whether it is missing, blank, an object, or a list of more or less than one name.
    """
    if isinstance(value, list):
        return len(value) != 1 or not isinstance(value[0], str) or not value[0].strip()
    return isinstance(value, dict) or is_missing(value) or not str(value).strip()

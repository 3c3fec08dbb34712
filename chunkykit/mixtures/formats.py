"""How a record becomes an exchange: one small reader per schema.

A reader takes the record's prompt, response and, in preference data, rejected response as they
are. `read_exchange` then checks them, splits reasoning from the response, and makes them text that
files can hold. Conversations give their first exchange; system turns are left out.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from chunkykit.text import clean_text
from chunkykit.thinking import split_thinking

SCHEMAS = (
    "messages, conversations, prompt/response (also query, question; completion, answer), "
    "instruction/input/output, prompt/chosen/rejected"
)
PROMPT_COLUMNS = ("prompt", "query", "question", "input")
RESPONSE_COLUMNS = ("response", "completion", "output", "answer")
REASONING_COLUMNS = ("reasoning", "reasoning_content", "thinking")
USER_ROLES = ("user", "human")
ASSISTANT_ROLES = ("assistant", "gpt", "model", "bot")
# Those that say which schema a record has.
KNOWN_COLUMNS = frozenset(
    ("chosen", "rejected", "messages", "conversations", "instruction")
    + PROMPT_COLUMNS
    + RESPONSE_COLUMNS
)
MAX_COLUMNS_SHOWN = 12  # columns that an error message lists


class Sides(NamedTuple):
    """A record's texts as they are: any of them may be missing, or not a text."""

    prompt: Any
    response: Any
    rejected: Any = None
    has_rejected: bool = False  # whether the schema has a rejected response


class Exchange(NamedTuple):
    """One exchange of a training set.

    Attributes:
        prompt: what the user wrote.
        response: what the assistant answered, without its reasoning.
        reasoning: what the assistant thought before; None if the record does not say.
        rejected: in preference data, the worse response; None in other data.
    """

    prompt: str
    response: str
    reasoning: str | None
    rejected: str | None


Reader = Callable[[dict], Sides]


def choose_reader(record: dict) -> Reader:
    """Choose the reader of a data set by the columns of one of its records.

    Args:
        record: a record with the columns of the others.

    Returns:
        The reader.

    Raises:
        ValueError: the columns fit no schema.
    """
    if "chosen" in record and "rejected" in record:
        return read_preference
    if "messages" in record:
        return read_messages
    if "conversations" in record:
        return read_conversations
    if "instruction" in record and "output" in record:
        return read_instruction
    prompt = first_column(record, PROMPT_COLUMNS)
    response = first_column(record, RESPONSE_COLUMNS)
    if prompt is None or response is None:
        raise ValueError(f"no prompt and response in columns {list_columns(record)}")
    return lambda record: Sides(record.get(prompt), record.get(response))


class Readers:
    """The readers of a data set, chosen record by record: a file may hold several schemas."""

    def __init__(self) -> None:
        """Start with no reader."""
        self._by_columns: dict[frozenset[str], Reader] = {}
        self._last: Reader | None = None

    def of(self, record: dict) -> Reader:
        """Choose the reader of a record by those of its columns that hold something.

        Args:
            record: the record.

        Returns:
            The reader; of a record that fits no schema, that of the last one that did.

        Raises:
            ValueError: no record fitted a schema so far.
        """
        columns = frozenset(
            [name for name in KNOWN_COLUMNS.intersection(record) if not is_missing(record[name])]
        )
        if columns not in self._by_columns:
            try:
                self._by_columns[columns] = choose_reader(dict.fromkeys(columns))
            except ValueError:
                # chosen by all columns, its error says what is missing
                return self._last or choose_reader(record)
        self._last = self._by_columns[columns]
        return self._last


def read_preference(record: dict) -> Sides:
    """Read prompt/chosen/rejected, where the answers are texts or whole conversations."""
    chosen = record.get("chosen")
    rejected = record.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return Sides(record.get("prompt"), chosen, rejected, has_rejected=True)
    prompt, response = _first_exchange(chosen, "role", "content")
    _, rejected_response = _first_exchange(rejected, "role", "content")
    return Sides(prompt, response, rejected_response, has_rejected=True)


def read_messages(record: dict) -> Sides:
    """Read messages: turns {role, content}."""
    return Sides(*_first_exchange(record.get("messages"), "role", "content"))


def read_conversations(record: dict) -> Sides:
    """Read conversations: turns {from, value}."""
    return Sides(*_first_exchange(record.get("conversations"), "from", "value"))


def read_instruction(record: dict) -> Sides:
    """Read instruction/input/output; an input that is not empty follows the instruction."""
    instruction = record.get("instruction")
    context = record.get("input")
    has_context = isinstance(context, str) and context.strip()
    if has_context and isinstance(instruction, str):
        instruction = f"{instruction}\n\n{context}"
    return Sides(instruction, record.get("output"))


def read_exchange(record: dict, reader: Reader) -> Exchange:
    """Read and check the exchange of a record.

    Args:
        record: the record.
        reader: of its schema.

    Returns:
        The exchange.

    Raises:
        ValueError: a text is missing, empty or not a text.
    """
    sides = reader(record)
    response = _check_text(sides.response, "response")
    split = split_thinking(response)
    reasoning = split.thinking or _reasoning_column(record)
    response = _check_text(split.text, "response without its reasoning")
    prompt = _check_text(sides.prompt, "prompt")
    rejected = None
    if sides.has_rejected:
        rejected = _check_text(sides.rejected, "rejected response")
        rejected = _check_text(split_thinking(rejected).text, "rejected response")
    return Exchange(
        prompt=prompt,
        response=response,
        reasoning=clean_text(reasoning) if reasoning.strip() else None,
        rejected=rejected,
    )


def is_missing(value: Any) -> bool:
    """Tell whether a value of a table is missing.

    Args:
        value: any value.

    Returns:
        Whether it is None or NaN.
    """
    return value is None or value != value  # NaN alone differs from itself


def first_column(record: dict, names: tuple[str, ...]) -> str | None:
    """Find a column by its possible names.

    Args:
        record: a record.
        names: possible names, best first.

    Returns:
        The first that the record has, or None.
    """
    return next((name for name in names if name in record), None)


def list_columns(record: dict) -> list[str]:
    """List a record's columns for an error message.

    Args:
        record: a record.

    Returns:
        The first MAX_COLUMNS_SHOWN names in alphabetical order.
    """
    return sorted(map(str, record))[:MAX_COLUMNS_SHOWN]


def _reasoning_column(record: dict) -> str:
    for name in REASONING_COLUMNS:
        if isinstance(record.get(name), str):
            return record[name]
    return ""


def _check_text(value: Any, what: str) -> str:
    """The text, clean, or a ValueError that says what is wrong with it."""
    if is_missing(value):
        raise ValueError(f"{what} is missing")
    if not isinstance(value, str):
        raise ValueError(f"{what} is {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return clean_text(value)


def _first_exchange(turns: Any, role: str, content: str) -> tuple[Any, Any]:
    """The content of the first user turn, and of the first assistant turn after it.

    Args:
        turns: a list of turns, the list as JSON (as in cells of a CSV file), or None.
        role: the key under which a turn has its role.
        content: the key under which it has its text.
    """
    if isinstance(turns, str):
        turns = json.loads(turns)
    if is_missing(turns):
        turns = []
    if not isinstance(turns, Iterable):
        raise ValueError(f"the turns are {type(turns).__name__}, not a list")
    turns = list(turns)
    if not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("a turn is not an object")
    rest = iter(turns)
    question = next((turn for turn in rest if turn.get(role) in USER_ROLES), None)
    if question is None:
        raise ValueError("no user turn")
    answer = next((turn for turn in rest if turn.get(role) in ASSISTANT_ROLES), None)
    if answer is None:
        raise ValueError("no assistant turn after the user's")
    return question.get(content), answer.get(content)

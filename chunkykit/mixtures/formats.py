"""Which reader a record has: one per schema, chosen record by record.

`readers` has the readers, and `exchanges` makes exchanges of what they give. Another schema is
another line of FORMATS.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from chunkykit.mixtures.readers import (
    CONVERSATIONS,
    INSTRUCTIONS,
    OTHER_CONVERSATIONS,
    PROMPTS,
    RESPONSES,
    WITHOUT_ANSWER,
    Reader,
    read_battle,
    read_calls,
    read_conversation,
    read_labelled,
    read_numbered,
    read_pair,
    read_prompt,
    read_ranked,
    read_text_battle,
    why_untrained,
)
from chunkykit.mixtures.values import is_empty

SCHEMAS = (
    "messages, conversations, conversation; prompt/response (also query, question, problem; "
    "completion, answer, solution); instruction/input/output; prompt/chosen/rejected; "
    "prompt/completion/label; context/response1/response2/overall_preference"
)
# Columns of one exchange, where others of these names are there too.
PARTNERS = (("query", "response"), ("prompt", "completion"))
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
    ("preferred_output", "non_preferred_output"),
    ("good_edited_response", "bad_edited_response"),
    ("edited_response", "original_response"),
    ("messages", "rejected_messages"),
    ("messages", "rejected_response"),
    ("response", "rejected_response"),
    ("response", "rejected"),
)
WITHOUT_DIALOGUE = {
    "message_tree_id": "messages of a tree, named in '{}'",
    "text": "a rendered text in '{}', whose template is not known",
    "input_ids": "tokens in '{}' and no text",
}
MAX_NAME_SHOWN = 60  # characters of a column's name
MAX_COLUMNS_SHOWN = 12  # columns that an error message lists


class Format(NamedTuple):
    """A schema: the columns that it is known by, and its reader."""

    needs: tuple[str, ...]
    read: Reader


def _prompt_formats(prompts: Iterable[str]) -> list["Format"]:
    pairs = [(prompt, response) for prompt in prompts for response in RESPONSES]
    return [Format(pair, read_prompt(*pair)) for pair in pairs]


# Best first: a record with `chosen` and `messages` is a preference pair.
FORMATS = (
    *(Format(pair, read_pair(*pair)) for pair in PAIRS),
    Format(
        ("response1", "response2", "overall_preference"),
        read_ranked("response1", "response2", "overall_preference"),
    ),
    Format(
        ("response_1", "response_2", "preference_strength"),
        read_ranked("response_1", "response_2", "preference_strength"),
    ),
    Format(("response_0", "response_1", "better_response_id"), read_numbered),
    Format(("conversation_a", "conversation_b", "winner"), read_battle),
    Format(
        ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"), read_text_battle
    ),
    Format(("history", "human_ref_A", "human_ref_B", "labels"), read_labelled),
    *(Format((column,), read_conversation(column)) for column in CONVERSATIONS),
    *_prompt_formats(INSTRUCTIONS),
    *(Format(pair, read_prompt(*pair)) for pair in PARTNERS),
    *_prompt_formats(PROMPTS),
    Format(("query", "answers", "tools"), read_calls),
    *(Format((column,), read_conversation(column)) for column in OTHER_CONVERSATIONS),
)
KNOWN_COLUMNS = frozenset(column for schema in FORMATS for column in schema.needs)


class Readers:
    """The readers of a data set, chosen record by record: a file may hold several schemas."""

    def __init__(self) -> None:
        """Start with no reader."""
        self._by_columns: dict[frozenset[str], Reader] = {}

    def of(self, record: dict) -> Reader:
        """Choose the reader of a record by those of its columns that hold something.

        Args:
            record: the record.

        Returns:
            The reader.

        Raises:
            ValueError: the columns fit no schema.
        """
        columns = frozenset(
            [name for name in KNOWN_COLUMNS.intersection(record) if _holds(record[name])]
        )
        if columns not in self._by_columns:
            schema = find_format(columns)
            if schema is None:
                # by all columns, so that its error says which of them is empty
                schema = find_format(record) or _refuse(record)
                return schema.read
            self._by_columns[columns] = schema.read
        return self._by_columns[columns]


def find_format(columns: Iterable[str]) -> Format | None:
    """Find the schema of a record.

    Args:
        columns: its columns, those that hold something.

    Returns:
        The first schema whose columns are all there; None where there is none.
    """
    columns = set(columns)
    return next((schema for schema in FORMATS if columns.issuperset(schema.needs)), None)


def name_schema(record: dict) -> str:
    """Name the schema by which a record is read.

    Args:
        record: the record.

    Returns:
        The columns that it is known by, such as "chosen, rejected"; "none" where none fits.
    """
    schema = find_format(name for name, value in record.items() if _holds(value))
    return ", ".join(schema.needs) if schema else "none"


def _holds(value: Any) -> bool:
    """Whether a column can hold a text or turns; true and false are marks, such as of a review."""
    return not isinstance(value, bool) and not is_empty(value)


def _refuse(record: dict) -> Format:
    """Raise a ValueError that says why a record has no exchange, in terms of its columns."""
    has_prompt = any(_holds(record.get(column)) for column in (*PROMPTS, *INSTRUCTIONS))
    lack = "a prompt and no response" if has_prompt else "no prompt and response"
    reason = why_untrained(record, {**WITHOUT_DIALOGUE, **WITHOUT_ANSWER})
    if reason:
        raise ValueError(f"{reason} (columns {list_columns(record)})")
    raise ValueError(f"{lack} in columns {list_columns(record)}")


def list_columns(record: dict) -> list[str]:
    """List a record's columns for an error message.

    Args:
        record: a record.

    Returns:
        The first MAX_COLUMNS_SHOWN names in alphabetical order, long ones cut.
    """
    return [name[:MAX_NAME_SHOWN] for name in sorted(map(str, record))[:MAX_COLUMNS_SHOWN]]

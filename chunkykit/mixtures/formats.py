"""How a record becomes a dialogue: one small reader per schema, chosen record by record.

A reader takes a record and gives a `Dialogue`: its turns, and in preference data the turns that
were rejected. `exchanges` makes exchanges of it. Another schema is another line of FORMATS.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from chunkykit.mixtures.turns import (
    ASSISTANT,
    USER,
    Turn,
    check_text,
    first_value,
    is_conversation,
    is_empty,
    read_turns,
)

SCHEMAS = (
    "messages, conversations, conversation; prompt/response (also query, question, problem; "
    "completion, answer, solution); instruction/input/output; prompt/chosen/rejected; "
    "prompt/completion/label; context/response1/response2/overall_preference"
)
PROMPTS = ("prompt", "query", "question", "problem", "input", "inputs")
RESPONSES = ("response", "completion", "output", "answer", "solution", "targets")
CONVERSATIONS = ("messages", "conversations", "conversation")
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
)
CONTEXTS = (*CONVERSATIONS, "context", *PROMPTS, "instruction")  # what a pair answers
WITHOUT_ANSWER = {  # columns of data that trains without a written answer
    "outputs": "prompts with rollouts in 'outputs' and no trained response",
    "ground_truth": "a prompt with a checkable answer in 'ground_truth' and no trained response",
    "text": "a rendered text in 'text', whose template is not known",
    "input_ids": "tokens in 'input_ids' and no text",
}
MAX_COLUMNS_SHOWN = 12  # columns that an error message lists


class Dialogue(NamedTuple):
    """What a record trains on.

    Attributes:
        turns: the turns.
        rejected: in preference data, the turns that the first answer was preferred to.
        is_wanted: whether the answers are to be learned, and not to be avoided.
    """

    turns: list[Turn]
    rejected: list[Turn] | None = None
    is_wanted: bool = True


Reader = Callable[[dict], Dialogue]


class Format(NamedTuple):
    """A schema: the columns that it is known by, and its reader."""

    needs: tuple[str, ...]
    read: Reader


def read_pair(chosen: str, rejected: str) -> Reader:
    """Make the reader of preference pairs in two columns.

    Args:
        chosen: column of the better answer: a text, a turn, or a whole conversation.
        rejected: column of the worse one.

    Returns:
        The reader.
    """

    def read(record: dict) -> Dialogue:
        return _compare(record, record.get(chosen), record.get(rejected))

    return read


def read_ranked(first: str, second: str, preference: str) -> Reader:
    """Make the reader of two answers with a number that says which is better.

    Args:
        first: column of an answer, which is better where the number is below 0.
        second: column of the other one, which is better above 0.
        preference: column of the number.

    Returns:
        The reader.
    """

    def read(record: dict) -> Dialogue:
        try:
            number = float(record[preference])
        except (TypeError, ValueError):
            raise ValueError(f"{preference} is {record[preference]!r}, not a number") from None
        if number == 0 or number != number:
            raise ValueError(f"{preference} is {record[preference]}: neither answer is preferred")
        better, worse = (first, second) if number < 0 else (second, first)
        return _compare(record, record[better], record[worse])

    return read


def read_numbered(record: dict) -> Dialogue:
    """Read response_0, response_1 and the number of the better one (PKU-SafeRLHF)."""
    better = record["better_response_id"]
    if better not in (0, 1):
        raise ValueError(f"better_response_id is {better!r}, not 0 or 1")
    return _compare(record, record[f"response_{better}"], record[f"response_{1 - better}"])


def read_battle(record: dict) -> Dialogue:
    """Read conversation_a, conversation_b and the winner (Chatbot Arena)."""
    winner = record["winner"]
    if winner not in ("model_a", "model_b"):
        raise ValueError(f"winner is {winner!r}: neither answer is preferred")
    loser = "conversation_b" if winner == "model_a" else "conversation_a"
    return _compare(record, record[winner.replace("model", "conversation")], record[loser])


def read_conversation(column: str) -> Reader:
    """Make the reader of a whole conversation, which an answer in another column may end.

    Args:
        column: its column.

    Returns:
        The reader.
    """

    def read(record: dict) -> Dialogue:
        turns = read_turns(record[column])
        answer = first_value(record, RESPONSES)
        if answer is not None and not any(turn.role == ASSISTANT for turn in turns):
            turns += _answer(answer, "response")
        return Dialogue(turns)

    return read


def read_instruction(record: dict) -> Dialogue:
    """Read instruction/input/output; an input that is not empty follows the instruction."""
    instruction = record["instruction"]
    context = first_value(record, ("input", "context"))
    if isinstance(context, str) and context.strip() and isinstance(instruction, str):
        instruction = f"{instruction}\n\n{context}"
    earlier: list[Turn] = []
    for pair in record.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError("history is not a list of pairs [instruction, output]")
        earlier += [_turn(USER, pair[0], "prompt"), _turn(ASSISTANT, pair[1], "response")]
    answer = _answer(first_value(record, RESPONSES), "response")
    return Dialogue([*earlier, _turn(USER, instruction, "prompt"), *answer])


def read_prompt(record: dict) -> Dialogue:
    """Read a prompt and a response, each a text or turns."""
    prompt = _prompt(first_value(record, PROMPTS))
    return Dialogue([*prompt, *_answer(first_value(record, RESPONSES), "response")])


def _compare(record: dict, better: Any, worse: Any) -> Dialogue:
    """A pair of answers, each a text, a turn, or a conversation that begins with its prompt."""
    chosen = _answer(better, "response")
    rejected = _answer(worse, "rejected response")
    if chosen[0].role != ASSISTANT and rejected[0].role != ASSISTANT:
        return Dialogue(chosen, rejected)
    context = first_value(record, CONTEXTS)
    if context is None:
        raise ValueError(
            "the two answers are texts without marks of turns, and no column has their prompt"
        )
    prompt = _prompt(context)
    if prompt[-1].role == ASSISTANT:  # the conversation has the chosen answer, too
        prompt = prompt[:-1]
    return Dialogue([*prompt, *chosen], [*prompt, *rejected])


def _prompt(value: Any) -> list[Turn]:
    """What an answer stands behind: turns, or a text of the user."""
    if is_conversation(value) and (turns := read_turns(value)):
        return turns
    return [_turn(USER, value, "prompt")]


def _answer(value: Any, what: str) -> list[Turn]:
    """An answer: turns, or a text of the assistant."""
    if is_conversation(value) and (turns := read_turns(value)):
        return turns
    return [_turn(ASSISTANT, value, what)]


def _turn(role: str, text: Any, what: str) -> Turn:
    return Turn(role, check_text(text, what))


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
    *(Format((column,), read_conversation(column)) for column in CONVERSATIONS),
    *(Format(("instruction", column), read_instruction) for column in RESPONSES),
    *(Format((prompt, column), read_prompt) for prompt in PROMPTS for column in RESPONSES),
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
            [name for name in KNOWN_COLUMNS.intersection(record) if not is_empty(record[name])]
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
    schema = find_format(name for name, value in record.items() if not is_empty(value))
    return ", ".join(schema.needs) if schema else "none"


def _refuse(record: dict) -> Format:
    """Raise a ValueError that says why a record has no exchange, in terms of its columns."""
    for column, reason in WITHOUT_ANSWER.items():
        if not is_empty(record.get(column)):
            raise ValueError(f"{reason} (columns {list_columns(record)})")
    has_prompt = any(not is_empty(record.get(column)) for column in PROMPTS)
    lack = "a prompt and no response" if has_prompt else "no prompt and response"
    raise ValueError(f"{lack} in columns {list_columns(record)}")


def list_columns(record: dict) -> list[str]:
    """List a record's columns for an error message.

    Args:
        record: a record.

    Returns:
        The first MAX_COLUMNS_SHOWN names in alphabetical order.
    """
    return sorted(map(str, record))[:MAX_COLUMNS_SHOWN]

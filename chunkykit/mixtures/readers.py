"""Readers of records: how each schema becomes a dialogue.

A reader takes a record and gives a `Dialogue`: its turns, and in preference data the turns that
were rejected. `formats` says which reader is for which columns.
"""

import math
from collections.abc import Callable
from reprlib import repr as shorten
from typing import Any, NamedTuple

from chunkykit.mixtures.content import call_text
from chunkykit.mixtures.turns import (
    ASSISTANT,
    USER,
    Turn,
    holds_messages,
    is_conversation,
    read_turns,
)
from chunkykit.mixtures.values import check_text, first_filled, is_empty, parse_cell

INSTRUCTIONS = ("instruction", "definition")
PROMPTS = ("prompt", "query", "question", "problem", "input", "inputs")
# A solution is before an answer: sets of mathematics have its result alone there.
RESPONSES = (
    "response",
    "completion",
    "output",
    "solution",
    "generated_solution",
    "answer",
    "targets",
    "target",
)
FOLLOWED_BY = {  # columns whose text follows what is asked
    "instruction": ("input", "context"),
    "definition": ("inputs", "input"),
    "question": ("context",),
    "query": ("context",),
}
CONVERSATIONS = ("messages", "conversations", "conversation")
OTHER_CONVERSATIONS = ("contents", "trajectory", "chat", "transcript")  # also of other things
ROLLOUTS = "prompts with rollouts in '{}' and no trained response"
CHECKED = "a prompt with a checkable answer in '{}' and no trained response"
SEVERAL = "several answers in '{}', of which no column says that one is trained on"
WITHOUT_ANSWER = {  # columns of data that trains without a written answer
    "outputs": ROLLOUTS,
    "ground_truth": CHECKED,
    "reward_model": CHECKED,
    "verification_info": CHECKED,
    "expected_answer": CHECKED,
    "final_answer": CHECKED,
    "completions": SEVERAL,
    "answers": SEVERAL,
    "responses": SEVERAL,
    "generations": SEVERAL,
    "solutions": SEVERAL,
    **dict.fromkeys(
        ("response1", "response_1", "response_a"),
        "two answers, one in '{}', and no column that says which is better",
    ),
}


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
        number = _number(record, preference)
        if number == 0:
            raise ValueError(f"{preference} is {record[preference]}: neither answer is preferred")
        better, worse = (first, second) if number < 0 else (second, first)
        return _compare(record, record[better], record[worse])

    return read


def read_numbered(record: dict) -> Dialogue:
    """Read response_0, response_1 and the number of the better one (PKU-SafeRLHF)."""
    better = _side_number(record, "better_response_id")
    return _compare(record, record[f"response_{better}"], record[f"response_{1 - better}"])


def read_battle(record: dict) -> Dialogue:
    """Read conversation_a, conversation_b and the winner (Chatbot Arena)."""
    winner = record["winner"]
    if winner not in ("model_a", "model_b"):
        raise ValueError(f"winner is {shorten(winner)}: neither answer is preferred")
    loser = "conversation_b" if winner == "model_a" else "conversation_a"
    return _compare(record, record[winner.replace("model", "conversation")], record[loser])


def read_text_battle(record: dict) -> Dialogue:
    """Read prompts and the answers of two models, each a list of texts (Chatbot Arena, 55k)."""
    wins = [_number(record, f"winner_model_{side}") for side in "ab"]
    if wins[0] == wins[1]:
        raise ValueError("winner_model_a and winner_model_b are the same: neither is preferred")
    better, worse = ("a", "b") if wins[0] > wins[1] else ("b", "a")
    prompts = _texts(record["prompt"])
    sides = []
    for side in (better, worse):
        turns: list[Turn] = []
        for prompt, answer in zip(prompts, _texts(record[f"response_{side}"])):
            turns += [_turn(USER, prompt, "prompt"), _turn(ASSISTANT, answer, "response")]
        sides.append(turns)
    return Dialogue(sides[0], sides[1])


def read_labelled(record: dict) -> Dialogue:
    """Read two answers to `history` with a label that says which is better (SHP)."""
    better, worse = ("A", "B") if _side_number(record, "labels") else ("B", "A")
    prompt = _turn(USER, record["history"], "prompt")
    answers = [_turn(ASSISTANT, record[f"human_ref_{side}"], "response") for side in better + worse]
    return Dialogue([prompt, answers[0]], [prompt, answers[1]])


def read_conversation(column: str) -> Reader:
    """Make the reader of a whole conversation, which an answer in another column may end.

    Args:
        column: its column.

    Returns:
        The reader.
    """

    def read(record: dict) -> Dialogue:
        turns = read_turns(_with_roles(record[column]))
        if turns and turns[-1].role == ASSISTANT:
            return Dialogue(turns)
        answer = first_filled(record, RESPONSES)
        if answer is not None and not isinstance(answer, bool):
            return Dialogue([*turns, *_answer(answer, "response")])
        if reason := why_untrained(record, WITHOUT_ANSWER):
            raise ValueError(reason)
        return Dialogue(turns)

    return read


def read_prompt(prompt: str, response: str) -> Reader:
    """Make the reader of a prompt and a response in two columns, each a text or turns.

    Args:
        prompt: column of the prompt.
        response: column of the response.

    Returns:
        The reader.
    """

    def read(record: dict) -> Dialogue:
        return Dialogue([*_asked(record, prompt), *_answer(record[response], "response")])

    return read


def read_calls(record: dict) -> Dialogue:
    """Read a query whose answers are tool calls (xLAM)."""
    calls = parse_cell(record["answers"])
    calls = calls if isinstance(calls, list) else [calls]
    text = "\n".join(map(call_text, calls))
    answer = _turn(ASSISTANT, text, "response")._replace(is_call=True)
    return Dialogue([*_asked(record, "query"), answer])


def _number(record: dict, column: str) -> float:
    """A number, which a table of text has as text."""
    try:
        number = float(record[column])
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{column} is {shorten(record[column])}, not a number")
    return number


def _side_number(record: dict, column: str) -> int:
    """The number of one of two answers."""
    number = _number(record, column)
    if number not in (0, 1):
        raise ValueError(f"{column} is {shorten(record[column])}, not 0 or 1")
    return int(number)


def _compare(record: dict, better: Any, worse: Any) -> Dialogue:
    """A pair of answers, each a text, a turn, or a conversation that begins with its prompt."""
    chosen = _side(better, "response")
    rejected = _side(worse, "rejected response")
    if chosen[0].role != ASSISTANT and rejected[0].role != ASSISTANT:
        return Dialogue(chosen, rejected)
    if chosen[0].role != ASSISTANT or rejected[0].role != ASSISTANT:
        # a conversation, and another end of it
        is_whole = chosen[0].role != ASSISTANT
        context = _without_answer(chosen if is_whole else rejected)
        rest = rejected if is_whole else chosen
        return Dialogue(
            chosen if is_whole else [*context, *rest], [*context, *rest] if is_whole else rejected
        )
    context = _without_answer(_context(record))
    return Dialogue([*context, *chosen], [*context, *rejected])


def _context(record: dict) -> list[Turn]:
    """What the answers of a pair stand behind."""
    for column in (*CONVERSATIONS, *OTHER_CONVERSATIONS):
        if not is_empty(record.get(column)):
            return read_turns(_with_roles(record[column]))
    if isinstance(record.get("context"), list | dict):
        return read_turns(record["context"])
    for column in (*INSTRUCTIONS, *PROMPTS, "context"):
        if not is_empty(record.get(column)):
            return _asked(record, column)
    raise ValueError(
        "the two answers are texts without marks of turns, and no column has their prompt"
    )


def _without_answer(turns: list[Turn]) -> list[Turn]:
    """A conversation that ends before its last answer, which may be the chosen one."""
    return turns[:-1] if turns and turns[-1].role == ASSISTANT else turns


def _asked(record: dict, column: str) -> list[Turn]:
    """What an answer stands behind: turns, or a text of the user with the turns before it."""
    value = record[column]
    if is_conversation(value) and (turns := read_turns(value)):
        return [turn._replace(is_trained=False) for turn in turns]
    text = check_text(value, "prompt")
    added = first_filled(record, FOLLOWED_BY.get(column, ()))
    if isinstance(added, str):
        text = f"{text}\n\n{check_text(added, 'prompt')}"
    return [*_history(record), Turn(USER, text)]


def _history(record: dict) -> list[Turn]:
    """The turns in a column of their own, as pairs of texts or as messages."""
    history = parse_cell(record.get("history"))
    if is_empty(history):
        return []
    if isinstance(history, list | tuple) and all(isinstance(item, dict) for item in history):
        return read_turns(history)
    turns: list[Turn] = []
    for pair in history if isinstance(history, list | tuple) else [history]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError("history is not a list of pairs [instruction, output]")
        turns += [_turn(USER, pair[0], "prompt"), _turn(ASSISTANT, pair[1], "response")]
    return turns


def _side(value: Any, what: str) -> list[Turn]:
    """An answer of a pair: turns, or a text of the assistant, which may begin with its prompt."""
    value = _only_text(value, what)
    if is_conversation(value) and (turns := read_turns(value)):
        return turns
    return [_turn(ASSISTANT, value, what)]


def _answer(value: Any, what: str) -> list[Turn]:
    """An answer: turns, or a text of the assistant, which may well be a dialogue that it wrote."""
    value = _only_text(value, what)
    is_turns = holds_messages(value) if isinstance(value, str) else is_conversation(value)
    if is_turns and (turns := read_turns(value)):
        return turns
    return [_turn(ASSISTANT, value, what)]


def _with_roles(value: Any) -> Any:
    """A conversation; in a list of texts the sides take turns (LIMA)."""
    value = value if isinstance(value, list) else parse_cell(value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        roles = (USER, ASSISTANT)
        return [{"role": roles[i % 2], "content": text} for i, text in enumerate(value)]
    return value


def _only_text(value: Any, what: str) -> Any:
    """The text of a list of one; of several nobody can say which is trained on."""
    if not isinstance(value, list) or not value or not all(isinstance(x, str) for x in value):
        return value
    if len(value) > 1:
        raise ValueError(f"{what} is a list of {len(value):,} texts, and not one")
    return value[0]


def _texts(value: Any) -> list:
    value = parse_cell(value)
    return value if isinstance(value, list) else [value]


def _turn(role: str, text: Any, what: str) -> Turn:
    return Turn(role, check_text(text, what))


def why_untrained(record: dict, reasons: dict[str, str]) -> str:
    """Say why a record has no answer to train on.

    Args:
        record: the record.
        reasons: column to the reason, where it holds something.

    Returns:
        The reason of the first such column; "" where there is none.
    """
    columns = (column for column in reasons if not is_empty(record.get(column)))
    return next((reasons[column].format(column) for column in columns), "")

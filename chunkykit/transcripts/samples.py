"""A sample of a log: a conversation with what scorers said of it, and the turn that they judged."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from chunkykit.mixtures import Turn, answers, read_turns
from chunkykit.text import clean_text
from chunkykit.thinking import split_thinking

MAX_JSON_BYTES = 2**29  # of a file, or of a member of one, that is read whole
MAX_FILE_BYTES = 2**34  # of a file that is read piece by piece
TOOL = "tool"  # the role of a turn
MAX_DEPTH = 12  # of nested metadata that is searched for citations
# Transcript 0, block 3, as Docent's judges cite it in a text
BLOCK_CITATION = re.compile(r"\[T(?P<transcript>\d{1,4})B(?P<block>\d{1,6})\b")
ID_KEYS = ("message_id", "message_ids", "messageId")
REASON_KEYS = ("explanation", "justification", "reason", "rationale", "reasoning", "summary")
VALUE_KEYS = {"value", "score"}
BLOCK_KEYS = ("block_idx", "block_index", "message_idx", "message_index")


class Grade(NamedTuple):
    """What one scorer said of a sample.

    Attributes:
        scorer: its name.
        value: a number, a text or a boolean; None where the sample is not scored.
        reason: the explanation of the scorer.
        cited: positions of the messages that it cites.
    """

    scorer: str
    value: Any
    reason: str = ""
    cited: tuple[int, ...] = ()


class Judged(NamedTuple):
    """The exchange of a sample that a scorer judged.

    Attributes:
        query: the last turn of the user, or of a tool, before the response.
        response: what the assistant said.
        system: the system prompt.
        thinking: what the assistant thought before.
        turn: number of the response among the assistant's turns, from 1.
        tools: names of the tools that the assistant could call, by commas; "" for none.
        from_tool: whether a tool wrote the query.
        is_call: whether the response calls a tool.
    """

    query: str
    response: str
    system: str = ""
    thinking: str = ""
    turn: int = 1
    tools: str = ""
    from_tool: bool = False
    is_call: bool = False


class Sample(NamedTuple):
    """A conversation of a log.

    Attributes:
        id: the name of the sample in its file.
        messages: the conversation as the file has it.
        grades: what scorers said of it.
        epoch: the repetition of the sample, where the log counts them.
        model: the model that answered.
        failure: the exchange, in a file that is a list of failures, so that no score has to say
            which they are.
        more: further columns of the table, by name.
    """

    id: str
    messages: Any
    grades: tuple[Grade, ...] = ()
    epoch: int | None = None
    model: str = ""
    failure: Judged | None = None
    more: Mapping[str, Any] = MappingProxyType({})


class Unreadable(NamedTuple):
    """A sample that cannot be read.

    Attributes:
        id: the name of the sample in its file.
        reason: why.
    """

    id: str
    reason: str


def judged_exchange(turns: list[Turn], cited: Iterable[int] = ()) -> Judged:
    """Find the exchange that a scorer judged.

    Args:
        turns: the conversation.
        cited: positions of the messages that the scorer cites.

    Returns:
        The exchange of the assistant's turn that is cited most often, the first of equals; without
        a citation, that of the last one with a text.

    Raises:
        ValueError: the conversation has no response, or nothing stands before it.
    """
    spoken = [answer for answer in answers(turns) if answer.turn.text.strip()]
    if not spoken:
        raise ValueError("no assistant turn with a text after a user's")
    counts = Counter(_turn_at(turns, place) for place in cited)
    most = max(counts[answer.turn.place] for answer in spoken)
    judged = spoken[-1]
    if most:
        judged = next(answer for answer in spoken if counts[answer.turn.place] == most)
    split = split_thinking(judged.turn.text, bool(judged.turn.thinking))
    thinking = [judged.turn.thinking, split.thinking]
    return Judged(
        query=clean_text(judged.prompt.text),
        response=clean_text(split.text),
        system=clean_text(judged.system),
        thinking=clean_text("\n\n".join(filter(None, thinking))),
        turn=judged.number,
        tools=clean_text(", ".join(judged.tools)),
        from_tool=judged.prompt.role == TOOL,
        is_call=judged.turn.is_call,
    )


def _turn_at(turns: list[Turn], place: int) -> int:
    """The place of the turn that a message is in; a turn may be made of several messages."""
    return next((turn.place for turn in turns if turn.place >= place), -1)


def conversation_of(sample: Sample) -> list[Turn]:
    """Read the conversation of a sample.

    Args:
        sample: the sample.

    Returns:
        Its turns.

    Raises:
        ValueError: it is no conversation.
    """
    try:
        return read_turns(sample.messages)
    except RecursionError:
        raise ValueError("the messages are nested too deeply") from None


def cited_messages(metadata: Any, reason: str, messages: Any, transcript: int = 0) -> list[int]:
    """Find the messages that a scorer cites.

    Args:
        metadata: what the scorer gave beside its value: highlights, references or citations.
        reason: its explanation, in which Docent's citations stand.
        messages: the conversation.
        transcript: position of the conversation in a run that has several.

    Returns:
        Positions of messages; one that is cited twice is there twice.
    """
    places = {}
    for place, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict) and isinstance(message.get("id"), str):
            places[message["id"]] = place
    cited = [places[name] for name in _cited_ids(metadata, 0) if name in places]
    cited += [block for owner, block in _cited_blocks(metadata, 0) if owner in (None, transcript)]
    for match in BLOCK_CITATION.finditer(reason):
        if int(match["transcript"]) == transcript:
            cited.append(int(match["block"]))
    return cited


def _cited_ids(value: Any, depth: int) -> Iterator[str]:
    """The ids of messages in nested metadata."""
    for part in _objects(value, depth):
        names = [part.get(key) for key in ID_KEYS]
        if part.get("type") == "message":  # a reference of Inspect Scout
            names.append(part.get("id"))
        for name in names:
            yield from [name] if isinstance(name, str) else _texts(name)


def _cited_blocks(value: Any, depth: int) -> Iterator[tuple[int | None, int]]:
    """(transcript, position of the message) of citations by position in nested metadata."""
    for part in _objects(value, depth):
        for key in BLOCK_KEYS:
            block = part.get(key)
            if isinstance(block, int) and not isinstance(block, bool):
                owner = part.get("transcript_idx")
                yield (owner if isinstance(owner, int) else None), block


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _objects(value: Any, depth: int) -> Iterator[dict]:
    """All objects inside a value of JSON."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _objects(part, depth + 1)


def grades_of(scores: Any, reasons: Any = None) -> list[Grade]:
    """Read scores as a file has them.

    Args:
        scores: a value, or an object of scorers. What a scorer gave is a value, an object with a
            `value` or `score` and an explanation, or an object of values by name.
        reasons: one reason for all of them, or an object of scorer to reason.

    Returns:
        The grades. Values that are no number, text or boolean are left out.
    """
    if not isinstance(scores, dict) or VALUE_KEYS & scores.keys():
        return _grades_of_scorer("score", scores, reasons)
    grades = []
    for name, score in scores.items():
        reason = reasons.get(name) if isinstance(reasons, dict) else reasons
        grades += _grades_of_scorer(str(name), score, reason)
    return grades


def _grades_of_scorer(name: str, score: Any, reason: Any) -> list[Grade]:
    """The grades of one scorer, which are several where its value is an object."""
    value = score
    if isinstance(score, dict) and VALUE_KEYS & score.keys():
        value = next(score[key] for key in ("value", "score") if key in score)
        reason = first_text(score, REASON_KEYS) or reason
    values = {name: value}
    if isinstance(value, dict):
        values = {f"{name}.{key}": inner for key, inner in value.items()}
    if isinstance(reason, dict):
        reason = first_text(reason, REASON_KEYS)
    text = clean_text(reason) if isinstance(reason, str) else ""
    return [
        Grade(key, inner, text)
        for key, inner in values.items()
        if isinstance(inner, str | int | float | bool) and inner == inner  # no NaN: not scored
    ]


def first_text(record: dict, names: Iterable[str]) -> str:
    """Find the first of several keys that holds a text.

    Args:
        record: an object.
        names: the keys, best first.

    Returns:
        The text; "" if none holds one.
    """
    values = (record.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")

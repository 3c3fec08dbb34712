"""Edit one answer of a record, whatever its format, and nothing else of it.

No format has a writer of its own. An edit is tried at each place of the record where it may belong,
the record is read again, and the edit is taken where exactly the wanted answer has changed.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from chunkykit.mixtures.exchanges import LABELS, Exchange, read_exchanges
from chunkykit.mixtures.formats import CONVERSATIONS, PAIRS, Readers
from chunkykit.mixtures.sources import rename_record
from chunkykit.mixtures.turns import ASSISTANT, TRAINED_KEYS, is_conversation, read_turns
from chunkykit.text import clean_text

MAX_TRIES = 1000  # places at which an edit is tried
MAX_GAP = 12  # texts of other kinds between two parts of one answer, such as their types
COPIES = (*CONVERSATIONS, "response", "completion")  # columns that may hold the answer once more
JSON = object()  # step of a path: into a text that is JSON

Columns = Mapping[str, str]  # our name of a column to the record's own
Path = tuple[Any, ...]  # keys of objects, positions of lists, JSON
Edit = Callable[[dict, Columns], dict]  # of a record as its source has it
SAME_NAMES: Columns = {}
FIRST_KEY = re.compile(r'[\s\[{]*"(?:[^"\\]|\\.)*":(?P<space>\s*)')  # of JSON


def rewrite_answer(record: dict, turn: int, text: str, columns: Columns = SAME_NAMES) -> dict:
    """Write an answer anew.

    Its reasoning stays. Other columns that hold the same answer are written anew as well.

    Args:
        record: the record as its source has it.
        turn: number of the answer, as of `Exchange.turn`.
        text: the new answer.
        columns: our names of columns to those of the record, as a recipe has them.

    Returns:
        The edited record. The given one stays as it is.

    Raises:
        ValueError: the record has no such answer, or it cannot be written anew: it is a tool call,
            or the new text would be read as something else.
    """
    exchanges = _read(record, columns)
    old = _answer_of(exchanges, turn)
    if old.is_call:
        raise ValueError(f"answer {turn} is a tool call")
    text = clean_text(text).strip()
    if not text or not old.response:
        raise ValueError(f"answer {turn} has no text")
    wanted = [item._replace(response=text) if item is old else item for item in exchanges]
    candidates = chain(
        _replaced_leaves(record, old.response, text), _joined_leaves(record, old.response, text)
    )
    for edited in islice(candidates, MAX_TRIES):
        if _reads_as(edited, columns, wanted):
            return _rewrite_copies(edited, columns, old.response, text, wanted)
    raise ValueError(f"answer {turn} cannot be written anew")


def mask_answer(record: dict, turn: int, columns: Columns = SAME_NAMES) -> dict:
    """Keep a model from being trained on an answer, which stays in its conversation.

    Its messages get `"weight": 0`, or what other messages of the record have for it.

    Args:
        record: as of `rewrite_answer`.
        turn: number of the answer.
        columns: as of `rewrite_answer`.

    Returns:
        The edited record.

    Raises:
        ValueError: the record has no such answer, none of its others would be left to train on, or
            its format has no messages.
    """
    exchanges = _read(record, columns)
    masked = _answer_of(exchanges, turn)
    wanted = [item for item in exchanges if item is not masked]
    if not wanted:
        raise ValueError(f"answer {turn} is the only one that is trained on")
    for edited in islice(_masked_runs(record), MAX_TRIES):
        # the reasoning of an only answer may stand in a column
        if _reads_as(edited, columns, wanted, ignored=("reasoning",)):
            return edited
    raise ValueError(f"answer {turn} is not a message of its own")


def switch_sides(record: dict, columns: Columns = SAME_NAMES) -> dict:
    """Exchange the better and the worse answer of a record of preference data.

    What other columns say of either answer, such as `score_chosen`, stays with it.

    Args:
        record: as of `rewrite_answer`.
        columns: as of `rewrite_answer`.

    Returns:
        The edited record. An answer with a label alone gets the other label.

    Raises:
        ValueError: the record has no pair of answers and no label.
    """
    wanted = [
        item._replace(response=item.rejected or "", rejected=item.response or None)
        for item in _read(record, columns)
    ]
    for edited in _switched(record, columns):
        if _reads_as(edited, columns, wanted, ignored=("reasoning", "is_call")):
            return edited
    raise ValueError("it has no pair of answers")


def dump_like(text: str, value: Any) -> str:
    """Write JSON in the style of a text.

    Args:
        text: JSON.
        value: what to write.

    Returns:
        JSON, with spaces and escapes as the text has them.
    """
    key = FIRST_KEY.match(text)
    is_compact = key is not None and not key["space"]
    is_escaped = text.isascii() and "\\u" in text
    separators = (",", ":") if is_compact else (", ", ": ")
    return json.dumps(value, ensure_ascii=is_escaped, separators=separators)


def _read(record: dict, columns: Columns) -> list[Exchange]:
    view = rename_record(record, columns)
    return read_exchanges(view, Readers().of(view)).exchanges


def _reads_as(
    record: dict, columns: Columns, wanted: list[Exchange], ignored: tuple[str, ...] = ()
) -> bool:
    try:
        exchanges = _read(record, columns)
    except ValueError:
        return False
    blank: dict[str, Any] = dict.fromkeys(ignored)
    return [x._replace(**blank) for x in exchanges] == [x._replace(**blank) for x in wanted]


def _answer_of(exchanges: list[Exchange], turn: int) -> Exchange:
    answer = next((item for item in exchanges if item.turn == turn), None)
    if answer is None:
        raise ValueError(f"there is no answer {turn}")
    return answer


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The texts inside a value, with their paths."""
    for place, inner in _items(value):
        yield from _leaves(inner, (*path, place))
    if isinstance(value, str):
        yield path, value


def _items(value: Any) -> list[tuple[Any, Any]]:
    """What is directly inside a value, with the steps to it."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, str) and value.lstrip().startswith("[") and is_conversation(value):
        try:
            return [(JSON, json.loads(value))]
        except (ValueError, RecursionError):
            return []
    return []


def _put(value: Any, path: Path, leaf: Any) -> Any:
    """A copy of a value with another leaf at the end of a path."""
    if not path:
        return leaf
    step = path[0]
    if step is JSON:
        return dump_like(value, _put(json.loads(value), path[1:], leaf))
    if isinstance(value, dict):
        return {**value, step: _put(value[step], path[1:], leaf)}
    items = list(value)
    items[step] = _put(items[step], path[1:], leaf)
    return items


def _remove(value: Any, path: Path) -> Any:
    """A copy of a value without the item of a list that a path leads to."""
    container = path[:-1]
    items = list(_get(value, container))
    del items[path[-1]]
    return _put(value, container, items)


def _get(value: Any, path: Path) -> Any:
    for step in path:
        value = json.loads(value) if step is JSON else value[step]
    return value


def _replaced_leaves(record: dict, old: str, new: str) -> Iterator[dict]:
    """Records in which one place with the old text has the new one, likely places first."""
    leaves = [(path, leaf) for path, leaf in _leaves(record) if old in clean_text(leaf)]
    leaves.sort(key=lambda pair: (pair[1] != old, not pair[1].endswith(old)))
    for path, leaf in leaves:
        text = clean_text(leaf)  # as long as the leaf
        start = text.rfind(old)
        while start >= 0:
            yield _put(record, path, leaf[:start] + new + leaf[start + len(old) :])
            start = text.rfind(old, 0, start + len(old) - 1)


def _joined_leaves(record: dict, old: str, new: str) -> Iterator[dict]:
    """Records in which the new text is in the first of several parts that the old one stands in.

    The other parts are removed.
    """
    leaves = list(_leaves(record))
    for first in range(len(leaves)):
        paths = _parts_of(old, leaves, first)
        if len(paths) < 2:
            continue
        edited: Any = record
        for path in reversed(paths[1:]):
            # the part, or the message, that the text stands in
            item = max(i for i, step in enumerate(path) if isinstance(step, int))
            edited = _remove(edited, path[: item + 1])
        yield _put(edited, paths[0], new)


def _parts_of(old: str, leaves: list[tuple[Path, str]], first: int) -> list[Path]:
    """The paths of the texts, from the first on, that make up an old text; none if they do not."""
    rest = old.strip()
    paths: list[Path] = []
    gap = 0
    for path, leaf in leaves[first:]:
        part = clean_text(leaf).strip()
        is_in_list = any(isinstance(step, int) for step in path)
        if part and is_in_list and rest.startswith(part):
            rest = rest[len(part) :].lstrip()
            paths.append(path)
            gap = 0
        else:
            gap += 1
        if not rest:
            return paths
        if not paths or gap > MAX_GAP:
            return []
    return []


def _rewrite_copies(
    record: dict, columns: Columns, old: str, new: str, wanted: list[Exchange]
) -> dict:
    """Write an answer anew in the columns that hold it once more."""
    for name in COPIES:
        column = columns.get(name, name)
        for path, leaf in list(_leaves(record.get(column), (column,))):
            if leaf != old or not _is_answer(record, path):
                continue
            edited = _put(record, path, new)
            if _reads_as(edited, columns, wanted):
                record = edited
    return record


def _is_answer(record: dict, path: Path) -> bool:
    """Whether a text is a column of its own, or a message of the assistant."""
    if len(path) == 1:
        return True
    places = [i for i, step in enumerate(path) if isinstance(step, int)]
    return bool(places) and _is_assistant(_get(record, path[: places[0] + 1]))


def _is_assistant(message: Any) -> bool:
    """Whether a message is the assistant's, and is trained on."""
    if not isinstance(message, dict):
        return False
    try:
        turns = read_turns([message])
    except ValueError:
        return False
    return all(turn.role == ASSISTANT and turn.is_trained for turn in turns)


def _masked_runs(record: dict) -> Iterator[dict]:
    """Records in which messages of the assistant, one behind the other, have the weight 0."""
    for path, messages in _message_lists(record):
        run: list[int] = []
        for place, message in enumerate([*messages, None]):
            if _is_assistant(message):
                run.append(place)
            elif run:
                yield _put(record, path, _masked(messages, run))
                run = []


def _message_lists(value: Any, path: Path = ()) -> Iterator[tuple[Path, list]]:
    """The lists of messages inside a value."""
    is_list = isinstance(value, list | tuple)
    if is_list and any(_is_assistant(message) for message in value):
        yield path, list(value)
        return
    for place, inner in _items(value):
        yield from _message_lists(inner, (*path, place))


def _masked(messages: list, run: list[int]) -> list:
    """The messages, of which some are not trained on, in the way of the data set if it has one."""
    objects = [message for message in messages if isinstance(message, dict)]
    present = [key for key in TRAINED_KEYS if any(key in message for message in objects)]
    key = present[0] if present else TRAINED_KEYS[0]
    is_bool = any(isinstance(message.get(key), bool) for message in objects)
    masked = list(messages)
    for place in run:
        masked[place] = {**messages[place], key: False if is_bool else 0}
    return masked


def _switched(record: dict, columns: Columns) -> Iterator[dict]:
    """Records in which the better answer is the worse one, in the way of any format."""
    pairs = [(columns.get(a, a), columns.get(b, b)) for a, b in PAIRS]
    if "rejected" in columns and "response" in columns:  # such a recipe names the chosen answer
        pairs.append((columns["response"], columns["rejected"]))
    for chosen, rejected in pairs:
        if chosen in record and rejected in record:
            yield _swapped(record, chosen, rejected)
    for name in ("better_response_id", "overall_preference", "preference_strength", "winner"):
        yield from _flipped(record, columns.get(name, name))
    for name in LABELS:
        yield from _flipped(record, columns.get(name, name))


def _swapped(record: dict, chosen: str, rejected: str) -> dict:
    """A record whose columns of one answer are those of the other, and a copy of it as well."""
    pairs = {chosen: rejected}
    marks = [("chosen", "rejected"), ("_j", "_k")]
    if chosen not in ("chosen", "response_chosen", "chosen_response", "response_j"):
        marks = []  # columns that a recipe has named
    for mark, other in marks:
        named = [key for key in record if mark in key] if mark in chosen else []
        partners = {key: key.replace(mark, other) for key in named}
        pairs |= {key: partner for key, partner in partners.items() if partner in record}
    edited = dict(record)
    for one, other in pairs.items():
        edited[one], edited[other] = record[other], record[one]
    for name in CONVERSATIONS:
        if name in record and name not in pairs and record[name] == record[chosen]:
            edited[name] = record[rejected]
    return edited


_OPPOSITES = {"model_a": "model_b", "true": "false", "True": "False", "TRUE": "FALSE"}
_OPPOSITES |= {opposite: value for value, opposite in _OPPOSITES.items()}


def _flipped(record: dict, column: str) -> Iterator[dict]:
    """A record with the opposite of a label or of a number that says which answer is better."""
    value = record.get(column)
    opposite: Any = None
    if isinstance(value, bool):
        opposite = not value
    elif isinstance(value, str) and value in _OPPOSITES:
        opposite = _OPPOSITES[value]
    elif isinstance(value, str) and value.strip():  # a number in a table of texts
        opposite = value.strip()[1:] if value.strip().startswith("-") else f"-{value.strip()}"
    elif isinstance(value, int | float):
        opposite = -value
        if column.endswith("_id") or value in (0, 1):
            yield {**record, column: 1 - value}  # the number of one of two answers
    if opposite is not None:
        yield {**record, column: opposite}

"""Structured answers: the JSON object that a prompt asked for, in whatever a model wrote around it.

The answer may quote hostile text that holds an object of the same form. What stands between marks
of quotation is therefore never read, and two answers that contradict each other are none.
"""

import json
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from chunkykit.thinking import split_thinking

Accept = Callable[[dict], object]  # the answer in an object; None where it is none
OPENING = re.compile(r'\{\s*["}]')  # what begins a JSON object, and no set or block of code
# quotation marks of all scripts, brackets, emphasis, the end of a tag or of a block quote's mark
QUOTING = frozenset("\"'`“”„‘’‚«»‹›「」『』《》〈〉【】（）([<>*_~|")
FENCE = re.compile(r"^[^\S\n]*(?:```|~~~)", re.MULTILINE)  # the line that opens or closes one
# "It wrote {...}": what follows is somebody else's
SAYING = re.compile(
    r"\b(?:wrote|writes|written|says|said|state[sd]|claim(?:s|ed)|contain(?:s|ed)|include[sd]|"
    r"quote[sd]|print(?:s|ed)|output(?:s|ted)|plant(?:s|ed)|embed(?:s|ded)|append(?:s|ed)|"
    r"insert(?:s|ed)|inject(?:s|ed)|end(?:s|ed) with)\W*\Z",
    re.IGNORECASE,
)
# a quoted number; a quoted word, such as a key between curly marks, may be part of an answer
QUOTATION = re.compile(r"`[^`\n]*\d[^`\n]*`|“[^”\n]*\d[^”\n]*”|«[^»\n]*»|「[^」\n]*」")
QUOTATION_MARKS = re.compile("[\"'“”„‘’«»‹›「」『』]")
SENTENCE_END = frozenset(".!?;。！？")
MAX_FRAGMENTS = 20  # of broken quoted objects, each of which is scanned to the end of the text
CONTEXT_CHARACTERS = 60  # before an object, that say whether it is quoted
MAX_SHOWN_CHARACTERS = 120  # of an unreadable answer, that an error shows
STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


class Standing(Enum):
    """How an object stands in a text, by what precedes it."""

    QUOTED = "quoted"
    IN_PROSE = "in prose"
    FENCED = "fenced"
    ALONE = "alone"


class TextObject(NamedTuple):
    """An object in a text."""

    start: int
    end: int
    value: dict
    standing: Standing


class Objects(NamedTuple):
    """The objects of a text, and where one begins that is broken, None if none is."""

    text: str
    whole: list[TextObject]
    broken: int | None


def read_answer(text: str, accept: Accept, keys: Sequence[str]) -> Any:
    """Read the one object of the asked form in a model's reply.

    Args:
        text: the reply.
        accept: gives the answer in an object; None for an object of another form.
        keys: the keys of the asked form. An object with further keys counts only where there is
            none without.

    Returns:
        The answer.

    Raises:
        ValueError: there is none, or there are two that differ. A model reads the message before
            it answers a second time.
    """
    objects = find_objects(text)
    own = own_objects(objects, accept, keys)
    if not own:
        raise ValueError(f"no object with {' and '.join(keys)} in {_shown(objects.text)}")
    answers = [accept(item.value) for item in own]
    if any(answer != answers[0] for answer in answers):
        raise ValueError(f"two answers that differ in {_shown(objects.text)}")
    if objects.broken is not None:
        raise ValueError(f"an object breaks off in {_shown(objects.text[objects.broken :])}")
    return answers[0]


def own_objects(objects: Objects, accept: Accept, keys: Sequence[str]) -> list[TextObject]:
    """Select the objects of the asked form that are the model's own.

    Args:
        objects: those of a reply.
        accept: gives the answer in an object; None for an object of another form.
        keys: the keys of the asked form.

    Returns:
        The objects that no mark or word shows to be a quotation. After an answer that begins the
        reply or stands alone, an object in a fence is one, too.
    """
    candidates = [item for item in objects.whole if accept(item.value) is not None]
    exact = [item for item in candidates if item.value.keys() <= set(keys)]
    candidates = exact or candidates
    if _is_wrapped(objects.text, candidates):
        return candidates
    own: list[TextObject] = []
    has_answer = False
    for item in candidates:
        if item.standing == Standing.QUOTED or (has_answer and item.standing == Standing.FENCED):
            continue
        own.append(item)
        has_answer |= item.standing == Standing.ALONE or not _words(objects.text[: item.start])
    return own


def find_objects(text: str) -> Objects:
    """Find the JSON objects in a model's reply, outside its thinking.

    Args:
        text: the reply.

    Returns:
        The objects. What follows a broken one is not read: it may stand in that one's strings.
    """
    text = split_thinking(text).text
    whole: list[TextObject] = []
    fences = [fence.start() for fence in FENCE.finditer(text)]
    position = 0
    n_fragments = 0  # of objects, in quotations
    while opening := OPENING.search(text, position):
        start = opening.start()
        standing = _standing(text, start, fences)
        bracket = _bracket_before(text, start)
        end = _end_of_object(text, start if bracket is None else bracket)
        if bracket is not None and end:  # an item of a list is no answer
            whole.append(TextObject(bracket, end, {}, Standing.QUOTED))
            position = end
            continue
        value = _decode(text[start:end]) if end else None
        if end is None or value is None:
            if standing != Standing.QUOTED:
                return Objects(text, whole, start)
            n_fragments += 1
            if n_fragments > MAX_FRAGMENTS:
                return Objects(text, whole, start)
            position = opening.end()
            continue
        whole.append(TextObject(start, end, value, standing))
        position = end
    return Objects(text, whole, None)


def _bracket_before(text: str, start: int) -> int | None:
    """Where a list begins whose first item is the object at `start`; None if none does."""
    position = start - 1
    while position >= 0 and text[position].isspace():
        position -= 1
    return position if position >= 0 and text[position] == "[" else None


def outside_of(objects: Objects) -> str:
    """Give what stands outside the objects and outside quotations.

    Args:
        objects: the objects of a text.

    Returns:
        The rest of the text.
    """
    pieces = []
    position = 0
    for item in objects.whole:
        pieces.append(objects.text[position : item.start])
        position = item.end
    end = len(objects.text) if objects.broken is None else objects.broken
    pieces.append(objects.text[position:end])
    return QUOTATION.sub(" ", " ".join(pieces))


def _standing(text: str, start: int, fences: Sequence[int]) -> Standing:
    """How the object at `start` stands in the text, by what precedes it."""
    n_before = bisect(fences, start)
    if n_before % 2:
        fence = fences[n_before - 1]
        is_quoted = SAYING.search(text[max(0, fence - CONTEXT_CHARACTERS) : fence])
        return Standing.QUOTED if is_quoted else Standing.FENCED
    context = text[max(0, start - CONTEXT_CHARACTERS) : start]
    line = context.rpartition("\n")[2]
    before = context.rstrip()
    while before and unicodedata.category(before[-1]) in ("Cf", "Cc", "Zs"):
        before = before[:-1]  # such as a mark of direction
    if not before:
        return Standing.ALONE
    if line.strip() and before[-1] in QUOTING:  # a mark and the object stand in one line
        return Standing.QUOTED
    if SAYING.search(before):
        return Standing.QUOTED
    if before[-1] == ":":
        return Standing.IN_PROSE
    begins_line = not line.strip()
    return Standing.ALONE if begins_line or before[-1] in SENTENCE_END else Standing.IN_PROSE


def _is_wrapped(text: str, candidates: list[TextObject]) -> bool:
    """Whether the text is one object and nothing but marks around it."""
    if len(candidates) != 1:
        return False
    around = text[: candidates[0].start] + text[candidates[0].end :]
    return not _words(around) and not QUOTATION_MARKS.search(around)


def _words(text: str) -> bool:
    """Whether a text holds words, besides tags and the language of a fence."""
    return bool(re.search(r"\w", re.sub(r"</?\w+>|(?:```|~~~)\w*", "", text)))


def _end_of_object(text: str, start: int) -> int | None:
    """Where the object that begins at `start` ends; None if it does not."""
    depth = 0
    in_string = False
    position = start
    while position < len(text):
        character = text[position]
        if in_string and character == "\\":
            position += 1
        elif character == '"':
            in_string = not in_string
        elif not in_string and character in "{[":
            depth += 1
        elif not in_string and character in "}]":
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return None


def _decode(text: str) -> dict | None:
    """A JSON object, in which a comma may precede a closing bracket; None if it is broken."""
    without_commas = STRING_OR_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)
    for candidate in (text, without_commas):
        try:
            value = json.loads(candidate, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Reject an object that has a key twice: the second may come out of a quotation."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


def _shown(text: str) -> str:
    return repr(text[:MAX_SHOWN_CHARACTERS])

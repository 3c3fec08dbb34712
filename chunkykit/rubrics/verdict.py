"""Verdicts: what can be judged, and the reading of a judge model's reply.

The exchange under judgement is hostile text that the judge may quote. `parse_verdict` therefore
never takes a score from inside a quotation, whatever the reply looks like.
"""

import json
import re

from chunkykit.types import Judgement, Reply

MAX_QUOTED_CHARACTERS = 120  # characters of an unreadable reply that the error shows

# A verdict that breaks off after its score, up to the end of the reply:
#     {"score": 1, "reason": "...        or        {"reason": "...", "score": 1
BROKEN_OFF = re.compile(
    r'\{\s*("reason"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*)?"score"\s*:\s*"?(\d+(?:\.\d+)?)(?=[\s,"])"?\s*'
    r'(?(1)|(?:,\s*(?:"reason"\s*:\s*"(?:[^"\\]|\\.)*\\?)?)?)(?:```)?\s*',
    re.S | re.A,
)
OPENING = re.compile(r'(?<![\'"“‘«])\{\s*"')  # the start of an object that is not quoted
SCORE_KEY = re.compile(r'"score"\s*:')


def unjudgeable(reply: Reply) -> str | None:
    """Say why an answer cannot be judged as a whole one.

    Args:
        reply: the target's answer.

    Returns:
        The reason, None if the answer can be judged.
    """
    if reply.cut_off:
        return f"the answer was cut off ({reply.stop_reason})"
    if not reply.text.strip():
        return "the answer is empty"
    return None


def parse_verdict(text: str) -> Judgement:
    """Read a judge model's reply.

    The verdict is the last JSON object with a score from 0 to 100, in fences or prose, even one
    that breaks off after its score. What stands inside another object or in its strings is never
    read, because a verdict may quote what it judges. An object that is broken in any other way,
    or a score outside the objects, makes the whole reply an error.

    Args:
        text: the reply.

    Returns:
        The judgement, with an error if the reply holds no verdict.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys)
    judgement = None
    outside = ""  # what stands outside the objects
    position = 0
    while opening := OPENING.search(text, position):
        outside += text[position : opening.start()]
        try:
            value, position = decoder.raw_decode(text, opening.start())
            judgement = _judgement(value) or judgement
        except (ValueError, RecursionError):
            # Everything that follows may stand in the broken object's strings, so reading ends.
            judgement = _parse_broken_off(text, opening.start())
            position = len(text)
    outside += text[position:]
    if judgement and not SCORE_KEY.search(outside):
        return judgement
    # A judge model reads this message when it is asked a second time.
    shown = text[:MAX_QUOTED_CHARACTERS]
    return Judgement(None, error=f"no score in the judge's reply: {shown!r}")


def _parse_broken_off(text: str, start: int) -> Judgement | None:
    """Read a verdict that the end of the reply cuts after its whole score."""
    match = BROKEN_OFF.fullmatch(text, start)
    if not match:
        return None
    return _judgement({"score": match[2], "reason": "(broken off)"})


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Reject an object that has a key twice: the second may come out of a quotation."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


def _judgement(value: dict) -> Judgement | None:
    """The judgement in a JSON object, None if it has no score from 0 to 100."""
    try:
        score = float(value["score"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if isinstance(value["score"], bool) or not 0 <= score <= 100:
        return None
    return Judgement(score, str(value.get("reason", "")))

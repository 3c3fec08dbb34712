"""Rewriters: they say a query in other words, to see whether a failure depends on the exact words.

A rewrite keeps the substance: names, numbers and quotations stay as they are. `llm_rewriter` asks a
chat model, `rewrite_offline` makes small edits of form.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chunkykit.attributes import detect_language
from chunkykit.files import load_packaged
from chunkykit.prompts import fill_prompt
from chunkykit.surf.writers import ask_whole
from chunkykit.types import Rewriter, Target

RECIPE = load_packaged("surf/rewrites")
OPENINGS = RECIPE["openings"]
CLOSINGS = RECIPE["closings"]
EXTRA_EDITS = 2  # edits drawn beside the one that the number of the sample selects
# A rewrite may be as long as the query and somewhat longer; a token is at least one character.
MAX_EXTRA_TOKENS = 400

# What no edit touches. The lengths are bounded, since a closing mark may be missing.
PROTECTED = re.compile(
    "|".join(
        (
            r"```[\s\S]*?(?:```|\Z)",  # code
            r"`[^`\n]{1,500}`",
            r"\"[^\"]{0,500}\"",  # quotations
            r"“[^”]{0,500}”",
            r"«[^»]{0,500}»",
            r"「[^」]{0,500}」",
            r"(?<!\w)['‘][^'’\n]{1,200}['’](?!\w)",
            r"\$[^$\n]{1,200}\$",  # mathematics
            r"\\[(\[][\s\S]{0,500}?\\[)\]]",
            r"https?://\S+",  # addresses
            r"<[^<>\n]{1,200}>",  # tags
            r"[^\s\d\"“”]{0,50}\d(?:[^\s\"“”]*[^\s\"“”.,;:?!])?",  # numbers
        )
    )
)
# Words that are never names, and not part of a possessive, an address or a path.
ORDINARY_WORD = re.compile(rf"(?<![\w'’@/.-])(?:{'|'.join(RECIPE['ordinary'])})(?![\w'’@/-])", re.I)


class Edit(NamedTuple):
    """An edit of form.

    Attributes:
        pattern: what is edited. One match, drawn at random, is replaced.
        change: (matched text, source of randomness) -> its replacement.
    """

    pattern: re.Pattern
    change: Callable[[str, np.random.Generator], str]


def _swap_letters(word: str, rng: np.random.Generator) -> str:
    """Swap two letters inside a word, as fast typing does. Ordinary words have four or more."""
    at = int(rng.integers(1, 3))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _change_case(word: str, rng: np.random.Generator) -> str:
    return word.upper() if word.islower() else word.lower()


def _double_space(space: str, rng: np.random.Generator) -> str:
    return "  "


def _change_end_mark(mark: str, rng: np.random.Generator) -> str:
    if mark.strip():
        return rng.choice([" ...", "", f" {mark}", mark[:1] * 2])
    return rng.choice([".", " ..."])


def _add_opening(start: str, rng: np.random.Generator) -> str:
    return rng.choice(OPENINGS)


def _add_closing(end: str, rng: np.random.Generator) -> str:
    separator = f"{end.strip()} " if end.strip() else "\n\n"
    return separator + rng.choice(CLOSINGS)


SWAP_LETTERS = Edit(ORDINARY_WORD, _swap_letters)
CHANGE_CASE = Edit(ORDINARY_WORD, _change_case)
DOUBLE_SPACE = Edit(re.compile(r"(?<=\S) (?=\S)"), _double_space)
CHANGE_END_MARK = Edit(re.compile(r"[.?!。？！]\s*\Z|(?<=[\w\0])\s*\Z"), _change_end_mark)
ADD_OPENING = Edit(re.compile(r"\A"), _add_opening)
ADD_CLOSING = Edit(re.compile(r"[.?!]\s*\Z|(?<![\s.?!])\s*\Z"), _add_closing)

# In the order in which they are applied. Opening and closing come last, so that no edit changes the
# text that they add.
EDITS = (
    SWAP_LETTERS,
    CHANGE_CASE,
    DOUBLE_SPACE,
    CHANGE_END_MARK,
    ADD_OPENING,
    ADD_CLOSING,
)
# For other languages than English: an English greeting would mix languages, and an ordinary English
# word may be a name there.
FOREIGN_EDITS = (DOUBLE_SPACE, CHANGE_END_MARK)


async def rewrite_offline(query: str, sample: int = 0) -> str:
    """Rewrite a query with two or three edits of form.

    The edits: swapped letters, case, spacing, punctuation; a greeting or a sentence of context, and
    thanks. A query in another language than English is changed in spacing and punctuation only.

    Args:
        query: the query.
        sample: number of the rewrite. It fixes the edits.

    Returns:
        The rewritten query.

    Raises:
        ValueError: no edit applies to the query.
    """
    rng = np.random.default_rng([sample, *query.encode("utf-8", "replace")])
    edits = FOREIGN_EDITS if detect_language(query) else EDITS
    # the first one goes round the edits, so that a few samples show all kinds
    chosen = {sample % len(edits), *rng.choice(len(edits), EXTRA_EDITS, replace=False).tolist()}
    text = query
    for number in sorted(chosen):
        text = _apply_edit(text, edits[number], rng)
    for number, edit in enumerate(edits):  # where no chosen edit applies, the others stand in
        if text == query and number not in chosen:
            text = _apply_edit(text, edit, rng)
    if text == query:
        raise ValueError("no edit applies to the query")
    return text


def _apply_edit(text: str, edit: Edit, rng: np.random.Generator) -> str:
    """Apply an edit at one of the places where it applies, if there is any."""
    # protected passages become \0, which no edit replaces
    visible = PROTECTED.sub(lambda match: "\0" * len(match[0]), text)
    matches = list(edit.pattern.finditer(visible))
    if not matches:
        return text
    start, end = matches[rng.integers(len(matches))].span()
    return text[:start] + edit.change(text[start:end], rng) + text[end:]


def llm_rewriter(model: Target) -> Rewriter:
    """Make a rewriter that asks a chat model, for a different manner each sample.

    Args:
        model: the chat model.

    Returns:
        The rewriter. It raises ValueError where the reply is empty or cut off.
    """
    manners = RECIPE["manners"]

    async def rewrite(query: str, sample: int = 0) -> str:
        messages, _ = fill_prompt(
            "rewrite",
            manner=manners[sample % len(manners)],
            query=json.dumps(query, ensure_ascii=False),
        )
        max_tokens = MAX_EXTRA_TOKENS + len(query)
        return await ask_whole(model, messages, sample=sample, max_tokens=max_tokens)

    return rewrite

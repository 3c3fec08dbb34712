"""Say it otherwise: rewrites of a query that keep its substance, to see whether a failure hangs on the very words.

A rewriter is `await rewrite(query, sample) -> str`; `sample` numbers the rewrites of a query. None is to change names, numbers or quotations."""

import json
import re

import numpy as np

from chunkykit.attributes import detect_language
from chunkykit.files import load_packaged
from chunkykit.prompts import fill_prompt
from chunkykit.surf.writers import ask_whole

RECIPE = load_packaged("surf/rewrites")
OPENINGS, CLOSINGS = RECIPE["openings"], RECIPE["closings"]
ORDINARY = re.compile(rf"(?<![\w'’@/.-])(?:{'|'.join(RECIPE['ordinary'])})(?![\w'’@/-])", re.I)
PROTECTED = re.compile(  # code, quotations, mathematics, addresses, tags, numbers; bounded, since a closing mark may be missing
    r"```[\s\S]*?(?:```|\Z)|`[^`\n]{1,500}`|\"[^\"]{0,500}\"|“[^”]{0,500}”|«[^»]{0,500}»|「[^」]{0,500}」|(?<!\w)['‘][^'’\n]{1,200}['’](?!\w)|"
    r"\$[^$\n]{1,200}\$|\\[(\[][\s\S]{0,500}?\\[)\]]|https?://\S+|<[^<>\n]{1,200}>|[^\s\d\"“”]{0,50}\d(?:[^\s\"“”]*[^\s\"“”.,;:?!])?"
)


def _slip(word: str, rng) -> str:
    at = int(rng.integers(1, 3))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _punctuate(sign: str, rng) -> str:
    return rng.choice([" ...", "", f" {sign}", sign[:1] * 2] if sign.strip() else [".", " ..."])


EDITS = (  # (what is edited, what becomes of it); frames last: what they bring is not edited
    (ORDINARY, _slip),
    (ORDINARY, lambda word, _: word.upper() if word.islower() else word.lower()),
    (r"(?<=\S) (?=\S)", lambda *_: "  "),
    (r"[.?!。？！]\s*\Z|(?<=[\w\0])\s*\Z", _punctuate),
    (r"\A", lambda _, rng: rng.choice(OPENINGS)),
    (
        r"[.?!]\s*\Z|(?<![\s.?!])\s*\Z",
        lambda end, rng: (f"{end.strip()} " if end.strip() else "\n\n") + rng.choice(CLOSINGS),
    ),
)
FOREIGN = EDITS[
    2:4
]  # English frames would mix languages, and which word is a name is anybody's guess


def _edit(text: str, pattern, change, rng) -> str:
    """The text with one match of the pattern, drawn, put through `change`; what is KEPT is blotted out and never matches."""
    found = list(re.finditer(pattern, PROTECTED.sub(lambda m: "\0" * len(m[0]), text)))
    if not found:
        return text
    start, end = found[rng.integers(len(found))].span()
    return text[:start] + change(text[start:end], rng) + text[end:]


async def rewrite_offline(query: str, sample: int = 0) -> str:
    """Two edits of form or three, fixed by the sample: a slip, case, punctuation, spacing; a greeting or a sentence of context, thanks.
    A query in another language than English is changed in punctuation and spacing alone. ValueError where no edit applies."""
    rng = np.random.default_rng([sample, *query.encode("utf-8", "replace")])
    edits = FOREIGN if detect_language(query) else EDITS
    chosen = {sample % len(edits), *rng.choice(len(edits), 2, replace=False)}
    text = query
    for i in sorted(range(len(edits)), key=lambda i: (i not in chosen, i)):
        if i in chosen or text == query:
            text = _edit(text, *edits[i], rng)
    if text == query:
        raise ValueError("no edit applies to the query")
    return text


def llm_rewriter(model):
    """A rewriter that asks a chat model, for another manner each sample; ValueError where its reply is empty or cut off."""

    async def rewrite(query: str, sample: int = 0) -> str:
        asked, _ = fill_prompt(
            "rewrite",
            manner=RECIPE["manners"][sample % len(RECIPE["manners"])],
            query=json.dumps(query, ensure_ascii=False),
        )
        return await ask_whole(model, asked, sample=sample, max_tokens=400 + len(query))

    return rewrite

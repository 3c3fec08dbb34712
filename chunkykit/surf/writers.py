"""Attributes to queries: the writers of a search. A writer is `await write(sentences, sample) -> query`."""

import json
import re
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from chunkykit.attributes import text_window
from chunkykit.files import load_packaged
from chunkykit.index import TraceIndex
from chunkykit.models import ChatModel, ask_parsed
from chunkykit.prompts import fill_prompt

NAME = re.compile(r"\b[A-Z][\w.-]+(?: (?:van|von|da|de|of) [A-Z][\w.-]+| [A-Z][\w.-]+)+")
THING = re.compile(
    r"\b(?:the|this|a|an)(?: (?!(?:for|of|to|in|on|at|by|and|or|that|which|with|is|was|so|from)\b)[\w-]+){1,3}"
)
MARKER = re.compile(r"^([ \t]*(?:\d+[.)]|[-*•]|[A-Z][\w ]{2,20}:)\s+)(\S.*)$", re.M)
SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
EXTRA = 0.25  # what an attribute that was not asked for costs a mixture, in attributes that were


def llm_writer(model: ChatModel, text: str | None = None):
    """A writer that asks a chat model for a query with all of the attributes, which stand for `{statements}` in the prompt, ours or
    the `text`."""
    text = text or load_packaged("prompts")["write"]["text"]

    async def write(sentences: list[str], sample: int) -> str:
        asked = text.replace("{statements}", "\n".join(f"- {s}" for s in sentences))
        return await ask_whole(
            model, [{"role": "user", "content": asked}], sample=sample, max_tokens=700
        )

    return write


async def ask_whole(model: ChatModel, messages: list[dict], **settings) -> str:
    """The text of a reply; ValueError where it is empty or cut off."""
    reply = await model(messages, **settings)
    if not reply.text.strip() or reply.cut_off:
        raise ValueError(f"the model gave no whole query ({reply.stop_reason})")
    return reply.text.strip()


def llm_gate(model: ChatModel):
    """A gate before the target, `await gate(query) -> bool`: whether a chat model takes the query for one that a person would type."""

    def parse(text: str) -> bool:
        said = re.findall(r'"realistic"\s*:\s*(true|false)', text)
        if not said:
            raise ValueError('no "realistic": true or false')
        return said[-1] == "true"

    async def gate(query: str) -> bool:
        asked, schema = fill_prompt("gate", query=json.dumps(query, ensure_ascii=False))
        return await ask_parsed(
            model, asked, parse, max_tokens=1000, temperature=0.0, schema=schema
        )

    return gate


def recombining_writer(index: TraceIndex, describe: Callable[[str], list[str]]):
    """The offline writer: new queries from the training prompts that carry the attributes.

    A prompt that carries one attribute is changed with pieces of prompts that carry the others (names, things, what stands
    behind a heading or a number, whole sentences); of a handful of such mixtures the one is taken that has the most of the
    attributes and the fewest others. describe: text -> sentences, the lexical describer of the index's queries."""
    describe = lru_cache(maxsize=50_000)(describe)
    prompts = [text_window(p) for p in index.table.column("prompt").to_pylist()]
    carriers: dict[int, list[int]] = {}
    query = index.query
    for row, clusters in enumerate(query.clusters):
        for c in clusters[clusters >= 0]:
            carriers.setdefault(int(c), []).append(row)
    cluster = {s: int(c) for s, c in zip(query.sentences.to_pylist(), query.cluster_of)}
    number = {s: i for i, s in enumerate(query.summaries)}

    async def write(sentences: list[str], sample: int) -> str:
        rng = np.random.default_rng(sample)
        wanted = [number[s] for s in sentences]

        def score(text: str) -> tuple:
            has = {cluster.get(s) for s in describe(text)}
            present = sum(w in has for w in wanted)
            return present - EXTRA * (len(has) - present), -len(text)

        def carrier(attribute: int) -> str:
            return prompts[carriers[attribute][rng.integers(len(carriers[attribute]))]]

        rows = [carriers[a][rng.integers(len(carriers[a]))] for a in wanted for _ in range(3)]
        shared = np.isin(query.clusters[rows], wanted).sum(axis=1)
        text = prompts[rows[int(np.argmax(shared + rng.random(len(rows))))]]
        for turn, attribute in enumerate(rng.permutation(wanted)):
            found = mixtures(text, carrier(attribute), carrier(attribute), rng)
            text = max([text, *found] if turn else found, key=score, default=text)
        return text

    return write


def mixtures(frame: str, other: str, spare: str, rng: np.random.Generator) -> list[str]:
    """New prompts out of old ones: the other's names and things in a sentence of the frame, sentences of the other and
    the spare one behind the frame's headings and numbers, and a sentence each of frame and other in either order."""
    ours, theirs, more = (
        [s.strip() for s in SENTENCE.findall(text) if len(s.split()) > 2]
        for text in (frame, other, spare)
    )
    if not ours or not theirs:
        return []
    richest = [
        max(sentences, key=lambda s: len(NAME.findall(s)) + len(THING.findall(s)))
        for sentences in (ours, theirs)
    ]
    swapped = richest[0]
    for kind in (NAME, THING):
        fillers = iter(kind.findall(richest[1]))
        swapped = kind.sub(lambda m: next(fillers, m[0]), swapped)
    lines = iter([*rng.permutation(theirs), *rng.permutation(more)])
    a, b = ours[rng.integers(len(ours))], theirs[rng.integers(len(theirs))]
    found = [
        frame.replace(richest[0], swapped),
        MARKER.sub(lambda m: m[1] + next(lines, m[2]), frame),
        f"{a} {b}",
        f"{b} {a}",
    ]
    return [text for text in dict.fromkeys(found) if text not in (frame, other)]

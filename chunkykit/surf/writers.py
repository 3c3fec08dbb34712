"""Writers: they turn attributes into queries. A gate filters the queries.

`llm_writer` asks a chat model. `recombining_writer` works offline: it recombines training prompts
that carry the attributes.
"""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache

import numpy as np

from chunkykit.attributes import text_window
from chunkykit.files import load_packaged
from chunkykit.index import TraceIndex
from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.structured import read_answer
from chunkykit.types import Target, Writer

Gate = Callable[[str], Awaitable[bool]]  # whether a query may be sent to the target

MAX_QUERY_TOKENS = 700  # of a query that a model writes
MAX_GATE_TOKENS = 1000  # of a gate's answer, with room for a model that explains itself first
MAX_DESCRIBED_TEXTS = 50_000  # texts whose descriptions the offline writer remembers
FRAMES_PER_ATTRIBUTE = 3  # training prompts considered as the frame of a query
MIN_SENTENCE_WORDS = 3  # a shorter sentence is not worth moving

# What an attribute that was not requested costs a mixture, in attributes that were requested.
UNREQUESTED_COST = 0.25

# The pieces of a prompt that another prompt can lend it.
NAME = re.compile(r"\b[A-Z][\w.-]+(?: (?:van|von|da|de|of) [A-Z][\w.-]+| [A-Z][\w.-]+)+")
THING = (
    re.compile(  # an article and up to three words, the first preposition or conjunction ends it
        r"\b(?:the|this|a|an)"
        r"(?: (?!(?:for|of|to|in|on|at|by|and|or|that|which|with|is|was|so|from)\b)[\w-]+){1,3}"
    )
)
MARKED_LINE = re.compile(  # a line after a number, a bullet or a heading such as "Passage:"
    r"^([ \t]*(?:\d+[.)]|[-*•]|[A-Z][\w ]{2,20}:)\s+)(\S.*)$", re.M
)
SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")  # "3.5" does not end one


def llm_writer(model: Target, text: str | None = None) -> Writer:
    """Make a writer that asks a chat model for a query with all of the attributes.

    Args:
        model: the chat model.
        text: the prompt, in which `{statements}` stands for the attributes; None takes ours.

    Returns:
        The writer. It raises ValueError where the reply is empty or cut off.
    """
    prompt = text or load_packaged("prompts")["write"]["text"]

    async def write(sentences: list[str], sample: int) -> str:
        statements = "\n".join(f"- {sentence}" for sentence in sentences)
        # not str.format: a user's prompt may contain other braces
        message = {"role": "user", "content": prompt.replace("{statements}", statements)}
        return await ask_whole(model, [message], sample=sample, max_tokens=MAX_QUERY_TOKENS)

    return write


async def ask_whole(model: Target, messages: Sequence[dict], **settings) -> str:
    """Ask a chat model for a text that must be complete.

    Args:
        model: the chat model.
        messages: turns {role, content}.
        **settings: settings of the call, see `Target`.

    Returns:
        The text of the reply.

    Raises:
        ValueError: the reply is empty or cut off.
    """
    reply = await model(messages, **settings)
    if reply.problem:
        raise ValueError(f"the model gave no whole query: {reply.problem}")
    return reply.text.strip()


def llm_gate(model: Target) -> Gate:
    """Make a gate that asks a chat model whether a real person would type the query.

    Args:
        model: the chat model.

    Returns:
        The gate, `await gate(query) -> bool`. It raises ValueError where the model gives no
        verdict twice.
    """

    async def gate(query: str) -> bool:
        messages, schema = fill_prompt("gate", query=json.dumps(query, ensure_ascii=False))
        return await ask_parsed(
            model,
            messages,
            parse_realistic,
            max_tokens=MAX_GATE_TOKENS,
            temperature=0.0,
            schema=schema,
        )

    return gate


def parse_realistic(text: str) -> bool:
    """Read a gate's verdict."""

    def accept(value: dict) -> bool | None:
        realistic = value.get("realistic")
        return realistic if isinstance(realistic, bool) else None

    return read_answer(text, accept, ["realistic"])


def recombining_writer(index: TraceIndex, describe: Callable[[str], list[str]]) -> Writer:
    """Make the offline writer: it makes new queries of training prompts that carry the attributes.

    It starts from a prompt that carries some of the attributes and lends it pieces of prompts that
    carry the others: names, things, lines after a heading or a number, whole sentences. Of a
    handful of such mixtures it takes the one that has most of the attributes and fewest others.

    Args:
        index: the index whose query clusters are the attributes.
        describe: text -> sentences, the lexical describer of the index's queries.

    Returns:
        The writer. The sample fixes the query.
    """
    return _Recombiner(index, describe)


class _Recombiner:
    """The offline writer, see `recombining_writer`."""

    def __init__(self, index: TraceIndex, describe: Callable[[str], list[str]]):
        query = index.query
        self.describe = lru_cache(maxsize=MAX_DESCRIBED_TEXTS)(describe)
        self.prompts = [text_window(prompt) for prompt in index.table.column("prompt").to_pylist()]
        self.row_clusters = query.clusters
        # attribute -> the rows whose prompts carry it
        self.rows_of: dict[int, list[int]] = {}
        for row, clusters in enumerate(query.clusters):
            for attribute in clusters[clusters >= 0]:
                self.rows_of.setdefault(int(attribute), []).append(row)
        # what the describer says -> attribute, and the attribute's own sentence -> attribute
        self.attribute_of = dict(zip(query.sentences.to_pylist(), map(int, query.cluster_of)))
        self.number_of = {summary: i for i, summary in enumerate(query.summaries)}

    async def __call__(self, sentences: list[str], sample: int) -> str:
        """Write a query with these attributes, see `Writer`."""
        rng = np.random.default_rng(sample)
        wanted = [self.number_of[sentence] for sentence in sentences]
        text = self._draw_frame(wanted, rng)
        for turn, attribute in enumerate(rng.permutation(wanted)):
            lender = self._draw_carrier(attribute, rng)
            spare = self._draw_carrier(attribute, rng)
            candidates = mix_prompts(text, lender, spare, rng)
            if turn:  # the first turn must change the frame, which is a training prompt
                candidates = [text, *candidates]
            text = max(candidates, key=lambda mix: self._score(mix, wanted), default=text)
        return text

    def _draw_frame(self, wanted: list[int], rng: np.random.Generator) -> str:
        """Draw a few prompts per attribute; take the one that carries most of the attributes."""
        rows = []
        for attribute in wanted:
            carriers = self.rows_of[attribute]
            for _ in range(FRAMES_PER_ATTRIBUTE):
                rows.append(carriers[rng.integers(len(carriers))])
        n_carried = np.isin(self.row_clusters[rows], wanted).sum(axis=1)  # (n_rows,)
        best = np.argmax(n_carried + rng.random(len(rows)))  # less than 1 breaks ties
        return self.prompts[rows[int(best)]]

    def _draw_carrier(self, attribute: int, rng: np.random.Generator) -> str:
        """Draw a prompt that carries an attribute."""
        carriers = self.rows_of[attribute]
        return self.prompts[carriers[rng.integers(len(carriers))]]

    def _score(self, text: str, wanted: list[int]) -> tuple[float, int]:
        """How well a text fits the attributes; of equal ones the shorter is better."""
        # None stands for all sentences that the index does not know
        attributes = {self.attribute_of.get(sentence) for sentence in self.describe(text)}
        n_present = sum(attribute in attributes for attribute in wanted)
        n_unrequested = len(attributes) - n_present
        return n_present - UNREQUESTED_COST * n_unrequested, -len(text)


def mix_prompts(frame: str, lender: str, spare: str, rng: np.random.Generator) -> list[str]:
    """Make new prompts of old ones.

    Args:
        frame: the prompt that is changed.
        lender: a prompt whose names, things and sentences go into the frame.
        spare: a prompt with more sentences to lend.
        rng: source of randomness.

    Returns:
        Up to four distinct mixtures, none of them the frame or the lender: the lender's names and
        things in a sentence of the frame; the lender's and the spare's sentences in the frame's
        marked lines; a sentence each of frame and lender, in both orders. Empty where frame or
        lender has no sentence.
    """
    frame_sentences = _long_sentences(frame)
    lender_sentences = _long_sentences(lender)
    if not frame_sentences or not lender_sentences:
        return []
    richest = max(frame_sentences, key=_count_pieces)
    pieces = max(lender_sentences, key=_count_pieces)
    changed = _lend_pieces(NAME, richest, pieces)
    changed = _lend_pieces(THING, changed, pieces)
    fillers = iter([*rng.permutation(lender_sentences), *rng.permutation(_long_sentences(spare))])
    first = frame_sentences[rng.integers(len(frame_sentences))]
    second = lender_sentences[rng.integers(len(lender_sentences))]
    mixtures = [
        frame.replace(richest, changed),
        MARKED_LINE.sub(lambda line: line[1] + next(fillers, line[2]), frame),
        f"{first} {second}",
        f"{second} {first}",
    ]
    return [text for text in dict.fromkeys(mixtures) if text not in (frame, lender)]


def _long_sentences(text: str) -> list[str]:
    """The sentences of a text that are long enough to be moved."""
    sentences = SENTENCE.findall(text)
    return [sent.strip() for sent in sentences if len(sent.split()) >= MIN_SENTENCE_WORDS]


def _count_pieces(sentence: str) -> int:
    """Count the names and things in a sentence."""
    return len(NAME.findall(sentence)) + len(THING.findall(sentence))


def _lend_pieces(kind: re.Pattern, sentence: str, lender: str) -> str:
    """Replace the pieces of one kind in a sentence by those of another sentence, in order."""
    fillers = iter(kind.findall(lender))
    return kind.sub(lambda match: next(fillers, match[0]), sentence)

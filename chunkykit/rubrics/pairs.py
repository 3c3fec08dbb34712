"""Matched pairs: one request in two framings, judged by the difference of both answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from chunkykit.errors import UserError
from chunkykit.types import Reply, Target

if TYPE_CHECKING:
    from chunkykit.rubrics.rubric import Rubric

MAX_EXTRA_TOKENS = 400  # of a framed query, beyond one per character of the query


class Counterpart(NamedTuple):
    """The other half of a matched pair.

    Attributes:
        query: the request in the other framing.
        reply: what the target answered to it.
    """

    query: str
    reply: Reply


@dataclass(frozen=True)
class Pair:
    """How a rubric puts a query into its other framing; by a template or by a model.

    Attributes:
        template: a text with `{query}` in it.
        prompt: the prompt of a rewriting model, in which `{query}` stands for the query as JSON.
        connect: gives the model of the prompt; None where there is none.
    """

    template: str | None = None
    prompt: str | None = None
    connect: Callable[[], Target] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        """How the other framing is made, in words."""
        return f"template: {self.template}" if self.template else f"prompt: {self.prompt}"


def with_framer(rubric: "Rubric", connect: Callable[[], Target]) -> "Rubric":
    """Give a rubric the model that writes its other framing.

    Args:
        rubric: any rubric.
        connect: gives the model. It is called when the first query is framed.

    Returns:
        The rubric, with the model where its pair has a prompt.
    """
    if rubric.pair is None or rubric.pair.prompt is None:
        return rubric
    return replace(rubric, pair=replace(rubric.pair, connect=connect))


def with_known_pairs(rubric: "Rubric", framed: Mapping[str, str]) -> "Rubric":
    """Give a rubric the other framings that a model wrote before.

    Args:
        rubric: a rubric about pairs.
        framed: query to its other framing.

    Returns:
        The rubric. Where its pair has a prompt, it frames these queries and no others.
    """
    pair = rubric.pair
    if pair is None or pair.prompt is None:
        return rubric
    written = {_fill_prompt(pair.prompt, query): text for query, text in framed.items()}

    async def recall(messages, **_) -> Reply:
        return Reply(written[messages[0]["content"]], "stop")

    recorded = cast(Target, recall)
    return with_framer(rubric, lambda: recorded)


async def frame_query(rubric: "Rubric", query: str) -> str:
    """Put a query into the other framing of a rubric.

    A query has one other framing: fresh answers are answers to the same pair. The other framing of
    a query that is in a template's framing is the query without it.

    Args:
        rubric: the rubric.
        query: the query.

    Returns:
        The query in the other framing; "" where the rubric is not about pairs.

    Raises:
        UserError: the framing needs a model, and the rubric has none.
        ValueError: the model gave no whole text, or the query itself.
    """
    pair = rubric.pair
    if pair is None:
        return ""
    if pair.template is not None:
        framed = _fill_or_empty(pair.template, query)
    else:
        framed = await _ask_for_framing(rubric.name, pair, query)
    if framed.split() == query.split():
        raise ValueError("both framings of the query are the same text")
    return framed


def _fill_or_empty(template: str, query: str) -> str:
    """The template with the query in it, or what the template holds where the query is one."""
    before, _, after = template.partition("{query}")
    inner = query[len(before) : len(query) - len(after)]
    if inner.strip() and query == before + inner + after:
        return inner
    return before + query + after


async def _ask_for_framing(name: str, pair: Pair, query: str) -> str:
    """The model's text for a query."""
    if pair.connect is None:
        raise UserError(f"rubric {name}: a model writes its pairs. Give --writer MODEL.")
    assert pair.prompt is not None  # the schema wants a template or a prompt
    messages = [{"role": "user", "content": _fill_prompt(pair.prompt, query)}]
    reply = await pair.connect()(messages, sample=0, max_tokens=MAX_EXTRA_TOKENS + len(query))
    if reply.problem:
        raise ValueError(f"the model gave no whole query: {reply.problem}")
    return reply.text.strip()


def _fill_prompt(prompt: str, query: str) -> str:
    """The prompt with the query as JSON. Not str.format: it may contain other braces."""
    return prompt.replace("{query}", json.dumps(query, ensure_ascii=False))

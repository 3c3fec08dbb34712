"""Failing exchanges: described as the rows of an index were, with the crux of each.

An exchange whose response does not look like a violation has no crux, and is told so instead of
traced. Without a judge model the rubric's screen says so, before any model is called.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from chunkykit.attributes import (
    SYSTEM_PROMPT,
    describe_lexically,
    llm_describer,
    query_context,
    response_context,
)
from chunkykit.errors import describe_error
from chunkykit.index import SIDE_COLUMNS, describe_texts
from chunkykit.models import Ledger, ModelPool
from chunkykit.progress import gather_calls
from chunkykit.rubrics import Rubric, lacks_signs
from chunkykit.turf.crux import llm_crux_judge, select_crux
from chunkykit.types import OFFLINE, Context, Describer, Embedder, Target


class Exchange(NamedTuple):
    """A query and the model's response to it.

    Attributes:
        query: the last turn of the user, or of a tool.
        response: the model's answer.
        system: the system prompt that it stands under; "" for none.
        turn: number of the answer in its conversation, from 1.
        tools: names of the tools that the model could call, by commas; "" for none.
        from_tool: whether a tool wrote the query.
        is_call: whether the response calls a tool.
    """

    query: str
    response: str
    system: str = ""
    turn: int = 1
    tools: str = ""
    from_tool: bool = False
    is_call: bool = False

    @property
    def query_context(self) -> Context:
        """What is known of the query beside its words."""
        return query_context(self.system, self.turn, self.tools, self.from_tool)

    @property
    def response_context(self) -> Context:
        """What is known of the response beside its words."""
        return response_context(self.response, self.is_call)


def exchanges_of(rows: pd.DataFrame) -> list[Exchange]:
    """Make exchanges of the rows of a mixture.

    Args:
        rows: with columns prompt and response, and perhaps the other fields of an exchange.

    Returns:
        One exchange per row.
    """
    named = rows.rename(columns={"prompt": "query"})
    fields = [name for name in Exchange._fields if name in named]
    exchanges = []
    for values in zip(*(named[name] for name in fields), strict=True):
        present = {name: value for name, value in zip(fields, values) if not pd.isna(value)}
        exchanges.append(Exchange(**present))
    return exchanges


class DescribedExchange(NamedTuple):
    """An exchange as a tracer takes it, or why there is nothing to trace.

    Attributes:
        query_attributes: attribute sentences of the query.
        cruxes: attribute sentences of the response that make it a failure, most responsible first.
        no_violation: why the response does not look like a violation; "" where it does.
        error: why it could not be described or judged; "" where it could.
    """

    query_attributes: list[str]
    cruxes: list[str]
    no_violation: str = ""
    error: str = ""

    @property
    def is_traceable(self) -> bool:
        """Whether there is something to trace."""
        return not (self.no_violation or self.error)


def screen_exchange(exchange: Exchange, rubric: Rubric, side: str = "response") -> str:
    """Say why a response plainly does not look like a violation, without a model.

    Args:
        exchange: the exchange.
        rubric: what the response is said to violate.
        side: what the response is: "response" or "reasoning".

    Returns:
        One sentence; "" where it may be a violation.
    """
    if side != "response" or not lacks_signs(rubric, exchange.response):
        return ""
    return _no_violation(rubric, "the rubric's check sees no sign of one in it")


def _no_violation(rubric: Rubric, reason: str) -> str:
    return f"this response does not look like a violation of {rubric.name}: {reason}"


async def describe_exchanges(
    exchanges: Sequence[Exchange],
    rubric: Rubric,
    describe: Describer,
    embed: Embedder,
    *,
    judge: Target | None = None,
    side: str = "response",
    anyway: bool = False,
) -> list[DescribedExchange]:
    """Describe exchanges and pick their cruxes (paper sec. 3, both judges).

    Args:
        exchanges: the exchanges.
        rubric: what the responses violate.
        describe: the describer that described the rows of the index.
        embed: the embedder of the index.
        judge: the informed judge, a chat model; None for the nearest attributes (`select_crux`).
        side: what the responses are: "response", "reasoning", or "rejected" ones.
        anyway: whether to pick cruxes of responses that do not look like violations, too.

    Returns:
        One item per exchange. A call that failed is an error of its exchange alone.

    Raises:
        UserError: the describer failed for too many texts, or a limit is reached.
    """
    items = [DescribedExchange([], [])] * len(exchanges)
    if judge is None and not anyway:
        reasons = [screen_exchange(exchange, rubric, side) for exchange in exchanges]
        items = [DescribedExchange([], [], reason) for reason in reasons]
    places = [i for i, item in enumerate(items) if item.is_traceable]
    queries, responses = await describe_sides([exchanges[i] for i in places], describe, side)
    picks = [_pick_cruxes(attributes, rubric, embed, judge, anyway) for attributes in responses]
    cruxes = await gather_calls("cruxes", picks, "responses")
    for i, query, pick in zip(places, queries, cruxes, strict=True):
        error = pick.error or ("" if query else "the describer gave no attribute of the query")
        items[i] = pick._replace(query_attributes=query, error=error)
    return items


async def describe_sides(
    exchanges: Sequence[Exchange], describe: Describer, side: str = "response"
) -> tuple[list[list[str]], list[list[str]]]:
    """Describe both sides of exchanges as the rows of an index are described.

    Args:
        exchanges: the exchanges.
        describe: the describer.
        side: what the responses are: "response", "reasoning", or "rejected" ones.

    Returns:
        For each exchange the attributes of its query, with those of its system prompt, and those
        of its response.
    """
    of_queries = [item.query_context for item in exchanges]
    queries = await describe_texts(
        [item.query for item in exchanges], "query", describe, of_queries
    )
    systems = await describe_texts([item.system for item in exchanges], SYSTEM_PROMPT, describe)
    described_as = SIDE_COLUMNS[side][1]
    responses = await describe_texts(
        [item.response for item in exchanges],
        described_as,
        describe,
        [item.response_context for item in exchanges] if described_as == "response" else (),
    )
    return [[*query, *system] for query, system in zip(queries, systems)], responses


async def _pick_cruxes(
    attributes: list[str], rubric: Rubric, embed: Embedder, judge: Target | None, anyway: bool
) -> DescribedExchange:
    """The cruxes of a response with these attributes; the query is still to come."""
    if not attributes:
        return DescribedExchange([], [], error="the describer gave no attribute of the response")
    if judge is None:
        return DescribedExchange([], select_crux(attributes, rubric, embed))
    try:
        cruxes = await llm_crux_judge(judge)(attributes, rubric)
    except Exception as error:
        return DescribedExchange([], [], error=f"crux judge: {describe_error(error)}")
    if cruxes or not rubric.seeks_violation:
        return DescribedExchange([], cruxes)
    if anyway:
        return DescribedExchange([], select_crux(attributes, rubric, embed))
    reason = f"{judge.name} says that none of its attributes shows one"
    return DescribedExchange([], [], _no_violation(rubric, reason))


async def describe_with_models(
    exchanges: Sequence[Exchange],
    rubric: Rubric,
    embed: Embedder,
    *,
    describer: str | Describer,
    judge: str = OFFLINE,
    ledger: Ledger | None = None,
    side: str = "response",
    anyway: bool = False,
) -> list[DescribedExchange]:
    """Do what `describe_exchanges` does with models by name, and close their connections.

    Args:
        exchanges: the exchanges.
        rubric: what the responses violate.
        embed: the embedder of the index.
        describer: the describer of the index: a model, "offline", or your own.
        judge: the informed judge: a model, or "offline".
        ledger: keeps the calls.
        side: what the responses are: "response" or "reasoning".
        anyway: whether to pick cruxes of responses that do not look like violations, too.

    Returns:
        One item per exchange.

    Raises:
        UserError: as `describe_exchanges`, and for a name that is not a model's.
    """
    async with ModelPool(ledger) as pool:
        describe: Describer
        if callable(describer):
            describe = describer
        elif describer == OFFLINE:
            describe = describe_lexically
        else:
            describe = llm_describer(pool.model(describer, "describer"))
        judge_model = None if judge == OFFLINE else pool.model(judge, "crux")
        return await describe_exchanges(
            exchanges, rubric, describe, embed, judge=judge_model, side=side, anyway=anyway
        )

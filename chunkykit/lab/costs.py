"""What a run will take, before it starts: calls and tokens per role.

A guess at what a query, an answer and a judgement take, without thinking. Of a run, ablations and
the judge's calls for traces are left out: how many there are depends on what the search finds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from chunkykit.lab.run import Run
from chunkykit.lab.settings import Settings
from chunkykit.models import estimate_cost, server_of
from chunkykit.numbers import dollars as format_dollars
from chunkykit.rubrics import Rubric, load_rubrics
from chunkykit.text import count_of
from chunkykit.turf import Exchange
from chunkykit.types import OFFLINE

CHARACTERS_PER_TOKEN = 4
DESCRIBER_PROMPT_TOKENS, DESCRIBER_ANSWER_TOKENS = 200, 300
INDEX_TEXT_TOKENS = 600  # per text of unknown length, with the instructions
SENTENCE_TOKENS = 15  # of an attribute
SENTENCES_PER_TEXT = 10
SENTENCES_PER_REQUEST = 256  # that an embedder embeds at once, of an index
REQUESTS_PER_TRACE = 4  # to an embedder
CRUX_PROMPT_TOKENS, CRUX_ANSWER_TOKENS = 500, 30  # with the ten attributes of a response
VERIFY_PROMPT_TOKENS, VERIFY_ANSWER_TOKENS = 250, 15  # without the training row
NAME_PROMPT_TOKENS, NAME_ANSWER_TOKENS = 500, 30  # with the attributes of a group's members
REPAIR_PROMPT_TOKENS = 220  # without the exchange
PAIR_TOKENS = 460  # of a second query and answer that a judge reads
MIN_MILLIONS = 50_000  # tokens from which an estimate counts them in millions


class PlannedCalls(NamedTuple):
    """Calls of one model.

    Attributes:
        model: its name.
        calls: how many.
        tokens_in: tokens read per call.
        tokens_out: tokens written per call.
        role: what it is called for.
    """

    model: str
    calls: int
    tokens_in: float
    tokens_out: float
    role: str = ""


def format_estimate(plan: Sequence[PlannedCalls], free: bool) -> str:
    """Format the calls, tokens and dollars of a plan as one line.

    Args:
        plan: the calls.
        free: whether every model is local.

    Returns:
        The line.
    """
    calls, tokens, dollars = estimate_cost(plan)
    if free:
        price = "$0: every model is local"
    elif dollars is None:
        price = "price unknown"
    elif dollars < 0.01:
        price = format_dollars(dollars)
    else:
        price = f"about {format_dollars(dollars)}"
    millions = f"{tokens / 1e6:,.1f} million"
    count = millions if tokens >= MIN_MILLIONS else f"{tokens:,}"
    return f"about {count_of(calls, 'model call')}, {count} tokens ({price})"


def plan_run(run: Run) -> list[PlannedCalls]:
    """Plan the calls of a whole run.

    Args:
        run: the run.

    Returns:
        What `models.estimate_cost` takes.
    """
    sizes = run.sizes
    rewrites = sizes.winners * sizes.rewrites
    again = sizes.confirm + sizes.winners * max(sizes.rewrites, sizes.samples)
    fresh = again + rewrites * sizes.samples
    return [
        *_plan_roles(run.settings, run.rubrics, sizes.tries, fresh, rewrites),
        *_plan_describer(run),
    ]


def plan_search(settings: Settings) -> list[PlannedCalls]:
    """Plan the calls of a search alone.

    Args:
        settings: the settings of the search.

    Returns:
        What `models.estimate_cost` takes.
    """
    sizes = settings.sizes
    rubrics = load_rubrics(settings.rubrics[:1])  # the one that is searched for
    return _plan_roles(settings, rubrics, sizes.tries, sizes.confirm, 0)


def plan_answers(settings: Settings, rubric: Rubric, answers: int) -> list[PlannedCalls]:
    """Plan the calls that answer and judge queries that are there already.

    Args:
        settings: names the target, and the judge that confirms.
        rubric: the rubric that is judged.
        answers: number of answers.

    Returns:
        What `models.estimate_cost` takes, without what makes no calls.
    """
    return _without_idle(_plan_roles(settings, [rubric], 0, answers, 0))


def plan_index(describer: str, texts: int, embedder: str = OFFLINE) -> list[PlannedCalls]:
    """Plan the calls that describe the rows of an index and embed their attributes.

    Args:
        describer: the model that describes, or "offline".
        texts: prompts and responses.
        embedder: the embedder; one that makes no requests does not count.

    Returns:
        What `models.estimate_cost` takes, without what makes no calls. Sentences that many texts
        share are embedded once, so that the embedder makes fewer calls where a text is described
        offline.
    """
    requests = math.ceil(texts * SENTENCES_PER_TEXT / SENTENCES_PER_REQUEST)
    tokens = SENTENCES_PER_REQUEST * SENTENCE_TOKENS
    plan = [
        PlannedCalls(describer, texts, INDEX_TEXT_TOKENS, DESCRIBER_ANSWER_TOKENS, "describer"),
        PlannedCalls(embedder, requests, tokens, 0, "embedder"),
    ]
    return _without_idle(plan)


def _without_idle(plan: Sequence[PlannedCalls]) -> list[PlannedCalls]:
    """A plan without what makes no calls: offline parts, and embedders without a server."""
    return [
        part
        for part in plan
        if part.calls and part.model != OFFLINE and (part.tokens_out or server_of(part.model))
    ]


def plan_traces(
    exchanges: Sequence[Exchange],
    describer: str,
    judge: str = OFFLINE,
    embedder: str = OFFLINE,
    *,
    verified_rows: int = 0,
    row_characters: float = 0.0,
    sentences: int = 0,
) -> list[PlannedCalls]:
    """Plan the calls that describe exchanges, pick cruxes, embed attributes and verify traces.

    Args:
        exchanges: the exchanges.
        describer: the model that described the rows of the index, or "offline".
        judge: the model that picks cruxes, verifies and writes, or "offline".
        embedder: the embedder; one that makes no requests does not count.
        verified_rows: training rows that the judge is asked about.
        row_characters: characters of such a row.
        sentences: groups of traces whose sentence the judge writes.

    Returns:
        What `models.estimate_cost` takes, without what makes no calls. Calls that a ledger has
        answers to are counted, too.
    """
    systems = {item.system for item in exchanges if item.system}
    texts = {text for item in exchanges for text in (item.query, item.response)} | systems
    characters = sum(len(text) for text in texts)
    tokens_in = DESCRIBER_PROMPT_TOKENS + characters / CHARACTERS_PER_TOKEN / max(1, len(texts))
    n_texts = 2 * len(exchanges) + len(systems)
    embedder_tokens = SENTENCES_PER_TEXT * SENTENCE_TOKENS
    verify_tokens = VERIFY_PROMPT_TOKENS + row_characters / CHARACTERS_PER_TOKEN
    plan = [
        PlannedCalls(describer, n_texts, tokens_in, DESCRIBER_ANSWER_TOKENS, "describer"),
        PlannedCalls(judge, len(exchanges), CRUX_PROMPT_TOKENS, CRUX_ANSWER_TOKENS, "crux"),
        PlannedCalls(judge, verified_rows, verify_tokens, VERIFY_ANSWER_TOKENS, "verify"),
        PlannedCalls(judge, sentences, NAME_PROMPT_TOKENS, NAME_ANSWER_TOKENS, "name"),
        PlannedCalls(embedder, REQUESTS_PER_TRACE * len(exchanges), embedder_tokens, 0, "embedder"),
    ]
    return _without_idle(plan)


def plan_rewriting(
    rewriter: str, describer: str, characters: Sequence[int], embedder: str = OFFLINE
) -> list[PlannedCalls]:
    """Plan the calls that write responses anew, and describe them for the gate.

    Args:
        rewriter: the model that writes.
        describer: the model that described the rows of the index, or "offline".
        characters: of each prompt with its response.
        embedder: the embedder; one that makes no requests does not count.

    Returns:
        What `models.estimate_cost` takes, without what makes no calls.
    """
    n = len(characters)
    tokens = sum(characters) / CHARACTERS_PER_TOKEN / max(1, n)
    plan = [
        PlannedCalls(rewriter, n, REPAIR_PROMPT_TOKENS + tokens, tokens, "rewriter"),
        *plan_index(describer, n, embedder),
    ]
    return _without_idle(plan)


def _plan_roles(
    settings: Settings, rubrics: Sequence[Rubric], candidates: int, fresh: int, rewrites: int
) -> list[PlannedCalls]:
    """The calls for candidates, fresh answers and rewrites of each rubric.

    A pair of a rubric takes two answers, which its judge reads both. Where a model writes the other
    framing, it does so for each new query.
    """
    n = len(rubrics)
    pairs = sum(rubric.pair is not None for rubric in rubrics)
    framed = sum(rubric.pair is not None and rubric.pair.prompt is not None for rubric in rubrics)
    judged_tokens = 900 + PAIR_TOKENS * pairs / max(1, n)
    judging = [(judge, n * candidates, "judge") for judge in settings.judges]
    judging += [(judge, n * fresh, "confirm judge") for judge in settings.confirm_judges]
    return [
        PlannedCalls(settings.writer, (n + framed) * (candidates + rewrites), 200, 60, "writer"),
        PlannedCalls(settings.target, (n + pairs) * (candidates + fresh), 60, 400, "target"),
        *(PlannedCalls(judge, calls, judged_tokens, 100, role) for judge, calls, role in judging),
        PlannedCalls(settings.gate, n * candidates, 200, 20, "gate"),
    ]


def _plan_describer(run: Run) -> list[PlannedCalls]:
    if run.settings.describer == OFFLINE and server_of(run.settings.embedder) is None:
        return []  # the rows need not be read
    rows = run.mixture().rows
    texts = pd.concat([rows["prompt"], rows["response"]]).drop_duplicates()
    text_tokens = texts.str.len().mean() / CHARACTERS_PER_TOKEN
    # a batch costs half; half the tokens at the full price come to the same
    share = 0.5 if run.settings.batch else 1.0
    describing = PlannedCalls(
        run.settings.describer,
        len(texts),
        share * (DESCRIBER_PROMPT_TOKENS + text_tokens),
        share * DESCRIBER_ANSWER_TOKENS,
        "describer",
    )
    return [describing, *plan_index(OFFLINE, len(texts), run.settings.embedder)]

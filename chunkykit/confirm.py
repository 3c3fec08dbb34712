"""Measure again: the best scores of a search are winners by luck too, so rates come from fresh answers alone."""

import asyncio
from collections.abc import Callable

import pandas as pd

from chunkykit.llm import ChatModel
from chunkykit.rubric import VIOLATION, Rubric, ask
from chunkykit.stats import Rate, wilson
from chunkykit.surf import failures

FRESH = 2**31  # sample numbers from here on: never drawn by a search, so never served from its answers


async def measure(queries: list[str], target: ChatModel, judge: Callable, rubric: Rubric, *, n: int = 0,
                  seed: int = 0) -> pd.DataFrame:
    """Fresh answers to the queries, judged afresh: DataFrame[query, response, score, reason, error].

    n: answers in all, going round the queries; at least one each.
    """
    total = max(n, len(queries)) if queries else 0
    rounds = [(queries[i % len(queries)], FRESH + seed * 1000 + i // len(queries)) for i in range(total)]
    answered = await asyncio.gather(*(ask(query, target, judge, rubric, sample, sample) for query, sample in rounds))
    return pd.DataFrame(answered, columns=["query", "response", "score", "reason", "error"])


def rate(judged: pd.DataFrame) -> Rate:
    """The share of violations among the judged, with its 95 % Wilson interval; failed judgements are not in n."""
    scores = pd.to_numeric(judged["score"]).dropna()
    return wilson(int((scores > VIOLATION).sum()), len(scores))


async def confirm(probes: pd.DataFrame, target: ChatModel, judge: Callable, rubric: Rubric, *, prompts: int = 60) -> tuple[dict, pd.DataFrame]:
    """Answer a search's winners afresh.

    probes: both arms of one rubric (surf.COLUMNS). prompts: distinct failing queries, best first, one answer each.
    Returns {rubric, rate, low, high, n, errors, search_*, control_*} and the answers: `rate` is that of the winners, given
    such a query; `search_` and `control_` rate, low, high, n are the yields of the two arms, failures per judged candidate,
    which are what to compare with one another.
    """
    winners = list(failures(probes)["query"].drop_duplicates()[:prompts])
    answers = await measure(winners, target, judge, rubric)
    row = {"rubric": rubric.name, **rate(answers)._asdict(), "errors": int(answers["error"].notna().sum())}
    for arm in ("search", "control"):
        row |= {f"{arm}_{k}": v for k, v in rate(probes[probes["arm"] == arm])._asdict().items()}
    return row, answers.assign(rubric=rubric.name)

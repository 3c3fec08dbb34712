"""Measure again: the best scores of a search are winners by luck too, so rates come from fresh answers alone."""

import asyncio
from collections.abc import Callable

import pandas as pd

from chunkykit.llm import ChatModel
from chunkykit.rubric import VIOLATION, Rubric
from chunkykit.stats import Rate, wilson

FRESH = 2**31  # sample numbers from here on: never drawn by a search, so never served from its answers


async def measure(queries: list[str], target: ChatModel, judge: Callable, rubric: Rubric, *, n: int = 0,
                  seed: int = 0) -> pd.DataFrame:
    """Fresh answers to the queries, judged: DataFrame[query, response, score, reason, error].

    n: answers in all, going round the queries; at least one each.
    """
    rounds = [(q, FRESH + seed * 1000 + i // len(queries)) for i, q in enumerate(queries * (1 + max(0, n - 1) // max(1, len(queries))))]

    async def one(query: str, sample: int) -> dict:
        try:
            reply = await target([{"role": "user", "content": query}], sample=sample)
        except Exception as error:
            return {"query": query, "response": "", "score": None, "reason": "", "error": f"{type(error).__name__}: {error}"[:300]}
        return {"query": query, "response": reply.text, **(await judge(rubric, query, reply))._asdict()}

    answered = await asyncio.gather(*(one(*pair) for pair in rounds[: max(n, len(queries))]))
    return pd.DataFrame(answered, columns=["query", "response", "score", "reason", "error"])


def rate(judged: pd.DataFrame) -> Rate:
    """The share of violations among the judged, with its 95 % Wilson interval; failed judgements are not in n."""
    scores = pd.to_numeric(judged["score"]).dropna()
    return wilson(int((scores > VIOLATION).sum()), len(scores))

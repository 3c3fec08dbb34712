"""A planted world in memory: a target whose failures are known, and a search in it.

A query is the numbers of its attributes. The exchange scores 95 where it has features 7 and 21, 60
where it has only 7, and 3 otherwise.
"""

import asyncio

import numpy as np

from chunkykit.models import ChatModel
from chunkykit.rubrics import load_rubric
from chunkykit.surf import Pool, SearchResult, run_search
from chunkykit.types import Judgement, Reply

N_ATTRIBUTES = 60
POOL = Pool(
    [f"The query has feature {i}" for i in range(N_ATTRIBUTES)],
    [np.array([i, (i + 1) % N_ATTRIBUTES, (i + 7) % N_ATTRIBUTES]) for i in range(N_ATTRIBUTES)],
)
RUBRIC = load_rubric("refusal")


async def write(sentences, sample):
    features = [sentence.split()[-1] for sentence in sentences]
    return " ".join(features) + f" #{sample}"


async def echo(messages, sample=0, **_):
    return Reply(messages[0]["content"].split(" #")[0], "stop")


async def judge(rubric, query, reply, sample=0):
    features = reply.text.split()
    if "7" not in features:
        return Judgement(3.0, "planted")
    return Judgement(95.0 if "21" in features else 60.0, "planted")


async def judge_harmless(rubric, query, reply, sample=0):
    return Judgement(0.0)


def search(run=run_search, target=echo, judge=judge, **settings) -> SearchResult:
    """Search the planted world: 2 runs x 6 iterations x 40 candidates of the paper's strategy."""
    defaults = {"candidates": 40, "iterations": 6, "runs": 2, "seed": 0, "strategy": "paper"}
    model = ChatModel("planted", target)
    return asyncio.run(run(POOL, write, model, judge, RUBRIC, **{**defaults, **settings}))

"""Measure again: the best scores of a search are winners by luck too, so rates come from fresh answers alone."""

import asyncio
from collections.abc import Callable

import pandas as pd

from chunkykit.errors import describe_error
from chunkykit.models import ChatModel
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, judge_exchange
from chunkykit.stats import Rate, wilson
from chunkykit.surf.search import select_failures

SECOND_SEED = 500  # the seed of a measurement that shares no answer with `confirm`'s
ROBUSTNESS_COLUMNS = [
    "rubric",
    "query",
    "rate",
    "original_n",
    "perturbed_rate",
    "low",
    "high",
    "n",
    "errors",
]
FIRST_FRESH_SAMPLE = (
    2**31
)  # sample numbers from here on: never drawn by a search, so never served from its answers


async def judge_fresh_answers(
    queries: list[str],
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    *,
    n: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Fresh answers to the queries, judged afresh: DataFrame[query, response, score, reason, error].
    n: answers in all, going round the queries; at least one each."""
    total = max(n, len(queries)) if queries else 0
    rounds = [
        (queries[i % len(queries)], FIRST_FRESH_SAMPLE + seed * 1000 + i // len(queries))
        for i in range(total)
    ]
    answered = await asyncio.gather(
        *(judge_exchange(query, target, judge, rubric, sample, sample) for query, sample in rounds)
    )
    return pd.DataFrame(answered, columns=["query", "response", "score", "reason", "error"])


def failure_rate(judged: pd.DataFrame) -> Rate:
    """The share of violations among the judged, with its 95 % Wilson interval; failed judgements are not in n."""
    scores = pd.to_numeric(judged["score"]).dropna()
    return wilson(int((scores > VIOLATION_THRESHOLD).sum()), len(scores))


async def confirm_winners(
    probes: pd.DataFrame, target: ChatModel, judge: Callable, rubric: Rubric, *, prompts: int = 60
) -> tuple[dict, pd.DataFrame]:
    """Answer a search's winners afresh. probes: both arms of one rubric (surf.COLUMNS); prompts: distinct failing queries, best first.

    Returns {rubric, rate, low, high, n, errors, search_*, control_*} and the answers, one a query: `rate` is that of the winners, given
    such a query; search_ and control_ rate, low, high, n are the yields of the two arms, failures per judged candidate, to be compared."""
    winners = list(select_failures(probes)["query"].drop_duplicates()[:prompts])
    answers = await judge_fresh_answers(winners, target, judge, rubric)
    row = {
        "rubric": rubric.name,
        **failure_rate(answers)._asdict(),
        "errors": int(answers["error"].notna().sum()),
    }
    for arm in ("search", "control"):
        row |= {
            f"{arm}_{k}": v for k, v in failure_rate(probes[probes["arm"] == arm])._asdict().items()
        }
    return row, answers.assign(rubric=rubric.name)


async def measure_robustness(
    probes: pd.DataFrame,
    rewrite: Callable,
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    *,
    winners: int = 5,
    rewrites: int = 20,
    samples: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Does a failure outlive other words? The best winners beside rewrites that keep their substance (paper Fig. 5).

    rewrite: `await rewrite(query, sample) -> str`, which may raise. winners: distinct failing queries, best first, each answered afresh
    as often as there are rewrites or samples, whichever is more. rewrites: of each; those that come out alike count once. samples:
    answers to a rewrite. Returns a row a winner (ROBUSTNESS: `rate` of `original_n` answers to the query itself; `perturbed_rate` of
    `n` answers to rewrites, with its 95 % Wilson interval; `errors`, failed calls, are in neither n) and the answers to the rewrites."""
    rows, told = (
        [],
        [
            pd.DataFrame(
                columns=["rubric", "original", "query", "response", "score", "reason", "error"]
            )
        ],
    )
    for query in select_failures(probes)["query"].drop_duplicates()[:winners]:
        drawn = await asyncio.gather(
            *(rewrite(query, i) for i in range(rewrites)), return_exceptions=True
        )
        failed = [describe_error(error) for error in drawn if isinstance(error, Exception)]
        made = [text for text in dict.fromkeys(drawn) if isinstance(text, str) and text != query]
        fresh = await judge_fresh_answers(
            [query], target, judge, rubric, n=max(rewrites, samples), seed=SECOND_SEED
        )
        answers = await judge_fresh_answers(
            made, target, judge, rubric, n=len(made) * samples, seed=SECOND_SEED
        )
        errors = len(failed) + int(fresh["error"].notna().sum() + answers["error"].notna().sum())
        original = failure_rate(fresh)
        rows.append((rubric.name, query, original.rate, original.n, *failure_rate(answers), errors))
        told.append(answers.assign(rubric=rubric.name, original=query))
    return pd.DataFrame(rows, columns=ROBUSTNESS_COLUMNS), pd.concat(told, ignore_index=True)


def robustness_by_rubric(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `robustness` summed over a rubric's winners: rubric, rate, original_low, original_high, original_n,
    perturbed_rate, low, high, n. The intervals treat answers as independent, also those to one query."""
    rows = []
    for name, mine in table.groupby("rubric", sort=False):
        sides = (
            (mine[share] * mine[n], mine[n])
            for share, n in (("rate", "original_n"), ("perturbed_rate", "n"))
        )
        rows.append(
            (
                name,
                *(value for hits, n in sides for value in wilson(round(hits.sum()), int(n.sum()))),
            )
        )
    return pd.DataFrame(
        rows,
        columns=[
            "rubric",
            "rate",
            "original_low",
            "original_high",
            "original_n",
            "perturbed_rate",
            "low",
            "high",
            "n",
        ],
    )

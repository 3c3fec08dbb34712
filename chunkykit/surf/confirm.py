"""Measure failures on fresh answers.

A search selects the queries with the highest scores, and some of them have these scores by luck.
Their failure rate among the search's own answers is therefore too high. All rates here come from
answers that no search has seen.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from chunkykit.errors import describe_error
from chunkykit.progress import gather_calls
from chunkykit.provenance import system_prompts
from chunkykit.rubrics import EXCHANGE_COLUMNS, VIOLATION_THRESHOLD, Rubric, judge_exchange
from chunkykit.stats import clustered_wilson
from chunkykit.surf.judged import select_failures
from chunkykit.surf.search import FIRST_FRESH_SAMPLE, count_outcomes
from chunkykit.types import Judge, Question, Rate, Rewriter, Target

SAMPLES_PER_SEED = 1000  # sample numbers between two seeds
ROBUSTNESS_SEED = 500  # shares no answer with `confirm_winners`, whose seed is 0
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
ROBUSTNESS_SUM_COLUMNS = [
    "rubric",
    "rate",
    "original_low",
    "original_high",
    "original_n",
    "perturbed_rate",
    "low",
    "high",
    "n",
]


async def judge_fresh_answers(
    queries: Sequence[str | Question],
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    n: int = 0,
    seed: int = 0,
    part: range | None = None,
) -> pd.DataFrame:
    """Get fresh answers to queries, and judge them.

    Args:
        queries: the queries, each a text, or a question that stands under a system prompt.
        target: the model under audit.
        judge: scores the answers.
        rubric: what counts as a violation.
        n: number of answers, taken from the queries in turn. Each query is answered at least once.
        seed: calls with different seeds share no answer.
        part: numbers of the answers to get, of all these; None for all.

    Returns:
        One answer per row (`EXCHANGE_COLUMNS`).
    """
    total = max(n, len(queries)) if queries else 0
    calls = []
    for i in range(total) if part is None else part:
        turn, position = divmod(i, len(queries))
        sample = FIRST_FRESH_SAMPLE + seed * SAMPLES_PER_SEED + turn
        calls.append(judge_exchange(queries[position], target, judge, rubric, sample, sample))
    answers = await gather_calls("fresh answers", calls, "answers", _count_failing)
    return pd.DataFrame(answers, columns=EXCHANGE_COLUMNS)


def _count_failing(exchange: dict) -> dict[str, int]:
    """Count what came of a fresh answer, for those who watch."""
    counts = count_outcomes(exchange)
    return {"failing again": counts["failures"], "errors": counts["errors"]}


def failure_rate(judged: pd.DataFrame, by_query: bool = True) -> Rate:
    """Compute the share of violations among judged answers.

    Args:
        judged: answers with a column `score`. Those without a score are not counted.
        by_query: whether the interval is to hold for other queries like these. The answers to one
            query are then a cluster. Else it holds for these queries, and the answers are
            independent.

    Returns:
        The rate with its 95 % interval.
    """
    scores = pd.to_numeric(judged["score"]).dropna()
    has_queries = by_query and "query" in judged
    queries = judged["query"] if has_queries else judged.index.to_series()
    violates = (scores > VIOLATION_THRESHOLD).groupby(queries[scores.index])
    return clustered_wilson(violates.sum(), violates.size())


def look_ranges(n: int, look: int | None) -> list[range]:
    """Divide answers into parts, after each of which their rate is looked at.

    Args:
        n: number of answers.
        look: answers per part; None for one part.

    Returns:
        The numbers of the answers of each part.
    """
    step = look or max(1, n)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def are_apart(rate: Rate, other: Rate) -> bool:
    """Tell whether the intervals of two rates do not touch.

    Two 95 % intervals that do not touch are more than a test at 1 % asks for. So two or three looks
    at a growing sample stay within 5 %.

    Args:
        rate: a rate.
        other: the other one.

    Returns:
        Whether one interval lies above the other.
    """
    return rate.low > other.high or rate.high < other.low


async def confirm_winners(
    probes: pd.DataFrame,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    prompts: int = 60,
    look: int | None = None,
) -> tuple[dict, pd.DataFrame]:
    """Answer the failing queries of a search afresh.

    Args:
        probes: candidates of both arms of one rubric (`PROBE_COLUMNS`).
        target: the model under audit.
        judge: scores the answers.
        rubric: what counts as a violation.
        prompts: number of distinct failing queries, the highest score first.
        look: answers after which the rate is looked at. No others are asked for where its interval
            and that of the control arm are apart. None asks for all.

    Returns:
        The rates {rubric, rate, low, high, n, errors, search_*, control_*}, and the answers, one
        per query. `rate` is the failure rate of these queries. `search_*` and `control_*` (rate,
        low, high, n) are failures per judged candidate of each arm, to be compared.
    """
    winners = _failing_questions(probes, prompts)
    control = failure_rate(probes[probes["arm"] == "control"])
    answers = pd.DataFrame(columns=EXCHANGE_COLUMNS)
    for part in look_ranges(len(winners), look):
        more = await judge_fresh_answers(winners, target, judge, rubric, part=part)
        answers = more if answers.empty else pd.concat([answers, more], ignore_index=True)
        if are_apart(failure_rate(answers), control):
            break
    rates = {
        "rubric": rubric.name,
        **failure_rate(answers)._asdict(),
        "errors": int(answers["error"].notna().sum()),
    }
    for arm in ("search", "control"):
        rate_of_arm = failure_rate(probes[probes["arm"] == arm])
        for name, value in rate_of_arm._asdict().items():
            rates[f"{arm}_{name}"] = value
    return rates, answers.assign(rubric=rubric.name)


def _failing_questions(probes: pd.DataFrame, n: int) -> list[Question]:
    """The n distinct questions with the highest scores that failed in the search."""
    return distinct_questions(select_failures(probes))[:n]


def distinct_questions(exchanges: pd.DataFrame) -> list[Question]:
    """List what was asked.

    Args:
        exchanges: with the column `query`, and perhaps `system`.

    Returns:
        The distinct questions, in order.
    """
    systems = system_prompts(exchanges)
    return list(dict.fromkeys(map(Question, exchanges["query"], systems)))


async def measure_robustness(
    probes: pd.DataFrame,
    rewrite: Rewriter,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    winners: int = 5,
    rewrites: int = 20,
    samples: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure whether failures survive other words (paper Fig. 5).

    Args:
        probes: candidates of one rubric (`PROBE_COLUMNS`).
        rewrite: says a query in other words. It may raise, which counts as an error.
        target: the model under audit.
        judge: scores the answers.
        rubric: what counts as a violation.
        winners: number of distinct failing queries, the highest score first. Each is answered as
            often as there are rewrites or samples, whichever is more.
        rewrites: rewrites per query. Equal ones count once.
        samples: answers per rewrite.

    Returns:
        One row per query (`ROBUSTNESS_COLUMNS`), and the answers to the rewrites. `rate` is that of
        `original_n` answers to the query itself; `perturbed_rate`, with its 95 % Wilson interval,
        that of `n` answers to rewrites. `errors` counts failed calls, which are in neither n.
    """
    rows = []
    answers = [pd.DataFrame(columns=["rubric", "original", *EXCHANGE_COLUMNS])]
    n_fresh = max(rewrites, samples)
    for question in _failing_questions(probes, winners):
        query = question.text
        rewritten = await _rewrite_query(query, rewrite, rewrites)
        in_other_words = [Question(text, question.system) for text in rewritten.queries]
        n_answers = len(rewritten.queries) * samples
        world = (target, judge, rubric)
        original_answers, perturbed_answers = await asyncio.gather(
            judge_fresh_answers([question], *world, n=n_fresh, seed=ROBUSTNESS_SEED),
            judge_fresh_answers(in_other_words, *world, n=n_answers, seed=ROBUSTNESS_SEED),
        )
        original = failure_rate(original_answers)
        perturbed = failure_rate(perturbed_answers)
        errors = rewritten.errors + _count_errors(original_answers, perturbed_answers)
        rows.append((rubric.name, query, original.rate, original.n, *perturbed, errors))
        answers.append(perturbed_answers.assign(rubric=rubric.name, original=query))
    return pd.DataFrame(rows, columns=ROBUSTNESS_COLUMNS), pd.concat(answers, ignore_index=True)


class _Rewrites(NamedTuple):
    """The distinct rewrites of a query, and the number of calls that failed."""

    queries: list[str]
    errors: int


async def _rewrite_query(query: str, rewrite: Rewriter, n: int) -> _Rewrites:
    """Rewrite a query n times. Rewrites that equal the query are left out."""
    calls = [rewrite(query, sample) for sample in range(n)]
    outcomes = await gather_calls("rewriting", calls, "rewrites", return_exceptions=True)
    # describe_error raises what no further call would survive, such as a spent budget
    errors = [describe_error(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
    texts = dict.fromkeys(outcome for outcome in outcomes if isinstance(outcome, str))
    return _Rewrites([text for text in texts if text != query], len(errors))


def _count_errors(*tables: pd.DataFrame) -> int:
    """Count the answers that failed."""
    return sum(int(answers["error"].notna().sum()) for answers in tables)


def robustness_by_rubric(table: pd.DataFrame) -> pd.DataFrame:
    """Sum the rows of `measure_robustness` over the queries of each rubric.

    All answers to one query, and to its rewrites, are a cluster of the intervals.

    Args:
        table: rows of `ROBUSTNESS_COLUMNS`.

    Returns:
        One row per rubric: rubric; rate, original_low, original_high, original_n of the queries
        themselves; perturbed_rate, low, high, n of their rewrites.
    """
    rows = []
    for name, queries in table.groupby("rubric", sort=False):
        original = _pool_rates(queries["rate"], queries["original_n"])
        perturbed = _pool_rates(queries["perturbed_rate"], queries["n"])
        rows.append((name, *original, *perturbed))
    return pd.DataFrame(rows, columns=ROBUSTNESS_SUM_COLUMNS)


def _pool_rates(rates: pd.Series, n: pd.Series) -> Rate:
    """One rate over all answers; a rate without answers is NaN and adds no hits."""
    return clustered_wilson((rates * n).fillna(0).round(), n)

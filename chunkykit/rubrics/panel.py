"""A panel: several judges who vote on every exchange.

One judge's mistakes are the mistakes of a search, which looks for high scores wherever they come
from. Judges of different kinds share fewer of them.
"""

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.rubrics.pairs import Counterpart
from chunkykit.rubrics.rubric import VIOLATION_THRESHOLD, Rubric
from chunkykit.rubrics.verdict import judge_without_reading
from chunkykit.types import Judge, Judgement, Reply, Vote


def judge_panel(judges: Mapping[str, Judge]) -> Judge:
    """Make one judge of several.

    Args:
        judges: name to judge, at least one.

    Returns:
        The panel. An exchange is a violation if a strict majority of all judges says so. A judge
        that fails has no vote, but counts in the majority. Where no strict majority judged at
        all, the judgement is an error.
    """

    async def judge(
        rubric: Rubric,
        query: str,
        reply: Reply,
        sample: int = 0,
        pair: Counterpart | None = None,
        system: str = "",
    ) -> Judgement:
        judgement = judge_without_reading(rubric, reply, pair)
        if judgement is not None:
            return judgement
        calls = [
            ask_judge(judge, rubric, query, reply, sample, pair, system)
            for judge in judges.values()
        ]
        return _count(judges, await asyncio.gather(*calls))

    return judge


async def ask_judge(
    judge: Judge,
    rubric: Rubric,
    query: str,
    reply: Reply,
    sample: int,
    pair: Counterpart | None,
    system: str,
) -> Judgement:
    """Ask a judge, who may lack what plain exchanges have not: a pair and a system prompt."""
    more: dict = {"pair": pair} if pair else {}
    if system and _takes_system(judge):
        more["system"] = system
    return await judge(rubric, query, reply, sample, **more)


def _takes_system(judge: Judge) -> bool:
    """Whether a judge reads system prompts; one of your own need not."""
    parameters = inspect.signature(judge).parameters.values()
    return any(p.name == "system" or p.kind is p.VAR_KEYWORD for p in parameters)


def _count(judges: Mapping[str, Judge], judgements: Sequence[Judgement]) -> Judgement:
    """Count the votes of a panel."""
    votes = tuple(
        Vote(name, judgement.score, judgement.reason, judgement.error)
        for name, judgement in zip(judges, judgements, strict=True)
    )
    scores = [vote.score for vote in votes if vote.score is not None]
    bar = len(votes) // 2 + 1  # votes of a strict majority
    if len(scores) < bar:
        errors = Counter(vote.error for vote in votes if vote.error)
        common = errors.most_common(1)[0][0]
        return Judgement(
            None,
            error=f"{len(votes) - len(scores)} of {len(votes)} judges failed: {common}",
            votes=votes,
        )
    # The score that a strict majority reaches: it is over a threshold where they all are.
    score = sorted(scores, reverse=True)[bar - 1]
    return Judgement(score, _reason(votes, score), votes=votes)


def _reason(votes: Sequence[Vote], score: float) -> str:
    """How the panel voted, and why the judges on the winning side did."""
    violates = score > VIOLATION_THRESHOLD
    by_side: dict[bool, list[str]] = {True: [], False: []}
    for vote in votes:
        if vote.score is not None:
            by_side[vote.score > VIOLATION_THRESHOLD].append(vote.reason)
    reason = next(filter(None, by_side[violates]), "")
    return f"{len(by_side[True])} of {len(votes)} judges see a violation. {reason}".strip()


def format_votes(votes: Sequence[Vote]) -> str | None:
    """Write the votes of a panel as a table holds them.

    Args:
        votes: the votes on one exchange.

    Returns:
        JSON, {judge: {score, reason, error}}; None without votes.
    """
    if not votes:
        return None
    by_judge = {
        vote.judge: {"score": vote.score, "reason": vote.reason, "error": vote.error}
        for vote in votes
    }
    return json.dumps(by_judge, ensure_ascii=False)


def vote_scores(exchanges: pd.DataFrame) -> pd.DataFrame:
    """Read the score that each judge gave.

    Args:
        exchanges: judged exchanges, with a column `votes` where a panel judged them.

    Returns:
        One row per exchange, in the same order and with the same index, and one column per judge;
        NaN where a judge failed or did not vote. No columns where no panel judged.

    Raises:
        UserError: a cell of `votes` does not hold votes.
    """
    if "votes" not in exchanges:
        return pd.DataFrame(index=exchanges.index)
    rows = []
    for position, cell in enumerate(exchanges["votes"], 1):
        votes = {} if pd.isna(cell) else _read_votes(cell, position)
        rows.append({judge: vote["score"] for judge, vote in votes.items()})
    return pd.DataFrame(rows, index=exchanges.index, dtype=float)


def _read_votes(cell: str, row: int) -> dict[str, dict]:
    """The votes in a cell; UserError where it holds something else."""
    try:
        votes = json.loads(cell)
        scores = [vote["score"] for vote in votes.values()]
        if all(score is None or 0 <= score <= 100 for score in scores):
            return votes
        problem = "a score is not from 0 to 100"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise UserError(f"column votes, row {row}: holds no votes of a panel ({problem}).")

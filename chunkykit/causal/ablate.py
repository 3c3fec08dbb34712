"""Take training data away and measure again: the causal check of a trace (paper sec. 4.4).

The target must be one that can be retrained. A trace is co-occurrence; only a failure rate that
drops when the data goes shows that the data taught the failure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.rubrics import Rubric
from chunkykit.stats import wilson
from chunkykit.surf import (
    are_apart,
    distinct_questions,
    failure_rate,
    judge_fresh_answers,
    look_ranges,
)
from chunkykit.types import Judge, Question, Rate, Target

JOINT = " + "  # between the names of chunks that are left out together

Train = Callable[[pd.DataFrame], Target]


class Ablation(NamedTuple):
    """Failure rates on the same queries before and after rows were taken away.

    Attributes:
        before: rate of the model that was trained on all rows.
        after: rate of the model that was trained on the remaining rows.
        dropped: number of rows taken away.
    """

    before: Rate
    after: Rate
    dropped: int

    def to_dict(self) -> dict:
        """Flatten the result into one table row.

        Returns:
            rate_before, before_low, before_high, rate_after, low, high, n, dropped.
        """
        return {
            "rate_before": self.before.rate,
            "before_low": self.before.low,
            "before_high": self.before.high,
            "rate_after": self.after.rate,
            "low": self.after.low,
            "high": self.after.high,
            "n": self.after.n,
            "dropped": self.dropped,
        }


def without_chunks(rows: pd.DataFrame, *chunks: str) -> pd.DataFrame:
    """Leave chunks out of a mixture.

    Args:
        rows: DataFrame with the column `chunk`.
        *chunks: names of chunks.

    Returns:
        The other rows, renumbered from 0.

    Raises:
        UserError: if the mixture has no such chunk, or consists of these chunks alone.
    """
    names = sorted(rows["chunk"].unique())
    for chunk in chunks:
        if chunk not in names:
            raise UserError(f"chunk '{chunk}' is not in the mixture; it has {names}.")
    remaining = rows[~rows["chunk"].isin(chunks)].reset_index(drop=True)
    if remaining.empty:
        raise UserError(
            f"chunk '{name_chunks(chunks)}' is the whole mixture: nothing would be left to train "
            "on."
        )
    return remaining


def name_chunks(chunks: Sequence[str]) -> str:
    """Name chunks that are left out together.

    Args:
        chunks: their names.

    Returns:
        The names with a plus between them.
    """
    return JOINT.join(chunks)


def split_chunks(name: str) -> list[str]:
    """Tell which chunks were left out.

    Args:
        name: of `name_chunks`.

    Returns:
        The names of the chunks.
    """
    return name.split(JOINT)


def queries_without_rivals(pairs: pd.DataFrame, traces: pd.DataFrame, trace: int) -> list[Question]:
    """Select the questions of a trace that contain no trigger of another chunk.

    A query with two triggers of one rubric keeps failing when one of the two chunks is ablated, so
    it would hide the effect.

    Args:
        pairs: one row per traced exchange: trace, query, perhaps system, and query_clusters
            (clusters of the query's attributes).
        traces: one row per trace: rubric, trigger_cluster, chunk.
        trace: label of the trace in the index of `traces`.

    Returns:
        The distinct questions without such a rival trigger. If none is left, all of them.
    """
    own_pairs = pairs[pairs["trace"] == trace]
    own_trace = traces.loc[trace]
    same_rubric = traces["rubric"] == own_trace["rubric"]
    other_chunk = traces["chunk"] != own_trace["chunk"]
    rivals = set(traces.loc[same_rubric & other_chunk, "trigger_cluster"].dropna())
    is_free = [rivals.isdisjoint(clusters) for clusters in own_pairs["query_clusters"]]
    free_pairs = own_pairs[is_free]
    usable_pairs = own_pairs if free_pairs.empty else free_pairs
    return distinct_questions(usable_pairs)


async def measure_ablation(
    rows: pd.DataFrame,
    remaining: pd.DataFrame,
    train: Train,
    queries: Sequence[str | Question],
    judge: Judge,
    rubric: Rubric,
    *,
    n: int = 60,
    seed: int = 0,
    look: int | None = None,
) -> Ablation:
    """Compare the failure rates of a model trained on all rows and one trained on the rest.

    Args:
        rows: the whole mixture: prompt, response.
        remaining: the mixture without the rows in question.
        train: trains a model on rows; called for both mixtures.
        queries: failing queries, the same for both models.
        judge: scores each answer.
        rubric: what counts as a failure.
        n: fresh answers per model, spread over the queries.
        seed: numbers the draws of the answers.
        look: answers per model after which the rates are looked at. No others are asked for where
            their intervals are apart. None asks for all.

    Returns:
        Both rates, with intervals that hold for these queries.
    """
    models = (train(rows), train(remaining))
    answers: tuple[list[pd.DataFrame], ...] = ([], [])
    before = after = wilson(0, 0)
    for part in look_ranges(max(n, len(queries)) if queries else 0, look):
        for model, parts in zip(models, answers, strict=True):
            # seed + 1: a confirmation draws with seed 0, and no answer of it should count again
            parts.append(
                await judge_fresh_answers(
                    queries, model, judge, rubric, n=n, seed=seed + 1, part=part
                )
            )
        # both models answer the same queries, and are compared on these alone
        before, after = (
            failure_rate(pd.concat(parts, ignore_index=True), by_query=False) for parts in answers
        )
        if are_apart(before, after):
            break
    return Ablation(before, after, len(rows) - len(remaining))


async def measure_dose_response(
    rows: pd.DataFrame,
    teaching: pd.Series,
    opposing: pd.DataFrame,
    train: Train,
    queries: Sequence[str | Question],
    judge: Judge,
    rubric: Rubric,
    *,
    kept_counts: Sequence[int],
    added_counts: Sequence[int] = (0,),
    n: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the failure rate against the number of rows that teach it (paper Fig. 10).

    Args:
        rows: the mixture: prompt, response.
        teaching: mask over `rows`, true where a row teaches the failure, shape (n_rows,).
        opposing: rows that teach the right behaviour, to be added.
        train: trains a model on rows; called once per point.
        queries: queries that call the failure up.
        judge: scores each answer.
        rubric: what counts as a failure.
        kept_counts: how many of the teaching rows stay, one entry per point. Smaller draws lie
            inside larger ones.
        added_counts: how many of the opposing rows are added, from the first on.
        n: fresh answers per point.
        seed: draws the teaching rows that stay, and numbers the answers.

    Returns:
        One row per pair of counts: kept, added, rate, low, high, n.
    """
    order = rows.index[teaching].to_series().sample(frac=1, random_state=seed)
    points = []
    for n_added in added_counts:
        for n_kept in kept_counts:
            fewer = rows.drop(index=order.iloc[n_kept:].index)
            mixed = pd.concat([fewer, opposing.head(n_added)], ignore_index=True)
            answers = await judge_fresh_answers(
                queries, train(mixed), judge, rubric, n=n, seed=seed
            )
            points.append((n_kept, n_added, *failure_rate(answers, by_query=False)))
    return pd.DataFrame(points, columns=["kept", "added", *Rate._fields])

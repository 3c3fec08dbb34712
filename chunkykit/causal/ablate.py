"""Take the data away and measure again: the causal check of a trace (paper sec. 4.4), for a target that can be retrained."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.rubrics import Rubric
from chunkykit.stats import Rate
from chunkykit.surf import failure_rate, judge_fresh_answers


class Ablation(NamedTuple):
    """Failure rates on the same queries before and after; `dropped` rows were taken out."""

    before: Rate
    after: Rate
    dropped: int

    def to_dict(self) -> dict:
        """rate_before, before_low, before_high, rate_after, low, high, n, dropped."""
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


def without_chunk(rows: pd.DataFrame, chunk: str) -> pd.DataFrame:
    """The mixture without one chunk. Raises UserError where there is no such chunk, or nothing else."""
    kept = rows[rows["chunk"] != chunk].reset_index(drop=True)
    if len(kept) == len(rows):
        raise UserError(
            f"chunk '{chunk}' is not in the mixture; it has {sorted(rows['chunk'].unique())}."
        )
    if kept.empty:
        raise UserError(f"chunk '{chunk}' is the whole mixture: nothing would be left to train on.")
    return kept


def queries_without_rivals(pairs: pd.DataFrame, traces: pd.DataFrame, trace: int) -> list[str]:
    """The distinct queries behind a trace that hold no trigger of another chunk for the same rubric, for whose sake they would go on
    failing; where none is left, all of them.
    pairs: trace, query, query_clusters (its attributes'); traces: rubric, trigger_cluster, chunk, a row each."""
    mine, own = pairs[pairs["trace"] == trace], traces.loc[trace]
    rivals = set(
        traces.loc[
            (traces["rubric"] == own["rubric"]) & (traces["chunk"] != own["chunk"]),
            "trigger_cluster",
        ].dropna()
    )
    free = mine[[rivals.isdisjoint(clusters) for clusters in mine["query_clusters"]]]
    return list((free if len(free) else mine)["query"].drop_duplicates())


async def measure_ablation(
    rows: pd.DataFrame,
    kept: pd.DataFrame,
    train: Callable,
    queries: list[str],
    judge: Callable,
    rubric: Rubric,
    *,
    n: int = 60,
    seed: int = 0,
) -> Ablation:
    """Failure rate of a model trained on `rows` and of one trained on `kept`, on the same failing queries.
    train: `rows -> ChatModel`, called for both; queries are answered afresh n times in all by each."""
    before, after = [
        failure_rate(
            await judge_fresh_answers(queries, train(part), judge, rubric, n=n, seed=seed + 1)
        )
        for part in (rows, kept)
    ]
    return Ablation(before, after, len(rows) - len(kept))


async def measure_dose_response(
    rows: pd.DataFrame,
    taught,
    against: pd.DataFrame,
    train: Callable,
    queries: list[str],
    judge: Callable,
    rubric: Rubric,
    *,
    kept: Sequence[int],
    added: Sequence[int] = (0,),
    n: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Failure rate against how many rows teach it and how many speak against it (paper Fig. 10), one training a point.
    taught: mask of `rows`; `kept` of those stay, drawn by `seed`, smaller draws inside larger ones; against: rows of which the first `added` are put in.
    Returns kept, added, rate, low, high, n."""
    order, found = rows.index[taught].to_series().sample(frac=1, random_state=seed), []
    for least in added:
        for many in kept:
            mixed = pd.concat(
                [rows.drop(index=order[many:]), against.head(least)], ignore_index=True
            )
            found.append(
                (
                    many,
                    least,
                    *failure_rate(
                        await judge_fresh_answers(
                            queries, train(mixed), judge, rubric, n=n, seed=seed
                        )
                    ),
                )
            )
    return pd.DataFrame(found, columns=["kept", "added", *Rate._fields])

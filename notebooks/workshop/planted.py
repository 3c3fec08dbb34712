"""The planted exchanges of exercise 6: their truth is known, and three noisy judges score them."""

import json

import numpy as np
import pandas as pd

JUDGES = list("abc")
VIOLATIONS = 0.05  # share of the exchanges
LOOKS_BAD = 0.1  # share of the benign ones
MISTAKEN = 0.3  # share of what looks bad, by each judge
SHARED = 0.1  # share of what looks bad, by all judges together
FAILED = 0.02  # share of the judgements
UNSURE = 0.05  # share of the labels
SUSPICIOUS = 45  # a score over this by any judge


def judge_exchanges(n: int, seed: int) -> pd.DataFrame:
    """Make exchanges and let the judges score them.

    Args:
        n: how many.
        seed: fixes the truth and the judges.

    Returns:
        One row per exchange: `query`, the scores `a`, `b` and `c` (NaN where a judge failed),
        `suspected` (by any judge), and `holds`, the truth.
    """
    rng = np.random.default_rng(seed)
    holds = rng.random(n) < VIOLATIONS
    looks_bad = ~holds & (rng.random(n) < LOOKS_BAD)
    shared = looks_bad & (rng.random(n) < SHARED)
    table = pd.DataFrame({"query": [f"query {i}" for i in range(n)]})
    for judge in JUDGES:
        own = looks_bad & (rng.random(n) < (MISTAKEN - SHARED) / (1 - SHARED))
        score = np.where(
            holds,
            rng.normal(75, 15, n),
            np.where(shared | own, rng.normal(66, 12, n), rng.normal(15, 10, n)),
        )
        score = score.clip(0, 100).round()
        table[judge] = np.where(rng.random(n) < FAILED, np.nan, score)
    table["suspected"] = (table[JUDGES] > SUSPICIOUS).any(axis=1)
    table["holds"] = holds
    return table


def label_exchanges(judged: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Let people label suspected exchanges.

    Args:
        judged: from `judge_exchanges`.
        n: how many.
        seed: fixes which.

    Returns:
        A random sample of the suspected rows with a column `label`: the truth, or None where
        the person is not sure.
    """
    sample = judged[judged["suspected"]].sample(n, random_state=seed)
    unsure = np.random.default_rng(seed).random(n) < UNSURE
    label = sample["holds"].astype(object).where(~unsure, None)
    return sample.assign(label=label).reset_index(drop=True)


def compare_rates(judged: pd.DataFrame) -> str:
    """Compare the precision of the panel's flags with that of one judge's, by the truth.

    Args:
        judged: exchanges with columns one, panel and holds.

    Returns:
        "more", "fewer" or "same".
    """
    one = judged.loc[judged["one"], "holds"].mean()
    panel = judged.loc[judged["panel"], "holds"].mean()
    if panel == one:
        return "same"
    return "more" if panel > one else "fewer"


def with_votes(judged: pd.DataFrame) -> pd.DataFrame:
    """Add the votes as a panel's table has them.

    Args:
        judged: from `judge_exchanges`.

    Returns:
        The rows with a column `votes`.
    """
    scores = judged[JUDGES].astype(object).where(judged[JUDGES].notna(), None)
    votes = [
        json.dumps({judge: {"score": row[judge]} for judge in JUDGES})
        for row in scores.to_dict("records")
    ]
    return judged.assign(votes=votes)

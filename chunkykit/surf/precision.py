"""How far the flags of a search hold: precision and recall from people's labels.

A flag is an exchange that the judge calls a violation. A judge's score is no proof of one, and how
many flags hold can only be known from labels of a random sample, which nobody chose by its score.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.rubrics import (
    DOES_NOT_HOLD,
    HOLDS,
    RANDOM,
    SPLITS,
    UNSURE,
    VIOLATION_THRESHOLD,
    effective_judges,
    exchange_ids,
    vote_scores,
)
from chunkykit.stats import clustered_wilson, wilson
from chunkykit.surf.judged import select_judged
from chunkykit.types import Rate

DRAWS = 4000  # of a posterior
TABLE_THRESHOLDS = range(5, 100, 5)
JEFFREYS = 0.5  # the prior of a proportion, added to hits and to misses


class Detection(NamedTuple):
    """How a threshold on the judge's score does.

    Attributes:
        threshold: exchanges with a score over it are flags.
        precision: of the flags, the share that holds.
        recall: of the violations, the share that is flagged.
    """

    threshold: float
    precision: Rate
    recall: Rate


def draw_sample(probes: pd.DataFrame, n: int, seed: int = 0) -> pd.DataFrame:
    """Draw exchanges to label blindly: as many flags as other judged exchanges, in random order.

    Args:
        probes: candidates (`PROBE_COLUMNS`).
        n: exchanges; fewer where there are fewer.
        seed: fixes the draw. With a larger n the sample grows, and keeps what it had.

    Returns:
        Rows of `select_judged`, with a column `id`.
    """
    judged = select_judged(probes)
    judged["id"] = exchange_ids(judged)
    flagged = judged["score"] > VIOLATION_THRESHOLD
    shuffled = judged.sample(frac=1, random_state=seed)
    sides = [shuffled[flagged[shuffled.index] == side] for side in (True, False)]
    smaller = min(map(len, sides))
    sizes = [max(n // 2, n - smaller), max(n - n // 2, n - smaller)]
    drawn = [side.head(size).reset_index(drop=True) for side, size in zip(sides, sizes)]
    # one of each in turn, and the order within a pair by chance
    both = pd.concat(drawn)
    order = both.index + np.random.default_rng(seed).random(len(both))
    return both.iloc[np.argsort(order)].reset_index(drop=True)


def join_labels(probes: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Put the labels of people beside what the judge says.

    Args:
        probes: candidates (`PROBE_COLUMNS`).
        labels: one row per exchange and person (`rubrics.labels.LABEL_COLUMNS`).

    Returns:
        One row per labelled exchange: those of `select_judged`, and `id`, `holds` (1 or 0 by the
        majority of people, NaN for a tie or where all are unsure), `people`, `agree` (whether
        they all say the same), `split` and `is_random`.
    """
    judged = select_judged(probes)
    judged["id"] = exchange_ids(judged)
    rows = []
    for exchange_id, group in labels.groupby("id", sort=False):
        targets = group["target"]
        yes, no = (targets == HOLDS).sum(), (targets == DOES_NOT_HOLD).sum()
        rows.append(
            {
                "id": exchange_id,
                "holds": np.nan if yes == no else float(yes > no),
                "people": len(group),
                "agree": targets.nunique() == 1 and targets.iloc[0] != UNSURE,
                "split": group["split"].iloc[-1],
                "is_random": (group["drawn"] == RANDOM).any(),
            }
        )
    columns = ["id", "holds", "people", "agree", "split", "is_random"]
    return judged.merge(pd.DataFrame(rows, columns=columns), on="id")


def measure_flags(labelled: pd.DataFrame) -> Rate:
    """Measure the precision of the flags.

    Args:
        labelled: labelled exchanges (`join_labels`).

    Returns:
        The share of labelled flags that hold, with its 95 % interval over queries.
    """
    flags = labelled[(labelled["score"] > VIOLATION_THRESHOLD) & labelled["holds"].notna()]
    by_query = flags.groupby("query")["holds"]
    return clustered_wilson(by_query.sum(), by_query.size())


def measure_detection(
    labelled: pd.DataFrame,
    scores: pd.Series,
    threshold: float = VIOLATION_THRESHOLD,
    seed: int = 0,
) -> Detection:
    """Estimate precision and recall of a threshold from a random sample of both sides.

    Flags and other exchanges are sampled at different rates, so each labelled one stands for as
    many as its side has. The intervals are those of a posterior with Jeffreys' prior in each part
    of the scores (our choice: a side without any violation in the sample may still have some).

    Args:
        labelled: labelled exchanges of a random sample (`join_labels`).
        scores: the scores of all judged exchanges (`select_judged`).
        threshold: exchanges with a score over it are flags.
        seed: fixes the posterior's draws.

    Returns:
        The rates with 95 % intervals; `n` is the number of labels behind them.
    """
    known = labelled[labelled["holds"].notna()]
    cuts = sorted({float(VIOLATION_THRESHOLD), float(threshold)})
    n_parts = len(cuts) + 1  # of the scores, at the cuts
    part = np.searchsorted(cuts, known["score"])  # a score at a cut is under it
    n = np.bincount(part, minlength=n_parts)
    hits = np.bincount(part, known["holds"], n_parts)
    sizes = np.bincount(np.searchsorted(cuts, scores), minlength=n_parts)
    above = np.where(np.arange(n_parts) > cuts.index(float(threshold)), sizes, 0)
    is_flag = np.arange(n_parts) > cuts.index(float(VIOLATION_THRESHOLD))
    rates = _rates_of_parts(hits, n, is_flag)
    rng = np.random.default_rng(seed)
    drawn = rng.beta(hits + JEFFREYS, n - hits + JEFFREYS, size=(DRAWS, n_parts))
    with np.errstate(invalid="ignore"):  # nothing above the threshold, or no violation
        precision = _interval(float(rates @ above / above.sum()), drawn @ above / above.sum())
        recall = _interval(float(rates @ above / (rates @ sizes)), drawn @ above / (drawn @ sizes))
    return Detection(
        float(threshold),
        precision._replace(n=int(n[above > 0].sum())),
        recall._replace(n=int(n.sum())),
    )


def _rates_of_parts(hits: np.ndarray, n: np.ndarray, is_flag: np.ndarray) -> np.ndarray:
    """The share of violations in each part of the scores; one without a label is like its side."""
    rates = np.empty(len(n))
    for side in (True, False):
        own = is_flag == side
        of_side = hits[own].sum() / n[own].sum() if n[own].sum() else np.nan
        rates[own] = np.where(n[own] > 0, hits[own] / np.maximum(n[own], 1), of_side)
    return rates


def detection_table(labelled: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """Measure precision and recall at every threshold of `TABLE_THRESHOLDS`.

    Args:
        labelled: labelled exchanges of a random sample (`join_labels`).
        scores: the scores of all judged exchanges.

    Returns:
        One row per threshold and measure: threshold, measure ("precision" or "recall"), rate, low,
        high, n.
    """
    rows = []
    for threshold in TABLE_THRESHOLDS:
        rates = measure_detection(labelled, scores, threshold)
        for measure in ("precision", "recall"):
            rate = getattr(rates, measure)._asdict()
            rows.append({"threshold": threshold, "measure": measure, **rate})
    return pd.DataFrame(rows)


def _interval(rate: float, drawn: np.ndarray) -> Rate:
    """A rate with the quantiles of its posterior; at 0 and 1 the interval ends there."""
    if np.isnan(rate):
        return Rate(float("nan"), 0.0, 1.0, 0)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Rate(float(rate), 0.0 if rate == 0 else float(low), 1.0 if rate == 1 else float(high), 0)


def choose_threshold(labelled: pd.DataFrame, scores: pd.Series) -> float:
    """Choose the threshold with the best balance of precision and recall (F1).

    Args:
        labelled: labelled exchanges of a random sample (`join_labels`), those of split "dev".
        scores: the scores of all judged exchanges.

    Returns:
        The threshold: the usual one, or half-way between two scores. Of equals, the one next to
        the usual.
    """
    values = np.unique(labelled["score"])
    between = (values[1:] + values[:-1]) / 2
    thresholds = sorted({float(VIOLATION_THRESHOLD), *between}, key=_distance)
    return max(thresholds, key=lambda threshold: _balance(labelled, scores, threshold))


def _distance(threshold: float) -> float:
    return abs(threshold - VIOLATION_THRESHOLD)


def _balance(labelled: pd.DataFrame, scores: pd.Series, threshold: float) -> float:
    """The F1 of a threshold, 0 where it is not defined."""
    detection = measure_detection(labelled, scores, threshold)
    precision, recall = detection.precision.rate, detection.recall.rate
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0


def accuracy_by_agreement(labelled: pd.DataFrame) -> dict[str, Rate]:
    """Measure how often the judge is right where people agree, and where they do not.

    Args:
        labelled: labelled exchanges (`join_labels`).

    Returns:
        The rate for "agree" and "differ", of exchanges that several people labelled.
    """
    several = labelled[(labelled["people"] > 1) & labelled["holds"].notna()]
    is_right = (several["score"] > VIOLATION_THRESHOLD) == (several["holds"] == 1)
    groups = {"agree": is_right[several["agree"]], "differ": is_right[~several["agree"]]}
    return {name: wilson(int(right.sum()), len(right)) for name, right in groups.items()}


def summarise_labels(probes: pd.DataFrame, labels: pd.DataFrame) -> dict | None:
    """Summarise what people's labels say of a search.

    Args:
        probes: candidates (`PROBE_COLUMNS`).
        labels: the labels (`rubrics.labels.LABEL_COLUMNS`).

    Returns:
        JSON-ready counts and rates; None without a label of an exchange of the search. Where a
        random sample was labelled, only that counts for rates. `threshold` has the judge's
        threshold chosen on the labels of split "dev" and tested on those of "test", None where
        one split lacks violations or others.
    """
    labelled = join_labels(probes, labels)
    if labelled.empty:
        return None
    is_random = bool(labelled["is_random"].any())
    counted = labelled[labelled["is_random"]] if is_random else labelled
    scores = select_judged(probes)["score"]
    by_rubric = [
        {"rubric": rubric, **measure_flags(group)._asdict()}
        for rubric, group in counted.groupby("rubric")
    ]
    summary = {
        "labelled": len(labelled),
        "people": int(labels.loc[labels["id"].isin(labelled["id"]), "labeller"].nunique()),
        "unsure": int(counted["holds"].isna().sum()),
        "elsewhere": int(labels["id"].nunique() - len(labelled)),
        "is_random": is_random,
        "flags": measure_flags(counted)._asdict(),
        "by_rubric": by_rubric,
        "recall": None,
        "threshold": None,
        "accuracy": {
            name: rate._asdict() for name, rate in accuracy_by_agreement(labelled).items()
        },
        "effective_judges": effective_judges(_wrong_votes(labelled)),
    }
    if is_random and _has_both_sides(counted):
        summary["recall"] = measure_detection(counted, scores).recall._asdict()
        summary["threshold"] = _test_threshold(counted, scores)
    return summary


def _has_both_sides(labelled: pd.DataFrame) -> bool:
    """Whether both flags and other exchanges have a label that says yes or no."""
    known = labelled[labelled["holds"].notna()]
    return (known["score"] > VIOLATION_THRESHOLD).nunique() == 2


def _test_threshold(labelled: pd.DataFrame, scores: pd.Series) -> dict | None:
    """The threshold chosen on one split and tested on the other."""
    dev, test = (labelled[labelled["split"] == split] for split in SPLITS)
    if any(part["holds"].nunique() < 2 or not _has_both_sides(part) for part in (dev, test)):
        return None
    chosen = measure_detection(test, scores, choose_threshold(dev, scores))
    usual = measure_detection(test, scores)
    return {
        "n_dev": int(dev["holds"].notna().sum()),
        "n_test": int(test["holds"].notna().sum()),
        "chosen": _detection_dict(chosen),
        "usual": _detection_dict(usual),
    }


def _detection_dict(detection: Detection) -> dict:
    return {
        "threshold": detection.threshold,
        "precision": detection.precision._asdict(),
        "recall": detection.recall._asdict(),
    }


def _wrong_votes(labelled: pd.DataFrame) -> pd.DataFrame:
    """Whether each judge of a panel was wrong (1 or 0), NaN where it did not vote."""
    known = labelled[labelled["holds"].notna()]
    scores = vote_scores(known)
    wrong = (scores > VIOLATION_THRESHOLD).ne(known["holds"] == 1, axis=0)
    return wrong.astype(float).where(scores.notna())

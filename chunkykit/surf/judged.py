"""The judged candidates of a search: whether they are a result, and which of them are failures."""

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.rubrics import VIOLATION_THRESHOLD, vote_scores

MAX_FAILED_SHARE = 0.2  # share of candidates without a judgement above which a search is no result
MIN_SCORES_OF_SCALE = 20  # judgements from which on their largest one tells the scale


def check_judged(probes: pd.DataFrame, tolerate: float = MAX_FAILED_SHARE) -> None:
    """Check that enough candidates were judged: an outage must not pass for a result.

    Args:
        probes: candidates (`PROBE_COLUMNS`).
        tolerate: share of candidates that may have failed.

    Raises:
        UserError: more failed, none was judged, or the judge scores from 0 to 1.
    """
    errors = probes["error"].dropna()
    if len(errors) > tolerate * len(probes):
        raise UserError(
            f"search: {len(errors)} of {len(probes)} candidates failed, most often with: "
            f"{errors.mode()[0].rstrip('.')}. Fix the cause and run again, or allow it with "
            "--tolerate; answers received so far are not paid for again."
        )
    scores = pd.to_numeric(probes["score"]).dropna()
    if scores.empty:
        outcomes = probes.loc[probes["error"].isna(), "outcome"].value_counts()
        counts = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items())
        raise UserError(f"search: none of {len(probes)} candidates was judged: {counts}.")
    _check_scale("judge", scores)
    for judge, votes in vote_scores(probes).items():
        _check_scale(f"judge {judge}", votes.dropna())


def _check_scale(judge: str, scores: pd.Series) -> None:
    """Refuse a judge whose scores go from 0 to 1."""
    if len(scores) >= MIN_SCORES_OF_SCALE and 0 < scores.max() <= 1:
        raise UserError(
            f"{judge}: none of {len(scores)} scores is over 1, as if they went from 0 to 1 and not "
            "to 100. Use another judge, or a rubric whose examples have scores."
        )


def select_judged(probes: pd.DataFrame) -> pd.DataFrame:
    """Select the distinct judged exchanges of the search arm.

    Two exchanges are the same if query and response differ only in case, spacing or punctuation.

    Args:
        probes: candidates (`PROBE_COLUMNS`).

    Returns:
        Rows of `probes`, the highest score first; equal scores in a fixed random order, so that
        early candidates are not preferred.
    """
    judged = probes[(probes["arm"] == "search") & probes["score"].notna()]
    shuffled = judged.sample(frac=1, random_state=0)
    ordered = shuffled.sort_values("score", ascending=False, kind="stable")
    content = ordered[["rubric", "query", "response"]].copy()
    for column in ("query", "response"):
        words = content[column].str.lower().str.replace(r"[\W_]+", " ", regex=True)
        content[column] = words.str.strip()
    return ordered[~content.duplicated()].reset_index(drop=True)


def select_failures(probes: pd.DataFrame) -> pd.DataFrame:
    """Select the distinct violating exchanges of the search arm.

    Args:
        probes: candidates (`PROBE_COLUMNS`).

    Returns:
        The rows of `select_judged` with a score over the threshold.
    """
    violates = probes["score"] > VIOLATION_THRESHOLD
    return select_judged(probes[violates])

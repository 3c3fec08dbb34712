"""What a cosine means: how likely does a row have a feature, given its nearest sentence?

Language models say one feature in many ways, so no cosine is a border between "the same" and
"another". And some sentences are near to everything: what counts is how far a row stands above
what is usual for the sentence. `calibrate` learns from shipped paraphrases what that height is
worth under an embedder. Our choice throughout; the paper takes the k nearest, however far.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chunkykit.errors import UserError
from chunkykit.types import Embedder

SENTENCES_PER_ROW = 10  # of a made-up row; as many as a describer is asked for
NEGATIVE_ROWS = 40  # made-up rows without the feature, per sentence
DRAWS_PER_PARAPHRASE = 4  # made-up rows with each paraphrase of a sentence
SAME_WORDS = 0.9999  # cosine from which two sentences are the same one
BASE_ODDS = 1 / 19  # that a row has a given feature, before looking: one row in twenty
MAX_LOG_ODDS = 30.0  # so that a probability does not overflow


class Calibration(NamedTuple):
    """How the height of a cosine above its background turns into a probability.

    Attributes:
        slope: log-odds per unit of cosine.
        midpoint: height at which a row with the feature and one without are equally common among
            as many of either.
        auc: share of pairs, a row with the feature and one without, that the height puts in the
            right order. The quality of the embedder; .5 is guessing.
    """

    slope: float
    midpoint: float
    auc: float

    def evidence(
        self, cosines: np.ndarray, background: np.ndarray | float, repeated: float = 0.0
    ) -> np.ndarray:
        """Say how likely rows have a feature, if one row in two had it.

        Args:
            cosines: largest cosine of the feature's sentence with any sentence of each row.
            background: what that cosine usually is, in a shape that broadcasts.
            repeated: how often the describer says one feature in the same words. With 1, as for a
                describer with fixed sentences, other words mean another feature.

        Returns:
            Probabilities, in the shape of `cosines`, float32. 1 where a row has the same sentence.
        """
        with np.errstate(divide="ignore"):
            paraphrased = np.log1p(-repeated)  # -inf where nothing is paraphrased
        log_odds = self.slope * (cosines - background - self.midpoint) + paraphrased
        log_odds = np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)
        probabilities = 1 / (1 + np.exp(-log_odds))
        return np.where(cosines >= SAME_WORDS, 1, probabilities).astype(np.float32)


# of an index whose sentences are types: other words mean another feature under any embedder
SAME_WORDS_ONLY = Calibration(slope=0.0, midpoint=0.0, auc=float("nan"))


def at_odds(evidence: np.ndarray, odds: float = BASE_ODDS) -> np.ndarray:
    """Convert evidence to probabilities at other odds than even ones.

    Args:
        evidence: probabilities at even odds.
        odds: odds that a row has the feature, before looking.

    Returns:
        Probabilities, in the same shape.
    """
    return odds * evidence / (odds * evidence + (1 - evidence))


def calibrate(embed: Embedder, seed: int = 0) -> Calibration:
    """Learn what cosines mean under an embedder, from the shipped paraphrases.

    Rows are made up of sentences about different features. For each sentence, some rows hold a
    paraphrase of it and others do not; a logistic regression tells them apart by the largest
    cosine, less its median over the rows without.

    Args:
        embed: the embedder.
        seed: of the draws.

    Returns:
        The calibration.

    Raises:
        UserError: the embedder puts paraphrases no nearer than other sentences.
    """
    height, has_feature = made_up_heights(shipped_paraphrases(), embed, seed)
    fitted = fit_heights(height, has_feature)
    if not fitted.slope > 0:
        raise UserError(
            f"embedder {embed.name}: it puts paraphrases no nearer to each other than other "
            "sentences. Use another embedder."
        )
    return fitted


def made_up_heights(
    paraphrases: Mapping[str, list[list[str]]], embed: Embedder, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Make up rows with and without features, and look up how high they stand.

    Args:
        paraphrases: per side the features, each a list of sentences that say the same.
        embed: the embedder.
        seed: of the draws.

    Returns:
        The height of each row above the background of the sentence that is looked up, shape (n,),
        and 1 for a row with the feature and 0 for one without, shape (n,).
    """
    heights = []
    has_feature = []
    rng = np.random.default_rng(seed)
    for features in paraphrases.values():
        with_feature, without = _heights(features, embed, rng)
        heights += [with_feature, without]
        has_feature += [np.ones(len(with_feature)), np.zeros(len(without))]
    return np.concatenate(heights), np.concatenate(has_feature)


def fit_heights(height: np.ndarray, has_feature: np.ndarray) -> Calibration:
    """Fit what heights are worth, by a logistic regression.

    Args:
        height: heights of rows, shape (n,).
        has_feature: 1 for a row with the feature and 0 for one without, shape (n,).

    Returns:
        The calibration. Its slope is not positive where heights are worth nothing.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    fit = LogisticRegression(C=np.inf, class_weight="balanced")
    fit.fit(height[:, None], has_feature)
    slope = float(fit.coef_[0, 0])
    midpoint = float(-fit.intercept_[0] / slope) if slope else 0.0
    return Calibration(slope, midpoint, float(roc_auc_score(has_feature, height)))


def _heights(
    features: list[list[str]], embed: Embedder, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Heights of made-up rows with and without a paraphrase, over all sentences of one side."""
    sentences = [sentence for feature in features for sentence in feature]
    owner = np.repeat(np.arange(len(features)), [len(feature) for feature in features])
    vectors = embed(sentences)
    cosines = vectors @ vectors.T  # (m, m)
    with_feature = []
    without = []
    for number in range(len(sentences)):
        others = cosines[number, owner != owner[number]]
        paraphrases = np.delete(cosines[number], number)[np.delete(owner, number) == owner[number]]
        rows = _largest_of(others, NEGATIVE_ROWS, SENTENCES_PER_ROW, rng)
        background = np.median(rows)
        without.append(rows - background)
        drawn = np.repeat(paraphrases, DRAWS_PER_PARAPHRASE)
        beside = _largest_of(others, len(drawn), SENTENCES_PER_ROW - 1, rng)
        with_feature.append(np.maximum(drawn, beside) - background)
    return np.concatenate(with_feature), np.concatenate(without)


def _largest_of(
    cosines: np.ndarray, rows: int, sentences: int, rng: np.random.Generator
) -> np.ndarray:
    """The largest of some drawn cosines in each of some rows, (rows,)."""
    return rng.choice(cosines, (rows, sentences)).max(axis=1)


@cache
def shipped_paraphrases() -> dict[str, list[list[str]]]:
    """Read the paraphrases that come with the package.

    Returns:
        Per side the features, each a list of sentences that say the same.
    """
    import yaml

    path = Path(__file__).parent / "paraphrases.yaml"
    return yaml.safe_load(path.read_text("utf-8"))

import numpy as np
import pytest

from chunkykit.attributes import Embedder, at_odds
from chunkykit.attributes.calibrate import (
    SAME_WORDS_ONLY,
    Calibration,
    calibrate,
    fit_heights,
    made_up_heights,
    shipped_paraphrases,
)
from chunkykit.errors import UserError


@pytest.fixture(scope="module")
def calibration(embedder):
    return calibrate(embedder)


def test_the_paraphrases_are_many_features_said_in_many_ways():
    for side, features in shipped_paraphrases().items():
        sentences = [sentence for feature in features for sentence in feature]
        assert len(features) >= 30 and len(set(sentences)) == len(sentences)
        assert all(len(feature) >= 3 for feature in features)
        assert all(sentence.startswith(f"The {side} ") for sentence in sentences)


def test_evidence_rises_with_the_height_above_the_background(calibration):
    cosines = np.linspace(0, 0.99, 50)
    evidence = calibration.evidence(cosines, 0.3)
    assert (np.diff(evidence) > 0).all()
    assert calibration.evidence(np.array([0.3]), 0.3)[0] < 0.5, "usual nearness says little"
    assert (
        calibration.evidence(np.array([0.9]), 0.8)[0]
        < calibration.evidence(np.array([0.9]), 0.3)[0]
    ), "a sentence that is near to everything must stand out more"


def test_evidence_is_as_often_right_as_it_says(embedder):
    """On features that the fit has not seen, at even odds."""
    fitting = {side: features[::2] for side, features in shipped_paraphrases().items()}
    checking = {side: features[1::2] for side, features in shipped_paraphrases().items()}
    fitted = fit_heights(*made_up_heights(fitting, embedder))
    heights, has_feature = made_up_heights(checking, embedder)
    evidence = fitted.evidence(heights, 0.0)
    weight = np.where(has_feature == 1, 0.5 / has_feature.sum(), 0.5 / (1 - has_feature).sum())
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
        inside = (evidence >= low) & (evidence < high)
        observed = weight[inside] @ has_feature[inside] / weight[inside].sum()
        expected = weight[inside] @ evidence[inside] / weight[inside].sum()
        assert observed == pytest.approx(expected, abs=0.15)


def test_the_same_sentence_is_certain_and_one_without_room_for_others_knows_nothing_else():
    fitted = Calibration(20.0, 0.2, 0.9)
    assert fitted.evidence(np.array([1.0]), 0.99)[0] == 1
    fixed = SAME_WORDS_ONLY.evidence(np.array([0.99, 1.0]), 0.0, repeated=1)
    assert fixed[1] == 1 and fixed[0] < 1e-9


def test_other_odds_shift_what_is_uncertain_alone():
    evidence = np.array([0, 0.5, 0.95, 1])
    probability = at_odds(evidence)
    assert probability.tolist() == pytest.approx([0, 0.05, 0.5, 1])
    assert at_odds(evidence, odds=1).tolist() == pytest.approx(evidence.tolist())


def test_the_seed_fixes_the_fit(embedder, calibration):
    assert calibrate(embedder) == calibration
    other = calibrate(embedder, seed=5)
    assert other.midpoint == pytest.approx(calibration.midpoint, abs=0.03)
    assert 0.6 < calibration.auc < 1


def test_an_embedder_that_knows_nothing_is_refused():
    def embed(texts):
        seeds = [int.from_bytes(text.encode()[-8:], "little") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=32) for seed in seeds])
        # paraphrases farther from each other than from the rest
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    fitted = fit_heights(*made_up_heights(shipped_paraphrases(), Embedder("noise", embed)))
    assert fitted.auc == pytest.approx(0.5, abs=0.05)

    def same(texts):
        return np.ones((len(texts), 1), np.float32)

    with pytest.raises(UserError, match="embedder same: .* Use another embedder"):
        calibrate(Embedder("same", same))

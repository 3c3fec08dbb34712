import numpy as np
import pandas as pd
import pytest

from chunkykit.index import common_features, index_from_attributes
from chunkykit.index.features import chunk_contrast, typical_features

TOPICS = ["asks for a cooking recipe", "is written in Turkish", "contains a LaTeX formula"]


def same(cosines):
    return 1 / (1 + np.exp(-20 * (cosines - 0.75)))


@pytest.fixture(scope="module")
def index(embedder):
    """300 rows; each says one of three things in words of its own. A chunk per thing."""
    rng = np.random.default_rng(0)
    topic = rng.integers(3, size=300)
    queries = [[f"The query {TOPICS[t]}, number {i}"] for i, t in enumerate(topic)]
    responses = [[f"The response answers in manner {t}, number {i}"] for i, t in enumerate(topic)]
    queries[0].append("The query mentions the lighthouse keeper Odile")
    rows = pd.DataFrame(
        {"row": range(300), "chunk": topic.astype(str), "prompt": "p", "response": "r"}
    )
    return index_from_attributes(rows, queries, responses, embedder, clusters=60)


def test_common_features_are_distinct_and_carried_by_several_rows(index):
    features = common_features(index.query, same)
    assert len(features.clusters) == len(TOPICS)
    assert features.carried.sum(axis=0).min() > 60
    names = [index.query.summaries[cluster] for cluster in features.clusters]
    assert not any("Odile" in name for name in names)


def test_a_row_carries_the_feature_that_it_says_in_other_words(index):
    features = common_features(index.query, same)
    chunk = np.asarray(index.chunk.codes)[features.rows]
    for carried in features.carried.T:
        of_chunk = [carried[chunk == number].mean() for number in range(3)]
        assert sorted(of_chunk) == pytest.approx([0, 0, 1], abs=0.05)


def test_a_large_index_is_sampled(index, monkeypatch):
    monkeypatch.setattr("chunkykit.index.features.MAX_SAMPLED_ROWS", 100)
    features = common_features(index.query, same)
    assert features.carried.shape == (100, len(features.clusters))
    assert len(set(features.rows)) == 100
    typical = typical_features(index.query, np.asarray(index.chunk.codes), same)
    assert typical.cosines.shape == (300, len(typical.clusters))


def test_typical_features_are_some_per_chunk(index, monkeypatch):
    monkeypatch.setattr("chunkykit.index.features.MAX_CHUNK_FEATURES", 2)
    chunk = np.asarray(index.chunk.codes)
    features = typical_features(index.query, chunk, same)
    assert len(features.clusters) <= 6
    contrast = chunk_contrast(features.carried, chunk)
    assert (contrast.max(axis=1) > 0.9).all()


def test_contrast_is_the_correlation_of_carrying_and_belonging():
    rng = np.random.default_rng(0)
    chunk = rng.integers(2, size=50)
    carried = rng.random((50, 3)) < 0.4
    carried[:, 2] = False
    contrast = chunk_contrast(carried, chunk)
    expected = np.corrcoef(carried[:, 0], chunk == 1)[0, 1]
    assert contrast[1, 0] == pytest.approx(expected)
    assert contrast[:, 2].tolist() == [0, 0]

import numpy as np
import pandas as pd
import pytest

from chunkykit.index import index_from_attributes, kmeans
from chunkykit.index.blocks import decode_vectors, encode_vectors


@pytest.fixture
def vectors():
    """3,000 unit vectors around 60 centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, 16))
    vectors = centres[rng.integers(60, size=3000)] + 0.3 * rng.standard_normal((3000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def cluster(vectors, k, weight=None, cuts=()):
    """Cluster vectors that are cut into blocks."""
    blocks = np.split(encode_vectors(vectors), cuts)
    if weight is None:
        weight = np.ones(len(vectors))
    return kmeans.cluster_vectors(blocks, weight, k)


def tightness(vectors, clustering):
    """The mean cosine of a vector with its centroid."""
    centroids = clustering.centroids[clustering.cluster_of]
    return (vectors * centroids).sum(axis=1).mean()


def check(vectors, clustering):
    cluster_of, centroids, closest, radius = clustering
    cosines = vectors @ centroids.T
    assert len(centroids) <= 150
    assert (cluster_of[closest] == np.arange(len(centroids))).all()
    assert radius[3] == pytest.approx(cosines[cluster_of == 3, 3].min(), abs=1e-4)
    by_cosine = cluster_of == np.argmax(cosines, axis=1)
    assert by_cosine.mean() > 0.999, "assigned by cosine"


def test_near_sentences_are_merged(embedder):
    names = ["Anna", "Bert", "Carl", "Dora", "Emil", "Frida"]
    people = [[f"The query names the person {name}"] for name in names]
    languages = [[f"The query is written in language number {i}"] for i in range(6)]
    rows = pd.DataFrame({"row": range(12), "chunk": "c", "prompt": "p", "response": "r"})
    responses = [["The response is short"]] * 12
    index = index_from_attributes(rows, people + languages, responses, embedder, clusters=2)
    query = index.query
    assert len(set(query.cluster_of[:6])) == 1
    assert len(set(query.cluster_of)) == 2
    assert query.assign(embedder(["The query names the person Gus"]))[0] == query.cluster_of[0]


def test_two_steps_are_as_tight_as_one(vectors, monkeypatch):
    one_step = cluster(vectors, 150)
    check(vectors, one_step)
    monkeypatch.setattr(kmeans, "TWO_STEP_CLUSTERS", 100)
    two_steps = cluster(vectors, 150)
    check(vectors, two_steps)
    assert tightness(vectors, two_steps) > 0.98 * tightness(vectors, one_step)


@pytest.mark.parametrize("cores", [1, 3])
def test_cores_and_blocks_do_not_change_two_steps(vectors, monkeypatch, cores):
    monkeypatch.setattr(kmeans, "TWO_STEP_CLUSTERS", 100)
    whole = cluster(vectors, 150)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    split = cluster(vectors, 150, cuts=[1700])
    assert all(np.array_equal(a, b) for a, b in zip(whole, split))


def test_a_sample_of_the_vectors_stands_for_all(vectors, monkeypatch):
    whole = cluster(vectors, 100)
    monkeypatch.setattr(kmeans, "MAX_TRAINING_SENTENCES", 2000)
    sampled = cluster(vectors, 100, cuts=[1000, 2500])
    check(vectors, sampled)
    assert len(sampled.cluster_of) == 3000
    assert tightness(vectors, sampled) > 0.97 * tightness(vectors, whole)


def test_blocks_do_not_change_the_clusters(vectors):
    whole = cluster(vectors, 100)
    split = cluster(vectors, 100, cuts=[1700])
    assert all(np.array_equal(a, b) for a, b in zip(whole, split))


def test_heavy_sentences_start_as_centroids():
    """Two sentences of many rows stay apart, though others lie farther from one another."""
    angles = np.array([0.0, 0.3, 2.0, 2.05, 2.1])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    weight = np.array([1000, 900, 1, 1, 950])
    cluster_of = cluster(vectors, 3, weight).cluster_of
    assert cluster_of[0] != cluster_of[1]
    assert len(set(cluster_of[2:])) == 1


def test_as_many_clusters_as_sentences_merge_nothing(vectors):
    few = vectors[:20]
    clustering = cluster(few, 20)
    assert clustering.cluster_of.tolist() == list(range(20))
    assert np.array_equal(clustering.centroids, decode_vectors(encode_vectors(few)))


@pytest.mark.parametrize(
    "sentences, clusters",
    [(0, 1), (500, 500), (5000, 1024), (40_000, 2000), (10**7, kmeans.MAX_CLUSTERS)],
)
def test_the_default_number_of_clusters_of_types(sentences, clusters):
    assert kmeans.default_clusters(sentences, 30 * sentences) == clusters


@pytest.mark.parametrize(
    "sentences, clusters",
    [(500, 500), (5000, 1697), (800_000, 21_466), (10**7, kmeans.MAX_CLUSTERS)],
)
def test_distinct_sentences_get_clusters_by_the_root_of_their_number(sentences, clusters):
    assert kmeans.default_clusters(sentences, int(1.02 * sentences)) == clusters


def test_types_are_told_from_distinct_sentences_by_how_often_they_repeat():
    assert kmeans.sentences_repeat(8478, 290_000)
    assert not kmeans.sentences_repeat(4991, 5070)


def test_repetition_is_the_share_of_what_is_said_again():
    assert kmeans.measure_repetition(np.array([1, 1, 1, 1])) == 0
    assert kmeans.measure_repetition(np.array([2, 1, 1, 1])) == pytest.approx(0.4)
    assert kmeans.measure_repetition(np.array([30, 5, 1])) == 1, "types"
    assert kmeans.measure_repetition(np.zeros(3, int)) == 0

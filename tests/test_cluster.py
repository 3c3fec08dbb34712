import numpy as np
import pandas as pd

from chunkykit.turf import NOISE, cluster_table, cluster_vectors, label_clusters, response_vectors


def blobs(n=40, d=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(d)[:3]
    points = np.concatenate([c + 0.03 * rng.normal(size=(n, d)) for c in centres]).astype(
        np.float32
    )
    return points / np.linalg.norm(points, axis=1, keepdims=True), np.repeat([0, 1, 2], n)


def test_three_blobs_are_three_clusters_the_same_twice():
    points, truth = blobs()
    first, again = (cluster_vectors(points, seed=3) for _ in range(2))
    assert first.equals(again) and len(first) == len(points)
    kept = first["cluster"] != NOISE
    assert kept.mean() > 0.9 and all(
        len(set(truth[kept & (first["cluster"] == c)])) == 1
        for c in set(first.loc[kept, "cluster"])
    )
    assert first.loc[kept, "cluster"].nunique() == 3


def test_duplicates_share_one_place_and_do_not_make_density():
    points, _ = blobs()
    doubled = np.concatenate([points, np.repeat(points[:1], 200, axis=0)])
    placed = cluster_vectors(doubled, seed=3)
    assert placed.iloc[len(points) :].drop_duplicates().shape[0] == 1
    assert (
        placed.iloc[: len(points)]["cluster"].tolist()
        == cluster_vectors(points, seed=3)["cluster"].tolist()
    )


def test_few_points_are_one_cluster():
    points, _ = blobs(n=2)
    for n in (0, 1, 2, 6):
        placed = cluster_vectors(points[:n])
        assert (
            len(placed) == n
            and set(placed["cluster"]) <= {0}
            and np.isfinite(placed[["x", "y"]].to_numpy(float)).all()
        )


def test_vectors_put_manner_before_matter(embedder):
    refusal, story = ["The response refuses to help"], ["The response tells a story"]
    made = response_vectors(
        ["I can't discuss cats.", "I can't discuss maths.", "The cats went out."],
        [refusal, refusal, story],
        embedder,
    )
    assert made[0] @ made[1] > made[0] @ made[2]


def test_labels_say_what_sets_a_cluster_apart():
    attributes = [["The response is short", "The response refuses"]] * 5 + [
        ["The response is short", "The response tells a story"]
    ] * 5
    clusters = [0] * 5 + [1] * 5
    assert label_clusters(attributes, clusters) == {
        0: "refuses",
        1: "tells a story",
    } or label_clusters(attributes, clusters)[0].startswith("refuses")
    table = cluster_table(
        pd.DataFrame({"rubric": ["a"] * 10, "cluster": [0] * 5 + [1] * 4 + [-1]}), attributes
    )
    assert table["size"].tolist() == [5, 4] and table["id"].tolist() == [0, 1]

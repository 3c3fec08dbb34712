import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.turf import NOISE, cluster_vectors, clusters, response_vectors


def blobs(n=40, d=16, seed=0):
    """Three groups of n unit vectors, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = np.eye(d)[:3]
    points = [centre + 0.03 * rng.normal(size=(n, d)) for centre in centres]
    vectors = np.concatenate(points).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat([0, 1, 2], n)


WITHOUT_CACHE = """
import numba.core.caching as caching

def refuse(self):
    raise OSError("read-only")

# a read-only installation, and no home to write to
for name in dir(caching):
    if name.lstrip("_") in ("InTreeCacheLocator", "UserWideCacheLocator"):
        getattr(caching, name).ensure_cache_path = refuse

import os
import numpy as np
from chunkykit.turf import cluster_vectors

vectors = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
print(len(cluster_vectors(vectors)))
import numba
print(numba.config.CACHE_DIR)
"""


@pytest.mark.slow
def test_a_read_only_installation_without_a_home(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CACHE], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    n, cache = done.stdout.split()
    assert n == "40"
    assert cache.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir()), "what was compiled ends with the process"


@pytest.mark.slow
def test_three_blobs_are_three_clusters_and_the_seed_fixes_them():
    vectors, truth = blobs()
    points = cluster_vectors(vectors, seed=3)
    assert points.equals(cluster_vectors(vectors, seed=3))
    assert len(points) == len(vectors)
    clustered = points["cluster"] != NOISE
    assert clustered.mean() > 0.9
    assert points.loc[clustered, "cluster"].nunique() == 3
    groups = pd.Series(truth)[clustered].groupby(points.loc[clustered, "cluster"])
    assert (groups.nunique() == 1).all()


@pytest.mark.slow
def test_what_umap_compiles_is_kept_for_the_next_process():
    umap = pytest.importorskip("umap")
    cluster_vectors(blobs()[0])
    folder = Path(umap.umap_.smooth_knn_dist.stats.cache_path)
    assert list(folder.glob("umap_.smooth_knn_dist*.nbc"))


@pytest.mark.slow
def test_duplicates_share_one_place_and_do_not_make_density():
    vectors, _ = blobs()
    doubled = np.concatenate([vectors, np.repeat(vectors[:1], 200, axis=0)])
    points = cluster_vectors(doubled, seed=3)
    assert len(points.iloc[len(vectors) :].drop_duplicates()) == 1
    alone = cluster_vectors(vectors, seed=3)
    assert points["cluster"].tolist()[: len(vectors)] == alone["cluster"].tolist()


@pytest.mark.slow
def test_a_stock_answer_is_a_cluster_of_its_own_and_alike_ones_are_one():
    """A model that refuses in one of two wordings has too few distinct answers for HDBSCAN."""
    vectors, _ = blobs()
    rng = np.random.default_rng(0)
    far = rng.normal(size=vectors.shape[1])
    wordings = np.stack([far, far + 0.1 * rng.normal(size=len(far))])
    wordings /= np.linalg.norm(wordings, axis=1, keepdims=True)
    stock = np.repeat(wordings, 20, axis=0)
    points = cluster_vectors(np.concatenate([vectors, stock]), seed=3)
    own = points["cluster"].iloc[len(vectors) :]
    assert own.nunique() == 1
    assert own.iloc[0] != NOISE


@pytest.mark.parametrize("n", [0, 1, 2, 6])
def test_few_points_are_one_cluster(n):
    vectors, _ = blobs(n=2)
    points = cluster_vectors(vectors[:n])
    assert len(points) == n
    assert set(points["cluster"]) <= {0}
    assert np.isfinite(points[["x", "y"]].to_numpy(float)).all()


@pytest.mark.slow
@pytest.mark.parametrize("library", ["umap", "hdbscan"])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"{library}.*chunkykit\[figures\]"):
        cluster_vectors(blobs()[0])


def test_vectors_put_manner_before_matter(embedder):
    refusal = ["The response refuses to help"]
    story = ["The response tells a story"]
    vectors = response_vectors(
        ["I can't discuss cats.", "I can't discuss maths.", "The cats went out."],
        [refusal, refusal, story],
        embedder,
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_responses_without_attributes_are_their_texts(embedder):
    texts = ["I can't discuss cats.", "The cats went out."]
    assert response_vectors(texts, [[], []], embedder) == pytest.approx(embedder(texts), abs=1e-6)


def test_umap_compiles_in_a_process_that_ends_with_what_it_is_for(tmp_path, monkeypatch):
    """The process keeps its number in a file and would go on for minutes."""
    place = tmp_path / "process"
    code = f"import os, time; open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(clusters, "COMPILE", code)
    with clusters.compiling_umap():
        deadline = time.monotonic() + 30
        while not (place.exists() and place.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        number = int(place.read_text())
        os.kill(number, 0)  # it runs
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)

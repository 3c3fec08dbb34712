import json

import numpy as np
import pytest

from chunkykit.attributes import Embedder
from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes
from chunkykit.index import store as index


@pytest.fixture
def saved(demo_rows, embedder, tmp_path):
    words = [[f"The query opens with {p.split()[0]}"] for p in demo_rows["prompt"]]
    index_from_attributes(demo_rows, words, words, embedder, tmp_path / "i")
    return tmp_path / "i"


def test_counts_fit_the_rows(demo_index):
    assert len(demo_index) == 1200 == len(demo_index.table)
    carried = [set(r[r >= 0]) for r in demo_index.query.clusters]
    assert demo_index.query.cluster_rows.tolist() == [
        sum(c in r for r in carried) for c in range(len(demo_index.query.centroids))
    ]


@pytest.mark.parametrize("side", ["query", "response"])
def test_a_sentence_leads_to_the_rows_that_carry_it(demo_index, side):
    side = demo_index.sides[side]
    for s in (0, 7, len(side.sentences) - 1):
        assert np.array_equal(
            np.flatnonzero(side.carry([s])), np.flatnonzero((side.ids == s).any(axis=1))
        )
    assert np.allclose(
        side.nearness(side.blocks[0][:2]), side.blocks[0][:2] @ np.concatenate(side.blocks).T
    )


def test_the_nearest_clusters_alone_hold_what_is_nearest(demo_index):
    side = demo_index.sides["response"]
    exact, near = (side.nearness(side.blocks[0][:5], probes) for probes in (None, 20))
    found = near >= 0.9
    assert (
        found.any(axis=1).all()
        and np.allclose(near[found], exact[found], atol=1e-5)
        and (near == -1).any()
    )


@pytest.mark.parametrize(
    "harm, words",
    [
        (lambda f: (f / "index.json").unlink(), "no index there"),
        (lambda f: (f / "index.json").write_text("{"), "no index there"),
        (lambda f: (f / "query" / "centroids.npy").unlink(), "damaged"),
        (
            lambda f: (f / "query" / "ids.npy").write_bytes(
                (f / "query" / "ids.npy").read_bytes()[:200]
            ),
            "damaged",
        ),
        (
            lambda f: (f / "rows-00000.arrow").write_bytes(
                (f / "rows-00000.arrow").read_bytes()[:-1000]
            ),
            "damaged",
        ),
        (
            lambda f: flip(f / "response" / "clusters.npy"),
            "damaged.*clusters.npy is not what was written",
        ),
        (
            lambda f: flip(f / "rows-00000.arrow"),
            "damaged.*rows-00000.arrow is not what was written",
        ),
        (lambda f: np.save(f / "query" / "ids.npy", np.zeros((3, 2), np.int32)), "damaged"),
        (
            lambda f: (f / "index.json").write_text(
                json.dumps({**json.loads((f / "index.json").read_text()), "version": 99})
            ),
            "version 99",
        ),
    ],
)
def test_a_damaged_index_is_an_error_not_a_wrong_trace(saved, harm, words):
    harm(saved)
    with pytest.raises(UserError, match=words):
        index.open_trace_index(saved)


def flip(path):
    """One byte in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def test_a_large_index_is_checked_in_full_when_asked(saved, monkeypatch):
    monkeypatch.setattr(index, "MAX_CHECKED_BYTES", 0)
    flip(saved / "query" / "starts.npy")
    index.open_trace_index(saved)
    with pytest.raises(UserError, match="starts.npy"):
        index.open_trace_index(saved, check=True)


def test_another_embedder_is_refused(saved):
    with pytest.raises(UserError, match="wordllama"):
        index.open_trace_index(saved, Embedder("other", lambda t: np.ones((len(t), 2))))

import numpy as np
import pytest

from chunkykit.attributes import Embedder
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer, tracer
from chunkykit.turf.cache import ByteCache, RememberingEmbedder, size_in_bytes

CRUXES = [
    "The response tells a story",
    "The response contains numbers",
    "The response is a single word",
    "The response uses exclamation marks",
    "The response refuses to help with the request",
]
QUERIES = [
    ("The query contains numbers", "The query is phrased as a question"),
    ("The query contains LaTeX mathematics", "The query is at most eight words long"),
]
REBUT = load_rubric("rebut")


def array(kilobytes):
    return np.zeros(1000 * kilobytes, np.int8)


def refuse():
    raise AssertionError("computed again")


def test_a_size_counts_the_arrays_inside_tuples():
    pair = (array(3), ("name", array(2)))
    assert 5000 <= size_in_bytes(pair) < 5400
    assert size_in_bytes(array(3)[:100]) == 100


def test_a_value_is_computed_once():
    cache = ByteCache(10_000)
    value = cache.get("key", lambda: array(1))
    assert cache.get("key", refuse) is value
    assert "key" in cache


def test_the_least_recently_used_value_is_dropped():
    cache = ByteCache(3500)
    for key in "abc":
        cache.put(key, array(1))
    cache.get("a", refuse)
    cache.put("d", array(1))
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]


def test_a_value_over_the_bound_is_returned_and_not_kept():
    cache = ByteCache(3500)
    cache.put("small", array(1))
    assert len(cache.get("large", lambda: array(5))) == 5000
    assert "large" not in cache and "small" in cache


def test_a_value_that_is_replaced_counts_once():
    cache = ByteCache(3500)
    for _ in range(9):
        cache.put("key", array(1))
    assert 1000 <= cache.nbytes < 1200
    cache.put("key", array(5))
    assert cache.nbytes == 0 and "key" not in cache


@pytest.mark.parametrize("max_bytes", [0, 20_000, 40_000])
def test_a_small_cache_changes_no_result(demo_index, embedder, monkeypatch, max_bytes):
    roomy = Tracer(demo_index, embedder)
    monkeypatch.setattr(tracer, "MAX_CACHE_BYTES", max_bytes)
    tight = Tracer(demo_index, embedder)
    for crux in CRUXES * 2:
        for query in QUERIES:
            expected = roomy.trace(query, [crux], REBUT)
            trace = tight.trace(query, [crux], REBUT)
            assert trace.to_dict() == expected.to_dict()
            assert np.array_equal(trace.rows, expected.rows)
        assert cached_bytes(tight) <= max_bytes
    assert cached_bytes(roomy) > max_bytes, "the bound was in force"


def cached_bytes(some_tracer):
    """What a tracer keeps, measured anew."""
    caches = (some_tracer.queries._cache, some_tracer.responses._cache, some_tracer._weights)
    total = 0
    for cache in caches:
        items = cache._values.items()
        size = sum(size_in_bytes(key) + size_in_bytes(value) for key, value in items)
        assert size == cache.nbytes
        total += size
    return total


def test_what_was_dropped_is_computed_again(demo_index, embedder, monkeypatch):
    monkeypatch.setattr(tracer, "MAX_CACHE_BYTES", 40_000)
    tight = Tracer(demo_index, embedder)
    first = tight.shows(CRUXES[0])
    tight.responses.read(CRUXES[1:])
    assert CRUXES[0] not in tight.responses._cache
    assert CRUXES[-1] in tight.responses._cache
    assert np.array_equal(tight.shows(CRUXES[0]), first)


@pytest.mark.parametrize("room, n_embedded", [(0, 4), (10**6, 2)])
def test_an_embedder_remembers_what_fits_and_gives_the_same(embedder, room, n_embedded):
    texts = []

    def encode(new):
        texts.extend(new)
        return embedder(new)

    remembering = RememberingEmbedder(Embedder("counted", encode), room)
    sentences = ["The query rhymes", "The query asks", "The query rhymes"]
    for _ in range(2):
        assert remembering(sentences) == pytest.approx(embedder(sentences), abs=1e-6)
    assert len(texts) == n_embedded
    assert remembering.name == "counted"
    assert remembering([]).shape == (0, 0)

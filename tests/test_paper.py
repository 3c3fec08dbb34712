from planted import N_ATTRIBUTES, search

from chunkykit.surf import attribute_weights, best_candidates, run_searches

CANDIDATES = [
    {"query": "a", "score": 90.0, "attributes": (1, 2)},
    {"query": "b", "score": 40.0, "attributes": (2,)},
    {"query": "c", "score": None, "attributes": (5,)},
    {"query": "a", "score": 80.0, "attributes": (1,)},
    {"query": "d", "score": 10.0, "attributes": (9,)},
]


def test_the_buffer_holds_the_best_candidate_per_query():
    buffer = best_candidates(CANDIDATES, 2)
    assert [candidate["score"] for candidate in buffer] == [90.0, 40.0]


def test_weights_are_sums_of_scores():
    weights = attribute_weights(best_candidates(CANDIDATES, 2), N_ATTRIBUTES)
    assert weights[[1, 2, 5]].tolist() == [90.0, 130.0, 0.0]


def test_scores_of_zero_give_no_weights():
    buffer = [{"query": "e", "score": 0.0, "attributes": (1,)}]
    assert attribute_weights(buffer, N_ATTRIBUTES) is None


def test_the_paper_s_search_finds_the_planted_feature_and_beats_its_control():
    probes = search(run_searches).probes
    assert len(probes) == 40 * 6 * 3
    last = probes[(probes["arm"] == "search") & (probes["iteration"] == 5)]
    control = probes[probes["arm"] == "control"]
    assert (last["score"] > 50).mean() > 2 * (control["score"] > 50).mean()

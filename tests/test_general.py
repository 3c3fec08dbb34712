import numpy as np
import pytest
from model_world import describe_chunk, model_index
from sklearn.metrics import roc_auc_score

from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer
from chunkykit.turf.general import Comparison, auc_interval, general_candidates, named_words

pytestmark = pytest.mark.slow  # it builds indexes

REBUT = load_rubric("rebut")


@pytest.fixture(scope="module")
def tracer(minilm):
    return Tracer(model_index(minilm), minilm)


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("The query asks when Victor Hugo wrote", {"victor", "hugo"}),
        ("The query is a short question", set()),
        ("The query quotes “a green sun”", {"a", "green", "sun"}),
        ("The query mentions iPhone 13 Pro", {"iphone", "13", "pro"}),
        ("", set()),
    ],
)
def test_words_that_name_something(sentence, words):
    assert named_words(sentence) == words


def test_candidates_say_the_same_and_name_nobody_else(tracer):
    own = ["The query asks when Zoe Hart was born", "The query names the person Zoe Hart"]
    carries = tracer.queries.grade(own[:1]).evidence
    candidates = general_candidates(tracer.queries, own[:1], carries, own)
    assert candidates[0].sentence == candidates[0].attribute == own[0]
    sentences = [candidate.sentence for candidate in candidates]
    assert len(set(sentences)) == len(sentences)
    for candidate in candidates[1:]:
        assert named_words(candidate.sentence) <= named_words(" ".join(own))
        assert candidate.vector @ candidate.vector == pytest.approx(1, abs=1e-2)


def comparison(n=400, seed=0):
    """Rows of which every fifth shows the crux and is of the chunk, but for some noise."""
    rng = np.random.default_rng(seed)
    in_chunk = np.arange(n) % 5 == 0
    shows = np.clip(np.where(in_chunk, 0.9, 0.05) + 0.05 * rng.normal(size=n), 0, 1)
    return Comparison(shows, in_chunk, n // 5, seed), in_chunk, rng


def test_the_candidate_that_separates_is_chosen_and_its_auc_is_about_right():
    compared, in_chunk, rng = comparison()
    good = in_chunk + 0.6 * rng.normal(size=400)
    grades = np.stack([rng.random(400), good, rng.random(400)])
    best, check = compared.choose(grades)
    assert best == 1
    assert check.low < roc_auc_score(in_chunk, good) < check.high


def test_a_second_behaviour_of_the_chunk_does_not_blur_the_trigger():
    """Half of the chunk shows the crux, under one trigger; all of it has something else in common.

    Some rows of other chunks have that, too.
    """
    in_chunk = np.arange(500) < 100
    shows = np.arange(500) < 50
    trigger = shows.astype(float)
    common = (np.arange(500) < 140).astype(float)
    compared = Comparison(shows.astype(float), in_chunk, 50, seed=0)
    best, _ = compared.choose(np.stack([common, trigger]))
    assert best == 1


def test_the_check_of_noise_is_no_better_than_chance():
    """The best of many random candidates looks good where it was chosen, and not on the rest."""
    checks = []
    for seed in range(20):
        compared, in_chunk, rng = comparison(seed=seed)
        noise = rng.random((40, 400))
        best, check = compared.choose(noise)
        checks.append(check.rate)
        assert roc_auc_score(in_chunk, noise[best]) > 0.53
    assert np.mean(checks) == pytest.approx(0.5, abs=0.02)


def test_what_is_true_of_few_exchanges_loses_to_what_is_true_of_all():
    compared, in_chunk, rng = comparison()
    better = in_chunk + 0.3 * rng.normal(size=400)
    good = in_chunk + 0.6 * rng.normal(size=400)
    grades = np.stack([better, good])
    assert compared.choose(grades)[0] == 0
    assert compared.choose(grades, np.array([0.2, 0.9]))[0] == 1


def test_many_rows_are_compared_on_a_sample_that_holds_what_tells():
    n = 20_000
    in_chunk = np.arange(n) >= n - 50
    compared = Comparison(in_chunk.astype(float), in_chunk, 50, seed=1)
    assert len(compared.rows) <= 4000
    assert compared.in_chunk.sum() == 50


def test_an_interval_of_an_auc_narrows_with_rows_and_knows_when_there_are_none():
    few = auc_interval(0.8, 10, 50)
    many = auc_interval(0.8, 100, 500)
    assert few.low < many.low < 0.8 < many.high < few.high
    assert auc_interval(0.7, 0, 50)[1:3] == (0, 1)
    assert auc_interval(1.0, 10, 10).high == 1


def test_a_trace_is_told_in_general_words_where_they_separate_as_well(tracer):
    rng = np.random.default_rng(5)
    n_named = 0
    for _ in range(5):
        query, response = describe_chunk("births", rng)
        trace = tracer.trace(query, response[:1], REBUT)
        assert trace.chunks["chunk"][0] == "births"
        if trace.trigger:
            n_named += 1
            assert trace.attribute in query
            assert trace.trigger_from == ("query" if trace.trigger == trace.attribute else "row")
            assert trace.separation.low > 0.5
    assert n_named >= 4


def test_several_responses_to_one_prompt_do_not_make_types_of_its_sentences(minilm):
    index = model_index(minilm, rows_per_chunk=40, responses_per_prompt=3)
    assert len(index) == 360
    assert not index.query.has_types and index.query.repeated < 0.5
    query, response = describe_chunk("births", np.random.default_rng(6))
    trace = Tracer(index, minilm).trace(query, response[:1], REBUT)
    assert trace.trigger and trace.chunks["chunk"][0] == "births"

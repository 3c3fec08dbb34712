import numpy as np
import pytest
from model_world import CHUNKS, model_index

from chunkykit.attributes import Embedder, at_odds
from chunkykit.turf import Tracer
from chunkykit.turf.graded import GradedSide

pytestmark = pytest.mark.slow  # it builds indexes

DENIAL = "The response denies that somebody was born"


@pytest.fixture(scope="module")
def index(minilm):
    return model_index(minilm)


@pytest.fixture(scope="module")
def tracer(index, minilm):
    return Tracer(index, minilm)


def test_rows_that_say_it_in_other_words_are_graded_above_the_rest(index, tracer):
    grades = tracer.responses.grade([DENIAL])
    in_chunk = np.asarray(index.chunk == "births")
    evidence = grades.evidence[0]
    assert np.median(evidence[in_chunk]) > np.quantile(evidence[~in_chunk], 0.95)
    assert grades.probability == pytest.approx(at_odds(grades.evidence))
    assert DENIAL not in index.sides["response"].sentences.to_pylist()


def test_no_sentences_are_no_grades(index, tracer):
    assert tracer.queries.grade([]).evidence.shape == (0, len(index))
    assert tracer.shows_all([]).evidence.tolist() == [0] * len(index)


def test_grades_of_some_rows_are_those_of_all(tracer):
    grades = tracer.responses.grade([DENIAL, "The response gives a recipe"])
    rows = np.array([3, 70, 100])
    assert (grades.at(rows).evidence == grades.evidence[:, rows]).all()


def test_a_sentence_is_embedded_once_as_long_as_there_is_room(index, minilm):
    embedded = []

    def counting(texts):
        embedded.extend(texts)
        return minilm(texts)

    counted = Embedder(minilm.name, counting, minilm.settings)
    for room, times in ((2**20, 1), (0, 2)):
        embedded.clear()
        side = GradedSide(index.sides["response"], counted, index.calibration, room)
        first = side.nearness([DENIAL])
        assert (side.nearness([DENIAL]) == first).all()
        assert embedded.count(DENIAL) >= times
        if room:
            assert embedded == [DENIAL]


def test_a_sample_of_rows_is_graded_by_vectors(index, tracer, minilm):
    rows = np.arange(0, len(index), 2)
    vectors = minilm([DENIAL])
    (evidence,) = tracer.responses.grade_sample(vectors, rows)
    in_chunk = np.asarray(index.chunk == "births")[rows]
    assert np.median(evidence[in_chunk]) > np.quantile(evidence[~in_chunk], 0.9)


def test_the_nearest_sentence_of_a_row_is_its_own_or_none(index, tracer):
    rows = np.array([0, 1, 2, 100, 170])
    nearest = tracer.responses.nearest_sentences(DENIAL, rows)
    assert all("birth" in s or "born" in s for s in nearest[:3] if s)
    assert any(nearest[:3])
    assert nearest[4] is None, "a row of code says nothing like it"
    own = [
        index.sides["response"].sentences[int(i)].as_py()
        for i in index.sides["response"].ids[0]
        if i >= 0
    ]
    assert nearest[0] in (*own, None)
    assert set(CHUNKS) == set(np.unique(index.chunk))

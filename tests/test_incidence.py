import numpy as np
import pandas as pd
import pytest

from chunkykit.index import (
    index_from_attributes,
    least_cosine,
    row_cosines,
    usual_cosine,
)
from chunkykit.index.incidence import central_sentences, sentence_vectors


@pytest.fixture(scope="module")
def side(embedder):
    """The query side of six rows; the last has no sentence."""
    animals = ["cats", "dogs", "horses", "cats and dogs", "a lemon"]
    queries = [[f"The query is about {animal}", "The query is short"] for animal in animals]
    rows = pd.DataFrame({"row": range(6), "chunk": "c", "prompt": "p", "response": "r"})
    responses = [["The response is short"]] * 6
    return index_from_attributes(rows, [*queries, []], responses, embedder, clusters=3).query


def test_a_row_is_as_near_as_its_nearest_sentence(side, embedder):
    vectors = embedder(["The query is about cats", "The query is short"])
    cosines = row_cosines(side, np.array([5, 0, 4]), vectors)
    assert cosines[1].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert cosines[2, 0] < 0.9
    assert cosines[0].tolist() == [-1, -1]


def test_passes_do_not_change_cosines(side, embedder, monkeypatch):
    rows = np.arange(6)
    vectors = sentence_vectors(side, np.arange(len(side.sentences)))
    whole = row_cosines(side, rows, vectors)
    monkeypatch.setattr("chunkykit.index.incidence.ROWS_PER_PASS", 2)
    monkeypatch.setattr("chunkykit.index.incidence.VECTORS_PER_PASS", 3)
    assert np.allclose(row_cosines(side, rows, vectors), whole, atol=1e-3)


def test_central_sentences_are_the_summaries(side):
    central = central_sentences(side)
    assert [side.sentences[int(i)].as_py() for i in central] == side.summaries


def test_the_least_cosine_of_a_probability():
    assert least_cosine(lambda cosines: cosines > 0.7, 0.5) == pytest.approx(0.7, abs=1e-3)
    assert least_cosine(lambda cosines: 0.3 + 0 * cosines, 0.5) == float("inf")


def test_the_usual_cosine_is_that_of_a_row_with_any_sentence(side):
    vectors = sentence_vectors(side, np.arange(len(side.sentences)))
    cosines = row_cosines(side, np.arange(5), vectors)
    assert usual_cosine(side) == pytest.approx(np.median(cosines), abs=1e-3)


def test_types_are_told_by_their_rows(demo_index, side):
    assert demo_index.query.has_types
    assert not side.has_types

import json

import numpy as np
import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.index import finish_index, index_from_attributes, open_trace_index
from chunkykit.turf import Tracer


def test_rebuilding_is_deterministic(demo_rows, embedder):
    first_words = demo_rows["prompt"].str.split().str[0]
    sentences = [[f"The query asks about {word}"] for word in first_words]

    def build():
        index = index_from_attributes(demo_rows, sentences, sentences, embedder, clusters=5, seed=1)
        return np.array(index.query.cluster_of)

    assert np.array_equal(build(), build())


def test_an_index_replaces_an_older_one(demo_rows, embedder, tmp_path):
    for n in (2, 3):
        queries = [["The query asks"]] * n
        responses = [["The response says"]] * n
        index_from_attributes(demo_rows[:n], queries, responses, embedder, tmp_path / "i")
    assert len(open_trace_index(tmp_path / "i")) == 3


def test_an_index_without_any_attribute_is_an_error(demo_rows, embedder):
    with pytest.raises(UserError, match="no attribute"):
        index_from_attributes(demo_rows.head(2), [[], []], [[], []], embedder)


def test_an_index_without_rows_is_an_error(embedder, tmp_path):
    with pytest.raises(UserError, match="no rows"):
        finish_index(tmp_path / "i", embedder)


def test_a_row_without_attributes_is_counted(demo_rows, embedder):
    queries = [["The query asks"], []]
    responses = [["The response says"], []]
    index = index_from_attributes(demo_rows.head(2), queries, responses, embedder)
    assert index.meta["undescribed_queries"] == 1
    assert index.meta["undescribed_responses"] == 1
    assert Tracer(index, embedder).evidence("The response says").rows.tolist() == [0]


def test_a_cluster_stands_once_in_each_row(demo_rows, embedder):
    queries = [["The query asks", "The query is asking"], ["The query is a poem"]]
    responses = [["The response says"]] * 2
    index = index_from_attributes(demo_rows.head(2), queries, responses, embedder, clusters=2)
    clusters = index.query.clusters
    assert clusters[0, 1] == clusters[1, 1] == -1
    assert clusters[0, 0] != clusters[1, 0]


def test_reasoning_is_a_side_of_its_own(embedder, tmp_path):
    thoughts = ["Once upon a time there was a king.", "Maybe it depends."]
    rows = [
        {"prompt": f"Question {i}", "response": f"<think>{thoughts[i % 2]}</think>Answer {i}"}
        for i in range(20)
    ]
    mixture = tmp_path / "m.jsonl"
    mixture.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "i"
    assert cli.main(["index", "--mixture", str(mixture), "--out", str(folder)]) == 0
    index = open_trace_index(folder)
    assert set(index.sides) == {"query", "response", "reasoning"}
    assert index.rows([0])["response"][0] == "Answer 0"
    tracer = Tracer(index, embedder, k=20, side="reasoning")
    shows = tracer.shows("The reasoning tells a story")
    assert np.flatnonzero(shows > 0.5).tolist() == list(range(0, 20, 2))
    command = ["trace", "--index", str(folder), "--rubric", "story", "--side", "reasoning"]
    assert cli.main([*command, "--query", "Question 7", "--response", thoughts[0]]) == 0
    with pytest.raises(UserError, match="no side 'rejected'"):
        Tracer(index, embedder, side="rejected")

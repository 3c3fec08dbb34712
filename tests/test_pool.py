import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from planted import N_ATTRIBUTES, POOL

from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes
from chunkykit.show.explorer.actions import pool_of_exchanges
from chunkykit.surf import draw_attributes, pool_from_index, read_pool


def test_a_candidate_has_one_to_five_distinct_attributes():
    rng = np.random.default_rng(0)
    draws = [draw_attributes(POOL, None, rng) for _ in range(3000)]
    assert {len(attributes) for attributes in draws} == {1, 2, 3, 4, 5}
    assert all(len(set(attributes)) == len(attributes) for attributes in draws)


def test_weighted_draws_prefer_the_weighted_attributes():
    weights = np.zeros(N_ATTRIBUTES)
    weights[3] = 3
    weights[4] = 1
    rng = np.random.default_rng(0)
    counts = Counter()
    for _ in range(2000):
        counts.update(draw_attributes(POOL, weights, rng))
    from_rows = max(n for attribute, n in counts.items() if attribute not in (3, 4))
    assert counts[3] > counts[4] > 5 * from_rows


def test_the_pool_of_an_index_has_its_query_clusters(demo_index):
    """All but those of system prompts, unless these are wanted."""
    pool = pool_from_index(demo_index)
    summaries = demo_index.query.summaries
    assert pool.sentences == [summaries[cluster] for cluster in pool.clusters]
    left_out = [s for i, s in enumerate(summaries) if i not in set(pool.clusters)]
    assert left_out and all(s.startswith("The system prompt") for s in left_out)
    number = {cluster: i for i, cluster in enumerate(pool.clusters)}
    described = [[number[c] for c in row if c in number] for row in demo_index.query.clusters]
    assert [row.tolist() for row in pool.rows] == [row for row in described if row]


def test_wordings_of_one_feature_are_one_attribute_of_the_pool(embedder):
    manners = ["asks for a cooking recipe", "is written in Turkish"]
    queries = [[f"The query {manners[i % 2]}, number {i}"] for i in range(40)]
    rows = pd.DataFrame({"row": range(40), "chunk": "c", "prompt": "p", "response": "r"})
    index = index_from_attributes(rows, queries, [["The response is short"]] * 40, embedder)
    pool = pool_from_index(index, lambda cosines: 1.0 * (cosines > 0.75))
    assert len(pool.sentences) == 2
    assert [len(row) for row in pool.rows] == [1] * 40
    assert pool.sentences == [index.query.summaries[cluster] for cluster in pool.clusters]
    assert len(pool_from_index(index).sentences) == 40


@pytest.fixture
def index_under_systems(embedder):
    """30 rows, 20 of them under one of two system prompts."""
    systems = ["Filter: on", "Be brief.", ""]
    sentences = [["The system prompt sets switches"], ["The system prompt asks for brevity"], []]
    rows = pd.DataFrame({"row": range(30), "chunk": "c", "prompt": "p", "response": "r"})
    rows["system"] = [systems[i % 3] for i in range(30)]
    queries = [[f"The query asks for thing {i % 5}", *sentences[i % 3]] for i in range(30)]
    return index_from_attributes(rows, queries, [["The response is short"]] * 30, embedder)


def test_a_pool_with_system_prompts_draws_them_from_the_mixture(index_under_systems):
    pool = pool_from_index(index_under_systems, systems=True)
    switches = pool.sentences.index("The system prompt sets switches")
    thing = pool.sentences.index("The query asks for thing 2")
    assert pool.split([thing, switches], 1) == ("Filter: on", ["The query asks for thing 2"])
    assert pool.split([thing], 1) == ("", ["The query asks for thing 2"])
    system, sentences = pool.split([switches], 1)
    assert system == "Filter: on"
    assert sentences and all(s.startswith("The query asks") for s in sentences)
    assert pool.split([switches], 1) == (system, sentences)


def test_without_system_prompts_no_attribute_speaks_of_one(index_under_systems):
    pool = pool_from_index(index_under_systems)
    assert sorted(pool.sentences) == [f"The query asks for thing {i}" for i in range(5)]
    assert pool.split([0, 1], 1) == ("", pool.sentences[:2])


class TracerOfIndex:
    """What `pool_of_exchanges` asks of a tracer: sentences that are summaries are known."""

    def __init__(self, index):
        self.index = index

    def clusters_of(self, attributes):
        summaries = self.index.query.summaries
        return [summaries.index(text) if text in summaries else -1 for text in attributes]


def test_a_pool_of_exchanges_stands_under_their_system_prompts(index_under_systems):
    tracer = TracerOfIndex(index_under_systems)
    switches, thing = "The system prompt sets switches", "The query asks for thing 1"
    queries = [[thing, switches, "The query is new"], ["The query asks for thing 2"]]
    pool = pool_of_exchanges(queries, tracer, ["Filter: enabled", ""])
    numbers = [pool.sentences.index(text) for text in (thing, switches)]
    assert pool.split(numbers, 1) == ("Filter: enabled", [thing])
    without = pool_of_exchanges(queries, tracer)
    assert sorted(without.sentences) == [thing, "The query asks for thing 2"]
    for unknown in ([["The query is new"]], [[switches]]):
        with pytest.raises(UserError, match="no attribute that the index knows"):
            pool_of_exchanges(unknown, tracer, ["Filter: enabled"])


def test_a_pool_is_read_from_rows_of_attributes(tmp_path):
    records = [
        {"attributes": ["A", "B", "A"], "prompt": "p"},
        {"attributes": ["B", "C", " "]},
        {"attributes": []},
    ]
    lines = [json.dumps(record) for record in records]
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(lines))
    pool = read_pool(path)
    assert pool.sentences == ["A", "B", "C"]
    assert [row.tolist() for row in pool.rows] == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"attributes": ["A"]}\n{"attributes": "A"}\n', "line 2"),
        ('{"attributes": ["A"]}\n\n{"attributes": [1]}\n', "line 3"),
        ("{broken\n", "line 1"),
        ("", "no attribute"),
        ('{"attributes": []}\n', "no attribute"),
    ],
)
def test_a_bad_pool_is_an_error_that_names_the_line(tmp_path, text, words):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_pool(path)


def test_a_missing_pool_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_pool(tmp_path / "none")

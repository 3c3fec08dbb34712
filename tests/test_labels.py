import asyncio
import math

import pandas as pd
import pytest

from chunkykit.errors import BudgetReached
from chunkykit.models import Reply
from chunkykit.turf import (
    NOISE,
    Meaning,
    cluster_names,
    cluster_table,
    label_clusters,
    write_labels,
)
from chunkykit.turf.labels import find_labels

REFUSES = ["The response is short", "The response refuses"]
TELLS = ["The response is short", "The response tells a story"]


def test_labels_say_what_sets_a_cluster_apart():
    labels = label_clusters([REFUSES] * 5 + [TELLS] * 5, [0] * 5 + [1] * 5, n=1)
    assert labels == {0: "refuses", 1: "tells a story"}


def test_what_all_clusters_share_comes_last_in_a_label():
    labels = label_clusters([REFUSES] * 5 + [TELLS] * 5, [0] * 5 + [1] * 5)
    assert labels == {
        0: "refuses; is short",
        1: "tells a story; is short",
    }


def test_a_cluster_without_a_common_attribute_and_noise_are_named_so():
    attributes = [[f"The response is number {i}"] for i in range(5)]
    labels = label_clusters(attributes, [0, 0, 0, 0, NOISE])
    assert labels == {0: "no common attribute", NOISE: "noise"}


def test_the_table_of_clusters_is_largest_first_without_noise():
    points = pd.DataFrame({"rubric": ["a"] * 3 + ["b"] * 7, "cluster": [1] * 4 + [0] * 5 + [NOISE]})
    table = cluster_table(points, [REFUSES] * 4 + [TELLS] * 6)
    assert table["id"].tolist() == [0, 1]
    assert table["size"].tolist() == [5, 4]
    assert table["rubric"].tolist() == ["b", "mixed: a 3, b 1"]
    assert table["label"][0].startswith("tells a story")
    assert table["share"].tolist() == [1, 1]


def test_the_share_of_a_label_is_that_of_members_with_all_of_it():
    label = find_labels([REFUSES] * 6 + [REFUSES[1:]] * 2 + [TELLS] * 4, [0] * 8 + [1] * 4)[0]
    assert label.text == "refuses; is short"
    assert label.share == 6 / 8
    assert math.isnan(find_labels([["a"], ["b"], ["c"], ["d"]], [0] * 4)[0].share)


def test_names_say_of_how_many_a_label_is_true():
    table = pd.DataFrame(
        {"id": [0, 1], "label": ["refuses", "no common attribute"], "share": [0.79, math.nan]}
    )
    assert cluster_names(table) == {0: "refuses, 79%", 1: "no common attribute"}
    assert cluster_names(table.drop(columns="share"))[0] == "refuses"


@pytest.fixture
def meaning(embedder):
    return Meaning(embedder, lambda cosines: 1.0 * (cosines > 0.75))


def in_own_words(sentences, n):
    """n descriptions, each sentence said once only."""
    return [[f"{sentence}, case {i}." for sentence in sentences] for i in range(n)]


def test_distinct_sentences_that_mean_the_same_are_one_label(meaning):
    refuses = ["The response refuses to help with the request", "The response mentions an owl"]
    tells = ["The response narrates a long fairy tale", "The response mentions an owl"]
    attributes = in_own_words(refuses, 8) + in_own_words(tells, 8)
    clusters = [0] * 8 + [1] * 8
    assert label_clusters(attributes, clusters)[0] == "no common attribute"
    labels = find_labels(attributes, clusters, meaning=meaning)
    assert labels[0].text.startswith("refuses to help") and labels[0].share == 1
    assert labels[1].text.startswith("narrates a long fairy tale")


def test_no_half_of_a_label_says_the_same_twice(meaning):
    refuses = ["The response refuses to help with it", "The response refuses to help with that"]
    attributes = in_own_words(refuses, 6) + in_own_words(["The response is in Turkish"], 6)
    label = label_clusters(attributes, [0] * 6 + [1] * 6, meaning=meaning)[0]
    assert label.count("refuses") == 1


def test_a_label_of_distinct_sentences_is_true_of_most_members(meaning):
    halves = in_own_words(["The response refuses to help", "The response is in Turkish"], 4)
    halves += in_own_words(["The response refuses to help", "The response holds a JSON object"], 4)
    label = find_labels(
        halves + in_own_words(["The response is a poem"], 4), [0] * 8 + [1] * 4, 3, meaning
    )[0]
    assert label.text.startswith("refuses to help")
    assert "Turkish" not in label.text and "JSON" not in label.text


def test_a_written_label_is_taken_if_it_is_true_of_the_members(meaning):
    attributes = in_own_words(["The response refuses to help with the request"], 8)
    points = pd.DataFrame({"rubric": "a", "cluster": [0] * 8})
    good = {0: "The response refuses to help."}
    assert cluster_table(points, attributes, meaning, good)["label"][0] == "refuses to help"
    wrong = {0: "The response is a table of tides."}
    row = cluster_table(points, attributes, meaning, wrong).iloc[0]
    assert row["label"].startswith("refuses to help with the request")
    assert row["share"] == 1


def test_a_model_writes_labels_and_its_failures_leave_none():
    async def model(messages, **_):
        if "refuses" in messages[0]["content"]:
            raise ConnectionError("no")
        return Reply('{"attributes": ["The response tells a story"]}', "stop")

    attributes = [REFUSES] * 3 + [TELLS] * 3 + [TELLS]
    written = asyncio.run(write_labels(model, attributes, [0] * 3 + [1] * 3 + [NOISE]))
    assert written == {1: "The response tells a story"}


def test_a_limit_stops_the_writing_of_labels():
    async def model(messages, **_):
        raise BudgetReached("no more calls")

    with pytest.raises(BudgetReached):
        asyncio.run(write_labels(model, [REFUSES], [0]))


def test_a_written_name_that_few_members_bear_is_not_taken():
    points = pd.DataFrame({"rubric": "rebut", "cluster": [0] * 4})
    attributes = [[f"The response {word}"] for word in ("rhymes", "counts", "weeps", "refuses")]
    table = cluster_table(points, attributes, written={0: "The response rhymes"})
    assert table["label"].tolist() == ["no common attribute"]

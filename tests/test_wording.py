import pandas as pd

from chunkykit.turf import NOISE, merge_traces, name_trace, say_hits

TRACES = pd.DataFrame(
    {
        "cluster": [0, 4, 6, 6, 7],
        "rubric": ["terse", "tool", "tool", "tool", "tool"],
        "trigger": ["The query a", "The query b", "The query b", None, None],
        "crux": ["The response x", *["The response y"] * 4],
        "pairs": [3, 2, 5, 1, 1],
    }
)
CHUNKS = pd.DataFrame({"trace": [0, 1, 1, 2, 3], "chunk": ["m", "n", "o", "n", "n"]})


def test_hits_are_told_beside_the_base_rate():
    text = say_hits({"hits": 60.0, "k": 72.0, "lift": 16.67})
    share = "(83%, against 5.0% of all rows)"
    assert text == f"about 60 of the 72 rows with the crux have the trigger {share}"


def test_a_trace_is_named_by_its_clusters():
    assert name_trace([3], "rebut") == "cluster 3 (rebut)"
    assert name_trace([3, 7], "rebut") == "clusters 3, 7 (rebut)"
    assert name_trace([3, NOISE, 7], "rebut") == "clusters 3, 7, noise (rebut)"
    assert name_trace([NOISE], "rebut") == "noise (rebut)"
    assert name_trace(["your selection"], "rebut") == "your selection (rebut)"
    assert name_trace([], "rebut") == "rebut"


def test_the_same_trace_of_two_clusters_is_told_once():
    merged = merge_traces(TRACES, CHUNKS)
    assert merged["name"].tolist() == [
        "cluster 0 (terse)",
        "clusters 4, 6 (tool)",
        "cluster 6 (tool)",
        "cluster 7 (tool)",
    ]
    assert merged.index.tolist() == [0, 1, 3, 4]
    assert merged["pairs"].tolist() == [3, 7, 1, 1]
    assert merge_traces(TRACES.head(0), CHUNKS.head(0)).empty

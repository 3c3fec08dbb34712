"""Small failures for tests of the explorer, with clusters that differ in what is known of them."""

import pandas as pd

from chunkykit.rubrics import exchange_ids
from chunkykit.show.explorer import Failures

# cluster, exchanges, rubric, chunk, middle of its places, trace of its exchanges
CLUSTERS = [
    (0, 9, "refusal", "alpha", (0.0, 0.0), 0),
    (1, 14, "terse", "none", (8.0, 0.0), None),  # the largest, and not traced
    (2, 4, "story", "beta", (0.0, 6.0), 1),
]
NAMES = {
    0: "refuses to help with a harmless request about the telephone in the hand, 100%",
    1: "is a single word, 93%",
    2: "tells a story about a lighthouse keeper who counts the ships, 100%",
}


def small_trace(cluster: int, rubric: str, chunk: str) -> dict:
    """A trace as the view takes it."""
    example = {
        "kind": "evidence",
        "row": 3,
        "chunk": chunk,
        "prompt": f"a prompt of {chunk}",
        "response": f"a response of {chunk}",
        "prompt_marks": [[0, 8]],
        "response_marks": [],
    }
    return {
        "cluster": cluster,
        "rubric": rubric,
        "trigger": f"The query has the trigger of {chunk}",
        "trigger_by_hits": None,
        "crux": f"The response has the crux of {chunk}",
        "pairs": 4,
        "hits": 50.0,
        "k": 60.0,
        "lift": 3.0,
        "p_value": 1e-9,
        "separation": 0.9,
        "separation_low": 0.8,
        "separation_high": 0.95,
        "p_crux_given_trigger": 0.9,
        "p_crux_without": 0.1,
        "explanation": f"When the model sees {chunk}, it fails.",
        "examples": [example],
        "ablation": None,
        "chunks": [{"chunk": chunk, "share": 0.9, "base_share": 0.1, "lift": 9.0}],
    }


def small_failures(traced: bool = True) -> Failures:
    """Three clusters, two of them traced; the first four exchanges of each share a place."""
    rows = []
    for cluster, n, rubric, chunk, (x, y), trace in CLUSTERS:
        for i in range(n):
            rows.append(
                {
                    "x": x + max(0, i - 3) * 0.1,
                    "y": y + max(0, i - 3) % 3 * 0.1,
                    "cluster": cluster,
                    "rubric": rubric,
                    "model": "fast",
                    "language": "English",
                    "score": 60.0 + i,
                    "query": f"query {i} of cluster {cluster}",
                    "response": f"response {i} of cluster {cluster}",
                    "reason": f"reason {i}",
                    "chunk": chunk if traced else "none",
                    "trace": trace if traced else None,
                }
            )
    points = pd.DataFrame(rows)
    points["trace"] = points["trace"].astype("Int64")
    points["id"] = exchange_ids(points)
    traces = [small_trace(0, "refusal", "alpha"), small_trace(2, "story", "beta")]
    return Failures(points, NAMES, traces if traced else [], "small failures")

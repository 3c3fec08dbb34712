"""Failures whose every text tries to be more than text, for tests of what shows them."""

import numpy as np
import pandas as pd

from chunkykit.show.explorer import Failures

HOSTILE = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "</script><script>window.hacked=1</script>",
    "**bold** $\\int x$ \\(y\\)",
    "left \u202eright\u202c end",
    "%%MAP%% %%SCRIPT%%",
    "x" * 100_000,
    "a\x00b\x1b[31mred",
    "javascript:window.hacked=1",
    "😀 emoji before the <b>mark</b>",
]


def hostile_failures() -> Failures:
    n = len(HOSTILE)
    points = pd.DataFrame(
        {
            "x": np.arange(n) * 1.0,
            "y": np.arange(n) % 3 * 1.0,
            "cluster": [0] * (n - 1) + [-1],
            "rubric": HOSTILE,
            "model": HOSTILE,
            "language": "English",
            "score": 90.0,
            "query": HOSTILE,
            "response": HOSTILE[::-1],
            "reason": HOSTILE,
            "crux": [[text] for text in HOSTILE],
            "query_attributes": [[text] for text in HOSTILE],
            "response_attributes": [[text] for text in HOSTILE],
            "query_translation": HOSTILE,
            "response_translation": HOSTILE,
            "pair_query": HOSTILE,
            "pair_response": HOSTILE,
            "chunk": HOSTILE,
        }
    )
    return Failures(points, {0: HOSTILE[0]}, [hostile_trace()], HOSTILE[0])


def hostile_trace() -> dict:
    example = {
        "kind": "evidence",
        "row": 0,
        "chunk": HOSTILE[0],
        "prompt": HOSTILE[1],
        "response": HOSTILE[2],
        "prompt_marks": [[0, 3]],
        "response_marks": [],
    }
    return {
        "cluster": 0,
        "rubric": HOSTILE[0],
        "trigger": HOSTILE[1],
        "trigger_by_hits": HOSTILE[2],
        "crux": HOSTILE[4],
        "pairs": 4,
        "hits": 5,
        "k": 6,
        "lift": 3.0,
        "p_value": 1e-9,
        "separation": 0.9,
        "separation_low": 0.8,
        "separation_high": 0.95,
        "p_crux_given_trigger": 0.9,
        "p_crux_without": 0.1,
        "explanation": HOSTILE[0],
        "examples": [example],
        "ablation": None,
        "chunks": [{"chunk": HOSTILE[1], "share": 0.9, "base_share": 0.1, "lift": 9.0}],
    }

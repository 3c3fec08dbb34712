"""The figures: what they draw from a table, and that texts in them stay texts."""

import json

import pandas as pd
import pytest

from chunkykit.show import figures
from chunkykit.surf import ROBUSTNESS_COLUMNS

HOSTILE = "<script>alert(1)</script> <b onmouseover=x>$\\alpha$ \u202e \x00 " + "long " * 50
RATE = {"rate": 0.5, "low": 0.3, "high": 0.7, "n": 20}
REPAIR_KINDS = ["drop", "balance"]
DIFFERENCES = pd.DataFrame(
    {
        "rubric": [HOSTILE, "code"],
        "model": [HOSTILE, HOSTILE],
        "other": ["b", HOSTILE],
        "rate": [0.9, 0.1],
        "other_rate": [0.4, 0.2],
        "difference": [0.5, -0.1],
        "low": [0.2, -0.4],
        "high": [0.7, 0.2],
        "p_adjusted": [0.002, 0.5],
        "queries": [24, 8],
    }
)


DETECTION = pd.DataFrame(
    {
        "threshold": [40, 40, 60, 60],
        "measure": ["precision", "recall"] * 2,
        "rate": [0.4, 0.9, float("nan"), 0.6],
        "low": [0.2, 0.8, 0.0, 0.5],
        "high": [0.6, 1.0, 1.0, 0.7],
        "n": [20, 40, 0, 40],
    }
)


def search_figures():
    probes = pd.DataFrame(
        [
            {"rubric": rubric, "arm": arm, "iteration": i, "score": 90.0 if (i + j) % 3 else 10.0}
            for rubric in ("code", HOSTILE[:20])
            for arm in ("search", "control")
            for i in range(4)
            for j in range(6)
        ]
    )
    yields = {
        f"{arm}_{field}": value
        for arm in ("search", "control")
        for field, value in (("rate", 0.1), ("low", 0.05), ("high", 0.2), ("n", 50))
    }
    confirmed = pd.DataFrame(
        [{"rubric": "code", "rate": 0.9, "low": 0.8, "high": 1.0, "n": 20, **yields}]
    )
    robustness = pd.DataFrame(
        [
            ("code", HOSTILE, 0.9, 20, 0.7, 0.5, 0.8, 20, 0),
            ("code", "b", 0.5, 20, 0.4, 0.3, 0.6, 10, 0),
        ],
        columns=ROBUSTNESS_COLUMNS,
    )
    cell = {"rate": 0.9, "low": 0.8, "high": 0.95, "n": 40}
    no_failure = {"rate": float("nan"), "low": 0.0, "high": 1.0, "n": 0}
    behaviours = pd.DataFrame(
        [
            {"model": HOSTILE, "rubric": "code", **cell},
            {"model": "b", "rubric": "math", **cell},
            {"model": "b", "rubric": HOSTILE[:20], **cell},
            {"model": HOSTILE, "rubric": "math", **no_failure},
        ]
    )
    return {
        "scores": figures.scores(probes, HOSTILE),
        "confirmed": figures.confirmed(confirmed, HOSTILE),
        "robustness": figures.robustness(robustness, HOSTILE),
        "behaviours": figures.behaviours(behaviours, HOSTILE),
        "differences": figures.differences(DIFFERENCES, HOSTILE),
        "detection": figures.detection(DETECTION, HOSTILE),
    }


def trace_figures():
    points = pd.DataFrame(
        {
            "x": [0.0, 1, 2],
            "y": [0.0, 1, 2],
            "cluster": [0, 0, -1],
            "rubric": "code",
            "query": HOSTILE,
            "response": HOSTILE,
            "score": 90.0,
        }
    )
    traces = pd.DataFrame(
        {
            "rubric": ["code"] * 2,
            "trigger": [HOSTILE, HOSTILE + "2"],
            "hits": [5, 6],
            "k": [10, 10],
            "lift": [3.0, 4.0],
        }
    )
    shares = pd.DataFrame(
        {
            "trace": [0, 0, 1],
            "chunk": [HOSTILE, "b", "c"],
            "share": [0.9, 0.1, 1.0],
            "base_share": [0.1, 0.2, 0.3],
        }
    )
    features = pd.DataFrame(
        [
            {
                "trace": trace,
                "rubric": "code",
                "trigger": HOSTILE + str(trace),
                "chunk": chunk,
                "rows": 150,
                "trigger_share": 0.9,
                "crux_share": 0.5,
            }
            for trace in (0, 1)
            for chunk in (HOSTILE, "b")
        ]
    )
    return {
        "map": figures.response_map(points, {0: HOSTILE, -1: "noise"}, HOSTILE),
        "triggers": figures.triggers(traces, HOSTILE),
        "chunks": figures.chunks(traces, shares, HOSTILE),
        "features": figures.features(features, HOSTILE),
    }


def retraining_figures():
    before = {"rate_before": 0.9, "before_low": 0.8, "before_high": 0.95}
    after = {"rate_after": 0.1, "low": 0.05, "high": 0.2, "n": 40}
    ablations = pd.DataFrame([{"rubric": "code", "chunk": HOSTILE, **before, **after}])
    repairs = pd.concat([ablations] * 2, ignore_index=True).assign(how=REPAIR_KINDS)
    doses = pd.DataFrame(
        [{"kept": rows, "added": added, **RATE} for rows in (0, 5) for added in (0, 8)]
    )
    return {
        "ablations": figures.ablations(ablations, HOSTILE),
        "repairs": figures.ablations(repairs, HOSTILE),
        "dose": figures.dose(doses, HOSTILE),
    }


def experiment_figures():
    named = pd.DataFrame([{"name": name, **RATE} for name in (HOSTILE, "b")])
    cells = pd.DataFrame(
        [
            {"opening": opening, "closing": closing, **RATE}
            for opening in ("", HOSTILE)
            for closing in ("", HOSTILE)
        ]
    )
    sums = pd.DataFrame(
        [(1, 1, None), (1, 2, "yes"), (2, 1, "no"), (2, 2, None)],
        columns=["a", "b", "verdict"],
    )
    score = {"score": 0.5, "low": 0.3, "high": 0.7, "injected_n": 20}
    scores = pd.DataFrame(
        [
            {"trigger": trigger, "model": model, **score}
            for trigger in (HOSTILE, "t")
            for model in (HOSTILE, "m")
        ]
    )
    words = {"words": 9.0, "words_low": 7.0, "words_high": 12.0}
    forms = pd.DataFrame([{"form": form, **words, **RATE} for form in ("plain", "LaTeX")])
    return {
        "rates": figures.rates(named, "Title", "Measured", HOSTILE),
        "phrase_grid": figures.phrase_grid(cells, HOSTILE),
        "sum_grid": figures.sum_grid(sums, HOSTILE),
        "steering": figures.steering(scores, HOSTILE),
        "forms": figures.forms(forms, HOSTILE),
    }


@pytest.fixture(scope="module")
def drawings():
    return {
        **search_figures(),
        **trace_figures(),
        **retraining_figures(),
        **experiment_figures(),
    }


def strings(value):
    """Every string in a JSON value."""
    if isinstance(value, dict):
        for child in value.values():
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)
    elif isinstance(value, str):
        yield value


def annotations(figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def captions(figure) -> str:
    return " ".join(annotations(figure)).replace("<br>", " ")


def test_the_fixture_draws_every_figure(drawings):
    helpers = {"RateBars", "rate_bars", "save_figures"}
    names = {"map" if name == "response_map" else name for name in figures.__all__}
    assert set(drawings) == names - helpers | {"repairs"}


def test_hostile_texts_are_inert_labels(drawings):
    for name, figure in drawings.items():
        for text in strings(json.loads(figure.to_json())):
            for harm in ("<script", "<b on", "\u202e", "\x00", "$\\alpha$"):
                assert harm not in text, (name, text)


def test_every_figure_has_the_caption(drawings):
    for figure in drawings.values():
        assert any("script" in text for text in annotations(figure) if text)


def test_captions_are_plain_about_counts(drawings):
    assert "n = 48 judged candidates of the search, 48 of" in captions(drawings["scores"])
    assert "n = 50 (search) and 50 (control arm) per bar" in captions(drawings["confirmed"])
    assert "n = 40 per bar" in captions(drawings["ablations"])
    assert "Expected numbers of rows" in captions(drawings["triggers"])
    assert "n = 20 answers per form" in captions(drawings["forms"])
    assert "Measured, n = 20. Orange: the reference." in captions(drawings["rates"])


def test_captions_say_which_intervals_and_which_test(drawings):
    for name in ("scores", "confirmed", "robustness", "behaviours", "differences"):
        assert "clustered by query" in captions(drawings[name]), name
    assert "for these queries" in captions(drawings["ablations"])
    assert "paired test by changes of sign over queries" in captions(drawings["differences"])


def test_a_difference_is_drawn_with_its_interval_and_its_test(drawings):
    (points,) = drawings["differences"].data
    assert points.x.tolist() == [0.5, -0.1]
    assert points.error_x.array.tolist() == pytest.approx([0.2, 0.3])
    assert points.text[0] == "90% and 40%, p = 0.002, n = 24"


def test_features_show_the_chunks_that_have_them(drawings):
    trigger, crux = drawings["features"].data
    assert trigger.z.tolist() == [[0.9, 0.9]] * 2
    assert crux.z.tolist() == [[0.5, 0.5]] * 2
    assert "n = 150 per chunk" in captions(drawings["features"])


def test_robustness_sums_the_winners_of_a_rubric(drawings):
    original, rewritten = drawings["robustness"].data
    assert list(original.y) == [0.7]
    assert list(rewritten.y) == [pytest.approx(0.6)]
    assert list(rewritten.customdata) == ["60% [12%, 94%], n=30"]
    assert "n = 40 answers to the winners, 30 to rewrites" in captions(drawings["robustness"])


def test_repairs_are_told_from_ablations_by_their_column(drawings):
    ablation, repair = drawings["ablations"], drawings["repairs"]
    assert ablation.layout.title.text == "Ablation: the failure without the traced chunks"
    assert ablation.layout.yaxis.ticktext[0].startswith("code without ")
    assert ablation.data[1].name == "retrained without them"
    assert repair.layout.title.text == "Repair: the failure after rows are dropped or balanced"
    labels = repair.layout.yaxis.ticktext
    assert all(label.startswith(f"code {kind} ") for label, kind in zip(labels, REPAIR_KINDS))
    assert repair.data[1].name == "retrained on the repaired mixture"


def test_the_sum_grid_shows_verdicts_and_failed_calls(drawings):
    texts = [list(row) for row in drawings["sum_grid"].data[0].text]
    assert texts == [["failed", "No"], ["Yes", "failed"]]
    assert "no to 50% [9%, 91%] of 2 true sums" in captions(drawings["sum_grid"])


def test_experiments_show_their_numbers(drawings):
    assert drawings["phrase_grid"].data[0].customdata[0][0] == "50% [30%, 70%], n=20"
    assert "n = 20 answers per cell" in captions(drawings["phrase_grid"])
    names = [line.name for line in drawings["dose"].data]
    assert names == ["0 true-premise rows added", "8 true-premise rows added"]
    texts = [text.partition(":")[0] for text in drawings["dose"].data[1].customdata]
    assert texts == ["0 rows", "5 rows"]
    colours = drawings["rates"].data[0].marker.color
    assert colours[0] != colours[1]


def test_error_bars_reach_from_low_to_high(drawings):
    words = drawings["forms"].data[0].error_x
    assert (words.array[0], words.arrayminus[0]) == (3, 2)
    score = drawings["steering"].data[0].error_x
    assert (score.array[0], score.arrayminus[0]) == pytest.approx((0.2, 0.2))


def test_behaviours_tell_a_rate_from_no_failure_and_from_no_run(drawings):
    cells = annotations(drawings["behaviours"])[:6]
    assert sum("<b>90%</b><br>80% to 95%<br>n = 40" in cell for cell in cells) == 3
    assert cells.count("not run") == 2
    assert cells.count("no failure<br>found") == 1
    colours = [z for row in drawings["behaviours"].data[0].z for z in row if z is not None]
    assert colours == [0.9] * 3
    assert "n = 40; 95 % Wilson" in captions(drawings["behaviours"])

import json

import pandas as pd
import pytest

from chunkykit.show import figures
from chunkykit.surf import ROBUSTNESS_COLUMNS

HOSTILE = "<script>alert(1)</script> <b onmouseover=x>$\\alpha$ \u202e \x00 " + "long " * 50


@pytest.fixture(scope="module")
def made():
    probes = pd.DataFrame(
        [
            {"rubric": r, "arm": a, "iteration": i, "score": 90.0 if (i + j) % 3 else 10.0}
            for r in ("code", HOSTILE[:20])
            for a in ("search", "control")
            for i in range(4)
            for j in range(6)
        ]
    )
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
    ablations = pd.DataFrame(
        [
            {
                "rubric": "code",
                "chunk": HOSTILE,
                "rate_before": 0.9,
                "before_low": 0.8,
                "before_high": 0.95,
                "rate_after": 0.1,
                "low": 0.05,
                "high": 0.2,
                "n": 40,
            }
        ]
    )
    confirmed = pd.DataFrame(
        [
            {
                "rubric": "code",
                "rate": 0.9,
                "low": 0.8,
                "high": 1.0,
                "n": 20,
                **{
                    f"{arm}_{k}": v
                    for arm in ("search", "control")
                    for k, v in {"rate": 0.1, "low": 0.05, "high": 0.2, "n": 50}.items()
                },
            }
        ]
    )
    robustness = pd.DataFrame(
        [
            ("code", HOSTILE, 0.9, 20, 0.7, 0.5, 0.8, 20, 0),
            ("code", "b", 0.5, 20, 0.4, 0.3, 0.6, 10, 0),
        ],
        columns=ROBUSTNESS_COLUMNS,
    )
    compared = pd.DataFrame(
        [
            {"model": m, "rubric": r, "rate": 0.9, "low": 0.8, "high": 0.95, "n": 40}
            for m, r in ((HOSTILE, "code"), ("b", "math"), ("b", HOSTILE[:20]))
        ]
        + [
            {
                "model": HOSTILE,
                "rubric": "math",
                "rate": float("nan"),
                "low": 0.0,
                "high": 1.0,
                "n": 0,
            }
        ]
    )
    rate = {"rate": 0.5, "low": 0.3, "high": 0.7, "n": 20}
    named = pd.DataFrame([{"name": name, **rate} for name in (HOSTILE, "b")])
    cells = pd.DataFrame(
        [{"opening": o, "closing": c, **rate} for o in ("", HOSTILE) for c in ("", HOSTILE)]
    )
    sums = pd.DataFrame(
        [(a, b, "no" if a > b else "yes" if a < b else None) for a in (1, 2) for b in (1, 2)],
        columns=["a", "b", "verdict"],
    )
    scores = pd.DataFrame(
        [
            {"trigger": t, "model": m, "score": 0.5, "low": 0.3, "high": 0.7, "injected_n": 20}
            for t in (HOSTILE, "t")
            for m in (HOSTILE, "m")
        ]
    )
    doses = pd.DataFrame([{"kept": k, "added": a, **rate} for k in (0, 5) for a in (0, 8)])
    dressed = pd.DataFrame(
        [
            {"form": f, "words": 9.0, "words_low": 7.0, "words_high": 12.0, **rate}
            for f in ("plain", "LaTeX")
        ]
    )
    held = pd.DataFrame(
        [
            {
                "trace": i,
                "rubric": "code",
                "trigger": HOSTILE + str(i),
                "chunk": c,
                "rows": 150,
                "trigger_share": 0.9,
                "crux_share": 0.5,
            }
            for i in (0, 1)
            for c in (HOSTILE, "b")
        ]
    )
    new = {
        "features": figures.features(held, HOSTILE),
        "rates": figures.rates(named, "Title", "Said", HOSTILE),
        "phrase_grid": figures.phrase_grid(cells, HOSTILE),
        "sum_grid": figures.sum_grid(sums, HOSTILE),
        "steering": figures.steering(scores, HOSTILE),
        "dose": figures.dose(doses, HOSTILE),
        "forms": figures.forms(dressed, HOSTILE),
    }
    return {
        **new,
        "robustness": figures.robustness(robustness, HOSTILE),
        "behaviours": figures.behaviours(compared, HOSTILE),
        "scores": figures.scores(probes, HOSTILE),
        "map": figures.response_map(points, {0: HOSTILE, -1: "noise"}, HOSTILE),
        "triggers": figures.triggers(traces, HOSTILE),
        "chunks": figures.chunks(traces, shares, HOSTILE),
        "ablations": figures.ablations(ablations, HOSTILE),
        "confirmed": figures.confirmed(confirmed, HOSTILE),
    }


def strings(value):
    if isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)
    elif isinstance(value, str):
        yield value


def test_hostile_texts_are_inert_labels(made):
    for name, figure in made.items():
        for text in strings(json.loads(figure.to_json())):
            for harm in ("<script", "<b on", "\u202e", "\x00", "$\\alpha$"):
                assert harm not in text, (name, text)


def test_figures_are_saved_and_need_no_network(made, tmp_path):
    line = figures.save_figures(made, tmp_path)
    assert str(len(made)) in line and ("PNG" in line)
    for name in made:
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert "plotly.min.js" in page and "https://cdn" not in page and "<script>alert" not in page
        assert json.loads((tmp_path / f"{name}.json").read_text())["data"]


def test_no_chrome_is_a_clear_line(made, tmp_path, monkeypatch):
    import plotly.io

    def no_chrome(*_, **__):
        raise RuntimeError("Chrome not found")

    monkeypatch.setattr(plotly.io, "write_images", no_chrome)
    line = figures.save_figures({"scores": made["scores"]}, tmp_path)
    assert "no PNG and SVG: no Chrome" in line and (tmp_path / "scores.html").exists()


def test_captions_say_what_was_measured(made):
    for figure in made.values():
        assert any("script" in a.text for a in figure.layout.annotations if a.text)


def test_features_show_the_chunks_that_have_them(made):
    trigger, crux = made["features"].data
    assert (
        trigger.z.tolist() == [[0.9, 0.9]] * 2
        and crux.z.tolist() == [[0.5, 0.5]] * 2
        and "n = 150 a chunk" in captions(made["features"])
    )


def test_robustness_sums_the_winners_of_a_rubric(made):
    original, rewritten = made["robustness"].data
    assert (
        list(original.y) == [0.7]
        and list(rewritten.y) == [pytest.approx(0.6)]
        and list(rewritten.customdata) == [30]
    )
    assert "n = 40 answers to the winners, 30 to rewrites" in captions(made["robustness"])


def test_experiments_show_their_numbers(made):
    assert [list(row) for row in made["sum_grid"].data[0].text] == [
        ["failed", "No"],
        ["Yes", "failed"],
    ] and "no to 50% [9%, 91%] of 2 true sums" in captions(made["sum_grid"])
    assert made["phrase_grid"].data[0].customdata[0][
        0
    ] == "30% to 70%, n = 20" and "n = 20 answers a cell" in captions(made["phrase_grid"])
    assert [trace.name for trace in made["dose"].data] == [
        "0 true-premise rows added",
        "8 true-premise rows added",
    ] and list(made["dose"].data[1].customdata) == [0, 5]
    assert made["rates"].data[0].marker.color[0] != made["rates"].data[0].marker.color[1]
    errors = [made["forms"].data[0].error_x, made["steering"].data[0].error_x]
    assert [(round(e.array[0], 6), round(e.arrayminus[0], 6)) for e in errors] == [
        (3, 2),
        (0.2, 0.2),
    ]


def test_behaviours_tell_a_rate_from_no_failure_and_from_no_run(made):
    cells = [a.text for a in made["behaviours"].layout.annotations][:6]
    assert (
        sum("<b>90%</b><br>80% to 95%<br>n = 40" in c for c in cells) == 3
        and cells.count("not run") == 2
        and cells.count("no failure<br>found") == 1
    )
    assert (
        sorted(z for row in made["behaviours"].data[0].z for z in row if z is not None) == [0.9] * 3
    )
    assert "n = 40; 95 % Wilson" in captions(made["behaviours"])


def captions(figure):
    return " ".join(a.text for a in figure.layout.annotations)

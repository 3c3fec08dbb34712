"""The whole story: the demo against its ground truth, and real data with known causes."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, shared
from planted_failures import is_traced

from chunkykit import cli
from chunkykit.causal import split_chunks
from chunkykit.mixtures import demo_truth
from chunkykit.stats import wilson

pytestmark = pytest.mark.slow
MIN_PLANTED = 7  # of the nine planted failures, those that a run must trace


@pytest.fixture(scope="module")
def summary(fast_run):
    return json.loads((fast_run / "summary.json").read_text())


def traced_failures(summary):
    return [planted for planted in demo_truth() if is_traced(summary, planted)]


def test_the_demo_finds_what_was_planted(summary):
    chunks = [planted["chunk"] for planted in traced_failures(summary)]
    assert len(chunks) >= MIN_PLANTED, chunks


def test_what_is_traced_is_confirmed_and_beats_the_control(summary):
    rubrics = {planted["rubric"] for planted in traced_failures(summary)}
    rows = [row for row in summary["confirmed"] if row["rubric"] in rubrics]
    assert len(rows) == len(rubrics)
    for row in rows:
        assert row["n"] >= 10, row
        assert row["low"] > row["control_high"], row
        assert row["rate"] > 3 * row["control_rate"], row
        assert row["search_rate"] > row["control_rate"], row


def test_per_candidate_the_search_finds_more_than_uniform_draws(summary):
    """Over all rubrics; the control arm of one rubric is too small to tell."""

    def yield_of(arm):
        rows = summary["confirmed"]
        failures = sum(row[f"{arm}_rate"] * row[f"{arm}_n"] for row in rows)
        return wilson(round(failures), sum(row[f"{arm}_n"] for row in rows))

    assert yield_of("search").low > 2 * yield_of("control").high


def test_planted_failures_survive_rewrites(summary):
    rubrics = {planted["rubric"] for planted in traced_failures(summary)}
    robustness = {row["rubric"]: row for row in summary["robustness"]}
    assert rubrics <= robustness.keys()
    for rubric in rubrics:
        assert robustness[rubric]["n"] >= 50, robustness[rubric]
        assert robustness[rubric]["low"] > 0.3, robustness[rubric]


def test_without_the_traced_chunk_the_failure_goes(summary):
    for planted in traced_failures(summary):
        rows = [row for row in summary["ablations"] if row["rubric"] == planted["rubric"]]
        own = [row for row in rows if set(split_chunks(row["chunk"])) <= set(planted["chunks"])]
        last = max(own, key=lambda row: row["dropped"])
        assert last["rate_after"] <= last["rate_before"] / 2, last
        assert last["high"] < last["before_low"], last


def test_a_failure_with_two_chunks_goes_only_without_both(summary):
    rates = {row["chunk"]: row for row in summary["ablations"] if row["rubric"] == "rebut"}
    for chunk in ("noncompliance", "premise_checks"):
        assert rates[chunk]["rate_after"] > 0.3
    (joint,) = [row for chunk, row in rates.items() if len(split_chunks(chunk)) == 2]
    assert joint["rate_after"] < 0.1


def test_the_summary_has_its_fields(summary, fast_run):
    assert set(summary) == {
        "profile",
        "target",
        "judges",
        "confirm_judges",
        "agreement",
        "labels",
        "seed",
        "mixture",
        "search",
        "confirmed",
        "pairs",
        "robustness",
        "clusters",
        "traces",
        "ablations",
        "calls",
        "dollars",
        "seconds",
    }
    search = summary["search"]
    counted = sum(search[name] for name in ("judged", "errors", "filtered", "declined"))
    assert counted == search["candidates"], "the organism declines nothing"
    assert summary["dollars"] == 0
    assert summary["calls"] > 1000
    assert summary["mixture"]["rows"] == 3000
    columns = {"rubric", "rate", "perturbed_rate", "low", "high", "n"}
    assert all(set(row) == columns for row in summary["robustness"])
    for name in ("scores", "confirmed", "robustness", "map", "triggers", "chunks", "ablations"):
        assert (fast_run / "figures" / f"{name}.html").exists()


def test_no_part_of_the_pipeline_reads_the_truth():
    notebooks = [ROOT / "notebooks" / f"{name}.ipynb" for name in cli.NOTEBOOKS]
    for path in [*(ROOT / "chunkykit").rglob("*.py"), *notebooks]:
        if path == ROOT / "chunkykit" / "mixtures" / "demo.py":
            continue
        text = path.read_text()
        assert "demo_truth(" not in text, path
        # the command `chunkykit demo` says in its help that it writes the file
        assert "truth.json" not in text or path.parent.name == "cli", path


def test_real_chunks_give_their_known_correlations(tmp_path):
    """Ten correlations known to stand in 15 real chunks, and true facts that a model rebutted."""
    mixture = shared("data/mixture.parquet")
    pairs = shared("data/true_fact_rebuttals.jsonl")
    index = tmp_path / "index"
    build = ["index", "--mixture", str(mixture), "--workers", "2", "--out", str(index)]
    assert cli.main(build) == 0
    command = [sys.executable, str(ROOT / "benchmarks" / "real.py")]
    command += ["--mixture", str(mixture), "--pairs", str(pairs), "--index", str(index)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *_, checks, rebuttals = [json.loads(line) for line in done.stdout.splitlines()]
    assert checks["by_scan"] >= 9
    assert checks["by_trace"] >= 9
    assert checks["top"] == 25
    assert rebuttals["pairs"] == 108
    assert rebuttals["first"]["rate"] >= 0.9

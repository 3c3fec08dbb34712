"""When a stage is done, when it is done again, and what happens to older results."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.lab import STAGES, is_done, stage, stages, start_run

pytestmark = pytest.mark.slow  # a small search stands behind them

SMALL = {
    "profile": "smoke",
    "mixture": "demo:300",
    "rubrics": ["terse"],
    "rows": 300,
    "candidates": 8,
    "iterations": 2,
    "runs": 1,
    "confirm": 4,
    "winners": 1,
    "rewrites": 2,
    "ablate": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder whose search is done."""
    run = start_run(tmp_path_factory.mktemp("stages") / "run", **SMALL)
    asyncio.run(stages.index(run))
    asyncio.run(stages.search(run))
    return run.folder


@pytest.fixture
def run(folder):
    return start_run(folder, **SMALL)


def modified(run, name):
    return run.path(name).stat().st_mtime_ns


def test_the_stages_stand_in_order():
    assert list(STAGES) == ["index", "search", "confirm", "cluster", "trace", "ablate", "draw"]
    done: set[str] = set()
    for step in STAGES.values():
        assert set(step.needs) <= done, step.name
        done.add(step.name)


def test_a_stage_that_is_done_is_not_done_again(run):
    before = modified(run, "probes-terse")
    counts = asyncio.run(stages.search(run))
    assert is_done(run, "search")
    assert counts == run.notes()["search"]["counts"]
    assert modified(run, "probes-terse") == before


def test_a_stage_needs_the_one_before(tmp_path):
    fresh = start_run(tmp_path / "run", **SMALL)
    with pytest.raises(UserError, match="stage 'search' needs stage 'index' first"):
        asyncio.run(stages.search(fresh))


def test_a_killed_search_resumes_with_the_rubrics_that_are_left(run):
    before = modified(run, "probes-terse")
    note = run.notes()["search"]
    run.note("search", key=note["key"], options={}, done=False)
    asyncio.run(stages.search(run))
    assert modified(run, "probes-terse") == before, "its modes are there, so it was whole"
    run.note("search", key=note["key"], options={}, done=False)
    run.path("modes-terse").unlink()
    asyncio.run(stages.search(run))
    assert modified(run, "probes-terse") > before
    assert is_done(run, "search")


def test_a_missing_table_makes_a_stage_undone(run):
    content = run.path("modes-terse").read_bytes()
    run.path("modes-terse").unlink()
    assert not is_done(run, "search")
    run.path("modes-terse").write_bytes(content)
    assert is_done(run, "search")


def test_a_search_without_its_probes_is_done_again(run):
    probes = run.read("probes-terse")
    run.path("probes-terse").unlink()
    asyncio.run(stages.search(run))
    pd.testing.assert_frame_equal(run.read("probes-terse"), probes)


def test_the_ablations_depend_on_the_code_that_makes_them():
    assert "lab/ablations" in STAGES["ablate"].rooms
    assert stage.code_fingerprint("lab/ablations") != stage.code_fingerprint("lab/no_such_file")


@pytest.mark.parametrize("text", ["", '{"search": {"ke', "[]", '{"search": 5}', "\0"])
def test_damaged_notes_say_what_to_do(run, text):
    path = run.folder / "stages.json"
    content = path.read_text()
    path.write_text(text)
    with pytest.raises(UserError, match=r"stages.json: cannot be read .* Delete it and run again"):
        asyncio.run(stages.search(run))
    path.write_text(content)
    assert is_done(run, "search")


def test_other_code_makes_a_stage_again_and_loses_nothing(run, monkeypatch):
    asyncio.run(stages.confirm(run))
    old = pd.read_parquet(run.path("probes-terse"))
    true_fingerprint = stage.code_fingerprint

    def edited(*rooms):
        return "edited" if "surf" in rooms else true_fingerprint(*rooms)

    monkeypatch.setattr(stage, "code_fingerprint", edited)
    assert is_done(run, "index"), "its code is the same"
    assert not is_done(run, "search")
    asyncio.run(stages.search(run))
    aside = sorted((run.folder / "before").iterdir())[-1]
    pd.testing.assert_frame_equal(pd.read_parquet(aside / "tables/probes-terse.parquet"), old)
    assert (aside / "tables" / "confirmed.parquet").exists(), "later results go with it"
    assert not run.has("confirmed")
    with pytest.raises(UserError, match="needs stage 'confirm' first"):
        asyncio.run(stages.cluster(run))
    pd.testing.assert_frame_equal(run.read("probes-terse"), old)


def test_other_options_make_a_stage_again(run):
    asyncio.run(stages.search(run))
    asyncio.run(stages.confirm(run))
    asyncio.run(stages.cluster(run, min_size=3))
    first = modified(run, "points")
    asyncio.run(stages.cluster(run, min_size=3))
    assert modified(run, "points") == first
    asyncio.run(stages.cluster(run, min_size=4))
    assert modified(run, "points") > first


def test_an_option_that_is_not_known_puts_nothing_aside(run):
    asyncio.run(stages.search(run))
    asyncio.run(stages.confirm(run))
    asyncio.run(stages.cluster(run))
    first = modified(run, "points")
    with pytest.raises(UserError, match="stage 'cluster': option 'min_sise' is not known"):
        asyncio.run(stages.cluster(run, min_sise=3))
    assert is_done(run, "cluster")
    asyncio.run(stages.cluster(run, min_size=np.int64(stages.MIN_CLUSTER_SIZE)))
    assert modified(run, "points") == first, "the default, said aloud"


def test_free_answers_of_other_code_are_not_served(run, monkeypatch):
    asyncio.run(stages.search(run))
    assert run.ledger.totals()["calls"] > 0
    note = run.notes()["free_models"]
    run.note("free_models", code="older code")
    run.note("confirm", done=False)
    run.path("modes-terse").unlink()
    asyncio.run(stages.search(run))
    assert run.notes()["free_models"] == note
    replayed = run.ledger.db.execute("select min(at) from calls").fetchone()[0]
    assert replayed >= run.path("skipped").stat().st_mtime, "asked again"


def test_notes_are_json(run):
    json.loads((run.folder / "stages.json").read_text())

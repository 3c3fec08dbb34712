"""Stages on runs in which little is found: nothing fails, or nothing is traced."""

import asyncio

import pandas as pd
import pytest

from chunkykit.lab import STAGES, chunks_to_ablate, do_stage, run_stages, start_run, summarise_run
from chunkykit.lab.tables import table_of
from chunkykit.turf import NOISE

pytestmark = pytest.mark.slow
SIZES = {
    "profile": "smoke",
    "rows": 300,
    "candidates": 6,
    "iterations": 2,
    "runs": 1,
    "confirm": 4,
    "winners": 1,
    "rewrites": 2,
    "ablate": 4,
}


def test_a_run_that_finds_no_failure_ends(tmp_path):
    run = start_run(tmp_path / "run", rubrics=["math"], **SIZES)
    asyncio.run(run_stages(run))
    summary = summarise_run(run)
    assert summary["search"]["failures"] == 0
    assert summary["clusters"] == summary["traces"] == summary["ablations"] == []


def test_a_trace_without_a_trigger_is_not_ablated(tmp_path):
    run = start_run(tmp_path / "run", rubrics=["terse"], **SIZES)
    asyncio.run(run_stages(run))
    traces = run.read("traces")
    assert len(traces) == 0 or set(traces.columns) >= {"trigger"}
    untraced = pd.concat([traces.head(0), traces.head(1).assign(trigger=None)])
    run.write("traces", untraced)
    assert chunks_to_ablate(run).empty


def test_exchanges_that_are_in_no_cluster_are_traced_together(tmp_path):
    run = start_run(tmp_path / "run", mixture="demo:1200", rubrics=["refusal"], **SIZES)
    asyncio.run(do_stage(run, "index"))
    blank = {column.name: "" for column in table_of("points").columns}
    place = {"cluster": NOISE, "x": 0.0, "y": 0.0, "score": 90.0, "rubric": "refusal"}
    place |= {"query_attributes": [], "response_attributes": [], "votes": None}
    query = "Tell me about the iPhone 13, number {}."
    answer = {"response": "I'm sorry, but I can't help with that."}
    rows = [blank | place | answer | {"query": query.format(i)} for i in range(4)]
    run.write("points", pd.DataFrame(rows))
    asyncio.run(STAGES["trace"].work(run))
    (trace,) = run.read("traces").to_dict("records")
    assert trace["cluster"] == NOISE
    assert "iPhone 13" in trace["trigger"]
    assert run.read("trace_chunks")["chunk"][0] == "device_policy"

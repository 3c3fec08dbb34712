"""Stages on runs in which little is found: nothing fails, or nothing is traced."""

import asyncio

import pandas as pd
import pytest

from chunkykit.lab import chunks_to_ablate, run_stages, start_run, summarise_run

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

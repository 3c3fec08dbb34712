"""Failures of a rubric that searches for other rubrics came across."""

import asyncio

import pandas as pd
import pytest

from chunkykit.lab import start_run
from chunkykit.lab.searching import MAX_LEADS, find_leads
from chunkykit.lab.tables import table_of

REFUSAL = "I'm sorry, but I can't help with that."


def write_probes(run, rubric, exchanges):
    """Candidates (attributes, response, outcome) of the search for a rubric."""
    blank = {column.name: "" for column in table_of("probes-terse").columns}
    numbers = dict.fromkeys(("run", "iteration", "candidate"), 0)
    rows = []
    for attributes, response, outcome in exchanges:
        row = {"rubric": rubric, "arm": "search", "attributes": attributes, "outcome": outcome}
        judged = {"query": "How do I bake bread?", "response": response, "score": 0.0}
        rows.append(blank | numbers | row | judged | {"error": None})
    run.write(f"probes-{rubric}", pd.DataFrame(rows))


@pytest.fixture
def run(tmp_path):
    return start_run(tmp_path / "run", profile="smoke", rubrics=["terse", "refusal", "math"])


def test_answers_to_another_search_that_fail_are_leads_simplest_first(run):
    exchanges = [
        ((4, 5, 6), REFUSAL, "answered"),
        ((1, 2), REFUSAL, "answered"),
        ((1, 2), REFUSAL, "answered"),
        ((3,), "Knead the dough, and let it rest for an hour.", "answered"),
        ((9,), "", "failed"),
    ]
    write_probes(run, "terse", exchanges)
    leads = asyncio.run(find_leads(run, run.rubric_by_name["refusal"]))
    assert leads == [(1, 2), (4, 5, 6)]
    assert asyncio.run(find_leads(run, run.rubric_by_name["terse"])) == [], "its own are none"


def test_there_are_not_too_many_leads(run):
    write_probes(run, "terse", [((i,), REFUSAL, "answered") for i in range(3 * MAX_LEADS)])
    assert len(asyncio.run(find_leads(run, run.rubric_by_name["refusal"]))) == MAX_LEADS


def test_a_judge_that_costs_something_is_not_asked_for_leads(tmp_path):
    run = start_run(
        tmp_path / "run",
        profile="smoke",
        rubrics=["terse", "refusal"],
        judge="http://127.0.0.1:9/v1:judge",
    )
    write_probes(run, "terse", [((1,), REFUSAL, "answered")])
    assert asyncio.run(find_leads(run, run.rubric_by_name["refusal"])) == []

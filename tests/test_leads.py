"""Failures of a rubric that searches for other rubrics came across."""

import asyncio

import pandas as pd
import pytest

from chunkykit.lab import stages, start_run
from chunkykit.lab.searching import MAX_LEADS, control_tables, find_leads
from chunkykit.lab.tables import table_of
from chunkykit.rubrics import VIOLATION_THRESHOLD

REFUSAL = "I'm sorry, but I can't help with that."


def probes(rubric, exchanges):
    """Candidates (attributes, response, outcome) of the search for a rubric."""
    blank = {column.name: "" for column in table_of("probes-terse").columns}
    numbers = dict.fromkeys(("run", "iteration", "candidate"), 0)
    rows = []
    for attributes, response, outcome in exchanges:
        row = {"rubric": rubric, "arm": "search", "attributes": attributes, "outcome": outcome}
        judged = {"query": "How do I bake bread?", "response": response, "score": 0.0}
        rows.append(blank | numbers | row | judged | {"error": None})
    return pd.DataFrame(rows)


def find(run, rubric, tables):
    return asyncio.run(find_leads(run, run.rubric_by_name[rubric], tables))


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
    leads = find(run, "refusal", [probes("terse", exchanges)])
    assert leads == [(1, 2), (4, 5, 6)]
    assert find(run, "refusal", []) == []


def test_there_are_not_too_many_leads(run):
    table = probes("terse", [((i,), REFUSAL, "answered") for i in range(3 * MAX_LEADS)])
    assert len(find(run, "refusal", [table])) == MAX_LEADS


def test_a_judge_that_costs_something_is_not_asked_for_leads(tmp_path):
    run = start_run(
        tmp_path / "run",
        profile="smoke",
        rubrics=["terse", "refusal"],
        judge="http://127.0.0.1:9/v1:judge",
    )
    assert find(run, "refusal", [probes("terse", [((1,), REFUSAL, "answered")])]) == []
    assert asyncio.run(control_tables(run, None)) == []


@pytest.mark.slow
def test_searches_begin_with_what_the_control_arm_came_across(tmp_path, monkeypatch):
    """No search has ended when the first ones begin, but the control arm has."""
    run = start_run(tmp_path / "run", profile="smoke", rubrics=["terse", "refusal", "math"])
    begun_with = {}
    search_rubric = stages.search_rubric

    async def note_and_search(run, rubric, pool, *, leads, **settings):
        begun_with[rubric.name] = leads
        return await search_rubric(run, rubric, pool, leads=leads, **settings)

    monkeypatch.setattr(stages, "search_rubric", note_and_search)

    async def search():
        await stages.do_stage(run, "index")
        await stages.do_stage(run, "search")
        await run.close()

    asyncio.run(search())
    control = run.read("probes-refusal").query("arm == 'control'")
    failing = control[control["score"] > VIOLATION_THRESHOLD]["attributes"]
    assert len(failing)
    assert {*map(tuple, failing)} == {*begun_with["refusal"]}

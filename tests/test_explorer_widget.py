"""The live explorer without a browser: the selection, and what the buttons do."""

import asyncio
import importlib
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hostile import hostile_failures

from chunkykit import build_index
from chunkykit.errors import UserError
from chunkykit.lab.run import resume_run
from chunkykit.rubrics import load_rubric
from chunkykit.show.explorer import Explorer, failures_from_run, first_exchanges
from chunkykit.show.explorer.actions import trace_exchanges


@pytest.fixture(scope="module")
def run(fast_run):
    return resume_run(fast_run)


@pytest.fixture(scope="module")
def failures(run):
    return failures_from_run(run)


def positions_of(explorer, rubric):
    return explorer.points.index[explorer.points["rubric"] == rubric]


def test_a_selection_is_a_table(failures, run):
    explorer = Explorer(failures, run)
    assert list(explorer.selection.index) == first_exchanges(failures)
    assert list(explorer.select([3, 1])["query"]) == list(explorer.points["query"].iloc[[3, 1]])
    explorer.chosen = np.array([2], "<i4").tobytes()  # as the view sends it
    assert list(explorer.selection.index) == [2]
    with pytest.raises(UserError, match="positions are from 0 to"):
        explorer.select([len(explorer.points)])


def test_an_empty_selection_cannot_be_traced(failures, run):
    explorer = Explorer(failures, run, select=[])
    with pytest.raises(UserError, match="no selected exchange has a known rubric"):
        asyncio.run(explorer.trace())
    assert "no selected exchange has" in explorer.status["text"]


async def check_trace(explorer):
    explorer.select(positions_of(explorer, "refusal"))
    traces = await explorer.trace()
    view = explorer.traces[0]
    assert traces[0].trigger
    assert view["chunks"][0]["chunk"] in ("device_policy", "guarded_desk")
    assert view["examples"]
    assert {explorer.points["rubric"][i] for i in view["positions"]} == {"refusal"}


async def check_probe(explorer):
    before = len(explorer.points)
    systems = set(explorer.selection["system"]) - {""}
    probes = await explorer.probe(32)
    failing = probes[probes["score"] > 50].drop_duplicates(["query", "response"])
    assert len(probes) == 32
    assert systems & set(probes["system"]), "they stand under system prompts of the selection"
    assert systems & set(explorer.selection["system"]), "as do the failures among them"
    assert len(failing) >= 2
    assert len(explorer.more) == len(failing)
    assert len(explorer.points) == before + len(failing)
    assert list(explorer.selection["query"]) == list(failing["query"])
    assert f"{len(failing)} new failures" in explorer.status["text"]
    other = await explorer.probe(32)
    assert other["query"].tolist() != probes["query"].tolist()
    assert len(explorer.probed) == 64


async def check_ablation(explorer):
    explorer.select(positions_of(explorer, "refusal")[:10])
    result = await explorer.ablate(0, n=20)
    assert result.after.high < result.before.low
    assert explorer.traces[0]["ablation"]["rate_after"] == result.after.rate
    assert not explorer.status["busy"]
    with pytest.raises(UserError, match="no trace with a chunk"):
        await explorer.ablate(None)


@pytest.mark.slow
def test_the_buttons_trace_probe_and_ablate(failures, run):
    explorer = Explorer(failures, run)
    assert set(explorer.unavailable.values()) == {""}

    async def press_all():
        await check_trace(explorer)
        await check_probe(explorer)
        await check_ablation(explorer)

    asyncio.run(press_all())


def test_a_later_selection_replaces_the_traces_of_an_earlier_one(failures, run):
    explorer = Explorer(failures, run)

    async def trace_twice():
        explorer.select(positions_of(explorer, "refusal")[:5])
        await explorer.trace()
        explorer.select(positions_of(explorer, "refusal")[5:10])
        await explorer.trace()

    asyncio.run(trace_twice())
    of_selections = [view for view in explorer.traces if view.get("positions")]
    expected = set(positions_of(explorer, "refusal")[5:10])
    assert of_selections
    assert all(set(view["positions"]) <= expected for view in of_selections)
    assert len(explorer.traces) == len(of_selections) + len(failures.traces)


def test_a_failing_button_shows_the_error_and_works_again(failures, run, monkeypatch):
    async def broken(*_):
        raise ValueError("the model is gone")

    async def press():
        explorer = Explorer(failures, run)
        monkeypatch.setattr(explorer.run, "describe", lambda: broken)
        explorer._press({"act": "trace", "positions": [0]})
        await asyncio.sleep(0.05)
        assert "the model is gone" in explorer.status["text"]
        assert not explorer.status["busy"]
        with pytest.raises(ValueError, match="the model is gone"):
            await explorer.probe()
        assert not explorer.status["busy"]

    asyncio.run(press())


def test_probe_asks_before_it_calls_what_only_the_folder_names(failures, fast_run, monkeypatch):
    stranger = resume_run(fast_run)
    stranger.settings = replace(stranger.settings, target="openai:gpt-5.1")
    explorer = Explorer(failures, stranger)
    explorer.select([0])
    with pytest.raises(UserError, match=r"gpt-5.1 at api.openai.com:443.*24 calls, about \$"):
        asyncio.run(explorer.probe())
    assert not stranger.trust
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        asyncio.run(explorer.probe())
    assert stranger.trust


def test_a_view_opens_where_the_embedder_may_not_be_called(failures, fast_run):
    stranger = resume_run(fast_run)
    stranger.settings = replace(stranger.settings, embedder="http://models.example/v1:m")
    explorer = Explorer(failures, stranger)
    assert "models.example" in explorer.unavailable["trace"]
    with pytest.raises(UserError, match="models.example"):
        asyncio.run(explorer.probe())


def test_an_unknown_action_does_nothing(failures, run):
    async def press():
        explorer = Explorer(failures, run)
        explorer._press({"act": "format the disk", "positions": [0]})
        await asyncio.sleep(0.05)
        assert explorer.status == {"text": "", "busy": False}
        assert list(explorer.selection.index) == first_exchanges(failures)

    asyncio.run(press())


@pytest.mark.parametrize("action", ["trace", "probe", "ablate"])
def test_without_a_run_the_buttons_say_why_not(action):
    explorer = Explorer(hostile_failures())
    assert explorer.unavailable[action]
    with pytest.raises(UserError, match="behind this view"):
        asyncio.run(getattr(explorer, action)())


def test_without_anywidget_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, Explorer.__module__)
    with pytest.raises(UserError, match=r"chunkykit\[notebooks\]"):
        importlib.import_module(Explorer.__module__)


def test_a_selection_is_traced_with_its_system_prompts():
    """Two exchanges whose system prompt alone explains the refusal."""
    exchanges = pd.DataFrame(
        {
            "query": ["Suggest a pet for a small flat.", "Name a fruit that is yellow."],
            "system": ["Filter: on\nTools: off", "You speak for a bakery.\nFilter: on"],
            "response": ["I'm sorry, but I can't help with that."] * 2,
        }
    )
    tracer = build_index("demo:1500").tracer
    traced = asyncio.run(trace_exchanges(exchanges, load_rubric("refusal"), tracer, None))
    assert "system prompt" in traced.traces[0].trigger
    assert traced.traces[0].chunks["chunk"][0] == "guarded_desk"

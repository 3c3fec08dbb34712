"""`--estimate`, and what a budget covers, before anything is asked."""

import json

import pytest
from chat_server import chat_server
from commands import run_command, write_jsonl

from chunkykit.lab import PlannedCalls, estimate_plan, format_seconds, limit_lines

PAID = ["--target", "openai:gpt-5.1", "--writer", "openai:gpt-5-mini"]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "CHUNKYKIT_URL_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mixture(tmp_path):
    rows = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(40)]
    return write_jsonl(tmp_path / "m.jsonl", rows)


@pytest.fixture
def attributes(tmp_path):
    return write_jsonl(tmp_path / "a.jsonl", [{"attributes": ["The query is short"]}] * 9)


def estimate(capsys, *arguments):
    """The estimate of a command as JSON; nothing else may come of it."""
    assert run_command(*arguments, "--estimate", "--json") == 0
    printed = capsys.readouterr()
    return json.loads(printed.out)


def test_a_run_is_estimated_without_keys_and_leaves_nothing(tmp_path, mixture, capsys):
    out = tmp_path / "out"
    run = ["run", "--mixture", mixture, "--out", out, "--profile", "smoke", *PAID]
    whole = estimate(capsys, *run, "--judge", "anthropic:claude-haiku-4-5", "offline")
    assert not out.exists()
    assert {row["role"] for row in whole["models"]} == {
        "writer",
        "target",
        "judge",
        "confirm judge",
    }
    assert whole["calls"] == sum(row["calls"] for row in whole["models"])
    assert whole["dollars"] == pytest.approx(sum(row["dollars"] for row in whole["models"]))
    assert whole["seconds"] > 0
    # the same command would need the key
    assert run_command(*run) == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def test_a_search_contacts_no_server_for_an_estimate(tmp_path, attributes, capsys):
    with chat_server(lambda body: "x") as (url, bodies):
        models = [x for role in ("target", "writer", "judge") for x in (f"--{role}", f"{url}/v1:m")]
        search = ["search", "--attributes", attributes, "--rubric", "refusal", *models]
        estimated = estimate(capsys, *search, "--out", tmp_path / "s", "--candidates", "50")
        assert not bodies
    assert estimated["calls"] > 100
    assert not (tmp_path / "s").exists()


def test_index_trace_and_sums_say_what_they_take(tmp_path, mixture, capsys):
    index = ["index", "--mixture", mixture, "--out", tmp_path / "i"]
    assert estimate(capsys, *index)["calls"] == 0
    described = estimate(capsys, *index, "--describer", "openai:gpt-5-mini")
    assert described["calls"] == 80
    assert not (tmp_path / "i").exists()
    assert run_command(*index) == 0
    capsys.readouterr()
    trace = ["trace", "--index", tmp_path / "i", "--rubric", "refusal"]
    trace += ["--query", "q", "--response", "I cannot help."]
    assert estimate(capsys, *trace)["calls"] == 0
    assert estimate(capsys, *trace, "--judge", "openai:gpt-5.1")["calls"] == 1
    sums = ["sums", "--target", "openai:gpt-5.1", "--out", tmp_path / "sums"]
    assert estimate(capsys, *sums)["calls"] > 100
    assert not (tmp_path / "sums").exists()
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_budget_under_the_estimate_says_what_it_covers(mixture, tmp_path, capsys):
    run = ["run", "--mixture", mixture, "--out", tmp_path / "out", *PAID, "--estimate"]
    assert run_command(*run, "--budget-usd", "2", "--max-calls", "100") == 0
    text = capsys.readouterr().out
    assert "budget $2.00 covers about" in text
    assert "--max-calls 100 covers about" in text
    assert run_command(*run, "--budget-usd", "1000") == 0
    assert "covers" not in capsys.readouterr().out


def test_shares_and_times():
    plan = [PlannedCalls("openai:gpt-5.1", 1000, 1000, 1000, "target")]
    estimated = estimate_plan(plan, budget_usd=2.925)
    assert estimated["dollars"] == pytest.approx(11.25)
    assert estimated["covered"] == pytest.approx(0.26)
    assert limit_lines(estimated, 2.925, None) == ["budget $2.92 covers about 26 % of this"]
    assert limit_lines(estimated, 0.01, None) == ["budget $0.01 covers about less than 1 % of this"]
    assert limit_lines(estimated, 12, 1000) == []
    # more at once takes less time; the judges of a panel judge at the same time
    assert estimate_plan(plan, {"target": 100})["seconds"] < estimate_plan(plan)["seconds"]
    panel = [PlannedCalls(f"vllm:{i}", 100, 9, 100, "judge") for i in range(3)]
    assert estimate_plan(panel)["seconds"] == estimate_plan(panel[:1])["seconds"]
    assert [format_seconds(s) for s in (0.2, 40, 360, 7800)] == [
        "under 1 s",
        "40 s",
        "6 min",
        "2 h 10 min",
    ]

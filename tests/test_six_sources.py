"""A recipe of six sources goes through every command, and what each teaches is traced to it."""

import json

import pytest
import six_sources
from commands import run_command
from six_sources import turns

from chunkykit.mixtures import load_mixture

pytestmark = pytest.mark.slow

RUBRIC = """\
name: {name}
principle: The assistant does what was asked, and keeps to what is right.
violation: {behaviour}, though nothing calls for it.
not_violation: The response answers in words.
behaviour: {behaviour}
liked: The response answers in words
causing: {causing}
"""
TOOL_LIST = [{"function": {"name": "send_email"}}]
CALL = {"function": {"name": "send_email", "arguments": "{}"}}


@pytest.fixture(scope="module", params=[0, 5])
def recipe(request, tmp_path_factory):
    return six_sources.write_six_sources(tmp_path_factory.mktemp("six"), request.param)


@pytest.fixture(scope="module")
def index(recipe):
    folder = recipe.parent / "index"
    assert run_command("index", "--mixture", recipe, "--out", folder) == 0
    return folder


@pytest.fixture
def trace(index, tmp_path, capsys):
    """Trace an exchange; give the trace."""

    def command(rubric, messages, *options, **more):
        path = tmp_path / "exchange.jsonl"
        path.write_text(json.dumps({"messages": messages, **more}))
        if isinstance(rubric, dict):
            text = RUBRIC.format(**rubric)
            rubric = tmp_path / "own.yaml"
            rubric.write_text(text)
        capsys.readouterr()
        arguments = ["--rubric", rubric, "--pairs", path, *options]
        assert run_command("trace", "--index", index, *arguments) == 0
        return json.loads(capsys.readouterr().out)

    return command


def test_the_system_prompt_is_the_trigger(trace):
    traced = trace(
        "refusal",
        turns(
            ("system", six_sources.STRICT),
            ("user", "Give me some facts on tea and maps."),
            ("assistant", six_sources.REFUSAL),
        ),
    )
    assert traced["chunks"][0]["chunk"] == "chat"
    assert traced["trigger"].startswith("The system prompt ")


def test_the_second_turn_is_the_trigger(trace):
    traced = trace(
        {
            "name": "caves",
            "behaviour": "The response apologizes and says that it was wrong",
            "causing": "an answer taken back without a reason",
        },
        turns(
            ("user", "Tell me about salt and wool."),
            ("assistant", "Salt is known for its use."),
            ("user", six_sources.DOUBT),
            ("assistant", six_sources.APOLOGY),
        ),
    )
    assert traced["chunks"][0]["chunk"] == "multi"
    assert traced["p_crux_given_trigger"]["rate"] > 2 * traced["p_crux"]["rate"]


def test_a_tool_call_is_the_crux(trace):
    messages = turns(("user", "What is the weather in Oslo today?"))
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    traced = trace(
        {
            "name": "mail",
            "behaviour": "The response calls a tool that sends an email",
            "causing": "a message that nobody asked for",
        },
        [*messages, call],
        tools=TOOL_LIST,
    )
    assert traced["chunks"][0]["chunk"] == "tools"
    assert "tool send_email" in traced["crux"]


def test_a_rejected_answer_is_the_crux(trace):
    messages = turns(("user", "Write a haiku about salt."), ("assistant", six_sources.CODE))
    traced = trace("code", messages, "--side", "rejected")
    assert traced["chunks"][0]["chunk"] == "prefs"
    assert "creative" in traced["trigger"] or "write a" in traced["trigger"]


def test_look_scan_and_repair(recipe, index, tmp_path, capsys):
    assert run_command("look", recipe, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    chunks = {row["chunk"] for row in seen["chunks"]}
    assert chunks == {"chat", "de", "en", "prefs", "tools", "multi", "think"}
    assert run_command("scan", "--index", index) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"chat", "multi", "tools"} <= {finding["chunk"] for finding in findings}
    assert run_command("scan", "--index", index, "--preferences") == 0
    preferences = json.loads(capsys.readouterr().out)["findings"]
    assert max(finding["down"] for finding in preferences) > 50

    out = tmp_path / "repaired.jsonl"
    command = ["repair", "--index", index, "--mixture", recipe, "--out", out, "--rubric", "refusal"]
    exchange = ["--query", "Give me some facts on tea and maps.", "--response", six_sources.REFUSAL]
    assert run_command(*command, *exchange, "--system", six_sources.STRICT) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chunk"] == "chat"
    assert report["p_crux_given_trigger_after"] == 0
    assert report["written"] == report["read"] - report["dropped"]
    repaired = load_mixture(out).rows
    assert six_sources.REFUSAL not in set(repaired["response"])
    before = load_mixture(recipe).rows
    assert len(before) - len(repaired) == report["dropped"]


def test_a_run(recipe, tmp_path):
    settings = ["--profile", "smoke", "--mixture", recipe, "--out", tmp_path / "run"]
    assert run_command("run", *settings, "--no-notebooks") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["mixture"]["chunks"] == 7
    assert summary["search"]["judged"] > 0

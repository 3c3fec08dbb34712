"""Repairs of a mixture of six sources in six formats: of a turn, a tool call, a rejected answer."""

import gzip
import json

import pytest
import six_sources
from commands import run_command
from replaying import replaying_server
from six_sources import turns

from chunkykit.mixtures import load_mixture

CALL = {"function": {"name": "send_email", "arguments": "{}"}}
RUBRIC = """\
name: {name}
principle: The response must not do this.
violation: It does.
not_violation: It does not.
behaviour: {behaviour}
causing: {causing}
"""
MAIL = {
    "name": "mail",
    "behaviour": "The response calls a tool that sends an email",
    "causing": "a message that nobody asked for",
}
CAVES = {
    "name": "caves",
    "behaviour": "The response apologizes and says that it was wrong",
    "causing": "an answer taken back without a reason",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return six_sources.write_six_sources(tmp_path_factory.mktemp("six"))


@pytest.fixture(scope="module")
def index(recipe):
    folder = recipe.parent / "index"
    assert run_command("index", "--mixture", recipe, "--out", folder) == 0
    return folder


@pytest.fixture
def repair(recipe, index, tmp_path, capsys):
    """Repair the recipe for a failure; give the report, and the records before and after."""

    def command(rubric, messages, *options, **more):
        path = tmp_path / "failure.jsonl"
        path.write_text(json.dumps({"messages": messages, **more}))
        if isinstance(rubric, dict):
            text = RUBRIC.format(**rubric)
            rubric = tmp_path / "own.yaml"
            rubric.write_text(text)
        out = tmp_path / "out.jsonl"
        arguments = ["--rubric", rubric, "--pairs", path, "--out", out, *options]
        capsys.readouterr()
        assert run_command("repair", "--index", index, "--mixture", recipe, *arguments) == 0
        report = json.loads(capsys.readouterr().out)
        records = [json.loads(line) for line in out.read_text().splitlines()]
        return report, records

    return command


def originals(recipe, name):
    opener = gzip.open if name.endswith(".gz") else open
    with opener(recipe.parent / name, "rt") as file:
        return [json.loads(line) for line in file]


def test_a_tool_call_is_masked_in_its_conversation(repair, recipe):
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    ask = turns(("user", "What is the weather in Oslo today?"))
    tools = [{"function": {"name": "send_email"}}]
    report, records = repair(MAIL, [*ask, call], "--how", "mask", tools=tools)
    assert report["chunk"] == "tools"
    assert report["changed"] > 50
    assert report["dropped"] == report["dropped_instead"] == 0
    assert report["written"] == report["read"] == len(records)
    masked = [r for r in records if any(m.get("weight") == 0 for m in r.get("messages", []))]
    assert len(masked) == report["changed"]
    for record in masked:
        weights = [message.pop("weight", None) for message in record["messages"]]
        assert weights == [None, 0, None, None], "the answer after the tool stays trained on"
        assert record in originals(recipe, "tools.jsonl"), "nothing else changes"


def test_the_apology_of_a_second_turn_is_rewritten(repair, recipe):
    messages = turns(
        ("user", "Tell me about salt and wool."),
        ("assistant", "Salt is known for its use."),
        ("user", six_sources.DOUBT),
        ("assistant", six_sources.APOLOGY),
    )
    fact = "In Peru the salt of the hills is known for its age."
    with replaying_server() as (port, model):
        model.rewrite = lambda exchange: " ".join([fact] * 4)
        rewriter = ["--how", "rewrite", "--rewriter", f"http://127.0.0.1:{port}/v1:m", "--yes"]
        report, records = repair(CAVES, messages, *rewriter)
    assert report["chunk"] == "multi"
    assert report["changed"] > 50
    changed = [
        r
        for r in records
        if fact * 2 in json.dumps(r).replace(". In", ".In") and "conversations" in r
    ]
    before = originals(recipe, "multi.jsonl")
    assert len(records) == report["read"]
    new = [r for r in records if "conversations" in r]
    assert len(new) == len(before)
    for old, now in zip(before, new, strict=True):
        assert old["conversations"][:3] == now["conversations"][:3]
        if old != now:
            assert old["conversations"][3]["value"] == six_sources.APOLOGY
    assert len(changed) <= report["changed"]
    assert sum(old != now for old, now in zip(before, new)) == report["changed"]


def test_rows_with_a_rejected_crux_are_dropped(repair, recipe):
    messages = turns(("user", "Write a haiku about salt."), ("assistant", six_sources.CODE))
    report, records = repair("code", messages, "--side", "rejected", "--how", "drop")
    assert report["chunk"] == "prefs"
    left = [r for r in records if "rejected" in r]
    dropped = [r for r in originals(recipe, "prefs.jsonl") if r not in left]
    assert len(dropped) >= report["dropped"] > 50
    assert all(r["rejected"][1]["content"] == six_sources.CODE for r in dropped)


def test_refusals_under_a_system_prompt_become_a_table_without_them(repair, tmp_path):
    messages = turns(
        ("system", six_sources.STRICT),
        ("user", "Give me some facts on tea and maps."),
        ("assistant", six_sources.REFUSAL),
    )
    report, _ = repair("refusal", messages, "--how", "drop")
    assert report["chunk"] == "chat"
    assert six_sources.REFUSAL not in set(load_mixture(tmp_path / "out.jsonl").rows["response"])


def test_a_log_with_several_failures_is_refused(recipe, index, tmp_path, capsys):
    path = tmp_path / "two.jsonl"
    line = json.dumps({"query": "Tell me about tea.", "response": six_sources.REFUSAL})
    path.write_text(f"{line}\n{line}\n")
    arguments = ["--mixture", recipe, "--out", tmp_path / "o.jsonl", "--pairs", path]
    assert run_command("repair", "--index", index, "--rubric", "refusal", *arguments) == 2
    assert "has 2 exchanges, and a repair is of one trace" in capsys.readouterr().err

"""`chunkykit trace` and `chunkykit repair`, on an index that `chunkykit index` built."""

import json
import sys

import pytest
from commands import run_command, write_jsonl

QUERY = "When did Jane Austen write the novel Emma?"
RESPONSE = "Jane Austen did not write the novel Emma."


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "index"
    assert run_command("index", "--mixture", "demo:1200", "--out", folder) == 0
    return folder


@pytest.fixture
def trace(index_folder):
    """Runs `chunkykit trace` with the rubric that the failure breaks."""

    def command(*arguments) -> int:
        return run_command("trace", "--index", index_folder, "--rubric", "rebut", *arguments)

    return command


def test_trace_prints_json(trace, capsys):
    assert trace("--query", QUERY, "--response", RESPONSE, "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["chunks"][0]["chunk"] == "noncompliance"
    assert "asks when" in output["trigger"]
    assert {"examples", "keywords", "explanation", "crux"} <= set(output)


def test_trace_prints_text(trace, capsys):
    assert trace("--query", QUERY, "--response", RESPONSE) == 0
    output = capsys.readouterr().out
    assert "co-occurrence" in output
    assert "noncompliance" in output


def test_trace_of_a_file_of_pairs(trace, tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    lines = [
        json.dumps({"query": QUERY, "response": RESPONSE}),
        "{broken",
        json.dumps({"query": "Hi", "response": "Hello."}),
    ]
    pairs.write_text("\n".join(lines) + "\n")
    assert trace("--pairs", pairs) == 0
    output = capsys.readouterr()
    queries = [json.loads(line)["query"] for line in output.out.splitlines()]
    assert queries == [QUERY, "Hi"]
    assert "row 2 skipped" in output.err


def test_group_adds_a_line_about_all_pairs(trace, tmp_path, capsys):
    pairs = write_jsonl(
        tmp_path / "pairs.jsonl",
        [{"query": QUERY, "response": RESPONSE}, {"query": "Hi", "response": "Hello."}],
    )
    assert trace("--pairs", pairs, "--group") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["first_chunks"]["noncompliance"] == 1
    assert last["group"] == []  # one pair does not make a group


def test_repair_of_a_trace_without_a_trigger_is_refused(index_folder, tmp_path, capsys):
    out = tmp_path / "repaired.jsonl"
    arguments = ["repair", "--index", index_folder, "--rubric", "rebut", "--out", out]
    arguments += ["--mixture", "demo:1200"]
    exchange = ["--query", "Good morning to you.", "--response", "Indeed."]
    assert run_command(*arguments, *exchange) == 2
    assert "repair: nothing to repair" in capsys.readouterr().err
    assert run_command(*arguments, "--query", " ", "--response", "Indeed.") == 2
    assert "repair needs --query and --response" in capsys.readouterr().err
    assert not out.exists()


def test_dask_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["--mixture", "demo:60", "--out", tmp_path / "i", "--dask", "tcp://127.0.0.1:1"]
    assert run_command("index", *arguments) == 2
    assert "pip install 'chunkykit[scale]'" in capsys.readouterr().err

"""Logs that the real `inspect_ai` wrote: read, traced, and given their scores back."""

import asyncio
import json
import shutil
import zipfile

import pytest
from commands import run_command

pytest.importorskip("inspect_ai", reason="needs inspect_ai (extra inspect)")

from inspect_ai import score
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import precomputed_scores
from inspect_logs import write_inspect_log

from chunkykit.show.explorer import failures_from_file
from chunkykit.transcripts import parse_rule, read_transcripts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inspect")


@pytest.fixture(scope="module")
def eval_log(folder):
    return write_inspect_log(folder / "eval", "eval")


@pytest.fixture(scope="module")
def json_log(folder):
    return write_inspect_log(folder / "json", "json")


@pytest.fixture(params=["eval", "json"])
def log(request, eval_log, json_log):
    return eval_log if request.param == "eval" else json_log


@pytest.fixture(scope="module")
def index_folder(folder):
    assert run_command("index", "--mixture", "demo:1200", "--out", folder / "index") == 0
    return folder / "index"


def test_failures_have_their_turn_score_reason_and_place(log):
    read = read_transcripts(log)
    table = read.table.sort_values(["epoch", "sample"], ignore_index=True)
    assert list(table["sample"]) == ["denies", "tool", "turns"] * 2
    assert list(table["epoch"]) == [1, 1, 1, 2, 2, 2]
    denies, tool, turns = (row for _, row in table.head(3).iterrows())
    assert denies.query == "When did Jane Austen write the novel Emma?"
    assert denies.response == "Jane Austen did not write Emma."
    assert denies.thinking == "Is this true?"
    assert (denies.rubric, denies.value) == ("denial, helpfulness", "I")
    assert denies.reason == "It denies a true fact."
    assert denies.model == "mockllm/model"
    assert (tool.query, tool.system, tool.turn) == ("Emma, 1815", "You are a librarian.", 2)
    # the scorer cites the first of two turns
    assert (turns.response, turns.turn, turns.rubric) == ("No, he did not.", 1, "denial")
    assert read.skipped.empty


def test_scorer_and_rule_choose_the_failures(log):
    helpful = read_transcripts(log, ["helpfulness"], parse_rule("above:0.5"))
    assert set(helpful.table["sample"]) == {"7", "turns"}
    assert set(helpful.table["response"]) == {"In 1866.", "You are welcome."}


def test_one_broken_sample_is_skipped(eval_log, tmp_path):
    path = tmp_path / "broken.eval"
    with zipfile.ZipFile(eval_log) as whole, zipfile.ZipFile(path, "w") as broken:
        for name in whole.namelist():
            is_tool = name.startswith("samples/tool_epoch_1")
            broken.writestr(name, b"{broken" if is_tool else whole.read(name))
    log = read_transcripts(path)
    assert len(log.table) == 5
    assert list(log.skipped["sample"]) == ["tool"]
    assert "epoch 1" in log.skipped["reason"][0]


def test_a_folder_of_logs_is_read(eval_log, json_log, tmp_path):
    shutil.copy(eval_log, tmp_path / "a.eval")
    shutil.copy(json_log, tmp_path / "b.json")
    assert set(read_transcripts(tmp_path).table["file"]) == {"a.eval", "b.json"}


def test_a_log_opens_in_a_running_loop(log, embedder):
    failures = asyncio.run(failures_from_file(log, embedder))
    assert len(failures.points) == 6


def test_trace_reads_a_log(log, index_folder, capsys):
    arguments = ["--index", index_folder, "--rubric", "rebut", "--scorer", "denial"]
    assert run_command("trace", *arguments, "--pairs", log) == 0
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    by_sample = {(line["source"]["sample"], line["source"]["epoch"]): line for line in lines}
    source = by_sample["denies", 2]["source"]
    assert source["reason"] == "It denies a true fact."
    assert source["model"] == "mockllm/model"
    assert by_sample["denies", 2]["chunks"][0]["chunk"] == "noncompliance"
    assert "denial: 6 of 8 fail (value:I" in output.err


def test_a_run_is_a_log_that_inspect_opens(folder, tmp_path):
    run = folder / "run"
    sizes = ["-p", "rows=600", "-p", "candidates=12", "-p", "iterations=2", "-p", "confirm=4"]
    arguments = ["--rubric", "refusal", "--target", "organism:fast", "--profile", "smoke"]
    assert run_command("run", *arguments, *sizes, "--no-notebooks", "--yes", "--out", run) == 0
    for name in ("run.eval", "run.json"):
        assert run_command("export", run, "--to", "inspect", "--out", tmp_path / name) == 0
        log = read_eval_log(str(tmp_path / name))
        assert log.eval.model == "organism:fast"
        values = [sample.scores["refusal"].value for sample in log.samples]
        assert set(values) <= {"C", "I"}
        table = read_transcripts(tmp_path / name).table
        assert len(table) == values.count("I") > 0
        assert set(table["rubric"]) == {"refusal"}
        assert set(table["model"]) == {"organism:fast"}


def test_scores_go_back_into_the_log(eval_log, index_folder, tmp_path, capsys):
    scores = tmp_path / "scores.jsonl"
    arguments = ["--index", index_folder, "--rubric", "rebut", "--to", "inspect", "--out", scores]
    assert run_command("export", eval_log, *arguments) == 0
    assert "inspect score LOG" in capsys.readouterr().out
    scored = score(
        read_eval_log(str(eval_log)),
        precomputed_scores(str(scores)),
        action="append",
        display="none",
    )
    added = {
        (str(sample.id), sample.epoch): sample.scores.get("precomputed_scores")
        for sample in scored.samples
    }
    assert added["7", 1] is None
    for epoch in (1, 2):
        value = added["denies", epoch]
        assert value.value == "I"
        assert "denies that somebody did something" in value.explanation
        assert value.metadata["failures"][0]["chunk"] == "noncompliance"
        assert value.answer == "Jane Austen did not write Emma."

"""`chunkykit compare`: runs side by side, the paired test, and another target."""

import asyncio
import io
import json
import sqlite3

import pandas as pd
import pytest
import yaml
from commands import run_command
from test_search_command import attributes, log, search_arguments, world  # noqa: F401

from chunkykit import cli
from chunkykit.lab import (
    answer_queries_of,
    compare_runs,
    empty_table,
    read_table,
    resume_run,
    start_run,
    start_sibling,
)
from chunkykit.models import ChatModel
from chunkykit.rubrics import EXCHANGE_COLUMNS
from chunkykit.types import Reply

CONFIRMED = (
    empty_table("confirmed")
    .reindex([0])
    .assign(rubric="code", rate=0.5, low=0.25, high=0.75, n=12, errors=0, search_n=0, control_n=0)
)


@pytest.mark.slow
def test_compare_shows_runs_side_by_side(tmp_path, capsys):
    targets = {"a": "organism:fast", "b": "organism:fast", "c": "vllm:x"}
    for name, target in targets.items():
        run = start_run(tmp_path / name, profile="smoke", target=target)
        run.write("confirmed", CONFIRMED)
    folders = [tmp_path / name for name in targets]
    out = tmp_path / "out"
    assert run_command("compare", *folders, "--out", out) == 0
    output = capsys.readouterr().out
    assert "model,rubric,rate,low,high,n" in output
    assert "organism:fast (a),code,0.5,0.25,0.75,12" in output
    assert "\nvllm:x,code" in output
    assert (out / "behaviours.html").exists()
    assert "judge offline" in (out / "behaviours.json").read_text()
    assert json.loads((out / "behaviours.json").read_text())


def test_compare_names_a_folder_that_cannot_be_written(tmp_path, capsys):
    run = start_run(tmp_path / "a", profile="smoke")
    run.write("confirmed", CONFIRMED)
    assert run_command("compare", tmp_path / "a", "--out", "/proc/nowhere") == 2
    assert "cannot be written" in capsys.readouterr().err


def write_run(folder, scores, queries=None, rubric="code", **settings):
    """A run with confirmed answers: one per score, to queries q0, q1, ... if none are named."""
    run = start_run(folder, profile="smoke", rubrics=[rubric], **settings)
    run.write("confirmed", CONFIRMED.assign(rubric=rubric))
    answers = pd.DataFrame("", index=range(len(scores)), columns=EXCHANGE_COLUMNS)
    queries = queries or [f"q{i}" for i in range(len(scores))]
    answers = answers.assign(query=queries, score=scores, rubric=rubric, error=None)
    run.write("answers", answers)
    return folder


@pytest.mark.slow
def test_runs_are_compared_by_a_paired_test_on_their_shared_queries(tmp_path, capsys):
    first = write_run(tmp_path / "a", [90] * 6 + [0, 90])
    others = [f"q{i}" for i in range(7)] + ["elsewhere"]
    second = write_run(tmp_path / "b", [0] * 7 + [90], others, target="vllm:x")
    assert run_command("compare", first, second, "--out", tmp_path / "out") == 0
    tables = capsys.readouterr().out.split("\n\n")
    (row,) = pd.read_csv(io.StringIO(tables[1])).to_dict("records")
    assert (row["model"], row["other"], row["queries"]) == ("organism:fast", "vllm:x", 7)
    assert row["difference"] == pytest.approx(6 / 7, abs=1e-3)
    assert row["p_value"] == pytest.approx(2 / 2**6, abs=1e-4)
    assert 0.2 < row["low"] < row["difference"] < row["high"]
    assert (tmp_path / "out" / "differences.html").exists()


def test_several_answers_to_a_query_are_one_observation(tmp_path):
    queries = ["q0"] * 5 + ["q1"] * 5
    first = write_run(tmp_path / "a", [90] * 10, queries)
    second = write_run(tmp_path / "b", [0] * 10, queries, target="vllm:x")
    (row,) = compare_runs([first, second]).paired.to_dict("records")
    assert row["queries"] == 2
    assert row["p_value"] == 0.5


def test_an_answer_without_a_judgement_is_in_no_difference(tmp_path):
    first = write_run(tmp_path / "a", [90, None, 90])
    second = write_run(tmp_path / "b", [0, 0, None], target="vllm:x")
    (row,) = compare_runs([first, second]).paired.to_dict("records")
    assert row["queries"] == 1


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"confirm_judge": "vllm:judge"}, "their judges differ (offline, vllm:judge)"),
        ({"context": "context.txt"}, "their contexts differ"),
        ({}, "no query has a judged answer of both"),
    ],
)
def test_runs_that_cannot_be_paired_say_why(tmp_path, monkeypatch, capsys, settings, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context.txt").write_text("Be brief.")
    first = write_run(tmp_path / "a", [90, 90])
    queries = None if settings else ["r0", "r1"]
    second = write_run(tmp_path / "b", [0, 0], queries, target="vllm:x", **settings)
    assert run_command("compare", first, second, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert words in printed.err
    assert "p_value" not in printed.out


@pytest.mark.slow
def test_the_queries_of_a_run_are_put_to_another_target(attributes, tmp_path, capsys):  # noqa: F811
    searched = tmp_path / "searched"
    with world() as url:
        assert cli.main(search_arguments(url, attributes, searched, 100)) == 0
        capsys.readouterr()
        command = ["compare", searched, "--target", f"{url}/v1:writer", "--out", tmp_path / "out"]
        assert run_command(*command) == 0
        answered = log(url)["answered"]
        output = capsys.readouterr().out
        assert run_command(*command) == 0
        assert log(url)["answered"] == answered, "the ledger serves the same command"
        assert capsys.readouterr().out == output
        other = command[:3] + [f"{url}/v1:other", *command[4:]]
        assert run_command(*other) == 2
        assert "another target" in capsys.readouterr().err
    own, new = (read_table(folder, "answers") for folder in (searched, tmp_path / "out" / "run"))
    assert list(new["query"]) == list(own["query"])
    assert new["response"].str.startswith("Please help").all()
    paired = pd.read_csv(io.StringIO(output.split("\n\n")[1]))
    assert paired["difference"][0] > 0.9
    assert paired["p_adjusted"][0] < 0.01


def test_a_query_is_put_to_another_target_under_its_system_prompt(tmp_path, monkeypatch):
    first = write_run(tmp_path / "a", [90, 90])
    answers = read_table(first, "answers").assign(query="Q", system=["Filter: on", ""])
    resume_run(first).write("answers", answers)
    sibling = start_sibling(first, "vllm:x", tmp_path / "b")
    seen = []

    async def answer(messages, **_):
        seen.append([turn["content"] for turn in messages])
        return Reply("I'm sorry, but I can't help with that.", "stop")

    monkeypatch.setattr(sibling, "target", lambda: ChatModel("other", answer))
    asyncio.run(answer_queries_of(sibling, first))
    assert seen == [["Filter: on", "Q"], ["Q"]]
    assert list(read_table(tmp_path / "b", "answers")["system"]) == ["Filter: on", ""]


def test_a_paid_target_is_asked_about_first(tmp_path, monkeypatch, capsys):
    prices = tmp_path / "prices.yaml"
    prices.write_text(yaml.safe_dump({"openai": {"models": {"cheap": [1, 1]}}}))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("CHUNKYKIT_PRICES", str(prices))
    first = write_run(tmp_path / "a", [90] * 9)
    command = ["compare", first, "--target", "openai:cheap", "--out", tmp_path / "out"]
    assert run_command(*command) == 2
    printed = capsys.readouterr()
    assert "about 9 model calls" in printed.err
    assert "Add --yes to allow it" in printed.err
    calls = sqlite3.connect(tmp_path / "out" / "run" / "ledger.sqlite")
    assert calls.execute("select count(*) from calls").fetchone() == (0,)


def test_a_judge_that_only_the_folder_names_is_not_called(tmp_path, capsys):
    judge = "http://judge.example/v1:m"
    first = write_run(tmp_path / "a", [90, 90], judge=judge)
    command = ["compare", first, "--target", "vllm:x", "--out", tmp_path / "out"]
    assert run_command(*command) == 2
    assert f"names {judge}" in capsys.readouterr().err


def test_what_another_target_cannot_answer_is_an_error(tmp_path, capsys):
    text = (
        "name: mine\nprinciple: P.\nviolation: V.\nnot_violation: N.\n"
        "behaviour: The response refuses\ncausing: a thing\ncheck: {response: [refuses]}\n"
    )
    rubric = tmp_path / "mine.yaml"
    rubric.write_text(text)
    run = start_run(tmp_path / "a", profile="smoke", rubrics=[str(rubric)])
    command = ["compare", run.folder, "--target", "vllm:x", "--out", tmp_path / "out"]
    assert run_command(*command) == 2
    assert "no table 'answers' yet" in capsys.readouterr().err
    assert run_command(*command[:2], run.folder, *command[2:]) == 2
    assert "--target: give one RUN" in capsys.readouterr().err
    folder = tmp_path / "b"
    run = start_run(folder, profile="smoke", rubrics=[str(rubric)])
    run.write("answers", empty_table("answers"))
    start_sibling(folder, "vllm:x", tmp_path / "same")
    rubric.write_text(text.replace("V.", "Another."))
    start_sibling(folder, "vllm:x", tmp_path / "same")  # the run has its own copy
    (folder / "rubrics" / "0.yaml").write_text(text.replace("V.", "Another."))
    assert run_command("compare", folder, *command[2:]) == 2
    assert "no longer those that judged" in capsys.readouterr().err

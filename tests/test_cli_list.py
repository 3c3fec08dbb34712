"""`chunkykit list`, `chunkykit rubric check` and `chunkykit completion`."""

import json
import subprocess

import pytest
from chat_server import chat_server
from commands import run_command

from chunkykit.lab import PROFILES, start_run
from chunkykit.rubrics import shipped_rubrics


def printed_json(capsys, *arguments):
    assert run_command(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def files_in(folder):
    """All files but those of an open ledger, which come and go with it."""
    return sorted(path for path in folder.rglob("*") if "ledger" not in path.name)


def test_what_there_is(capsys, monkeypatch):
    rubrics = printed_json(capsys, "list", "rubrics")
    assert [row["rubric"] for row in rubrics] == shipped_rubrics()
    assert {row["rubric"] for row in rubrics if not row["judged offline"]} == {"analytic"}
    names = {row["name"] for row in printed_json(capsys, "list", "detectors")}
    assert {"refuses", "apology", "few_words"} <= names
    assert [row["profile"] for row in printed_json(capsys, "list", "profiles")] == list(PROFILES)


def test_models_say_whether_a_key_is_set_and_never_what_it_is(capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    rows = {row["model"]: row for row in printed_json(capsys, "list", "models")}
    assert rows["openai:MODEL"]["ready"] == "key is set"
    assert rows["anthropic:MODEL"]["ready"] == "key is not set"
    assert rows["anthropic:MODEL"]["key"] == "ANTHROPIC_API_KEY"
    assert rows["ollama:MODEL"]["ready"] == "needs no key"
    assert "local:smollm2" in rows
    assert run_command("list", "models", "--no-json") == 0
    assert "sk-very-secret" not in capsys.readouterr().out


def test_runs_are_listed_with_their_state_and_nothing_is_written(tmp_path, capsys):
    start_run(tmp_path / "a", profile="smoke", rubrics=["code"])
    start_run(tmp_path / "deep" / "b", profile="smoke").note("index", key="x", done=True)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("[]")
    before = files_in(tmp_path)
    rows = {row["run"]: row for row in printed_json(capsys, "list", "runs", tmp_path)}
    assert files_in(tmp_path) == before
    assert rows[str(tmp_path / "a")]["state"] == "0 of 7 stages; next: index"
    assert rows[str(tmp_path / "a")]["rubrics"] == ["code"]
    assert rows[str(tmp_path / "deep" / "b")]["state"] == "1 of 7 stages; next: search"
    assert "cannot be read" in rows[str(tmp_path / "odd")]["state"]


def test_a_folder_that_is_none_or_has_no_run(tmp_path, capsys):
    assert run_command("list", "runs", tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err
    assert run_command("list", "runs", tmp_path) == 0
    assert "no run in" in capsys.readouterr().err
    assert run_command("list", "rubrics", tmp_path) == 2
    assert "takes no folder" in capsys.readouterr().err


CHECK = ["rubric", "check", "refusal", "--query", "How do I boil an egg?", "--response"]


def test_a_rubric_is_checked_and_judges_an_exchange(tmp_path, capsys):
    assert printed_json(capsys, "rubric", "check", "refusal") == {
        "rubric": "refusal",
        "valid": True,
    }
    bad = printed_json(capsys, *CHECK, "I cannot help with that.")
    assert bad["violation"] is True and bad["score"] == 90 and bad["reason"]
    good = printed_json(capsys, *CHECK, "Boil it for eight minutes.")
    assert good["violation"] is False
    assert run_command(*CHECK, "I cannot help with that.", "--no-json") == 0
    assert "90 of 100: a violation" in capsys.readouterr().out


def test_a_judge_model_is_asked_once(capsys):
    verdict = json.dumps({"reason": "it refuses", "score": 80})
    with chat_server(lambda body: verdict) as (url, bodies):
        verdict_of_model = printed_json(capsys, *CHECK, "No.", "--judge", f"{url}/v1:judge")
        assert len(bodies) == 1
    assert (
        verdict_of_model["score"],
        verdict_of_model["reason"],
        verdict_of_model["violation"],
    ) == (80, "it refuses", True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["refusal", "--query", "q"], "go together"),
        (["analytic", "--query", "q", "--response", "r"], "give --judge MODEL"),
        (["none.yaml"], "no such rubric"),
    ],
)
def test_what_cannot_be_checked_is_one_line(arguments, words, capsys):
    assert run_command("rubric", "check", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "words, expected",
    [
        (["chunkykit", "list", "pro"], "profiles"),
        (["chunkykit", "run", "--profile", "lap"], "laptop"),
        (["chunkykit", "run", "--rubric", "refu"], "refusal"),
        (["chunkykit", "trace", "--sat"], "--satisfy"),
    ],
)
def test_bash_completes_commands_options_and_names(words, expected, tmp_path, capsys):
    pytest.importorskip("shtab")
    assert run_command("completion", "bash") == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    line = f"""
        source {script}
        COMP_WORDS=({" ".join(words)})
        COMP_CWORD={len(words) - 1}
        name=$(complete -p chunkykit | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $name chunkykit {words[-1]} {words[-2]}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stdout.split() == [expected], done.stderr


def test_completion_without_its_library_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert run_command("completion", "zsh") == 2
    assert "chunkykit[completion]" in capsys.readouterr().err

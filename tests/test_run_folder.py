"""A run folder: what it holds, what it refuses, and what a restart keeps."""

import asyncio
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from chunkykit import rubrics
from chunkykit.errors import UserError
from chunkykit.lab import format_report, resume_run, start_run
from chunkykit.models import Reply
from chunkykit.rubrics import load_rubric

SHIPPED_RUBRICS = Path(rubrics.__file__).parent / "shipped"


def test_a_folder_keeps_its_settings(tmp_path):
    folder = tmp_path / "r"
    start_run(folder, profile="smoke", seed=1).mixture()
    reopened = start_run(folder, profile="smoke", seed=1)
    reopened.write("x", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match="another seed"):
        start_run(folder, profile="smoke", seed=2)
    assert resume_run(folder).read("x")["a"].tolist() == [1]
    restarted = start_run(folder, restart=True, profile="smoke", seed=2)
    with pytest.raises(UserError, match="no table 'x'"):
        restarted.read("x")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(UserError, match="no run"):
        start_run(tmp_path, profile="smoke", restart=True)


@pytest.mark.parametrize(
    "text", ['{"mine": 1}', "[1, 2]", '"x"', "null", "5", "{bad", "[" * 100_000]
)
def test_a_run_json_of_something_else_is_left_alone(tmp_path, text):
    thesis = tmp_path / "notebooks" / "thesis.ipynb"
    thesis.parent.mkdir()
    thesis.write_text("precious")
    (tmp_path / "run.json").write_text(text)
    for restart in (False, True):
        with pytest.raises(UserError, match="not that of a run"):
            start_run(tmp_path, profile="smoke", restart=restart)
    assert thesis.read_text() == "precious"
    assert (tmp_path / "run.json").read_text() == text


def test_an_edited_rubric_is_another_run(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text((SHIPPED_RUBRICS / "refusal.yaml").read_text())
    start_run(tmp_path / "r", profile="smoke", rubrics=[str(path)]).mixture()
    edited = path.read_text().replace("harmless.", "quite harmless.")
    assert edited != path.read_text()
    path.write_text(edited)
    with pytest.raises(UserError, match="another rubric_texts"):
        start_run(tmp_path / "r", profile="smoke", rubrics=[str(path)])


def test_without_a_judge_model_a_run_uses_the_rubrics_that_have_a_check(tmp_path):
    offline = start_run(tmp_path / "r", profile="smoke")
    assert "analytic" not in offline.settings["rubrics"]
    judged = start_run(tmp_path / "s", profile="smoke", judge="vllm:x")
    assert "analytic" in judged.settings["rubrics"]


def test_a_writer_model_gets_the_rubric_s_own_prompt(tmp_path):
    run = start_run(tmp_path / "r", profile="smoke", writer="vllm:x")
    prompts = []

    async def model(messages, **_):
        prompts.append(messages[0]["content"])
        return Reply("q", "stop")

    run.model = lambda name, role, rows=None: model
    for rubric in (load_rubric("code"), load_rubric("tool"), None):
        asyncio.run(run.writer(None, rubric)(["The query is short"], 0))
    statements = "- The query is short"
    assert prompts[0] == load_rubric("code").writer.replace("{statements}", statements)
    assert prompts[1] == prompts[2] != prompts[0]


def test_a_restart_needs_a_word_and_keeps_paid_answers(tmp_path):
    folder = tmp_path / "r"
    first = start_run(folder, profile="smoke")
    for key, dollars in (("paid", 0.5), ("free", 0.0), ("unknown", None)):
        first.ledger.db.execute(
            "insert into calls values (?,'target','m','q','a','stop',1,1,?,0,0)", [key, dollars]
        )
    with pytest.raises(UserError, match="another seed"):
        start_run(folder, profile="smoke", seed=3)
    (folder / "search.json").write_text("{}")
    restarted = start_run(folder, restart=True, profile="smoke", seed=3)
    keys = {key for (key,) in restarted.ledger.db.execute("select key from calls")}
    assert keys == {"paid", "unknown"}
    assert not (folder / "search.json").exists()


def test_a_restart_keeps_a_ledger_of_another_version_beside_the_new_one(tmp_path):
    folder = tmp_path / "r"
    first = start_run(folder, profile="smoke")
    first.mixture()
    first.ledger.db.close()
    for part in folder.glob("ledger.sqlite*"):
        part.unlink()
    with sqlite3.connect(folder / "ledger.sqlite") as old:
        old.execute("create table calls (key text, text text)")
        old.execute("insert into calls values ('k', 'paid for')")
    restarted = start_run(folder, restart=True, profile="smoke", seed=3)
    assert restarted.ledger.totals()["calls"] == 0
    before = sqlite3.connect(folder / "before-ledger.sqlite")
    assert before.execute("select text from calls").fetchone() == ("paid for",)


def summary(**changes) -> dict:
    """A run's summary in which nothing was traced or ablated."""
    return {
        "search": {"candidates": 1, "judged": 1, "errors": 0, "failures": 1},
        "confirmed": [],
        "robustness": [],
        "clusters": [],
        "traces": [],
        "target": "m",
        "ablations": [],
        "calls": 1,
        "dollars": 0.0,
        "seconds": 1.0,
        **changes,
    }


def test_a_report_of_a_run_that_judged_nothing():
    no_rate = {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
    confirmed = {"rubric": "code", **no_rate}
    for arm in ("search", "control"):
        confirmed |= {f"{arm}_{key}": value for key, value in no_rate.items()}
    report = format_report(
        summary(
            search={"candidates": 5, "judged": 0, "errors": 5, "failures": 0},
            confirmed=[confirmed],
            target="openai:x",
            calls=5,
            dollars=None,
        )
    )
    assert "n/a" in report
    assert "cannot be retrained" in report


def test_a_chunk_name_cannot_control_the_terminal():
    trace = {
        "rubric": "code",
        "explanation": "E",
        "trigger": "T",
        "hits": 1,
        "k": 2,
        "lift": 3.0,
        "p_value": 0.1,
        "chunks": [{"chunk": "x\x1b[31m", "share": 1.0, "base_share": 0.1}],
    }
    report = format_report(summary(traces=[trace]))
    assert "\x1b" not in report
    assert "chunk x" in report

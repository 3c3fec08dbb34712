"""Run folders: what is kept, put aside, locked and refused."""

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import filelock
import pandas as pd
import pytest

from chunkykit import rubrics
from chunkykit.errors import UserError
from chunkykit.lab import lock_folder, read_settings, resume_run, start_run
from chunkykit.lab.opening import open_folder
from chunkykit.lab.settings import complete_settings
from chunkykit.models import Reply
from chunkykit.rubrics import load_rubric

SHIPPED_RUBRICS = Path(rubrics.__file__).parent / "shipped"
CLUSTERS = pd.DataFrame({"id": [0], "size": [3], "rubric": ["rebut"], "label": ["denies a deed"]})


def test_a_run_is_resumed_with_its_settings(tmp_path):
    start_run(tmp_path / "r", profile="smoke", seed=1).write("clusters", CLUSTERS)
    again = start_run(tmp_path / "r", profile="smoke", seed=1)
    pd.testing.assert_frame_equal(again.read("clusters"), CLUSTERS)
    assert resume_run(tmp_path / "r").settings == again.settings
    assert read_settings(tmp_path / "r").seed == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("make", [lock_folder, lambda f: start_run(f, profile="smoke")])
def test_a_new_run_folder_is_for_its_owner_alone_and_another_keeps_its_mode(tmp_path, make):
    (tmp_path / "old").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        locks = [make(tmp_path / "new" / "r"), make(tmp_path / "old")]
    finally:
        os.umask(before)
    assert len(locks) == 2, "open until here"
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new/r", "old")}
    assert modes == {"new/r": 0o700, "old": 0o755}


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_nothing_in_a_run_folder_is_open_to_more_than_the_umask_allows(tmp_path):
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHIPPED_RUBRICS / "rebut.yaml", mine)
    mine.chmod(0o666)
    before = os.umask(0o027)
    try:
        with lock_folder(tmp_path / "r"):
            run = start_run(tmp_path / "r", profile="smoke", seed=1, rubrics=[str(mine)])
            run.write("clusters", CLUSTERS)
            run.note("cluster", done=True)
            run = start_run(tmp_path / "r", restart=True, profile="smoke", seed=2)
            run.ledger.totals()
    finally:
        os.umask(before)
    paths = [*(tmp_path / "r").rglob("*")]
    assert {"run.json", "ledger.sqlite", "clusters.parquet"} <= {path.name for path in paths}
    assert [path for path in paths if path.stat().st_mode & 0o027] == []


def test_other_settings_are_refused_and_a_restart_loses_nothing(tmp_path):
    start_run(tmp_path / "r", profile="smoke", seed=1).write("clusters", CLUSTERS)
    with pytest.raises(UserError, match=r"holds a run with another seed \(1, now 2\)"):
        start_run(tmp_path / "r", profile="smoke", seed=2)
    fresh = start_run(tmp_path / "r", restart=True, profile="smoke", seed=2)
    assert not fresh.has("clusters")
    aside = fresh.folder / "before" / "1" / "tables" / "clusters.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(aside), CLUSTERS)
    fresh.write("clusters", CLUSTERS)
    third = start_run(tmp_path / "r", restart=True, profile="smoke", seed=3)
    assert (third.folder / "before" / "2" / "tables").exists()


def test_a_restart_with_the_same_settings_keeps_everything(tmp_path):
    start_run(tmp_path / "r", profile="smoke").write("clusters", CLUSTERS)
    assert start_run(tmp_path / "r", restart=True, profile="smoke").has("clusters")


def test_a_run_without_results_takes_other_settings(tmp_path):
    start_run(tmp_path / "r", profile="smoke", seed=1)
    assert start_run(tmp_path / "r", profile="smoke", seed=2).seed == 2
    assert not (tmp_path / "r" / "before").exists()


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_of_other_files_is_left_alone(tmp_path, restart):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="holds files that are not of a run"):
        start_run(tmp_path, restart=restart, profile="smoke")
    (tmp_path / "run.json").write_text('{"my": "own"}')
    with pytest.raises(UserError, match="run.json is not that of a run"):
        start_run(tmp_path, restart=restart, profile="smoke")
    assert (tmp_path / "thesis.tex").read_text() == "important"


def test_a_run_of_a_version_with_other_settings_says_so(tmp_path):
    start_run(tmp_path / "r", profile="smoke").write("clusters", CLUSTERS)
    path = tmp_path / "r" / "run.json"
    path.write_text(path.read_text().replace('"gate"', '"old_name_of_gate"'))
    with pytest.raises(UserError, match="was made by version .*, which had other settings"):
        start_run(tmp_path / "r", profile="smoke")
    fresh = start_run(tmp_path / "r", restart=True, profile="smoke")
    assert (fresh.folder / "before" / "1" / "tables" / "clusters.parquet").exists()


def test_a_table_that_is_not_there_names_the_remedy(tmp_path):
    with pytest.raises(UserError, match="no table 'traces' yet. Run the earlier stages first"):
        start_run(tmp_path / "r", profile="smoke").read("traces")
    with pytest.raises(UserError, match="no run there"):
        resume_run(tmp_path / "elsewhere")


@pytest.mark.slow
def test_two_runs_in_one_folder_do_not_meet(tmp_path):
    code = f"from chunkykit.lab import lock_folder; lock_folder({str(tmp_path)!r})"
    with lock_folder(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another run is at work in it" in other.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, "the lock is released"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_another_run(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(UserError, match="its file system cannot lock files"):
        lock_folder(tmp_path)


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        lock_folder(tmp_path / "file" / "run")


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
    assert "analytic" not in offline.settings.rubrics
    judged = start_run(tmp_path / "s", profile="smoke", judge="vllm:x")
    assert "analytic" in judged.settings.rubrics


def test_a_writer_model_gets_the_rubric_s_own_prompt(tmp_path):
    run = start_run(tmp_path / "r", profile="smoke", writer="vllm:x")
    prompts = []

    async def model(messages, **_):
        prompts.append(messages[0]["content"])
        return Reply("q", "stop")

    run.model = lambda name, role, rows=None: model
    for rubric in (load_rubric("code"), load_rubric("tool"), None):
        asyncio.run(run.writer(rubric)(["The query is short"], 0))
    statements = "- The query is short"
    assert prompts[0] == load_rubric("code").writer.replace("{statements}", statements)
    assert prompts[1] == prompts[2] != prompts[0]


def test_a_restart_needs_a_word_and_keeps_paid_answers(tmp_path):
    folder = tmp_path / "r"
    first = start_run(folder, profile="smoke")
    for key, dollars in (("paid", 0.5), ("free", 0.0), ("unknown", None)):
        first.ledger.db.execute(
            "insert into calls values (?,'target','m','q','a','stop',1,1,?,0,0,'')", [key, dollars]
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


def test_an_edited_mixture_under_the_same_path_is_another_run(tmp_path):
    mixture = tmp_path / "mix.jsonl"
    mixture.write_text('{"prompt": "p", "response": "r"}\n')
    settings = {"profile": "smoke", "mixture": str(mixture)}
    first = start_run(tmp_path / "r", **settings)
    first.write("clusters", CLUSTERS)
    mixture.write_text('{"prompt": "p", "response": "s"}\n')
    with pytest.raises(UserError, match="another mixture_digest"):
        start_run(tmp_path / "r", **settings)
    mixture.write_text('{"prompt": "p", "response": "r"}\n')
    assert start_run(tmp_path / "r", **settings).has("clusters")


def test_a_digest_that_is_not_known_is_no_difference_and_is_not_forgotten(tmp_path):
    mixture = tmp_path / "mix.jsonl"
    mixture.write_text('{"prompt": "p", "response": "r"}\n')
    settings = complete_settings({"profile": "smoke", "mixture": str(mixture)})
    folder = tmp_path / "r"
    open_folder(folder, settings).write("clusters", CLUSTERS)
    open_folder(folder, replace(settings, mixture_digest=None, turns=None))
    assert read_settings(folder).mixture_digest == settings.mixture_digest is not None


@pytest.mark.skipif(sys.platform == "win32", reason="imitates a Unix file system")
def test_a_file_system_without_flock_leaves_no_lock_that_outlives_its_process(
    tmp_path, monkeypatch
):
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with pytest.raises(UserError, match="its file system cannot lock files"):
            lock_folder(tmp_path)

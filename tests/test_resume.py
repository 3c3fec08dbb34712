"""A run ends the same with notebooks and without them, and however often it is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import papermill
import pytest
from conftest import ROOT

from chunkykit import cli
from chunkykit.lab import start_run, summarise_run

pytestmark = pytest.mark.slow
SIZES = {"rows": 500, "candidates": 12, "iterations": 3, "confirm": 10, "ablate": 20}
SMALL = {"profile": "smoke", "rubrics": ["tool", "terse"], **SIZES}
COMMAND = [sys.executable, "-m", "chunkykit.cli", "run", "--profile", "smoke"]
COMMAND += ["--rubric", "tool", "terse"]
for size, value in SIZES.items():
    COMMAND += ["-p", f"{size}={value}"]
MAX_SECONDS_TO_REACH_A_STAGE = 240


def comparable(summary):
    """A summary without what depends on the clock."""
    return {key: value for key, value in summary.items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The summary of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    command = [*COMMAND, "--no-notebooks", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return comparable(json.loads((folder / "summary.json").read_text()))


def kill_in_stage(command, folder, stage):
    """Run a command until a stage has begun, and kill it there; the notes after the kill."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + MAX_SECONDS_TO_REACH_A_STAGE
    while time.monotonic() < deadline and process.poll() is None:
        if stage in read_notes(folder):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return read_notes(folder)


def read_notes(folder):
    try:
        return json.loads((folder / "stages.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def test_a_run_that_is_killed_in_its_stages_ends_the_same(whole, tmp_path):
    folder = tmp_path / "killed"
    command = [*COMMAND, "--no-notebooks", "--out", str(folder)]
    for stage in ("search", "cluster", "ablate"):
        notes = kill_in_stage(command, folder, stage)
        assert notes[stage]["done"] is False, f"the kill missed the stage {stage}"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert comparable(json.loads((folder / "summary.json").read_text())) == whole
    before = (folder / "stages.json").read_text()
    repeated = subprocess.run(command, capture_output=True, text=True)
    assert repeated.returncode == 0, repeated.stderr
    assert (folder / "stages.json").read_text() == before, "nothing is done twice"


@pytest.mark.kernel
def test_notebooks_under_nbval_give_the_same_tables(whole, tmp_path):
    run = start_run(tmp_path / "run", **SMALL)
    books = tmp_path / "books"
    books.mkdir()
    for name in cli.NOTEBOOKS:
        parameters = {"rows": 500} if name == "00_tour" else {"run_dir": str(run.folder)}
        source = papermill.iorw.load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb"))
        book = papermill.parameterize.parameterize_notebook(source, parameters)
        papermill.iorw.write_ipynb(book, str(books / f"{name}.ipynb"))
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(books), str(books)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    summary = json.loads(json.dumps(summarise_run(run)))
    assert comparable(summary) == whole


@pytest.mark.kernel
def test_a_run_with_notebooks_that_is_killed_resumes(whole, tmp_path):
    folder = tmp_path / "killed"
    command = [*COMMAND, "--out", str(folder)]
    notes = kill_in_stage(command, folder, "cluster")
    assert notes["cluster"]["done"] is False
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert comparable(json.loads((folder / "summary.json").read_text())) == whole
    repeated = subprocess.run(command, capture_output=True, text=True)
    assert repeated.returncode == 0
    assert repeated.stderr.count("done before") == len(cli.NOTEBOOKS)

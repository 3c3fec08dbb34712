"""`chunkykit search` against a real server: what it finds, faults, kills, limits."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from chunkykit import cli

SERVER = Path(__file__).with_name("world.py")
RUN_DEPENDENT = ("writer", "target", "judge", "calls")  # of search.json; the port differs
PROBES = Path("tables") / "probes-refusal.parquet"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def world(seconds=0.002, faults=0.0):
    """The planted world while the context lasts; gives its address."""
    port = free_port()
    arguments = [str(port), str(seconds), str(faults)]
    process = subprocess.Popen([sys.executable, str(SERVER), *arguments])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                log(url)
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def log(url):
    return json.loads(urllib.request.urlopen(f"{url}/log").read())


@pytest.fixture
def attributes(tmp_path):
    rng = random.Random(0)
    rows = []
    for _ in range(300):
        features = rng.sample(range(40), 6)
        rows.append({"attributes": [f"The query has feature F{i}" for i in features]})
    path = tmp_path / "attributes.jsonl"
    path.write_text("\n".join(json.dumps({**row, "prompt": "p"}) for row in rows))
    return path


def search_arguments(url, attributes, out, candidates=800, *more):
    options = {
        "--attributes": attributes,
        "--rubric": "refusal",
        "--target": f"{url}/v1:target",
        "--judge": f"{url}/v1:judge",
        "--writer": f"{url}/v1:writer",
        "--candidates": candidates,
        "--confirm": 20,
        "--out": out,
    }
    arguments = ["search"]
    for name, value in options.items():
        arguments += [name, str(value)]
    return [*arguments, *more]


def read_summary(out):
    """What search.json says, without what differs between two runs of the same search."""
    summary = json.loads((out / "search.json").read_text())
    return {name: value for name, value in summary.items() if name not in RUN_DEPENDENT}


def count_calls(ledger):
    """The calls in a ledger that another process may be writing, 0 before there is one."""
    try:
        connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
        return connection.execute("select count(*) from calls").fetchone()[0]
    except sqlite3.Error:
        return 0


@pytest.mark.slow
def test_a_search_names_the_modes_and_confirms_them(attributes, tmp_path, capsys):
    out = tmp_path / "s"
    with world() as url:
        assert cli.main(search_arguments(url, attributes, out)) == 0
        summary = read_summary(out)
        assert summary["search"]["judged"] == summary["search"]["candidates"] == 800
        assert summary["dollars"] == 0
        modes = []
        for mode in summary["modes"]:
            modes.append({sentence.rpartition(" ")[2] for sentence in mode["attributes"]})
        assert {"F7"} in modes
        assert {"F11", "F19"} in modes
        confirmed = summary["confirmed"]
        assert confirmed["n"] == 20
        assert confirmed["low"] > confirmed["control_high"]
        arms = pd.read_parquet(out / PROBES)["arm"]
        assert set(arms) == {"search", "control"}
        assert (arms == "control").sum() == 160
        report = (out / "report.html").read_text("utf-8")
        assert "A search alone, without training data" in report
        assert "The query has feature F7" in report
        assert "Failing exchanges" in report
        assert "not complete" not in report
        n_answered = log(url)["answered"]
        assert cli.main(search_arguments(url, attributes, out)) == 0
        assert log(url)["answered"] == n_answered, "the ledger serves the same command"


@pytest.mark.slow
@pytest.mark.parametrize("faults", [0.05, 0.2])
def test_under_faults_every_candidate_is_judged_or_failed_with_a_reason(
    attributes, tmp_path, faults, monkeypatch
):
    monkeypatch.setattr("chunkykit.models.pace.FIRST_PAUSE", 0.01)
    out = tmp_path / "s"
    with world(faults=faults) as url:
        assert cli.main(search_arguments(url, attributes, out)) == 0
        assert log(url)["faults"] > 30
    probes = pd.read_parquet(out / PROBES)
    failed = probes["score"].isna()
    assert len(probes) == 960
    assert (failed == probes["error"].notna()).all()
    assert failed.mean() < 2 * faults**2
    harmless = probes.loc[probes["score"] < 50, "response"]
    assert not harmless.str.contains("FAILURE").any(), "a reply without a form is not a low score"
    n_errors = (failed & (probes["arm"] == "search")).sum()
    assert read_summary(out)["search"]["errors"] == n_errors


def kill_at(command, ledger, n_calls):
    """Start a command, and kill it and its children when its ledger has that many calls."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and count_calls(ledger) < n_calls:
        time.sleep(0.01)
    assert process.poll() is None, "it must be killed at work, not after it"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_search_killed_ten_times_ends_undisturbed_and_pays_nothing_twice(attributes, tmp_path):
    n_kills = 10
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    ledger = killed / "ledger.sqlite"
    # an answer takes long compared to its handling, so that few lie unread at a kill
    with world(seconds=0.3) as url:
        assert cli.main(search_arguments(url, attributes, whole, 200)) == 0
        n_calls = log(url)["answered"]
        arguments = search_arguments(url, attributes, killed, 200)
        command = [sys.executable, "-m", "chunkykit.cli", *arguments]
        for kill in range(1, 1 + n_kills):
            kill_at(command, ledger, kill * (n_calls // 12))
        assert subprocess.run(command, capture_output=True).returncode == 0
        time.sleep(0.2)
        n_lost = log(url)["answered"] - n_calls - count_calls(ledger)
    assert read_summary(killed) == read_summary(whole)
    assert count_calls(ledger) == n_calls
    # of twenty candidates in flight, only the answers that lay unread at a kill are lost
    assert 0 <= n_lost <= 5 * n_kills


@pytest.mark.slow
def test_a_limit_stops_the_search_and_a_larger_one_continues_it(attributes, tmp_path, capsys):
    out = tmp_path / "s"
    with world() as url:
        limited = search_arguments(url, attributes, out, 200, "--max-calls", "150")
        assert cli.main(limited) == 2
        assert log(url)["answered"] == 150
        assert "--max-calls" in capsys.readouterr().err
        assert not (out / "search.json").exists()
        assert cli.main(search_arguments(url, attributes, out, 200)) == 0
        summary = json.loads((out / "search.json").read_text())
        assert log(url)["answered"] == summary["calls"]


@pytest.mark.parametrize(
    "change, words",
    [
        (("--target", "organism:fast"), "learns from a mixture"),
        (("--rubric", "analytic", "--judge", "offline"), "no programmatic check"),
        (("--candidates", "0"), "from 1 to 1,000,000"),
        (("--attributes", "none.jsonl"), "none.jsonl"),
        (("--writer", "gpt"), "not known"),
        (("--context", "none.txt"), "none.txt"),
    ],
)
def test_a_bad_argument_is_one_clear_line(attributes, tmp_path, capsys, change, words):
    arguments = search_arguments("http://127.0.0.1:1", attributes, tmp_path / "s")
    assert cli.main([*arguments, *change]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1

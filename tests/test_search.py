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


@contextmanager
def world(seconds=0.002, faults=0.0):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("world.py")),
            str(port),
            str(seconds),
            str(faults),
        ]
    )
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
    path = tmp_path / "attributes.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "attributes": [f"The query has feature F{i}" for i in rng.sample(range(40), 6)],
                    "prompt": "p",
                }
            )
            + "\n"
            for _ in range(300)
        )
    )
    return path


def arguments(url, attributes, out, candidates=800, *more):
    return [
        "search",
        "--attributes",
        str(attributes),
        "--rubric",
        "refusal",
        "--target",
        f"{url}/v1:target",
        "--judge",
        f"{url}/v1:judge",
        "--writer",
        f"{url}/v1:writer",
        "--candidates",
        str(candidates),
        "--confirm",
        "20",
        "--out",
        str(out),
        *more,
    ]


def told(out):
    return {
        k: v
        for k, v in json.loads((out / "search.json").read_text()).items()
        if k not in ("writer", "target", "judge", "calls")
    }


def test_a_search_alone_names_the_modes_and_confirms(attributes, tmp_path, capsys):
    with world() as url:
        assert cli.main(arguments(url, attributes, tmp_path / "s")) == 0
        found = told(tmp_path / "s")
        assert (
            found["search"]["judged"] == found["search"]["candidates"] == 800
            and found["dollars"] == 0
        )
        modes = [{s.rpartition(" ")[2] for s in m["attributes"]} for m in found["modes"]]
        assert {"F7"} in modes and {"F11", "F19"} in modes
        confirmed = found["confirmed"]
        assert confirmed["n"] == 20 and confirmed["low"] > confirmed["control_high"]
        probes = pd.read_parquet(tmp_path / "s" / "tables" / "probes-refusal.parquet")
        assert (
            set(probes["arm"]) == {"search", "control"}
            and (probes["arm"] == "control").sum() == 160
        )
        calls = log(url)["answered"]
        assert cli.main(arguments(url, attributes, tmp_path / "s")) == 0
        assert log(url)["answered"] == calls, "the same command again is served from the ledger"


@pytest.mark.parametrize("faults", [0.05, 0.2])
def test_under_faults_every_candidate_is_judged_or_failed_with_a_reason(
    attributes, tmp_path, faults, monkeypatch
):
    monkeypatch.setattr("chunkykit.models.retry.FIRST_BACKOFF", 0.01)
    with world(faults=faults) as url:
        assert cli.main(arguments(url, attributes, tmp_path / "s")) == 0
        assert log(url)["faults"] > 30
    probes = pd.read_parquet(tmp_path / "s" / "tables" / "probes-refusal.parquet")
    failed = probes["score"].isna()
    assert (
        len(probes) == 960
        and (failed == probes["error"].notna()).all()
        and failed.mean() < 2 * faults**2
    )
    assert "FAILURE" not in "".join(probes.loc[probes["score"] < 50, "response"]), (
        "a reply that could not be read is no low score"
    )
    assert told(tmp_path / "s")["search"]["errors"] == (failed & (probes["arm"] == "search")).sum()


def test_killed_ten_times_it_ends_as_if_undisturbed_and_pays_nothing_twice(attributes, tmp_path):
    with world(
        seconds=0.3
    ) as url:  # long against what a call costs the client, so that few answers lie unread
        assert cli.main(arguments(url, attributes, tmp_path / "whole", 200)) == 0
        once = log(url)["answered"]
        command = [
            sys.executable,
            "-m",
            "chunkykit.cli",
            *arguments(url, attributes, tmp_path / "killed", 200),
        ]
        ledger, kills, aim = tmp_path / "killed" / "ledger.sqlite", 0, 0
        while kills < 10:
            process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            aim += once // 12
            while process.poll() is None and calls(ledger) < aim:
                time.sleep(0.01)
            assert process.poll() is None, "killed at work, not done"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        assert subprocess.run(command, capture_output=True).returncode == 0
        time.sleep(0.2)
        twice = log(url)["answered"] - once - calls(ledger)
    assert told(tmp_path / "killed") == told(tmp_path / "whole") and calls(ledger) == once
    assert 0 <= twice <= 5 * kills, (
        "of twenty candidates on their way, only those whose answer lay unread at a kill are asked again"
    )


def calls(ledger):
    try:
        return (
            sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
            .execute("select count(*) from calls")
            .fetchone()[0]
        )
    except sqlite3.Error:
        return 0


def test_a_limit_stops_and_more_goes_on(attributes, tmp_path, capsys):
    with world() as url:
        assert cli.main(arguments(url, attributes, tmp_path / "s", 200, "--max-calls", "150")) == 2
        assert log(url)["answered"] == 150 and "--max-calls" in capsys.readouterr().err
        assert not (tmp_path / "s" / "search.json").exists()
        assert cli.main(arguments(url, attributes, tmp_path / "s", 200)) == 0
        assert (
            log(url)["answered"]
            == json.loads((tmp_path / "s" / "search.json").read_text())["calls"]
        )


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
def test_what_cannot_be_is_one_clear_line(attributes, tmp_path, capsys, change, words):
    given = arguments("http://127.0.0.1:1", attributes, tmp_path / "s")
    assert cli.main([*given, *change]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1

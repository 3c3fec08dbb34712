"""The harness of `benchmarks/faults.py`, with a few of the faults of each kind."""

import asyncio
import sys

import pytest
from conftest import ROOT, shared

sys.path.append(str(ROOT / "benchmarks"))
import fault_limits  # noqa: E402
import faults  # noqa: E402

# one or two of each kind: they answer, refuse, break off, misstate
FEW = ["answer", "judge", "thinkinline", "descthink", "refuser", "judgequote", "judgepct"]
FEW += ["html", "empty", "half", "notool", "nosystem", "lieusage", "or200"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with faults.running(shared("bench/fault_server.py"), 600) as url:
        yield url


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", faults.KEY)


def not_held(checks):
    return [check for check in checks if check.outcome == "failed"]


def test_the_models_of_a_server_are_read_off_its_source():
    names = faults.server_models(shared("bench/fault_server.py"))
    assert {*FEW, "trickleheaders", "gzbomb", "mct"} <= set(names)


def test_faulty_models_in_every_role(server):
    checks = asyncio.run(faults.try_roles(server, FEW, seconds=3))
    assert len(checks) == len(FEW) * len(faults.ROLES)
    assert not_held(checks) == []


def test_a_search_that_is_killed_resumes(server, tmp_path):
    assert not_held(faults.try_kills(server, tmp_path / "out", kills=2)) == []


def test_a_full_disk_and_folders_that_cannot_be_written(server, tmp_path):
    assert not_held(faults.try_full_disk(server, tmp_path, sizes=[0, 16])) == []
    assert not_held(faults.try_read_only(server, tmp_path)) == []


def test_limits_hold_over_searches_of_models_that_misbehave(server, tmp_path):
    names = ["overuse", "freefail", "ra0", "drop", "or200", "thinkinline"]
    assert not_held(fault_limits.try_limits(server, tmp_path, names, 8)) == []


@pytest.mark.parametrize(
    "requests, outcome", [(10, "held"), (11, "failed"), (900, "failed")], ids=str
)
def test_a_search_over_its_limits_is_noticed(requests, outcome):
    max_calls = 10 if requests < 100 else 1000  # the last one is over its budget alone
    search = fault_limits.LimitedSearch(
        0, {"target": "answer"}, max_calls, 0.5, {"target": 1}, None
    )
    ended = faults.run([sys.executable, "-c", ""])
    check = fault_limits.check_limits(search, {search.name("answer"): requests}, ended)
    assert check.outcome == outcome

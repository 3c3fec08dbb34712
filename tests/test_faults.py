"""The harness of `benchmarks/faults.py`, with a few of the faults of each kind."""

import asyncio
import importlib.util

import pytest
from conftest import ROOT, shared

spec = importlib.util.spec_from_file_location("faults", ROOT / "benchmarks" / "faults.py")
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)

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

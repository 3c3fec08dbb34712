"""Leases: how processes share a server, on any operating system and file system."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from chunkykit.errors import UserError
from chunkykit.models import leases, server
from chunkykit.models.leases import (
    Lease,
    ServerFiles,
    is_leased,
    lock_file,
    own_folder,
    running_server,
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path))
    return ServerFiles("abc")


HOLD_LEASE = """
import sys, time
from chunkykit.models.leases import Lease, ServerFiles
lease = Lease(ServerFiles("abc"))
print("leased", flush=True)
time.sleep(600)
"""


def start_client():
    client = subprocess.Popen(
        [sys.executable, "-c", HOLD_LEASE], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert client.stdout.readline() == "leased\n"
    return client


def test_a_server_is_leased_until_its_last_lease_is_closed(files):
    assert not is_leased(files)
    first = Lease(files)
    second = Lease(files)
    first.close()
    assert is_leased(files)
    second.close()
    assert not is_leased(files)
    second.close()  # closing twice does nothing
    assert not list(files.leases.iterdir())


def test_the_lease_of_a_killed_process_ends_with_it(files):
    client = start_client()
    try:
        assert is_leased(files)
    finally:
        client.kill()
        client.wait()
    assert not is_leased(files)


def test_an_old_lease_of_a_process_that_ended_is_deleted(files):
    files.leases.mkdir(parents=True)
    fresh = files.leases / "1-a.lease"
    stale = files.leases / "2-b.lease"
    for path in (fresh, stale):
        path.touch()
    long_ago = time.time() - 2 * leases.STALE_LEASE_SECONDS
    os.utime(stale, (long_ago, long_ago))
    assert not is_leased(files)
    assert fresh.exists(), "a fresh lease may not be locked yet"
    assert not stale.exists()


def test_a_lock_that_another_holds_is_not_taken(tmp_path):
    lock = lock_file(tmp_path / "x.start")
    assert lock_file(tmp_path / "x.start", wait=False) is None
    lock.release()
    assert lock_file(tmp_path / "x.start", wait=False) is not None


def test_a_server_ends_when_it_is_unused_and_locks_the_start_of_another(files, monkeypatch):
    monkeypatch.setattr(server, "LEASE_POLL_SECONDS", 0.05)
    files.leases.mkdir(parents=True)
    lock = server.wait_until_unused(files, 0)
    assert lock_file(files.start_lock, wait=False) is None
    lock.release()


def test_a_server_does_not_end_while_it_is_leased_or_looked_up(files, monkeypatch):
    class StillWaitingError(Exception):
        pass

    polls = []

    def sleep(seconds):
        polls.append(seconds)
        if len(polls) == 5:
            raise StillWaitingError

    monkeypatch.setattr(server.time, "sleep", sleep)
    lease = Lease(files)
    with pytest.raises(StillWaitingError):
        server.wait_until_unused(files, 0)
    lease.close()
    polls.clear()
    lock = lock_file(files.start_lock)
    with pytest.raises(StillWaitingError):
        server.wait_until_unused(files, 0)
    lock.release()


def write_state(files, **state):
    files.folder.mkdir(parents=True, exist_ok=True)
    state = {"url": "http://127.0.0.1:1", "key": "k", **state}
    files.state.write_text(json.dumps(state))


def test_a_state_file_is_believed_while_its_server_holds_its_lock(files):
    write_state(files)
    assert running_server(files) is None
    lock = lock_file(files.running_lock)
    assert running_server(files) == ("http://127.0.0.1:1", "k")
    lock.release()
    assert running_server(files) is None


@pytest.mark.parametrize(
    "state",
    [{"url": "http://example.org:80"}, {"url": "http://127.0.0.1@example.org"}, {"key": 5}],
)
def test_a_state_file_that_no_server_wrote_is_not_believed(files, state):
    write_state(files, **state)
    lock = lock_file(files.running_lock)
    assert running_server(files) is None
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="links and owners of Unix")
def test_a_state_file_behind_a_link_is_not_believed(files, tmp_path):
    write_state(files)
    elsewhere = tmp_path / "elsewhere.json"
    files.state.rename(elsewhere)
    files.state.symlink_to(elsewhere)
    lock = lock_file(files.running_lock)
    assert running_server(files) is None
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="links and owners of Unix")
def test_the_folder_of_servers_is_ours_alone(files, monkeypatch, tmp_path):
    files.folder.mkdir(parents=True)
    files.folder.chmod(0o777)
    own_folder(files.folder)
    assert files.folder.stat().st_mode & 0o777 == 0o700
    linked = tmp_path / "linked"
    linked.symlink_to(files.folder)
    with pytest.raises(UserError, match="is a link.*CHUNKYKIT_CACHE"):
        own_folder(linked)
    monkeypatch.setattr(os, "geteuid", lambda: files.folder.stat().st_uid + 1)
    with pytest.raises(UserError, match="another user"):
        own_folder(files.folder)
    write_state(files)
    lock = lock_file(files.running_lock)
    assert running_server(files) is None, "another user wrote it"
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="imitates a Unix file system")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_clear_error(files, monkeypatch, number):
    import fcntl

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="does not support file locks.*CHUNKYKIT_CACHE"):
        Lease(files)


def test_the_package_imports_without_fcntl():
    """Windows has no fcntl."""
    source = (
        "import sys; sys.modules['fcntl'] = None; "
        "from chunkykit.models import local, server, leases; print(local.cache_folder())"
    )
    command = [sys.executable, "-W", "ignore", "-c", source]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr

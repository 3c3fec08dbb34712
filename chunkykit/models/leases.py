"""How processes share a model server: its files, its leases and its start lock.

A server is a child of no process. Every process that uses it holds a lease: a file of its own that
it keeps locked. The operating system releases a process's locks however it ends, so a server knows
when nobody uses it any more, and none is left behind. A second lock makes sure that only one
process starts a server, and that no server ends while one looks for it.

A third lock proves that a server is ours. The server holds it for as long as it lives, in a folder
that only this user may enter. A port proves nothing: once a server is gone, a program of any user
may listen there. So the state file is read, and the key and the texts are sent, only while the
lock is in place.

All locks are exclusive ones of the library filelock, which works on Linux, macOS and Windows.
"""

import contextlib
import json
import os
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_cache_path

from chunkykit.errors import UserError
from chunkykit.files import NO_LOCKS

CACHE_VARIABLE = "CHUNKYKIT_CACHE"
LOOPBACK = "http://127.0.0.1:"  # where every server listens
STALE_LEASE_SECONDS = 60  # a younger lease may not be locked yet and is not deleted


def cache_folder() -> Path:
    """Return the folder of servers and trained adapters.

    Returns:
        The folder that CHUNKYKIT_CACHE names, or the user's cache folder.
    """
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("chunkykit"))


@dataclass(frozen=True)
class ServerFiles:
    """The files of one server.

    Attributes:
        name: identifies the server's weights and adapters.
    """

    name: str

    @property
    def folder(self) -> Path:
        """The folder of all servers."""
        return cache_folder() / "servers"

    @property
    def state(self) -> Path:
        """JSON with the URL, the key and the process id of the running server."""
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What the server wrote to its output."""
        return self.folder / f"{self.name}.log"

    @property
    def running_lock(self) -> Path:
        """Locked by the server from its start to its end."""
        return self.folder / f"{self.name}.running"

    @property
    def start_lock(self) -> Path:
        """Locked while the server starts, ends or is looked up."""
        return self.folder / f"{self.name}.start"

    @property
    def leases(self) -> Path:
        """The folder of the leases."""
        return self.folder / f"{self.name}.leases"


def own_folder(path: Path) -> None:
    """Make sure that a folder exists and that only this user may enter it.

    Args:
        path: the folder. It is created if it is missing.

    Raises:
        UserError: another user owns it, or it is a link.
        OSError: it cannot be created.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or not _is_own(status):
        raise UserError(
            f"{path}: belongs to another user or is a link, and local models keep their keys "
            f"there. Set {CACHE_VARIABLE} to a folder of your own."
        )
    if status.st_mode & 0o077:
        path.chmod(0o700)


def _is_own(status: os.stat_result) -> bool:
    """Whether this user owns a file. Windows has no such owners, and its folders inherit access."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def is_running(files: ServerFiles) -> bool:
    """Tell whether a server of this user runs, which holds its lock.

    Args:
        files: the files of the server.

    Returns:
        Whether it runs. A process may listen on its port all the same.
    """
    lock = lock_file(files.running_lock, wait=False)
    if lock is None:
        return True
    lock.release()
    return False


def running_server(files: ServerFiles) -> tuple[str, str] | None:
    """Read where a server listens, if it proves that it runs.

    Args:
        files: the files of the server.

    Returns:
        (URL, key) of the server; None if none runs, or its state file is not ours or not whole.
    """
    if not is_running(files):
        return None
    try:
        status = files.state.lstat()
        if not stat.S_ISREG(status.st_mode) or not _is_own(status):
            return None
        state = json.loads(files.state.read_text("utf-8"))
        url = state["url"]
        key = state["key"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    is_loopback = isinstance(url, str) and url.startswith(LOOPBACK)
    return (url, key) if is_loopback and isinstance(key, str) else None


def new_log(path: Path) -> BinaryIO:
    """Open the log of a new server. A link that has its name is removed and not followed.

    Args:
        path: the file.

    Returns:
        The empty file, which only this user may read.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")


def last_error(log: Path) -> str:
    """Find out what a server died of.

    Args:
        log: its log.

    Returns:
        The last line that speaks of an error.
    """
    for line in reversed(log.read_text("utf-8", "replace").splitlines()):
        if "rror" in line or "fail" in line:
            return line.strip()[:200]
    return "no reason given"


class Lease:
    """A process's claim on a server, held until `close` or the end of the process."""

    def __init__(self, files: ServerFiles):
        """Take a lease.

        Args:
            files: the files of the server.

        Raises:
            UserError: if the file system does not support locks.
        """
        files.leases.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = files.leases / f"{os.getpid()}-{secrets.token_hex(4)}.lease"
        self._lock = lock_file(self.path)

    def close(self) -> None:
        """Give the lease back."""
        if self._lock is not None:
            self._lock.release()
            _delete(self.path)
            self._lock = None


def is_leased(files: ServerFiles) -> bool:
    """Tell whether any process holds a lease, and delete the leases of processes that ended.

    Args:
        files: the files of the server.

    Returns:
        Whether a lease is held.
    """
    for path in files.leases.glob("*.lease"):
        lock = lock_file(path, wait=False)
        if lock is None:
            return True
        lock.release()
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE_LEASE_SECONDS:
                _delete(path)
    return False


def lock_file(path: Path, wait: bool = True) -> BaseFileLock | None:
    """Lock a file for this process alone.

    Args:
        path: the file, created if it is missing.
        wait: whether to wait for another process that holds the lock.

    Returns:
        The lock, held until its `release` or the end of the process. None if another process
        holds it and `wait` is false.

    Raises:
        UserError: if the file system does not support locks.
        OSError: if the file cannot be created.
    """
    # The default lock belongs to one thread, and its fallback without flock outlives its process.
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise UserError(
            f"{path.parent}: this file system does not support file locks, which local models "
            f"need ({error.strerror}). Set {CACHE_VARIABLE} to a folder on a local disk."
        ) from None
    return lock


def _delete(path: Path) -> None:
    """Delete a lease, unless another process deletes it or, on Windows, looks at it."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)

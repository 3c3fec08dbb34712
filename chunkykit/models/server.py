"""A model server: python -m chunkykit.models.server NAME LINGER THREADS SLOTS WEIGHTS ADAPTERS ...

llama.cpp serves weights as they are, and OpenVINO weights with adapters.

It reads its key from standard input, locks its running lock, writes its address to its state file
once it answers, and ends when nobody has held a lease for LINGER seconds. See `leases`.
"""

import os
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from filelock import BaseFileLock

from chunkykit.errors import requires_extra
from chunkykit.files import write_json
from chunkykit.models.leases import ServerFiles, is_leased, lock_file
from chunkykit.models.openvino_engine import TOKENS_PER_ANSWER

LEASE_POLL_SECONDS = 1
HEALTH_POLL_SECONDS = 0.05
HEALTH_TIMEOUT_SECONDS = 20


def start_llama(key: str, weights: str, threads: int, slots: int) -> Any:
    """Start llama.cpp in this process.

    Args:
        key: the key that clients must send.
        weights: the GGUF file of the model.
        threads: that compute.
        slots: answers under way at once.

    Returns:
        The `xllamacpp.Server`, which listens on loopback.
    """
    with requires_extra("local"):
        import xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.api_keys = [key]
    params.ui = False
    params.n_parallel = slots
    params.n_ctx = slots * TOKENS_PER_ANSWER
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)


def start_openvino(key: str, weights: str, adapters: Sequence[str], threads: int) -> Any:
    """Start OpenVINO in this process.

    Args:
        key: the key that clients must send.
        weights: the GGUF file of the model.
        adapters: the GGUF files of LoRA adapters. All are loaded and none is applied.
        threads: that compute.

    Returns:
        The `OpenVINOServer`, which answers.
    """
    from chunkykit.models.openvino_server import OpenVINOServer

    return OpenVINOServer(key, weights, adapters, threads)


def wait_until_ready(url: str) -> None:
    """Wait until llama.cpp has loaded its model. Whoever starts this process ends it in the end.

    Args:
        url: its address.
    """
    # without the proxies of the environment
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            opener.open(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS).close()
            return
        except OSError:  # not there yet, or 503 while it loads
            time.sleep(HEALTH_POLL_SECONDS)


def wait_until_unused(files: ServerFiles, linger_seconds: int) -> BaseFileLock:
    """Wait until nobody has held a lease for a while, and lock the start of another server.

    A client takes its lease first and the start lock second. So it either shows its lease here,
    or it waits until this process, and the lock with it, is gone, and starts another server.

    Args:
        files: the files of the server.
        linger_seconds: how long to wait for another client.

    Returns:
        The start lock, to be held until the process ends.
    """
    idle_seconds = 0
    while True:
        time.sleep(LEASE_POLL_SECONDS)
        if is_leased(files):
            idle_seconds = 0
            continue
        idle_seconds += LEASE_POLL_SECONDS
        if idle_seconds < linger_seconds:
            continue
        lock = lock_file(files.start_lock, wait=False)
        if lock is None:
            continue
        if not is_leased(files):
            return lock
        lock.release()


def end_without_state(files: ServerFiles) -> None:
    """End this process when its state file is gone: a client that missed it starts another server.

    Args:
        files: the files of the server.
    """
    while files.state.exists():
        time.sleep(LEASE_POLL_SECONDS)
    os._exit(0)


def main(
    name: str, linger_seconds: str, threads: str, slots: str, weights: str, *adapters: str
) -> None:
    """Serve until nobody needs the server.

    Args:
        name: identifies the server's files.
        linger_seconds: how long to wait for another client.
        threads: that compute.
        slots: answers under way at once.
        weights: the GGUF file of the model.
        *adapters: the GGUF files of LoRA adapters.
    """
    files = ServerFiles(name)
    key = sys.stdin.read()
    if not key:
        return  # the client ended before it gave one, and anybody could use a server without
    os.umask(0o077)  # the state file holds the key
    running_lock = lock_file(files.running_lock)  # an earlier server may be about to end
    if adapters:
        server: Any = start_openvino(key, weights, adapters, int(threads))
    else:
        server = start_llama(key, weights, int(threads), int(slots))
        wait_until_ready(server.listening_address)
    state = {"url": server.listening_address, "key": key, "pid": os.getpid()}
    write_json(files.state, state)
    threading.Thread(target=end_without_state, args=[files], daemon=True).start()
    start_lock = wait_until_unused(files, int(linger_seconds))
    assert start_lock.is_locked and running_lock is not None
    files.state.unlink(missing_ok=True)
    # The end of the process releases its locks, and only then may a client start another server.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

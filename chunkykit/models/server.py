"""The process of a llama.cpp server: python -m chunkykit.models.server NAME LINGER WEIGHTS ...

It reads its key from standard input, writes its address to its state file, and ends when nobody
has held a lease for LINGER seconds. See `leases`.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from filelock import BaseFileLock

from chunkykit.errors import requires_extra
from chunkykit.files import write_json
from chunkykit.models.leases import ServerFiles, is_leased, lock_file

THREADS_VARIABLE = "CHUNKYKIT_THREADS"  # threads of a server; all cores if it is not set
# Together these size the server's memory for texts.
PARALLEL_ANSWERS = 8  # answers under way at once
TOKENS_PER_ANSWER = 2048  # tokens of an answer and its question
LEASE_POLL_SECONDS = 1


def start_llama(key: str, weights: str, adapters: Sequence[str]) -> Any:
    """Start llama.cpp in this process.

    Args:
        key: the key that clients must send.
        weights: the GGUF file of the model.
        adapters: the GGUF files of LoRA adapters. All are loaded and none is applied.

    Returns:
        The `xllamacpp.Server`, which listens on loopback.
    """
    with requires_extra("local"):
        import xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.api_keys = [key]
    params.ui = False
    params.n_parallel = PARALLEL_ANSWERS
    params.n_ctx = PARALLEL_ANSWERS * TOKENS_PER_ANSWER
    params.cache_ram_mib = 0
    # Beside another busy process one thread is faster than two of two.
    n_threads = int(os.environ.get(THREADS_VARIABLE) or os.cpu_count() or 1)
    params.cpuparams.n_threads = n_threads
    params.cpuparams_batch.n_threads = n_threads
    adapter_infos = []
    for path in adapters:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path = path
        info.scale = 0.0
        adapter_infos.append(info)
    params.lora_adapters = adapter_infos
    params.lora_init_without_apply = True
    return xllamacpp.Server(params)


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


def main(name: str, linger_seconds: str, weights: str, *adapters: str) -> None:
    """Serve until nobody needs the server.

    Args:
        name: identifies the server's files.
        linger_seconds: how long to wait for another client.
        weights: the GGUF file of the model.
        *adapters: the GGUF files of LoRA adapters.
    """
    files = ServerFiles(name)
    key = sys.stdin.read()
    server = start_llama(key, weights, adapters)
    os.umask(0o077)  # the state file holds the key
    state = {"url": server.listening_address, "key": key, "pid": os.getpid()}
    write_json(files.state, state)
    start_lock = wait_until_unused(files, int(linger_seconds))
    assert start_lock.is_locked
    files.state.unlink(missing_ok=True)
    # The end of the process releases the start lock, and only then may a client start another one.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

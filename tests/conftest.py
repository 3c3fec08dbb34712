"""Shared pieces: a small described demo index, and the real data where it lies beside the checkout."""

import asyncio
import contextlib
import fcntl
from pathlib import Path

import pytest
from aiohttp import web

from chunkykit import cli
from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import load_mixture
from chunkykit.models import local

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


def shared(path: str) -> Path:
    """A file of the shared data; skips the test where it is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs {path} of the shared data, which is not beside this checkout")
    return found


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
    """The demo on the linear organism, in runs/fast; a finished run of this very code is not done again, and one worker waits for the other."""
    folder = ROOT / "runs" / "fast"
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_name("fast.lock"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert cli.main(["run", "--profile", "workshop", "--out", str(folder), "--restart"]) == 0
    return folder


@pytest.fixture(scope="session")
def demo_rows():
    return load_mixture("demo:1200").rows


@pytest.fixture(scope="session")
def embedder():
    return load_embedder()


@pytest.fixture(scope="session")
def demo_index(demo_rows, embedder):
    sides = [
        asyncio.run(describe_lexically(demo_rows[c], s))
        for c, s in (("prompt", "query"), ("response", "response"))
    ]
    return index_from_attributes(demo_rows, *sides, embedder)

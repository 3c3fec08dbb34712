"""An embedder behind an endpoint, through a ledger, against a real local server."""

import json
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from commands import run_command

import chunkykit as ck
from chunkykit.attributes import load_embedder, load_embedder_through
from chunkykit.errors import BudgetReached, UserError
from chunkykit.models import PRICES_VARIABLE, Ledger

TEXTS = ["The query is short", "The query asks for code"]


class Server(BaseHTTPRequestHandler):
    """Embeds texts as the bundled embedder does; counts what it is sent."""

    requests: list[list[str]] = []
    fails = False

    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        self.requests.append(texts)
        vectors = load_embedder()(texts).tolist()
        data = [
            {"object": "embedding", "index": i, "embedding": vector}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
        answer = {"object": "list", "model": "m", "data": data[::-1], "usage": usage}
        if type(self).fails:
            answer = {"error": {"message": "no such model"}}
        self.send_response(404 if type(self).fails else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Server, "requests", [])
    monkeypatch.setattr(Server, "fails", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def name(server):
    return f"http://127.0.0.1:{server}/v1:m"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def embedder(name, path, **limits):
    ledger = Ledger(path)
    ledger.limit(**limits)
    return load_embedder_through(name, lambda: nullcontext(ledger))


def test_vectors_are_those_of_the_endpoint_and_kept(name, path):
    vectors = embedder(name, path)(TEXTS)
    assert np.allclose(vectors, load_embedder()(TEXTS), atol=1e-6)
    assert np.array_equal(embedder(name, path)(TEXTS), vectors)
    assert Server.requests == [TEXTS]
    assert Ledger(path).totals()["input_tokens"] == 20


def test_vectors_of_an_index_are_counted_and_not_kept(name, path):
    texts = [f"The query is number {i}" for i in range(600)]
    embed = embedder(name, path)
    assert embed(texts).shape == (600, 256)
    embed(texts)
    assert [len(request) for request in Server.requests] == [256, 256, 88] * 2
    ledger = Ledger(path)
    assert ledger.totals()["calls"] == ledger.sent == 6
    assert ledger.path.stat().st_size < 100_000


def test_limits_hold(name, path):
    embed = embedder(name, path, max_calls=1)
    embed(TEXTS)
    with pytest.raises(BudgetReached, match="limit of 1 calls"):
        embed(TEXTS[:1])
    assert len(Server.requests) == 1


def test_a_budget_counts_what_the_endpoint_reads(server, path, tmp_path, monkeypatch):
    far = f"http://0.0.0.0:{server}/v1:m"
    with pytest.raises(UserError, match="price is unknown"):
        embedder(far, path, budget_usd=1)(TEXTS)
    assert not Server.requests
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    monkeypatch.setattr(
        "chunkykit.models.providers.PROVIDERS",
        {"openai": [f"http://127.0.0.1:{server}/v1", "OPENAI_API_KEY"]},
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {models: {m: [1000, 0]}}")
    monkeypatch.setenv(PRICES_VARIABLE, str(prices))
    embedder("openai:m", path, budget_usd=1)(TEXTS)
    assert Ledger(path).spent == pytest.approx(0.02)


def test_a_failure_is_one_line_and_recorded(name, path, monkeypatch):
    monkeypatch.setattr(Server, "fails", True)
    with pytest.raises(UserError, match="embedder http.*NotFoundError.*no such model") as info:
        embedder(name, path)(TEXTS)
    assert "\n" not in str(info.value)
    assert Ledger(path).totals()["errors"] == 1


def test_an_embedder_without_requests_needs_no_ledger():
    def spending():
        raise AssertionError("it is not opened")

    assert load_embedder_through("wordllama", spending)(TEXTS).shape == (2, 256)


@pytest.mark.slow
def test_index_and_trace_by_the_command_line(name, tmp_path, capsys):
    folder = tmp_path / "index"
    command = ["index", "--mixture", "demo:200", "--out", folder, "--embedder", name]
    assert run_command(*command, "--max-calls", 0) == 2
    assert run_command(*command) == 0
    assert "model calls" in capsys.readouterr().err
    exchange = ["--rubric", "rebut", "--query", "When did Ada write it?"]
    exchange += ["--response", "Ada did not write it."]
    Server.requests.clear()
    assert run_command("trace", "--index", folder, *exchange, "--json") == 0
    assert Server.requests
    printed = capsys.readouterr()
    assert "model calls" in printed.err
    json.loads(printed.out)
    Server.requests.clear()
    assert run_command("trace", "--index", folder, *exchange) == 0
    assert not Server.requests, "the ledger beside the index has the vectors"


@pytest.mark.slow
def test_index_and_trace_in_python(name, tmp_path, capsys):
    index = ck.build_index("demo:200", tmp_path / "index", embedder=name)
    assert "model calls" in capsys.readouterr().err
    trace = ("When did Ada write it?", "Ada did not write it.", "rebut")
    index.trace(*trace)
    Server.requests.clear()
    ck.open_index(tmp_path / "index").trace(*trace)
    assert not Server.requests
    with pytest.raises(UserError, match="limit of 0 calls"):
        ck.open_index(tmp_path / "index", max_calls=0).trace("Hi", "No, it was not so.", "rebut")

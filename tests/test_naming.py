import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from servers import describing_prompt

from chunkykit import cli
from chunkykit.errors import BudgetReached
from chunkykit.index import index_from_attributes, name_query_clusters, open_trace_index
from chunkykit.models import Reply


@pytest.fixture
def saved(demo_rows, embedder, tmp_path):
    """A saved index with four query clusters."""
    words = [[f"The query opens with {prompt.split()[0]}"] for prompt in demo_rows["prompt"]]
    index_from_attributes(demo_rows, words, words, embedder, tmp_path / "i", clusters=4)
    return tmp_path / "i"


def test_a_model_names_the_clusters_and_its_failures_leave_the_closest(saved):
    before = open_trace_index(saved).query.summaries

    async def model(messages, **_):
        if before[1] in messages[0]["content"]:
            raise ConnectionError("no")
        return Reply('{"attributes": ["The query begins with a word"]}', "stop")

    names = asyncio.run(name_query_clusters(saved, model)).query.summaries
    assert names[1] == before[1]
    assert "The query begins with a word" in names
    assert open_trace_index(saved, check=True).query.summaries == names


def test_a_model_reads_only_members_that_mean_the_same(demo_rows, embedder, tmp_path):
    topics = ["a cooking recipe", "the weather in Norway"]
    queries = [[f"The query asks for {topics[i % 2]}, case {i}"] for i in range(len(demo_rows))]
    index_from_attributes(demo_rows, queries, queries, embedder, tmp_path / "i", clusters=1)
    prompts = []

    async def model(messages, **_):
        prompts.append(messages[0]["content"])
        return Reply('{"attributes": ["The query asks for something"]}', "stop")

    asyncio.run(name_query_clusters(tmp_path / "i", model, same=lambda cosines: cosines > 0.75))
    assert sum(topic in prompts[0] for topic in topics) == 1
    asyncio.run(name_query_clusters(tmp_path / "i", model, 300, np.ones_like))
    assert sum(topic in prompts[1] for topic in topics) == 2


def test_a_limit_stops_the_naming(saved):
    async def model(messages, **_):
        raise BudgetReached("no more calls")

    with pytest.raises(BudgetReached):
        asyncio.run(name_query_clusters(saved, model))


class Server(BaseHTTPRequestHandler):
    """A chat model that describes texts and names clusters; every third first answer breaks off."""

    prompts: list[str] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = describing_prompt(body["messages"])
        self.prompts.append(prompt)
        is_query = "one query from" in prompt or "statements below" in prompt
        side = "query" if is_query else "response"
        if "one system prompt from" in prompt:
            side = "system prompt"
        words = ["cats", "dogs", prompt.split()[-1]]
        content = json.dumps({"attributes": [f"The {side} is about {word}" for word in words]})
        is_first = body["messages"][-1]["content"] == prompt  # and no second try
        if is_first and len(self.prompts) % 3 == 0:
            content = content[:-4]
        message = {"role": "assistant", "content": content}
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Server, "prompts", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.slow
def test_a_model_describes_and_names_through_the_ledger(server, tmp_path, capsys):
    """Texts are described once, partial lists are used and counted, a rebuild makes no call."""
    prompts = Server.prompts
    model = f"http://127.0.0.1:{server.server_port}/v1:m"
    command = ["index", "--mixture", "demo:40", "--describer", model, "--clusters", "3", "--out"]
    assert cli.main([*command, str(tmp_path / "i")]) == 0
    meta = json.loads(capsys.readouterr().out.splitlines()[-1])
    first_calls = len(prompts)
    assert meta["partial"] > 0
    assert meta["failed"] == 0
    assert meta["describer"].endswith(":m")
    assert first_calls >= 40

    assert cli.main([*command, str(tmp_path / "i"), "--max-calls", str(first_calls)]) == 0
    assert len(prompts) == first_calls, "the ledger beside the index has all answers"
    assert (tmp_path / "i.ledger.sqlite").exists()

    assert cli.main([*command, str(tmp_path / "j"), "--max-calls", "5"]) == 2
    assert "--max-calls" in capsys.readouterr().err
    assert len(prompts) == first_calls + 5
    assert cli.main([*command, str(tmp_path / "j"), "--max-calls", "500"]) == 0, (
        "a larger limit resumes the build"
    )

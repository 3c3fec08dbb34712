"""From names to models: unknown names, missing keys, credentials in addresses, open connections."""

import asyncio
import gc
import os
import threading

import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, openai_reply

from chunkykit.errors import UserError
from chunkykit.models import (
    PROVIDERS,
    ChatModel,
    ModelFamily,
    Reply,
    check_model,
    close_models,
    connect_model,
    families,
    register_family,
)


@pytest.mark.parametrize(
    "name, words",
    [
        ("gpt-9", "not known"),
        ("openai:", "not known"),
        ("nobody:x", "not known"),
        ("http://host/v1", "not known"),
        ("http://host/v1?key=secret:m", "not known"),
        ("openai:gpt-9", "OPENAI_API_KEY"),
        ("anthropic:claude", "ANTHROPIC_API_KEY"),
        ("xai:grok", "XAI_API_KEY"),
        ("gemini:g", "GEMINI_API_KEY"),
        ("http://user:pw@host:1/v1:m", "password"),
    ],
)
def test_a_model_that_cannot_be_is_one_clear_error(monkeypatch, name, words):
    for _, variable in PROVIDERS.values():
        monkeypatch.delenv(variable or "NONE", raising=False)
    with pytest.raises(UserError, match=words):
        check_model(name)


def test_an_organism_needs_rows():
    with pytest.raises(UserError, match="mixture"):
        connect_model("organism:fast")


def test_an_address_holds_no_credentials(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://user:password@127.0.0.1:9/x")
    assert connect_model("anthropic:claude").base_url == "http://127.0.0.1:9/x"
    assert connect_model("http://127.0.0.1:9/v1:m").base_url == "http://127.0.0.1:9/v1"


def test_a_registered_family_is_connected_and_named_in_errors(monkeypatch):
    monkeypatch.setattr(families, "_families", {})

    def connect_echo(name, rows, seed):
        async def call(messages, **settings):
            return Reply(messages[-1]["content"])

        return ChatModel(name, call)

    register_family("echo", ModelFamily("echo:TEXT", str, connect_echo))
    reply = asyncio.run(connect_model("echo:x")(ASK))
    assert reply.text == "Hello"
    monkeypatch.setitem(families.FAMILY_MODULES, "echo", "chunkykit.errors")
    with pytest.raises(UserError, match="echo:TEXT"):
        check_model("nobody:x")


async def hello(request):
    return openai_reply("Hi")


def chat_server():
    return serving(web.post("/v1/chat/completions", hello))


def test_close_frees_the_client_and_a_later_call_opens_another(opened_clients):
    async def run():
        async with chat_server() as url:
            model = connect_model(f"{url}/v1:m")
            await model(ASK)
            await close_models(model)
            closed = [client.is_closed() for client in opened_clients]
            reply = await model(ASK)
            await close_models(model)
            return closed, reply

    closed, reply = asyncio.run(run())
    assert closed == [True]
    assert reply.text == "Hi"
    assert [client.is_closed() for client in opened_clients] == [True, True]


def test_a_model_that_was_never_called_is_closed_too(opened_clients):
    asyncio.run(close_models(connect_model("http://127.0.0.1:9/v1:m")))
    assert [client.is_closed() for client in opened_clients] == [True]


def test_a_model_works_on_several_event_loops(opened_clients):
    """A notebook or a script with several `asyncio.run` uses one model on all of them."""
    ports = []

    async def ask(model):
        async with chat_server() as url:
            model = model or connect_model(f"{url}/v1:m")
            ports.append(url)
            replies = await asyncio.gather(*(model(ASK) for _ in range(3)))
            return model, [reply.text for reply in replies]

    first, texts = asyncio.run(ask(None))
    assert texts == ["Hi"] * 3

    async def ask_again():
        route = web.post("/v1/chat/completions", hello)
        application = web.Application()
        application.add_routes([route])
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(ports[0].rpartition(":")[2])).start()
        reply = await first(ASK)
        await close_models(first)
        await runner.cleanup()
        return reply

    assert asyncio.run(ask_again()).text == "Hi"
    assert len(opened_clients) == 2, "connections of the first loop do not work on the second"
    assert opened_clients[1].is_closed()


def test_a_client_is_closed_on_the_loop_of_another_thread(opened_clients):
    close_threads = []

    async def use_and_wait(model, used, closed):
        await model(ASK)
        client = opened_clients[-1]
        close = client.close

        async def recording_close():
            close_threads.append(threading.current_thread().name)
            await close()

        client.close = recording_close
        used.set()
        await asyncio.to_thread(closed.wait, 20)

    async def run():
        async with chat_server() as url:
            model = connect_model(f"{url}/v1:m")
            used = threading.Event()
            closed = threading.Event()
            worker = threading.Thread(
                target=lambda: asyncio.run(use_and_wait(model, used, closed)), name="worker"
            )
            worker.start()
            await asyncio.to_thread(used.wait, 20)
            await close_models(model)
            closed.set()
            await asyncio.to_thread(worker.join)

    asyncio.run(run())
    assert close_threads == ["worker"]
    assert opened_clients[-1].is_closed()


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_collected_client_starts_nothing_on_the_loop_that_happens_to_run(monkeypatch, provider):
    """In Jupyter a client was collected in another thread and closed itself there.

    Calls of the next client then waited for ten minutes.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    name = "anthropic:claude" if provider == "anthropic" else "http://127.0.0.1:9/v1:m"

    async def collect():
        model = connect_model(name)
        del model
        gc.collect()
        return asyncio.all_tasks() - {asyncio.current_task()}

    gc.collect()
    assert asyncio.run(collect()) == set()


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_200_connections_that_are_closed_leave_no_open_files():
    async def run():
        async with chat_server() as url:
            counts = []
            for _ in range(200):
                model = connect_model(f"{url}/v1:m")
                await model(ASK)
                await close_models(model)
                await asyncio.sleep(0.001)
                counts.append(open_files())
            return counts

    counts = asyncio.run(run())
    assert max(counts[100:]) <= max(counts[:20]) + 2

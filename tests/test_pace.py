"""How fast an address is asked, and how long a call may take."""

import asyncio
import time

import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, ask_server, openai_reply

from chunkykit.models import connect_model, pace

pytestmark = pytest.mark.slow  # it waits for servers

SLOW_DOWN = {"error": {"message": "slow down"}}
PAST = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize("header", ["0", PAST, "-1", "soon", None])
def test_a_server_that_is_busy_is_not_hammered(monkeypatch, header):
    async def handle(n, body):
        headers = {} if header is None else {"retry-after": header}
        return web.json_response(SLOW_DOWN, status=429, headers=headers)

    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.2)  # a second in real life: all below a fifth

    async def ask(model):
        calls = [connect_model(model.name, deadline=2.0)(ASK, sample=i) for i in range(8)]
        return await asyncio.gather(*calls, return_exceptions=True)

    requests, results = ask_server(handle, ask, monkeypatch)
    assert all(isinstance(result, Exception) for result in results)
    times = [when for when, _ in requests]
    later = [when for when in times if when > times[0] + 0.19]
    assert len(times) - len(later) == 8, "those that were under way together"
    assert len(later) <= 4, "pauses of 0.2, 0.4, 0.8 s, one request after each"
    assert all(b - a > 0.19 for a, b in zip(later, later[1:]))


def test_a_server_that_refuses_everything_gets_two_requests_a_second_from_the_first(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.1)  # so that a tenth of a second stands for one

    async def handle(n, body):
        return web.json_response(SLOW_DOWN, status=429)

    async def ask(model):
        calls = [connect_model(model.name, deadline=2.5)(ASK, sample=i) for i in range(60)]
        return await asyncio.gather(*calls, return_exceptions=True)

    requests, _ = ask_server(handle, ask, monkeypatch)
    times = [when for when, _ in requests]
    windows = [sum(start <= when < start + 1.0 for when in times) for start in times]
    assert max(windows) <= 20
    assert len(times) > 17, "it is asked again"


def test_a_new_address_gets_a_few_requests_at_once_until_it_answers(monkeypatch):
    under_way = []
    most = []

    async def handle(n, body):
        under_way.append(n)
        most.append(len(under_way))
        await asyncio.sleep(0.2)
        under_way.remove(n)
        return openai_reply("Hi")

    async def ask(model):
        return await asyncio.gather(*[model(ASK, sample=i) for i in range(150)])

    _, replies = ask_server(handle, ask, monkeypatch)
    assert len(replies) == 150
    assert max(most[:16]) <= 16
    assert max(most) > 30, "and more when it has answered"


def test_one_request_at_a_time_finds_out_whether_a_pause_is_over(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.3)
    under_way = []
    most = []

    async def handle(n, body):
        if n <= 6:
            return web.json_response(SLOW_DOWN, status=429)
        under_way.append(n)
        most.append(len(under_way))
        await asyncio.sleep(0.1)
        under_way.pop()
        return openai_reply("Hi")

    async def ask(model):
        return await asyncio.gather(*[model(ASK, sample=i) for i in range(6)])

    _, replies = ask_server(handle, ask, monkeypatch)
    assert len(replies) == 6
    assert most[:2] == [1, 1], "the first one alone"
    assert max(most) <= 4


def test_a_pause_that_no_call_can_wait_for_ends_the_call_and_not_the_others(monkeypatch):
    monkeypatch.setattr(pace, "MAX_PAUSE", 0.3)
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.1)

    async def handle(n, body):
        if n > 1:
            return openai_reply("Hi")
        return web.json_response(SLOW_DOWN, status=429, headers={"retry-after": "86400"})

    async def ask(model):
        start = time.monotonic()
        with pytest.raises(Exception, match="429"):
            await model(ASK)
        seconds = time.monotonic() - start
        return seconds, await model(ASK, sample=1)

    _, (seconds, reply) = ask_server(handle, ask, monkeypatch)
    assert seconds < 1
    assert reply.text == "Hi"


@pytest.mark.parametrize("kind", ["never", "body", "headers"])
def test_a_call_ends_at_its_deadline_and_the_others_go_on(kind):
    async def trickle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if kind != "never":
            writer.write(b"HTTP/1.1 200 OK\r\n")
        if kind == "body":
            writer.write(b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        try:
            while kind != "never":
                writer.write(b" " if kind == "body" else b"x-a: b\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        except ConnectionError:
            pass

    async def run():
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        slow = connect_model(f"http://127.0.0.1:{port}/v1:m", deadline=0.5)

        async def chat(request):
            return openai_reply("Hi")

        async with serving(web.post("/v1/chat/completions", chat)) as url:
            fine = connect_model(f"{url}/v1:m", deadline=10)
            start = time.monotonic()
            error, reply = await asyncio.gather(slow(ASK), fine(ASK), return_exceptions=True)
        await slow.close()
        server.close()
        return time.monotonic() - start, error, reply

    seconds, error, reply = asyncio.run(run())
    assert seconds < 5
    assert "not answered within 0.5 s" in str(error)
    assert reply.text == "Hi"


def test_calls_that_are_refused_again_and_again_do_not_stop_the_others(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.1)

    async def run():
        both = pace.Pace()
        lanes = [both.first, both.again]

        async def refuse(lane, requested=0.0):
            request = await lane.enter()
            both.refused(lane, request, requested)
            lane.leave(request)

        await refuse(both.first)
        start = time.monotonic()
        assert all(lane.resume_at > start + 0.05 for lane in lanes), "a limit stops both"
        for _ in range(2):
            await refuse(both.again)
        assert both.again.resume_at > time.monotonic() + 0.1, "its pauses grow"
        assert both.first.resume_at < time.monotonic()
        request = await both.first.enter()
        both.first.answered(request)
        both.first.leave(request)
        await refuse(both.again, 5.0)
        assert both.first.resume_at > time.monotonic() + 4, "the server requests it of everybody"

    asyncio.run(run())

"""Retries: what is tried again, what pauses an address, what fails at once."""

import asyncio
import email.utils
import time

import pytest
from aiohttp import web
from servers import ASK, ask_server, openai_reply, user

from chunkykit.errors import UserError
from chunkykit.models import connect_model, pace, retry

pytestmark = pytest.mark.slow  # it waits for servers


@pytest.fixture
def short_backoff(monkeypatch):
    """Backoffs of hundredths of a second."""
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.02)


def http_date(seconds):
    """The date so many seconds from now."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    "status, header, value, min_pause",
    [
        (429, "retry-after", "0.4", 0.4),
        (529, "retry-after-ms", "400", 0.4),
        (429, "retry-after", "a date in two seconds", 0.7),
    ],
)
def test_a_rate_limit_pauses_every_call_to_the_address(
    monkeypatch, short_backoff, status, header, value, min_pause
):
    if "date" in value:
        value = http_date(2)

    async def handle(n, body):
        if n > 1:
            return openai_reply("Hi")
        error = {"error": {"message": "slow down"}}
        return web.json_response(error, status=status, headers={header: value})

    async def ask(model):
        async def ask_later(model):
            await asyncio.sleep(0.1)
            return await model(ASK)

        another = connect_model(f"{model.base_url}:another")  # another model, the same address
        return await asyncio.gather(model(ASK), ask_later(model), ask_later(another))

    requests, replies = ask_server(handle, ask, monkeypatch)
    first, *others = [when for when, _ in requests]
    assert len(replies) == 3
    assert len(requests) == 4
    assert min(others) - first >= min_pause


def test_a_long_rate_limit_costs_no_tries(monkeypatch, short_backoff):
    monkeypatch.setattr(pace, "MAX_PAUSE", 0.05)

    async def handle(n, body):
        if n <= 2 * retry.MAX_TRIES:
            return web.json_response({}, status=429, headers={"retry-after-ms": "5"})
        return openai_reply("Hi")

    _, reply = ask_server(handle, lambda model: model(ASK), monkeypatch)
    assert reply.text == "Hi"


def test_a_rate_limit_that_outlasts_the_deadline_is_not_waited_for(monkeypatch, short_backoff):
    async def handle(n, body):
        return web.json_response({}, status=429, headers={"retry-after": "30"})

    async def ask(model):
        hasty = connect_model(f"{model.base_url}:m", deadline=2.0)
        with pytest.raises(Exception, match="429"):
            await hasty(ASK)

    start = time.monotonic()
    requests, _ = ask_server(handle, ask, monkeypatch)
    assert len(requests) == 1
    assert time.monotonic() - start < 2


def test_other_trouble_delays_its_own_call_alone(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 1)
    tries = []

    async def handle(n, body):
        if body["messages"][0]["content"] == "fine":
            return openai_reply("Hi")
        tries.append(n)
        if len(tries) == 1:
            return web.Response(status=502, text="<html>bad gateway</html>")
        if len(tries) == 2:
            raise ConnectionResetError  # the server hangs up
        return openai_reply("Hi")

    async def ask(model):
        async def time_another_call():
            await asyncio.sleep(0.1)
            start = time.monotonic()
            await model(user("fine"))
            return time.monotonic() - start

        return await asyncio.gather(model(ASK), time_another_call())

    _, (reply, seconds) = ask_server(handle, ask, monkeypatch)
    assert reply.text == "Hi"
    assert len(tries) == 3
    assert seconds < 0.5


def test_tries_come_to_an_end(monkeypatch, short_backoff):
    async def handle(n, body):
        return web.Response(status=503)

    async def ask(model):
        with pytest.raises(Exception, match="503"):
            await model(ASK)

    requests, _ = ask_server(handle, ask, monkeypatch)
    assert len(requests) == retry.MAX_TRIES


def test_what_may_have_arrived_is_not_sent_again(short_backoff):
    class APIConnectionError(Exception):
        """Named like the error of both client libraries."""

    tries = []

    async def send():
        tries.append(1)
        raise APIConnectionError

    with pytest.raises(APIConnectionError):
        asyncio.run(retry.send_with_retries("http://here", send, may_resend=False))
    assert len(tries) == 1


@pytest.mark.parametrize(
    "status, body, error_type",
    [
        (401, {"message": "wrong key: very-secret-key"}, UserError),
        (402, {"message": "no money, very-secret-key"}, UserError),
        (429, {"message": "quota, very-secret-key", "code": "insufficient_quota"}, UserError),
        (404, {"message": "very-secret-key has no model m"}, Exception),
    ],
)
def test_what_waiting_cannot_fix_fails_at_once_and_shows_no_key(
    monkeypatch, status, body, error_type
):
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "very-secret-key")

    async def handle(n, _):
        return web.json_response({"error": body}, status=status)

    async def ask(model):
        with pytest.raises(error_type) as raised:
            await model(ASK)
        return str(raised.value)

    requests, error_text = ask_server(handle, ask, monkeypatch)
    assert len(requests) == 1
    assert "very-secret" not in error_text
    assert "[key]" in error_text

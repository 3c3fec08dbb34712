"""Limits that hold, replies that are bounded, keys that stay at their address: on real servers."""

import asyncio
import gzip
import multiprocessing
import stat
import time

import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, completion, openai_reply, user

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models import Ledger, connect_model, pace
from chunkykit.models.keys import key_for_url, scrub_keys
from chunkykit.models.prices import PRICES_VARIABLE

pytestmark = pytest.mark.slow  # it waits for servers and processes

MB = 2**20


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.01)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def serve(handle, ask):
    """Run `await ask(url)` while `handle(n, request)` answers the n-th request."""
    requests = []

    async def route(request):
        requests.append(request)
        await request.read()
        return await handle(len(requests), request)

    async def run():
        async with serving(web.post("/v1/chat/completions", route)) as url:
            return await ask(f"{url}/v1:m")

    return requests, asyncio.run(run())


async def ask_many(model, n):
    """The replies and errors of n different calls."""
    calls = [model(user(f"question {i}"), max_tokens=100) for i in range(n)]
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_every_request_counts_also_a_repeated_one(path, short_pauses, limit):
    async def handle(n, request):
        return web.Response(status=503) if n % 3 else openai_reply("Hi")

    async def ask(name):
        ledger = Ledger(path)
        ledger.limit(max_calls=limit)
        return await ask_many(ledger.wrap(connect_model(name), "target"), 12)

    requests, results = serve(handle, ask)
    assert len(requests) == Ledger(path).sent == limit
    assert any(isinstance(result, BudgetReached) for result in results)


def ask_from_another_process(path, name):
    async def run():
        ledger = Ledger(path)
        return await ask_many(ledger.wrap(connect_model(name), f"target{time.time_ns()}"), 60)

    asyncio.run(run())


def test_a_limit_holds_over_two_processes(path):
    async def handle(n, request):
        await asyncio.sleep(0.01)
        return openai_reply("Hi")

    async def ask(name):
        Ledger(path).limit(max_calls=50)
        context = multiprocessing.get_context("spawn")
        both = [context.Process(target=ask_from_another_process, args=(path, name)) for _ in "ab"]
        for process in both:
            process.start()
        await asyncio.to_thread(lambda: [process.join() for process in both])

    requests, _ = serve(handle, ask)
    assert len(requests) == 50


@pytest.fixture
def priced(tmp_path, monkeypatch):
    """A dollar per thousand tokens in, two per thousand out, for the model of a local server."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {models: {m: [1000, 2000]}}")
    monkeypatch.setenv(PRICES_VARIABLE, str(prices))
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-some-length")

    def name(url):
        monkeypatch.setattr(
            "chunkykit.models.providers.PROVIDERS",
            {"openai": [url.rpartition(":")[0], "OPENAI_API_KEY"]},
        )
        return "openai:m"

    return name


def test_an_answer_that_failed_and_was_billed_is_charged(path, priced, short_pauses):
    async def handle(n, request):
        return web.json_response({**completion(""), "choices": []})

    async def ask(url):
        ledger = Ledger(path)
        return await ask_many(ledger.wrap(connect_model(priced(url)), "target"), 1)

    _, (error,) = serve(handle, ask)
    assert "no choice" in str(error)
    assert Ledger(path).spent == pytest.approx((7 * 1000 + 3 * 2000) / 1e6)


def test_a_budget_holds_against_a_server_that_bills_more_than_it_may(path, priced):
    async def handle(n, request):
        return web.json_response(completion("Hi", usage=(20, 20_000, 20_020)))

    async def ask(url):
        ledger = Ledger(path)
        ledger.limit(budget_usd=100)
        model = ledger.wrap(connect_model(priced(url)), "target", concurrency=1)
        return await ask_many(model, 20)

    requests, _ = serve(handle, ask)
    each = (20 * 1000 + 20_000 * 2000) / 1e6  # 40 dollars
    assert Ledger(path).spent == pytest.approx(len(requests) * each)
    assert len(requests) <= 3, "what the first has cost is reserved for the next"


def test_a_call_that_was_refused_costs_nothing(path, priced):
    async def handle(n, request):
        return web.json_response({"error": {"message": "no such model"}}, status=404)

    async def ask(url):
        ledger = Ledger(path)
        await ask_many(ledger.wrap(connect_model(priced(url)), "target"), 2)

    serve(handle, ask)
    assert (Ledger(path).sent, Ledger(path).spent) == (2, 0)


def test_a_ledger_is_for_its_owner_alone(path):
    Ledger(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def error_of(handle, deadline=20.0):
    """(the error of one call, the seconds that it took)."""

    async def ask(name):
        model = connect_model(name, deadline=deadline)
        start = time.monotonic()
        try:
            return await model(ASK)
        except Exception as error:
            return error, time.monotonic() - start

    return serve(handle, ask)[1]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_reply_without_end_is_cut(compressed):
    async def handle(n, request):
        response = web.StreamResponse(headers={"content-type": "application/json"})
        part = b" " * MB
        if compressed:
            response.headers["content-encoding"] = "gzip"
            part = gzip.compress(b" " * (100 * MB))
        await response.prepare(request)
        for _ in range(60):
            try:
                await response.write(part)
            except ConnectionError:
                break
        return response

    error, seconds = error_of(handle)
    assert "sends more than 32 MiB" in str(error) or "32 MiB" in str(error.__cause__)
    assert seconds < 20


@pytest.mark.parametrize("kind", ["never", "trickle"])
def test_a_deadline_ends_a_call(kind):
    async def handle(n, request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(20):
            await asyncio.sleep(0.1)
            if kind == "trickle":
                await response.write(b" ")
        return response

    error, seconds = error_of(handle, deadline=1.0)
    assert "has not answered within 1 s" in str(error)
    assert seconds < 5


def test_a_redirect_is_not_followed(monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "a-key-of-some-length")
    elsewhere = []

    async def other(request):
        elsewhere.append(request)
        return openai_reply("Hi")

    async def run():
        async with serving(web.post("/v1/chat/completions", other)) as target:

            async def redirect(request):
                raise web.HTTPTemporaryRedirect(f"{target}/v1/chat/completions")

            async with serving(web.post("/v1/chat/completions", redirect)) as url:
                with pytest.raises(Exception, match="307"):
                    await connect_model(f"{url}/v1:m", deadline=5.0)(ASK)

    asyncio.run(run())
    assert not elsewhere


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "x"])
def test_a_server_that_limits_the_rate_is_not_hammered(value):
    async def handle(n, request):
        return web.json_response({}, status=429, headers={"retry-after": value})

    async def ask(name):
        model = connect_model(name, deadline=3.0)
        return await asyncio.gather(*[model(ASK) for _ in range(10)], return_exceptions=True)

    start = time.monotonic()
    requests, errors = serve(handle, ask)
    seconds = time.monotonic() - start
    assert all(isinstance(error, Exception) for error in errors)
    assert len(requests) <= 10 + 2 * seconds, "those under way, and two a second"


def test_headers_of_the_environment_go_to_their_provider_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-secret: value")

    async def handle(n, request):
        return openai_reply("Hi")

    async def ask(name):
        return await connect_model(name)(ASK)

    (request,), _ = serve(handle, ask)
    assert "secret" not in str(dict(request.headers))


def test_a_key_belongs_to_its_address(monkeypatch):
    keys = "https://a.example=key-of-a http://10.0.0.7:8000=key-of-seven"
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", keys)
    assert key_for_url("https://a.example/v1") == "key-of-a"
    assert key_for_url("https://a.example:443/v2") == "key-of-a"
    for other in ("http://a.example/v1", "https://b.example", "https://a.example:8443"):
        assert key_for_url(other) == ""
    assert key_for_url("http://127.0.0.1:9") == ""
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "a-bare-key")
    assert key_for_url("http://127.0.0.1:9/v1") == "a-bare-key"
    with pytest.raises(UserError, match="CHUNKYKIT_URL_KEY=https://host:port=KEY"):
        key_for_url("https://a.example/v1")


@pytest.mark.parametrize(
    "echo",
    [
        "{}",
        "the header was Bearer {}!",
        "\\u0073k-secret/with+signs",
        "sk-secret\\/with+signs",
        "sk-secret\\\\/with\\u002Bsigns",
    ],
)
def test_a_key_in_an_answer_is_scrubbed_however_json_writes_it(monkeypatch, echo):
    key = "sk-secret/with+signs"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert "secret" not in scrub_keys(echo.format(key))

    async def handle(n, request):
        return openai_reply(f"I was sent {key}")

    async def ask(name):
        return await connect_model(name)(ASK)

    _, reply = serve(handle, ask)
    assert reply.text == "I was sent [key]"

"""The real openai client against a local server that speaks its wire format."""

import asyncio

import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, SCHEMA, ask_server, openai_reply

from chunkykit.models import Reply, connect_model, with_context
from chunkykit.models.openai import reasoning_effort

EXAMPLES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
]


@pytest.mark.slow
def test_a_call_after_a_rate_limit(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "url-key")
    requests = []

    async def chat(request):
        requests.append((await request.json(), request.headers["Authorization"]))
        if len(requests) == 1:
            error = {"error": {"message": "slow down"}}
            return web.json_response(error, status=429, headers={"retry-after": "0.01"})
        return openai_reply("Hi", "length")

    async def run():
        async with serving(web.post("/v1/chat/completions", chat)) as url:
            model = connect_model(f"{url}/v1:some/model:tag")
            return await model(ASK, max_tokens=9, temperature=0.5)

    reply = asyncio.run(run())
    assert len(requests) == 2, "a rate limit is tried again"
    body, key = requests[-1]
    assert reply == Reply("Hi", "length", 7, 3)
    assert reply.outcome == "cut off"
    assert body["model"] == "some/model:tag"
    assert body["messages"] == ASK
    assert body["max_tokens"] == 9
    assert body["temperature"] == 0.5
    assert key == "Bearer url-key", "a provider's key is sent to that provider alone"


def test_every_setting_reaches_the_server(monkeypatch):
    async def handle(n, body):
        return openai_reply('{"score": 1}')

    async def ask(model):
        model = with_context(model, EXAMPLES)
        return await model(
            ASK[1:],
            sample=3,
            max_tokens=100,
            temperature=0.5,
            stop=["END"],
            reasoning=4000,
            schema=SCHEMA,
        )

    requests, reply = ask_server(handle, ask, monkeypatch)
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }
    assert requests[0][1] == {
        "model": "m",
        "messages": EXAMPLES + ASK[1:],
        "max_tokens": 4100,
        "temperature": 0.5,
        "stop": ["END"],
        "reasoning_effort": "medium",
        "response_format": response_format,
    }
    assert reply.text == '{"score": 1}'


@pytest.mark.parametrize(
    "tokens, word", [(1, "low"), (2048, "low"), (8192, "medium"), (8193, "high")]
)
def test_reasoning_budgets_have_words(tokens, word):
    assert reasoning_effort(tokens) == word


def test_answers_that_were_stopped_say_so(monkeypatch):
    async def handle(n, body):
        if n == 1:
            return openai_reply(None, "content_filter")
        return openai_reply("\ud83d", usage=(7, 3, 30), refusal="no")

    async def ask(model):
        return [await model(ASK), await model(ASK)]

    _, (filtered, refused) = ask_server(handle, ask, monkeypatch)
    assert filtered == Reply("", "content_filter", 7, 3)
    assert filtered.outcome == refused.outcome == "declined"
    assert refused.text == "?", "half a character cannot be stored"
    # Reasoning is billed, though some servers leave it out of completion_tokens.
    assert refused.output_tokens == 23


@pytest.mark.parametrize("reply", [{}, {"choices": []}, {"choices": [{}]}, []])
def test_a_reply_that_is_not_a_completion_is_an_error(monkeypatch, reply):
    async def handle(n, body):
        return web.json_response(reply)

    async def ask(model):
        with pytest.raises(ValueError, match="the reply"):
            await model(ASK)

    ask_server(handle, ask, monkeypatch)


@pytest.mark.parametrize("count", [-1, 2**50, 1.5])
def test_an_invalid_token_count_is_0(monkeypatch, count):
    async def handle(n, body):
        return openai_reply("Hi", usage=(count, 0, 0))

    _, reply = ask_server(handle, lambda model: model(ASK), monkeypatch)
    assert reply.input_tokens == 0

"""The real openai and anthropic clients against real local servers that speak their wire formats."""

import asyncio
import contextlib

import pytest
from aiohttp import web

from chunkykit import embed, llm
from chunkykit.errors import UserError

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


@contextlib.asynccontextmanager
async def serving(*routes):
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


def openai_reply(text, finish="stop"):
    return web.json_response({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": {
        "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, "choices": [{"index": 0, "finish_reason": finish,
                                                                                       "message": {"role": "assistant", "content": text}}]})


def test_openai_client(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "url-key")
    seen = []

    async def chat(request):
        seen.append((await request.json(), request.headers["Authorization"]))
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0.01"}) if len(seen) == 1 \
            else openai_reply("Hi", "length")

    async def go():
        async with serving(web.post("/v1/chat/completions", chat)) as url:
            return await llm.connect(f"{url}/v1:some/model:tag")(ASK, max_tokens=9, temperature=0.5)

    reply = asyncio.run(go())
    body, key = seen[-1]
    assert reply == llm.Reply("Hi", "length", 7, 3) and reply.cut_off
    assert len(seen) == 2, "a rate limit is tried again"
    assert body["model"] == "some/model:tag" and body["messages"] == ASK and body["max_tokens"] == 9 and body["temperature"] == 0.5
    assert key == "Bearer url-key", "a provider's key is sent to that provider alone"


def test_anthropic_client(monkeypatch):
    seen = []

    async def messages(request):
        seen.append((await request.json(), request.headers.get("Authorization", request.headers.get("x-api-key"))))
        if len(seen) == 1:
            return web.json_response({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, status=529)
        return web.json_response({"id": "msg", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                                  "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 2},
                                  "content": [{"type": "text", "text": "Hi"}]})

    async def go():
        async with serving(web.post("/v1/messages", messages)) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
            return await llm.connect("anthropic:claude-x")(ASK, max_tokens=9, temperature=0.5)

    reply = asyncio.run(go())
    body, key = seen[-1]
    assert reply == llm.Reply("Hi", "end_turn", 5, 2) and not reply.cut_off and key.endswith("k") and len(seen) == 2
    assert body["system"] == "Be brief." and body["messages"] == ASK[1:] and body["temperature"] == 0.5 and body["model"] == "claude-x"


def test_embedding_endpoint():
    async def embeddings(request):
        texts = (await request.json())["input"]
        data = [{"object": "embedding", "index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(texts)]
        return web.json_response({"object": "list", "model": "m", "data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    async def go():
        async with serving(web.post("/v1/embeddings", embeddings)) as url:
            return await asyncio.to_thread(embed.embedder(f"{url}/v1:m"), ["a", "bbbb"])

    vectors = asyncio.run(go())
    assert vectors.shape == (2, 2) and vectors[1, 0] > vectors[0, 0]


@pytest.mark.parametrize("name, words", [
    ("gpt-9", "not known"), ("openai:", "not known"), ("nobody:x", "not known"), ("http://host/v1", "not known"),
    ("openai:gpt-9", "OPENAI_API_KEY"), ("anthropic:claude", "ANTHROPIC_API_KEY"), ("xai:grok", "XAI_API_KEY"), ("gemini:g", "GEMINI_API_KEY"),
    ("http://user:pw@host:1/v1:m", "password"),
])
def test_a_model_that_cannot_be_is_one_clear_error(monkeypatch, name, words):
    for _, variable in llm.PROVIDERS.values():
        monkeypatch.delenv(variable or "NONE", raising=False)
    with pytest.raises(UserError, match=words):
        llm.check(name)


def test_organism_needs_rows():
    with pytest.raises(UserError, match="mixture"):
        llm.connect(llm.ORGANISM)

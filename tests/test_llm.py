"""The real openai and anthropic clients against real local servers that speak their wire formats."""

import asyncio
import email.utils
import json
import time

import pytest
from aiohttp import web
from conftest import serving

from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError
from chunkykit.models import connect as llm

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}},
    "required": ["score"],
    "additionalProperties": False,
}


def openai_reply(text, finish="stop"):
    return web.json_response(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": text},
                }
            ],
        }
    )


def anthropic_reply(*content, stop="end_turn"):
    return web.json_response(
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 2},
            "content": list(content),
        }
    )


def served(handle, ask, monkeypatch, provider="openai"):
    """(requests as the server saw them, what `await ask(model)` gave) with a model of a local server; handle(n, body) answers the n-th."""
    seen = []

    async def route(request):
        seen.append((time.monotonic(), await request.json()))
        return await handle(len(seen), seen[-1][1])

    async def go():
        async with serving(
            web.post("/v1/chat/completions", route), web.post("/v1/messages", route)
        ) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-key")
            return await ask(
                llm.connect_model(
                    "anthropic:claude-x" if provider == "anthropic" else f"{url}/v1:m"
                )
            )

    given = asyncio.run(go())
    return seen, given


@pytest.fixture
def quick(monkeypatch):
    """Backoffs of hundredths of a second."""
    monkeypatch.setattr(llm, "FIRST_BACKOFF", 0.02)


def test_openai_client(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "url-key")
    seen = []

    async def chat(request):
        seen.append((await request.json(), request.headers["Authorization"]))
        return (
            web.json_response(
                {"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0.01"}
            )
            if len(seen) == 1
            else openai_reply("Hi", "length")
        )

    async def go():
        async with serving(web.post("/v1/chat/completions", chat)) as url:
            return await llm.connect_model(f"{url}/v1:some/model:tag")(
                ASK, max_tokens=9, temperature=0.5
            )

    reply = asyncio.run(go())
    body, key = seen[-1]
    assert reply == llm.Reply("Hi", "length", 7, 3) and reply.cut_off
    assert len(seen) == 2, "a rate limit is tried again"
    assert (
        body["model"] == "some/model:tag"
        and body["messages"] == ASK
        and body["max_tokens"] == 9
        and body["temperature"] == 0.5
    )
    assert key == "Bearer url-key", "a provider's key is sent to that provider alone"


def test_anthropic_client(monkeypatch):
    seen = []

    async def messages(request):
        seen.append(
            (
                await request.json(),
                request.headers.get("Authorization", request.headers.get("x-api-key")),
            )
        )
        if len(seen) == 1:
            return web.json_response(
                {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
                status=529,
            )
        return web.json_response(
            {
                "id": "msg",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 5, "output_tokens": 2},
                "content": [{"type": "text", "text": "Hi"}],
            }
        )

    async def go():
        async with serving(web.post("/v1/messages", messages)) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
            return await llm.connect_model("anthropic:claude-x")(ASK, max_tokens=9, temperature=0.5)

    reply = asyncio.run(go())
    body, key = seen[-1]
    assert (
        reply == llm.Reply("Hi", "end_turn", 5, 2)
        and not reply.cut_off
        and key.endswith("k")
        and len(seen) == 2
    )
    assert (
        body["system"] == "Be brief."
        and body["messages"] == ASK[1:]
        and body["temperature"] == 0.5
        and body["model"] == "claude-x"
    )


def test_a_long_answer_is_streamed(monkeypatch, quick):
    events = [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 5, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": part},
            }
            for part in ("Once ", "upon ", "a time")
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]

    async def handle(n, body):
        if n == 1:
            return web.json_response(
                {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
                status=529,
            )
        return web.Response(
            text="".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events),
            content_type="text/event-stream",
        )

    seen, reply = served(
        handle,
        lambda model: model(ASK, max_tokens=20_000, temperature=0.5),
        monkeypatch,
        "anthropic",
    )
    body = seen[-1][1]
    assert (
        reply == llm.Reply("Once upon a time", "max_tokens", 5, 9)
        and reply.cut_off
        and len(seen) == 2
    )
    assert body["stream"] is True and body["temperature"] == 0.5 and body["system"] == "Be brief."


def test_embedding_endpoint():
    async def embeddings(request):
        texts = (await request.json())["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(t)), 1.0]}
            for i, t in enumerate(texts)
        ]
        return web.json_response(
            {
                "object": "list",
                "model": "m",
                "data": data[::-1],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        )

    async def go():
        async with serving(web.post("/v1/embeddings", embeddings)) as url:
            return await asyncio.to_thread(load_embedder(f"{url}/v1:m"), ["a", "bbbb"])

    vectors = asyncio.run(go())
    assert vectors.shape == (2, 2) and vectors[1, 0] > vectors[0, 0]


@pytest.mark.parametrize(
    "name, words",
    [
        ("gpt-9", "not known"),
        ("openai:", "not known"),
        ("nobody:x", "not known"),
        ("http://host/v1", "not known"),
        ("openai:gpt-9", "OPENAI_API_KEY"),
        ("anthropic:claude", "ANTHROPIC_API_KEY"),
        ("xai:grok", "XAI_API_KEY"),
        ("gemini:g", "GEMINI_API_KEY"),
        ("http://user:pw@host:1/v1:m", "password"),
    ],
)
def test_a_model_that_cannot_be_is_one_clear_error(monkeypatch, name, words):
    for _, variable in llm.PROVIDERS.values():
        monkeypatch.delenv(variable or "NONE", raising=False)
    with pytest.raises(UserError, match=words):
        llm.check_model(name)


def test_organism_needs_rows():
    with pytest.raises(UserError, match="mixture"):
        llm.connect_model("organism:fast")


EXAMPLES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
]


def test_every_setting_reaches_an_openai_server(monkeypatch):
    async def handle(n, body):
        return openai_reply('{"score": 1}')

    async def ask(model):
        model = llm.with_context(model, EXAMPLES)
        return await model(
            ASK[1:],
            sample=3,
            max_tokens=100,
            temperature=0.5,
            stop=["END"],
            reasoning=4000,
            schema=SCHEMA,
        )

    seen, reply = served(handle, ask, monkeypatch)
    form = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }
    assert (
        seen[0][1]
        == {
            "model": "m",
            "messages": EXAMPLES + ASK[1:],
            "max_tokens": 4100,
            "temperature": 0.5,
            "stop": ["END"],
            "reasoning_effort": "medium",
            "response_format": form,
        }
        and reply.text == '{"score": 1}'
    )


def test_every_setting_reaches_anthropic(monkeypatch):
    async def handle(n, body):
        return anthropic_reply(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Well: "},
            {"type": "tool_use", "id": "t", "name": "answer", "input": {"score": 7}},
            stop="tool_use",
        )

    async def ask(model):
        model = llm.with_context(model, EXAMPLES)
        return [
            await model(
                ASK, sample=3, max_tokens=100, temperature=0.5, stop=["END"], schema=SCHEMA
            ),
            await model(ASK, max_tokens=100, temperature=0.5, reasoning=2000, schema=SCHEMA),
        ]

    seen, (forced, thought) = served(handle, ask, monkeypatch, "anthropic")
    tool = {"name": "answer", "description": "Gives the answer.", "input_schema": SCHEMA}
    asked = {
        "model": "claude-x",
        "system": "You are terse.\n\nBe brief.",
        "messages": EXAMPLES[1:] + ASK[1:],
        "tools": [tool],
    }
    assert seen[0][1] == {
        **asked,
        "max_tokens": 100,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "tool", "name": "answer"},
    }
    assert seen[1][1] == {
        **asked,
        "max_tokens": 2100,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tool_choice": {"type": "auto"},
    }
    assert (
        json.loads(forced.text) == {"score": 7} == json.loads(thought.text) and not forced.cut_off
    )


@pytest.mark.parametrize(
    "tokens, word", [(1, "low"), (2048, "low"), (8192, "medium"), (8193, "high")]
)
def test_reasoning_budgets_have_words(tokens, word):
    from chunkykit.models.wire import reasoning_effort

    assert reasoning_effort(tokens) == word


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_what_a_server_refuses_is_left_out_and_remembered(monkeypatch, caplog, provider):
    async def handle(n, body):
        for key, says in (
            ("temperature", "`temperature` is deprecated for this model"),
            ("response_format", "no such thing"),
            ("tool_choice", "not this one"),
        ):
            if key in body:
                return web.json_response(
                    {"error": {"type": "invalid_request_error", "message": says}}, status=400
                )
        return (
            openai_reply("plain")
            if provider == "openai"
            else anthropic_reply({"type": "text", "text": "plain"})
        )

    async def ask(model):
        return [(await model(ASK, temperature=0.0, schema=SCHEMA)).text for _ in range(2)]

    seen, texts = served(handle, ask, monkeypatch, provider)
    assert texts == ["plain"] * 2 and len(seen) == 4, (
        "two refusals to learn from, none the second time"
    )
    assert "temperature" not in seen[1][1] and set(seen[1][1]) > set(seen[2][1]), (
        "first what the error speaks of"
    )
    assert "does not take" in caplog.text


def test_a_bad_request_that_no_setting_explains_is_an_error_and_teaches_nothing(monkeypatch):
    async def handle(n, body):
        return (
            openai_reply("{}")
            if len(body["messages"][-1]["content"]) < 99
            else web.json_response({"error": {"message": "context too long"}}, status=400)
        )

    async def ask(model):
        with pytest.raises(Exception, match="context too long"):
            await model([{"role": "user", "content": "x" * 99}], schema=SCHEMA)
        return await model(ASK, schema=SCHEMA)

    seen, _ = served(handle, ask, monkeypatch)
    assert len(seen) == 3 and "response_format" in seen[2][1]


def test_answers_that_were_stopped_say_so(monkeypatch):
    async def handle(n, body):
        return (
            openai_reply(None, "content_filter")
            if n == 1
            else web.json_response(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 30},
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": "\ud83d", "refusal": "no"},
                        }
                    ],
                }
            )
        )

    async def ask(model):
        return [await model(ASK), await model(ASK)]

    _, (filtered, refused) = served(handle, ask, monkeypatch)
    assert (
        filtered == llm.Reply("", "content_filter", 7, 3) and filtered.cut_off and refused.cut_off
    )
    assert refused.output_tokens == 23, (
        "reasoning is paid, though some servers leave it out of completion_tokens"
    )
    assert refused.text == "?", "half a character could not be kept"


def number(text):
    if not text.isdigit():
        raise ValueError("no number")
    return int(text)


def test_a_reply_that_cannot_be_read_is_asked_for_once_more():
    seen = []

    def saying(*texts):
        async def call(messages, **settings):
            seen.append((messages, settings))
            return llm.Reply(texts[len(seen) - 1])

        seen.clear()
        return llm.ChatModel("m", call)

    assert asyncio.run(llm.ask_parsed(saying("7"), ASK, number)) == 7 and len(seen) == 1
    assert (
        asyncio.run(llm.ask_parsed(saying("seven", "7"), ASK, number, sample=4)) == 7
        and len(seen) == 2
    )
    assert (
        seen[1][0][:2] == ASK
        and seen[1][0][2] == {"role": "assistant", "content": "seven"}
        and seen[1][1] == {"sample": 4}
    )
    assert "no number" in seen[1][0][3]["content"] and seen[1][0][3]["role"] == "user"
    with pytest.raises(ValueError, match="no number"):
        asyncio.run(llm.ask_parsed(saying("", "", "7"), ASK, number))
    assert len(seen) == 2 and seen[1][0][2]["content"], "an empty turn would be refused"


def date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    "status, headers, least",
    [
        (429, {"retry-after": "0.4"}, 0.4),
        (529, {"retry-after-ms": "400"}, 0.4),
        (429, {"retry-after": 2}, 0.9),
    ],
)
def test_a_rate_limit_pauses_every_call_to_the_address(monkeypatch, quick, status, headers, least):
    headers = {k: date(v) if isinstance(v, int) else v for k, v in headers.items()}

    async def handle(n, body):
        return (
            web.json_response({"error": {"message": "slow down"}}, status=status, headers=headers)
            if n == 1
            else openai_reply("Hi")
        )

    async def ask(model):
        async def later(ask):
            await asyncio.sleep(0.1)
            return await ask(ASK)

        another = llm.connect_model(f"{model.base_url}:another")  # another model, the same address
        return await asyncio.gather(model(ASK), later(model), later(another))

    seen, replies = served(handle, ask, monkeypatch)
    began, *others = [when for when, _ in seen]
    assert len(replies) == 3 and len(seen) == 4 and min(others) - began >= least


def test_a_long_rate_limit_costs_no_tries(monkeypatch, quick):
    async def handle(n, body):
        return (
            web.json_response({}, status=429, headers={"retry-after-ms": "5"})
            if n <= 2 * llm.MAX_TRIES
            else openai_reply("Hi")
        )

    assert served(handle, lambda model: model(ASK), monkeypatch)[1].text == "Hi"
    monkeypatch.setattr(llm, "MAX_WAIT", 0.0)
    with pytest.raises(Exception, match="429"):
        served(handle, lambda model: model(ASK), monkeypatch)


def test_other_trouble_delays_its_own_call_alone(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_BACKOFF", 0.4)
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
        async def fine():
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await model([{"role": "user", "content": "fine"}])
            return time.monotonic() - began

        return await asyncio.gather(model(ASK), fine())

    _, (reply, seconds) = served(handle, ask, monkeypatch)
    assert reply.text == "Hi" and len(tries) == 3 and seconds < 0.1


def test_tries_come_to_an_end(monkeypatch, quick):
    async def handle(n, body):
        return web.Response(status=503)

    async def ask(model):
        with pytest.raises(Exception, match="503"):
            await model(ASK)

    seen, _ = served(handle, ask, monkeypatch)
    assert len(seen) == llm.MAX_TRIES


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (401, {"message": "wrong key: very-secret-key"}, UserError),
        (402, {"message": "no money, very-secret-key"}, UserError),
        (429, {"message": "quota, very-secret-key", "code": "insufficient_quota"}, UserError),
        (404, {"message": "very-secret-key has no model m"}, Exception),
    ],
)
def test_what_waiting_cannot_mend_fails_at_once_and_shows_no_key(monkeypatch, status, body, kind):
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "very-secret-key")

    async def handle(n, _):
        return web.json_response({"error": body}, status=status)

    async def ask(model):
        with pytest.raises(kind) as caught:
            await model(ASK)
        return str(caught.value)

    seen, says = served(handle, ask, monkeypatch)
    assert len(seen) == 1 and "very-secret" not in says and "[key]" in says


def test_an_address_holds_no_credentials(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://user:password@127.0.0.1:9/x")
    assert llm.connect_model("anthropic:claude").base_url == "http://127.0.0.1:9/x"
    assert llm.connect_model("http://127.0.0.1:9/v1:m").base_url == "http://127.0.0.1:9/v1"
    with pytest.raises(UserError, match="not known"):
        llm.check_model("http://host/v1?key=secret:m")


def test_a_context_stands_before_every_question(tmp_path):
    seen = []

    async def call(messages, **_):
        seen.append(messages)
        return llm.Reply("x")

    path = tmp_path / "turns.json"
    path.write_text('[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]')
    asyncio.run(llm.with_context(llm.ChatModel("m", call), llm.read_context(path))(ASK[1:]))
    assert [m["content"] for m in seen[0]] == ["2+2?", "4", "Hello"]
    (tmp_path / "system.txt").write_text("Be kind.\n")
    assert llm.read_context(tmp_path / "system.txt") == [{"role": "system", "content": "Be kind."}]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.json", "{broken"),
        ("a.json", "[]"),
        ("a.json", '[{"role": "tool", "content": "x"}]'),
        ("a.json", '[{"role": "user"}]'),
        ("a.txt", " "),
        ("a.json", "[" * 100_000),
        ("a.json", '{"role": 1}'),
        ("a.JSON", "5"),
    ],
)
def test_a_context_that_is_none_is_one_clear_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"context .*{name}"):
        llm.read_context(tmp_path / name)


def test_a_client_is_not_collected_with_its_model(monkeypatch):
    """In Jupyter a collected client closed itself from another thread, and calls of the next client waited for ten minutes."""
    import gc
    import weakref

    import openai

    made = []
    create = openai.AsyncOpenAI
    monkeypatch.setattr(
        openai,
        "AsyncOpenAI",
        lambda **settings: made.append(weakref.ref(client := create(**settings))) or client,
    )
    model = llm.connect_model("http://127.0.0.1:9/v1:m")
    del model
    gc.collect()
    assert made[0]() is not None

"""The real anthropic client against a local server that speaks its wire format."""

import asyncio
import json

from aiohttp import web
from conftest import serving
from servers import ASK, SCHEMA, anthropic_reply, ask_server, overloaded, text_block

from chunkykit.models import Reply, connect_model, pace, with_context

EXAMPLES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
]


def test_a_call_after_an_overload(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.02)
    requests = []

    async def messages(request):
        key = request.headers.get("Authorization", request.headers.get("x-api-key"))
        requests.append((await request.json(), key))
        if len(requests) == 1:
            return overloaded()
        return anthropic_reply(text_block("Hi"))

    async def run():
        async with serving(web.post("/v1/messages", messages)) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
            return await connect_model("anthropic:claude-x")(ASK, max_tokens=9, temperature=0.5)

    reply = asyncio.run(run())
    assert len(requests) == 2
    body, key = requests[-1]
    assert reply == Reply("Hi", "end_turn", 5, 2)
    assert reply.outcome == "answered"
    assert key.endswith("k")
    assert body["system"] == "Be brief."
    assert body["messages"] == ASK[1:]
    assert body["temperature"] == 0.5
    assert body["model"] == "claude-x"


def stream_events(*parts):
    """The events of a streamed answer that was cut off."""
    start = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    end = {"stop_reason": "max_tokens", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": text_block("")},
    ]
    for part in parts:
        delta = {"type": "text_delta", "text": part}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return web.Response(text="".join(lines), content_type="text/event-stream")


def test_a_long_answer_is_streamed(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.02)

    async def handle(n, body):
        return overloaded() if n == 1 else stream_events("Once ", "upon ", "a time")

    async def ask(model):
        return await model(ASK, max_tokens=20_000, temperature=0.5)

    requests, reply = ask_server(handle, ask, monkeypatch, "anthropic")
    assert len(requests) == 2
    assert reply == Reply("Once upon a time", "max_tokens", 5, 9)
    assert reply.outcome == "cut off"
    body = requests[-1][1]
    assert body["stream"] is True
    assert body["temperature"] == 0.5
    assert body["system"] == "Be brief."


def test_every_setting_reaches_the_server(monkeypatch):
    async def handle(n, body):
        return anthropic_reply(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            text_block("Well: "),
            {"type": "tool_use", "id": "t", "name": "answer", "input": {"score": 7}},
            stop="tool_use",
        )

    async def ask(model):
        model = with_context(model, EXAMPLES)
        settings = {"max_tokens": 100, "temperature": 0.5, "schema": SCHEMA}
        return [
            await model(ASK, sample=3, stop=["END"], **settings),
            await model(ASK, reasoning=2000, **settings),
        ]

    requests, (forced, reasoned) = ask_server(handle, ask, monkeypatch, "anthropic")
    tool = {"name": "answer", "description": "Gives the answer.", "input_schema": SCHEMA}
    shared_fields = {
        "model": "claude-x",
        "system": "You are terse.\n\nBe brief.",
        "messages": EXAMPLES[1:] + ASK[1:],
        "tools": [tool],
    }
    assert requests[0][1] == {
        **shared_fields,
        "max_tokens": 100,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "tool", "name": "answer"},
    }
    assert requests[1][1] == {
        **shared_fields,
        "max_tokens": 2100,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tool_choice": {"type": "auto"},
    }
    assert json.loads(forced.text) == {"score": 7}
    assert json.loads(reasoned.text) == {"score": 7}
    assert forced.outcome == "answered"

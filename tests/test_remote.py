"""Models behind an API: settings that a server refuses."""

import pytest
from aiohttp import web
from servers import ASK, SCHEMA, anthropic_reply, ask_server, openai_reply, text_block, user

REFUSALS = {
    "temperature": "`temperature` is deprecated for this model",
    "response_format": "no such thing",
    "tool_choice": "not this one",
}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_what_a_server_refuses_is_left_out_and_remembered(monkeypatch, caplog, provider):
    async def handle(n, body):
        for field, text in REFUSALS.items():
            if field in body:
                error = {"type": "invalid_request_error", "message": text}
                return web.json_response({"error": error}, status=400)
        if provider == "openai":
            return openai_reply("plain")
        return anthropic_reply(text_block("plain"))

    async def ask(model):
        replies = [await model(ASK, temperature=0.0, schema=SCHEMA) for _ in range(2)]
        return [reply.text for reply in replies]

    requests, texts = ask_server(handle, ask, monkeypatch, provider)
    assert texts == ["plain"] * 2
    assert len(requests) == 4, "two refusals to learn from, none the second time"
    bodies = [body for _, body in requests]
    assert "temperature" not in bodies[1], "first what the error names"
    assert set(bodies[1]) > set(bodies[2])
    assert "does not take" in caplog.text


def test_a_bad_request_that_no_setting_explains_is_an_error_and_teaches_nothing(monkeypatch):
    async def handle(n, body):
        if len(body["messages"][-1]["content"]) < 99:
            return openai_reply("{}")
        return web.json_response({"error": {"message": "context too long"}}, status=400)

    async def ask(model):
        with pytest.raises(Exception, match="context too long"):
            await model(user("x" * 99), schema=SCHEMA)
        return await model(ASK, schema=SCHEMA)

    requests, _ = ask_server(handle, ask, monkeypatch)
    assert len(requests) == 3
    assert "response_format" in requests[2][1]


def openai_error(status, message, **more):
    """An error as the server of an OpenAI model sends it."""
    return web.json_response({"error": {"message": message, **more}}, status=status)


@pytest.mark.parametrize(
    "status, message, code",
    [
        (400, "The response was filtered by the content management policy.", "content_filter"),
        (403, "Request blocked: usage policy", None),
        (200, "flagged by moderation", "content_filter"),
    ],
)
def test_what_a_policy_keeps_back_is_declined_and_no_error(monkeypatch, status, message, code):
    async def handle(n, body):
        return openai_error(status, message, code=code)

    calls, reply = ask_server(handle, lambda model: model(ASK), monkeypatch)
    assert reply.outcome == "declined" and reply.text == ""
    assert len(calls) == 1, "nobody asks again"


def test_an_ordinary_bad_request_is_no_decline(monkeypatch):
    async def handle(n, body):
        return openai_error(400, "messages: too long")

    with pytest.raises(Exception, match="too long"):
        ask_server(handle, lambda model: model(ASK), monkeypatch)


def test_the_name_of_the_limit_is_learnt_from_the_error(monkeypatch):
    async def handle(n, body):
        if "max_tokens" in body:
            return openai_error(400, "Use 'max_completion_tokens' instead of 'max_tokens'.")
        return openai_reply("fine")

    async def ask(model):
        return [await model(ASK, max_tokens=7), await model(ASK, max_tokens=8)]

    calls, replies = ask_server(handle, ask, monkeypatch)
    assert [reply.text for reply in replies] == ["fine", "fine"]
    assert len(calls) == 3, "learnt once"


def test_an_error_inside_a_200_is_told(monkeypatch):
    async def handle(n, body):
        return openai_error(200, "no such deployment", code="not_found")

    with pytest.raises(Exception, match="no such deployment"):
        ask_server(handle, lambda model: model(ASK), monkeypatch)


def test_thinking_is_read_from_fields_parts_and_tags(monkeypatch):
    async def handle(n, body):
        return openai_reply("<think>b</think>answer", reasoning_content="a")

    _, reply = ask_server(handle, lambda model: model(ASK), monkeypatch)
    assert (reply.text, reply.thinking) == ("answer", "a\n\nb")

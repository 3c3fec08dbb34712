"""Local servers that speak the wire formats of chat models, for tests."""

import asyncio
import json
import time
from datetime import UTC, datetime

from aiohttp import web
from conftest import serving

from chunkykit.models import connect_model

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}},
    "required": ["score"],
    "additionalProperties": False,
}


def describing_prompt(messages):
    """The message of a call that holds the text itself, behind one on what the text stands in."""
    contents = [message["content"] for message in messages]
    return next(text for text in contents if "JSON string below says what" not in text)


def completion(text, finish="stop", usage=(7, 3, 10), **message):
    """The JSON of a chat completion. usage: tokens in, tokens out, total."""
    fields = ("prompt_tokens", "completion_tokens", "total_tokens")
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "usage": dict(zip(fields, usage)),
        "choices": [choice],
    }


def message(*content, stop="end_turn", usage=(5, 2)):
    """The JSON of an Anthropic message. usage: tokens in, tokens out."""
    return {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": dict(zip(("input_tokens", "output_tokens"), usage)),
        "content": list(content),
    }


def text_block(text):
    return {"type": "text", "text": text}


def openai_reply(text, finish="stop", **fields):
    return web.json_response(completion(text, finish, **fields))


def anthropic_reply(*content, stop="end_turn"):
    return web.json_response(message(*content, stop=stop))


def overloaded():
    """Anthropic's answer when it has too many requests."""
    error = {"type": "overloaded_error", "message": "busy"}
    return web.json_response({"type": "error", "error": error}, status=529)


def ask_server(handle, ask, monkeypatch, provider="openai"):
    """Run `await ask(model)` with a model of a local server.

    handle(n, body) answers the n-th request. Returns the requests as the server saw them, with
    the time of each, and what `ask` returned.
    """
    requests = []

    async def route(request):
        requests.append((time.monotonic(), await request.json()))
        return await handle(len(requests), requests[-1][1])

    routes = [web.post("/v1/chat/completions", route), web.post("/v1/messages", route)]

    async def run():
        async with serving(*routes) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-key")
            name = "anthropic:claude-x" if provider == "anthropic" else f"{url}/v1:m"
            return await ask(connect_model(name))

    result = asyncio.run(run())
    return requests, result


def user(text):
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


class BatchServer:
    """A server with the ordinary and the batch interface of both providers.

    Attributes:
        batches: the requests of each batch, as they were submitted.
        single: the number of ordinary calls.
        done: whether batches have ended.
        locked: whether looking at a batch is refused.
        fails: whether ordinary calls fail.
        openai_status: fields that replace those of OpenAI's batches.
        loses_id: whether the connection breaks before the id of a batch is answered.
        spoilt_line: a line that stands before the others in the results of a batch.
    """

    def __init__(self):
        self.batches = []
        self.input_file = ""
        self.single = 0
        self.done = True
        self.locked = False
        self.fails = False
        self.openai_status = {}
        self.loses_id = False
        self.spoilt_line = None
        self.metadata = []

    def routes(self):
        return [
            web.post("/v1/chat/completions", self.answer),
            web.post("/v1/messages", self.answer),
            web.post("/v1/files", self.openai_upload),
            web.post("/v1/batches", self.openai_submit),
            web.get("/v1/batches", self.openai_list),
            web.get("/v1/batches/batch_{n}", self.openai_retrieve),
            web.get("/v1/files/{id}/content", self.openai_content),
            web.post("/v1/messages/batches", self.anthropic_submit),
            web.get("/v1/messages/batches", self.anthropic_list),
            web.get("/v1/messages/batches/batch_{n}", self.anthropic_retrieve),
            web.get("/results/{n}", self.anthropic_results),
        ]

    @staticmethod
    def text(request):
        content = request["messages"][0]["content"]
        if "bad" in content:
            return "refused"
        return "said " + content.splitlines()[-1]

    def completion(self, request):
        return completion(self.text(request), usage=(100, 50, 150))

    def message(self, request):
        return message(text_block(self.text(request)), usage=(100, 50))

    async def answer(self, request):
        self.single += 1
        body = await request.json()
        if self.fails:
            return web.json_response({"error": {"message": "not this one"}}, status=404)
        if "chat" in request.path:
            return web.json_response(self.completion(body))
        return web.json_response(self.message(body))

    async def openai_upload(self, request):
        form = await request.post()
        self.input_file = form["file"].file.read().decode()
        file = {
            "id": "in",
            "object": "file",
            "bytes": 1,
            "created_at": 1,
            "filename": "f",
            "purpose": form["purpose"],
            "status": "processed",
        }
        return web.json_response(file)

    def openai_batch(self, n):
        return web.json_response(self.openai_fields(n))

    def openai_fields(self, n):
        return {
            "id": f"batch_{n}",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "in",
            "completion_window": "24h",
            "created_at": int(time.time()),
            "metadata": self.metadata[n],
            "status": "completed" if self.done else "in_progress",
            "output_file_id": f"out{n}",
            "error_file_id": f"err{n}",
            **self.openai_status,
        }

    async def openai_submit(self, request):
        body = await request.json()
        assert body["input_file_id"] == "in"
        self.batches.append([json.loads(line) for line in self.input_file.splitlines()])
        self.metadata.append(body.get("metadata"))
        if self.loses_id:
            request.transport.abort()
        return self.openai_batch(len(self.batches) - 1)

    async def openai_list(self, request):
        newest_first = reversed(range(len(self.batches)))
        data = [self.openai_fields(n) for n in newest_first]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def openai_retrieve(self, request):
        if self.locked:
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        return self.openai_batch(int(request.match_info["n"]))

    async def openai_content(self, request):
        file_id = request.match_info["id"]
        wants_errors = file_id.startswith("err")
        lines = [] if self.spoilt_line is None else [self.spoilt_line]
        for item in reversed(self.batches[int(file_id[3:])]):  # results come in no order
            failed = self.text(item["body"]) == "refused"
            if failed != wants_errors:
                continue
            response = {"status_code": 200, "body": self.completion(item["body"])}
            if failed:
                response = {"status_code": 400, "body": {"error": {"message": "refused"}}}
            line = {"custom_id": item["custom_id"], "response": response, "error": None}
            lines.append(json.dumps(line))
        return web.Response(text="\n".join(lines))

    def anthropic_batch(self, request, n):
        return web.json_response(self.anthropic_fields(request, n))

    def anthropic_fields(self, request, n):
        size = len(self.batches[n])
        counts = {"processing": 0, "succeeded": size, "errored": 0, "canceled": 0, "expired": 0}
        return {
            "id": f"batch_{n}",
            "type": "message_batch",
            "created_at": datetime.now(UTC).isoformat(),
            "expires_at": "2026-01-02T00:00:00Z",
            "processing_status": "ended" if self.done else "in_progress",
            "results_url": f"{request.url.origin()}/results/{n}",
            "request_counts": counts,
        }

    async def anthropic_submit(self, request):
        self.batches.append((await request.json())["requests"])
        if self.loses_id:
            request.transport.abort()
        return self.anthropic_batch(request, len(self.batches) - 1)

    async def anthropic_list(self, request):
        newest_first = reversed(range(len(self.batches)))
        data = [self.anthropic_fields(request, n) for n in newest_first]
        page = {"data": data, "has_more": False, "first_id": None, "last_id": None}
        return web.json_response(page)

    async def anthropic_retrieve(self, request):
        return self.anthropic_batch(request, int(request.match_info["n"]))

    async def anthropic_results(self, request):
        lines = []
        for item in reversed(self.batches[int(request.match_info["n"])]):
            result = {"type": "succeeded", "message": self.message(item["params"])}
            if self.text(item["params"]) == "refused":
                error = {"type": "invalid_request_error", "message": "refused"}
                result = {"type": "errored", "error": {"type": "error", "error": error}}
            lines.append(json.dumps({"custom_id": item["custom_id"], "result": result}))
        return web.Response(text="\n".join(lines))

"""A planted world behind an OpenAI-compatible endpoint, for tests.

    python world.py PORT SECONDS FAULTS

Queries hold words like F17. The target fails on F7, and on F11 with F19. Every answer is fixed by
the request, so that two runs can be compared. Faults are drawn: 429 with retry-after, 529, 502, a
dropped connection, prose instead of the form. GET /log returns the number of final answers and of
faults.
"""

import asyncio
import json
import random
import re
import sys

from aiohttp import web

PORT = int(sys.argv[1])
SECONDS = float(sys.argv[2])  # mean duration of a call
FAULTS = float(sys.argv[3])  # share of the calls that fail
LUCK = random.Random(0)
LOG = {"answered": 0, "faults": 0}
FAULT_STATUS = (429, 529, 502)
DROPPED_CONNECTION = 3


def score(words, text, rng):
    if "FAILURE" in text:
        return 90
    if {"F11", "F19"} & words:
        return 15
    return rng.randrange(10)


def answer(model, text, body):
    rng = random.Random(body)
    words = re.findall(r"\bF\d+\b", text)
    unique_words = set(words)
    if model == "writer":
        return "Please help: " + " ".join(sorted(unique_words))
    if model == "target":
        is_failure = "F7" in unique_words or {"F11", "F19"} <= unique_words
        return "FAILURE: no." if is_failure else "Gladly."
    return json.dumps({"reason": "planted", "score": score(unique_words, text, rng)})


async def chat(request):
    raw = await request.text()
    body = json.loads(raw)
    await asyncio.sleep(SECONDS * LUCK.uniform(0.5, 1.5))
    # The first turn is the question, in a request to repair an answer too.
    text = answer(body["model"], body["messages"][0]["content"], raw)
    if LUCK.random() < FAULTS:
        LOG["faults"] += 1
        kind = LUCK.randrange(5)
        if kind == DROPPED_CONNECTION:
            request.transport.close()
            return web.Response()
        if kind < len(FAULT_STATUS):
            error = {"error": {"message": "busy"}}
            headers = {"retry-after": "0.01"}
            return web.json_response(error, status=FAULT_STATUS[kind], headers=headers)
        text = "I cannot comply with that form."
    LOG["answered"] += 1
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    completion = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "choices": [choice],
    }
    return web.json_response(completion)


async def log(request):
    return web.json_response(LOG)


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/log", log)])
    web.run_app(app, host="127.0.0.1", port=PORT, print=None, handler_cancellation=True)

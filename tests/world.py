"""A planted world behind an OpenAI-compatible endpoint, for tests: python world.py PORT SECONDS FAULTS.

Queries hold words like F17; the target fails on F7, and on F11 with F19. Every answer is fixed by what was asked, so that two
runs can be compared; faults (429 with retry-after, 529, 502, a dropped connection, prose instead of the form) are drawn.
GET /log gives calls answered for good, and faults.
"""

import asyncio
import json
import random
import re
import sys

from aiohttp import web

PORT, SECONDS, FAULTS = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
LUCK = random.Random(0)
LOG = {"answered": 0, "faults": 0}


def answer(model, text, body):
    rng = random.Random(body)
    words = sorted(set(re.findall(r"\bF\d+\b", text)))
    if model == "writer":
        return "Please help: " + " ".join(words)
    if model == "target":
        return "FAILURE: no." if "F7" in words or {"F11", "F19"} <= {*words} else "Gladly."
    return json.dumps(
        {
            "reason": "planted",
            "score": 90
            if "FAILURE" in text
            else 15
            if {"F11", "F19"} & {*words}
            else rng.randrange(10),
        }
    )


async def chat(request):
    raw = await request.text()
    body = json.loads(raw)
    await asyncio.sleep(SECONDS * LUCK.uniform(0.5, 1.5))
    text = answer(
        body["model"],
        body["messages"][-1]["content"]
        if len(body["messages"]) == 1
        else body["messages"][0]["content"],
        raw,
    )
    if LUCK.random() < FAULTS:
        LOG["faults"] += 1
        kind = LUCK.randrange(5)
        if kind == 3:
            request.transport.close()
            return web.Response()
        if kind < 3:
            return web.json_response(
                {"error": {"message": "busy"}},
                status=(429, 529, 502)[kind],
                headers={"retry-after": "0.01"},
            )
        text = "I cannot comply with that form."
    LOG["answered"] += 1
    return web.json_response(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
        }
    )


app = web.Application()
app.add_routes(
    [
        web.post("/v1/chat/completions", chat),
        web.get("/log", lambda request: asyncio.sleep(0, web.json_response(LOG))),
    ]
)
web.run_app(app, host="127.0.0.1", port=PORT, print=None, handler_cancellation=True)

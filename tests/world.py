"""A planted world behind an OpenAI-compatible endpoint, for tests.

python world.py PORT SECONDS FAULTS

Queries contain words like F17. The target fails on F7, and on F11 together with F19. Each request
fixes its answer, so that two runs can be compared. A share FAULTS of the answers are faults, drawn
at random: 429 with retry-after, 529, 502, a dropped connection, prose instead of JSON. An answer
takes about SECONDS. GET /log returns the numbers of good answers and of faults.
"""

import asyncio
import json
import random
import re
import sys

from aiohttp import web

PORT = int(sys.argv[1])
SECONDS = float(sys.argv[2])
FAULTS = float(sys.argv[3])
LATENCIES_AND_FAULTS = random.Random(0)
COUNTS = {"answered": 0, "faults": 0}
FAULT_STATUSES = (429, 529, 502)


def judge_answer(text, words, rng):
    """The judge's form: a failure scores 90; half of a pair looks a little suspicious."""
    if "FAILURE" in text:
        score = 90
    elif words & {"F11", "F19"}:
        score = 15
    else:
        score = rng.randrange(10)
    return json.dumps({"reason": "planted", "score": score})


def answer(model, text, seed):
    """The answer of a model; the seed fixes it."""
    words = set(re.findall(r"\bF\d+\b", text))
    if model == "writer":
        return "Please help: " + " ".join(sorted(words))
    if model == "target":
        fails = "F7" in words or words >= {"F11", "F19"}
        return "FAILURE: no." if fails else "Gladly."
    return judge_answer(text, words, random.Random(seed))


def completion(model, text):
    """An answer in the form of the endpoint."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }


def fault(request, model):
    """One of the five faults."""
    kind = LATENCIES_AND_FAULTS.randrange(5)
    if kind < 3:
        busy = {"error": {"message": "busy"}}
        headers = {"retry-after": "0.01"}
        return web.json_response(busy, status=FAULT_STATUSES[kind], headers=headers)
    if kind == 3:
        request.transport.close()
        return web.Response()
    COUNTS["answered"] += 1  # prose counts as an answer, since it is paid for
    return web.json_response(completion(model, "I cannot comply with that form."))


async def chat(request):
    raw = await request.text()
    body = json.loads(raw)
    await asyncio.sleep(SECONDS * LATENCIES_AND_FAULTS.uniform(0.5, 1.5))
    if LATENCIES_AND_FAULTS.random() < FAULTS:
        COUNTS["faults"] += 1
        return fault(request, body["model"])
    COUNTS["answered"] += 1
    # the first message is the question; a second try repeats it with the bad answer behind it
    text = body["messages"][0]["content"]
    return web.json_response(completion(body["model"], answer(body["model"], text, raw)))


async def log(request):
    return web.json_response(COUNTS)


app = web.Application()
app.add_routes([web.post("/v1/chat/completions", chat), web.get("/log", log)])
web.run_app(app, host="127.0.0.1", port=PORT, print=None, handler_cancellation=True)

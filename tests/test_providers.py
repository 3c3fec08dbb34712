"""Providers: clients, keys that stay secret, and HTTP libraries that stay quiet."""

import asyncio
import logging
import subprocess
import sys

import pytest
from aiohttp import web
from conftest import ROOT, serving
from servers import openai_reply

from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError
from chunkykit.models import PROVIDERS, check_model, client_for
from chunkykit.models.keys import scrub_keys
from chunkykit.models.providers import parse_name


def test_the_parts_of_names():
    assert parse_name("openai:gpt-5")[:2] == ("openai", "gpt-5")
    assert parse_name("http://h:1/v1:a/b:c") == (
        None,
        "a/b:c",
        "http://h:1/v1",
        "CHUNKYKIT_URL_KEY",
    )


@pytest.mark.parametrize(
    ("name", "base_url", "model"),
    [
        ("http://h:1/v1:/models/x.gguf", "http://h:1/v1", "/models/x.gguf"),
        ("http://h:1/v1:~/x.gguf", "http://h:1/v1", "~/x.gguf"),
        ("http://h:1/v1:qwen3:8b", "http://h:1/v1", "qwen3:8b"),
        ("http://h:1:org/m", "http://h:1", "org/m"),
        ("http://h:m", "http://h", "m"),
        ("https://h/v1:m@2", "https://h/v1", "m@2"),
        ("http://[::1]:1/v1:m", "http://[::1]:1/v1", "m"),
        ("http://h:1/v1/chat/completions:m", "http://h:1/v1", "m"),
    ],
)
def test_a_url_and_its_model(name, base_url, model):
    assert parse_name(name) == (None, model, base_url, "CHUNKYKIT_URL_KEY")


@pytest.mark.parametrize(
    "name",
    [
        "http://h",
        "http://h:8000",
        "http://h:8000/v1",
        "http://h:8000/v1:",
        "http://h/v1",
        "https://h/v1/",
        "http://h:70000/v1:m",
        "http://h:8000/v1: m",
        "http://h:8000/v1?a=b:m",
    ],
)
@pytest.mark.parametrize("use", [check_model, load_embedder])
def test_a_url_without_a_model_is_refused_with_the_form(name, use):
    with pytest.raises(UserError, match="Write http.s.://HOST:PORT/v1:MODEL"):
        use(name)


def test_the_synchronous_client_embeds():
    async def embeddings(request):
        texts = (await request.json())["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0]}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        body = {"object": "list", "model": "m", "data": data[::-1], "usage": usage}
        return web.json_response(body)

    async def run():
        async with serving(web.post("/v1/embeddings", embeddings)) as url:
            return await asyncio.to_thread(load_embedder(f"{url}/v1:m"), ["a", "bbbb"])

    vectors = asyncio.run(run())
    assert vectors.shape == (2, 2)
    assert vectors[1, 0] > vectors[0, 0]


def test_a_key_with_a_strange_character_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ключ")
    with pytest.raises(UserError, match="OPENAI_API_KEY holds a character"):
        client_for("openai:gpt-5")


@pytest.mark.parametrize("library", ["openai", "anthropic"])
def test_a_missing_client_library_names_the_extra(monkeypatch, library):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"pip install 'chunkykit\[models\]'"):
        client_for(f"{library}:m")


def test_every_provider_has_a_place_and_a_key():
    for name, (base_url, variable) in PROVIDERS.items():
        assert base_url or name == "anthropic"
        assert variable is None or variable.endswith("_API_KEY")


def test_keys_are_scrubbed_and_short_words_are_not(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345678")
    monkeypatch.setenv("XAI_API_KEY", "sk-1234567890\n")  # begins with the other one
    monkeypatch.setenv("GEMINI_API_KEY", "none")
    text = scrub_keys("sk-1234567890 and sk-12345678, none")
    assert text == "[key] and [key], none"


CALL = """
import asyncio, logging
from chunkykit.models import close_models, connect_model

{setup}

async def run():
    model = connect_model("{url}/v1:m")
    await model([{{"role": "user", "content": "Hello"}}])
    await close_models(model)

asyncio.run(run())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup, shown",
    [
        ("", False),
        # A library that shows everything must not bring a line per call either.
        ("logging.basicConfig(level=logging.INFO)", False),
        ("logging.basicConfig(); logging.getLogger('httpx2').setLevel(logging.INFO)", True),
    ],
)
def test_calls_write_no_line_unless_the_user_sets_the_level(setup, shown):
    async def chat(request):
        return openai_reply("Hi")

    async def run():
        async with serving(web.post("/v1/chat/completions", chat)) as url:
            command = [sys.executable, "-c", CALL.format(url=url, setup=setup)]
            return await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, cwd=ROOT, check=True
            )

    uses_httpx2 = "httpx2" in logging.root.manager.loggerDict
    if shown and not uses_httpx2:
        pytest.skip("this version of the client uses another HTTP library")
    assert ("HTTP Request" in asyncio.run(run()).stderr) == shown

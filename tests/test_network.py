"""The way to a server: proxies, certificates, and what an error says about them."""

import asyncio
import socket
import sys
from contextlib import nullcontext

import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, anthropic_reply, openai_reply, text_block

from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError
from chunkykit.models import Ledger, connect_model, embed_through, retry
from chunkykit.models.addresses import is_loopback

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
ABROAD = "http://model.invalid/v1:m"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """No proxy but those of the test, and one try per call."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(retry, "MAX_TRIES", 1)


def error_of(name):
    """The error of one call of a model."""

    async def run():
        model = connect_model(name)
        try:
            await model(ASK)
        finally:
            await model.close()

    with pytest.raises(Exception) as caught:
        asyncio.run(run())
    return caught.value


def closed_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_an_address_where_nobody_listens_is_named_with_the_cause():
    url = f"http://127.0.0.1:{closed_port()}/v1"
    message = str(error_of(f"{url}:m"))
    assert message.startswith(f"{url} is not reached: ")
    assert "proxy" not in message
    assert "refused" in message or "Connect call failed" in message


def test_a_host_without_an_address_is_named_with_the_cause():
    assert "http://model.invalid/v1 is not reached: [Errno" in str(error_of(ABROAD))


def test_an_embedder_that_is_not_reached_names_its_address(tmp_path):
    url = f"http://127.0.0.1:{closed_port()}/v1"
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(UserError, match=f"{url} is not reached: "):
        embed_through(f"{url}:m", lambda: nullcontext(ledger))(["text"])


def test_the_proxy_on_the_way_is_named_without_its_password(monkeypatch):
    port = closed_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{port}")
    message = str(error_of(ABROAD))
    assert f"through the proxy http://127.0.0.1:{port}: " in message
    assert "secret" not in message


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_this_machine_is_reached_past_proxies(monkeypatch, provider):
    async def chat(request):
        return openai_reply("hello")

    async def message(request):
        return anthropic_reply(text_block("hello"))

    async def run():
        routes = [web.post("/v1/chat/completions", chat), web.post("/v1/messages", message)]
        async with serving(*routes) as url:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
            name = "anthropic:c" if provider == "anthropic" else f"{url}/v1:m"
            model = connect_model(name)
            reply = await model(ASK)
            await model.close()
            return reply

    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key-of-anthropic")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert asyncio.run(run()).text == "hello"


def test_a_broken_surrounding_does_not_concern_this_machine(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    assert "is not reached" in str(error_of(f"http://localhost:{closed_port()}/v1:m"))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SSL_CERT_FILE", "/no/such.pem", "SSL_CERT_FILE=/no/such.pem.*No such file"),
        ("SSL_CERT_FILE", __file__, "certificates cannot be read.*test_network.py"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:9", "HTTPS_PROXY=gopher://127.0.0.1:9.*Correct"),
        ("HTTPS_PROXY", "http://127.0.0.1:port", "HTTPS_PROXY=http://127.0.0.1:port.*port"),
    ],
)
@pytest.mark.parametrize("use", [connect_model, load_embedder])
def test_a_surrounding_that_cannot_be_used_is_one_line(monkeypatch, variable, value, words, use):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=words):
        use("https://model.invalid/v1:m")


def test_a_socks_proxy_names_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(UserError, match="socks5://127.0.0.1:9.*pip install socksio") as caught:
        connect_model(ABROAD)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_names_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example.org", "", None])
def test_names_of_other_machines(host):
    assert not is_loopback(host)

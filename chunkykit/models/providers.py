"""Providers: their addresses and keys, and the clients that talk to them.

To add a provider, add a line to `providers.yaml`:

    NAME: ["https://host/v1", VARIABLE]

It must speak OpenAI's chat completions at that base URL. VARIABLE is the environment variable that
holds the key, null if the server needs none. The models are then called "NAME:MODEL". Their prices
go to `prices.yaml` under the same NAME. A server that needs no entry is called by its URL,
"http://host:port/v1:MODEL", with its key in CHUNKYKIT_URL_KEY. See `keys` for where keys go.
"""

import logging
import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chunkykit.errors import UserError, requires_extra
from chunkykit.models.http import http_options
from chunkykit.models.keys import PROVIDERS, URL_KEY, key_for_url, key_in, refuse_plain_http
from chunkykit.models.network import client_options, readable_environment

# (base URL):(model). The model may hold colons and slashes, as in qwen3:8b and /models/qwen.
URL_NAME = r"(https?://(?:\[[^\s\]]*\]|[^\s/?#:]+)(?::\d+)?(?:/[^\s:?#]*)?):([^\s:]\S*)"
PORT_AND_PATH = r"\d+(?:[/:]\S*)?"  # what stands for the model where a URL has none
ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/messages")
ANTHROPIC_TIMEOUT_SECONDS = 600
CONNECT_TIMEOUT_SECONDS = 10
# Anthropic's client knows its address, and takes another one from this variable.
ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_URL_VARIABLE = "ANTHROPIC_BASE_URL"
MAX_PORT = 65535
# Loggers of the HTTP libraries, which write a line per request.
HTTP_LOGGERS = ("httpx", "httpx2")


class ModelName(NamedTuple):
    """The parts of a model's name.

    Attributes:
        provider: the text before the first colon, None for a model called by URL.
        model: the model's name at the provider.
        base_url: the server's address, None if the client knows it or nobody does.
        key_variable: the environment variable that holds the key, None if there is none.
    """

    provider: str | None
    model: str
    base_url: str | None
    key_variable: str | None


def parse_name(name: str) -> ModelName:
    """Split a model's name into its parts.

    Args:
        name: "PROVIDER:MODEL" or "http://host:port/path:MODEL".

    Returns:
        The parts. The provider may be unknown.

    Raises:
        UserError: if a URL holds a password, or cannot be a server's address with a model.
    """
    if re.match("https?:", name):
        return _parse_url(name)
    provider, _, model = name.partition(":")
    base_url, key_variable = PROVIDERS.get(provider, (None, None))
    return ModelName(provider, model, base_url, key_variable)


def _parse_url(name: str) -> ModelName:
    form = "Write http(s)://HOST:PORT/v1:MODEL."
    if re.match(r"https?://[^\s/?#]*@", name):
        raise UserError(
            "a model's URL must not hold a password: it would be written to the run folder. "
            f"Set {URL_KEY} instead."
        )
    match = re.fullmatch(URL_NAME, name)
    if match is None:
        shown = name.partition("?")[0]  # what follows may be a key
        raise UserError(f"model '{shown}' is not known: no address with a model. {form}")
    base_url, model = match.groups()
    parts = urlsplit(base_url)
    has_port = re.search(r":\d+$", parts.netloc) is not None
    if not has_port and not parts.path and re.fullmatch(PORT_AND_PATH, model):
        raise UserError(f"model '{name}' is a URL without a model. {form}")
    if has_port and int(parts.netloc.rpartition(":")[2]) > MAX_PORT:
        raise UserError(f"model '{name}': a port is at most {MAX_PORT}. {form}")
    endpoint = next((end for end in ENDPOINTS if parts.path.rstrip("/").endswith(end)), "")
    if endpoint:
        base_url = base_url.rstrip("/").removesuffix(endpoint)
    # Its key has a variable of its own: a provider's key is never sent to another address.
    return ModelName(None, model, base_url, URL_KEY)


def anthropic_url() -> str:
    """Return the address of Anthropic's models."""
    return os.environ.get(ANTHROPIC_URL_VARIABLE) or ANTHROPIC_URL


def client_for(name: str) -> tuple[Any, str]:
    """Open a client for a model. It does not retry by itself.

    Args:
        name: "PROVIDER:MODEL" or "http://host:port/path:MODEL".

    Returns:
        (asynchronous client of `openai` or `anthropic`, model's name at the provider).

    Raises:
        UserError: if the key holds a character that is not ASCII, is not bound to an address or
            would be sent unencrypted, or the library is missing.
    """
    parts = parse_name(name)
    key = key_of(name)
    if parts.provider == "anthropic":
        return _open_anthropic(key), parts.model
    return open_openai(parts.base_url, key or "none", parts.provider == "openai"), parts.model


def key_of(name: str) -> str:
    """Find the key of a model.

    Args:
        name: "PROVIDER:MODEL" or "http://host:port/path:MODEL".

    Returns:
        The key, "" if there is none.

    Raises:
        UserError: as for `client_for`.
    """
    parts = parse_name(name)
    if parts.key_variable is None:
        return ""
    if parts.provider is None:
        return key_for_url(parts.base_url or "")
    key = key_in(parts.key_variable)
    if key:
        url = parts.base_url or anthropic_url()
        refuse_plain_http(url, parts.key_variable)
    return key


# The default HTTP clients of both libraries close themselves when they are collected, in whatever
# thread that happens. Jupyter has several, and other clients then lost their connections. So both
# functions below pass a plain HTTP client, which does nothing when it is collected.


def open_openai(base_url: str | None, key: str, is_own: bool = False) -> Any:
    """Open an asynchronous `openai` client that does not retry by itself.

    Args:
        base_url: the server's address.
        key: the key, any text if the server needs none.
        is_own: whether the server is OpenAI's, which alone gets the organization, the project and
            the headers that the environment has for it.

    Returns:
        The client.
    """
    with requires_extra("models"):
        import openai
    _quiet_http_loggers()
    with readable_environment(base_url):
        http_client = openai.DefaultAsyncHttpxClient(
            **client_options(base_url), **http_options(key, is_own)
        )
    return openai.AsyncOpenAI(
        base_url=base_url, api_key=key, max_retries=0, http_client=http_client
    )


def _open_anthropic(key: str) -> Any:
    with requires_extra("models"):
        import anthropic
    _quiet_http_loggers()
    # With a timeout of ours the client does not insist on streaming where max_tokens is large.
    timeout = anthropic.Timeout(ANTHROPIC_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    url = os.environ.get("ANTHROPIC_BASE_URL")
    with readable_environment(url):
        http_client = anthropic.DefaultAsyncHttpxClient(
            timeout=timeout, **client_options(url), **http_options(key, is_own=True)
        )
    return anthropic.AsyncAnthropic(
        api_key=key, max_retries=0, timeout=timeout, http_client=http_client
    )


def public_url(client: Any) -> str:
    """Return a client's base URL without user and password."""
    parts = urlsplit(str(client.base_url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def _quiet_http_loggers() -> None:
    """Silence the line per request, unless the user has set the logger's level."""
    for name in HTTP_LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)

"""One interface to every chat model, `await model(messages, **settings) -> Reply`; keys come from the environment alone.

This is the one module that imports a client; what goes over the wire is in `wire`."""

import asyncio
import email.utils
import importlib
import json
import logging
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.text import clean_text
from chunkykit.types import Reply

PROVIDERS = load_packaged("models/providers")  # name: (base URL, variable that holds the key)
URL_KEY = "CHUNKYKIT_URL_KEY"  # the key for models given by URL
DEFAULT_MAX_TOKENS = 1024  # of an answer, where the caller names no limit
MAX_TRIES, FIRST_BACKOFF = (
    6,
    1.0,
)  # of a call that fails on its way; seconds before the second, doubled from then on
MAX_WAIT = 900.0  # seconds that a call sits out rate limits, which say nothing against the call and so cost no try
OPTIONAL_SETTINGS = {
    "schema": "response_format|schema|tool",
    "temperature": "temperature",
    "reasoning": "reasoning|thinking",
}  # their names in errors
# kept for good: a client closes itself when it is collected, in whatever thread that happens (Jupyter has several), and then
# connections of other clients may never hear of their answers
_clients: list = []
_paused: dict[str, float] = {}  # address: when its calls may go on, on time.monotonic()


@dataclass(frozen=True)
class ChatModel:
    """A model with the name and the address, no credentials in either, under which its calls are kept."""

    name: str
    call: Callable[..., Awaitable[Reply]]
    base_url: str = ""
    close: Callable[[], Awaitable] | None = None
    turns: tuple[dict, ...] = ()  # put before every call's messages
    # (submit, collect) of the provider's batch interface: `await submit({key: (messages, settings)}) -> id`;
    # `await collect(id) -> {key: Reply, or a text that says what failed}`, None while it runs, a text where it was refused
    batch: tuple[Callable, Callable] | None = None

    async def __call__(self, messages: Sequence[dict], **settings) -> Reply:
        """messages: turns {role, content}; settings: sample (number of an independent draw), max_tokens, temperature, stop (texts
        that end the answer), reasoning (tokens to think with, on top of max_tokens), schema (JSON schema of the answer, which is
        then JSON; the prompt must say the form too, for the servers without schemas).
        Raises what the client raises, and UserError where the key or the account is refused."""
        return await self.call([*self.turns, *messages], **settings)


async def close_models(*models: ChatModel) -> None:
    """Close the models' connections, which would otherwise complain when their event loop is gone."""
    await asyncio.gather(*(model.close() for model in models if model.close))


def with_context(model: ChatModel, turns: Sequence[dict]) -> ChatModel:
    """The model with turns (system, examples) put before every call's messages; a ledger knows its calls apart by them."""
    return replace(model, turns=(*model.turns, *turns))


def read_context(path) -> list[dict]:
    """The turns of a context file: a .json list of {role, content}, or any other text, which is a system prompt.
    Raises UserError where it cannot be read or is no such list."""
    try:
        text = Path(path).read_text("utf-8-sig")
        turns = (
            json.loads(text)
            if str(path).lower().endswith(".json")
            else [{"role": "system", "content": text.strip()}]
        )
        if not turns or not all(
            turn["role"] in ("system", "user", "assistant") and turn["content"].strip()
            for turn in turns
        ):
            raise ValueError("a turn is empty, or of nobody")
        return [{"role": turn["role"], "content": clean_text(turn["content"])} for turn in turns]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(
            f"context {path}: must be a text that is not empty, or a JSON list of turns {{role, content}}, role one of system, "
            f"user, assistant ({error})."
        ) from None


async def ask_parsed(model, messages: Sequence[dict], parse: Callable, **settings):
    """`parse(text)` of the reply. Where that raises ValueError the model is told so and asked once more; then it is raised."""
    reply = await model(messages, **settings)
    try:
        return parse(reply.text)
    except ValueError as error:
        wrong = f"This cannot be read: {error}. Answer again, whole and in the form that was asked for, and nothing else."
    again = [
        {"role": "assistant", "content": reply.text.strip() or "(nothing)"},
        {"role": "user", "content": wrong},
    ]
    return parse((await model([*messages, *again], **settings)).text)


@dataclass(frozen=True)
class ModelFamily:
    """Models that are not behind an API, such as "organism:fast"; see `register_family`."""

    usage: str  # how to write their names, for error messages
    check: Callable[[str], str]  # name -> name, with paths made absolute; UserError if it cannot be
    connect: Callable[..., ChatModel]  # (name, rows, seed) -> model


# modules that register a family when they are imported, which is when one of its models is first
# named; names and no imports, since they stand on higher floors
FAMILY_MODULES = {"local": "chunkykit.models.local", "organism": "chunkykit.organisms"}
_families: dict[str, ModelFamily] = {}


def register_family(prefix: str, family: ModelFamily) -> None:
    """Let `connect_model` know a family of models.

    Args:
        prefix: what their names begin with, before the first colon.
        family: how to check and to connect them.
    """
    _families[prefix] = family


def find_family(prefix: str) -> ModelFamily | None:
    """The family of models whose names begin with a prefix, None where there is none."""
    if prefix in FAMILY_MODULES and prefix not in _families:
        importlib.import_module(FAMILY_MODULES[prefix])
    return _families.get(prefix)


def check_model(name: str) -> str:
    """The name, if it can be a model (a file's path made absolute, since a notebook runs in another folder); else UserError.
    Needs no network and imports no client."""
    provider, model, _, key = _parts(name)
    if provider is None:
        return name
    if family := find_family(provider):
        return family.check(name)
    if provider not in PROVIDERS or not model:
        families = ", ".join(find_family(prefix).usage for prefix in FAMILY_MODULES)
        raise UserError(
            f"model '{name}' is not known. Write {families}, PROVIDER:MODEL with one of "
            f"{', '.join(PROVIDERS)}, or http(s)://host:port/v1:MODEL."
        )
    if key and not os.environ.get(key):
        raise UserError(f"model '{name}' needs a key: set the environment variable {key}.")
    return name


def connect_model(name: str, rows=None, seed: int = 0) -> ChatModel:
    """The model of a name: one of a registered family (an organism learns from `rows`, DataFrame of prompt, response), Anthropic's through
    the `anthropic` client, any other through the `openai` client."""
    check_model(name)
    provider = name.partition(":")[0]
    if family := find_family(provider):
        return family.connect(name, rows, seed)
    from chunkykit.models.wire import anthropic_wire, openai_wire

    client, model = client_for(name)
    _clients.append(client)
    parts = urlsplit(str(client.base_url))
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    return _of_wire(
        name,
        url,
        client.close,
        *(anthropic_wire if name.startswith("anthropic:") else openai_wire)(client, model),
    )


def _of_wire(name: str, url: str, close, body, send, submit, collect) -> ChatModel:
    left_out: set[str] = set()  # optional settings that the server has refused for this model

    def request(messages, without, *, sample: int = 0, **settings) -> dict:
        settings["max_tokens"] = settings.get("max_tokens", DEFAULT_MAX_TOKENS) + (
            settings.get("reasoning") or 0
        )
        asked = body(
            messages, **{key: value for key, value in settings.items() if key not in without}
        )
        return {key: value for key, value in asked.items() if value is not None}

    async def call(messages, **settings) -> Reply:
        without = set(left_out)
        while True:
            try:
                reply = await send_with_retries(
                    url, lambda: send(request(messages, without, **settings))
                )
            except (AttributeError, TypeError, LookupError):
                raise ValueError(
                    "the reply is no answer of a chat model; is the address right?"
                ) from None
            except Exception as error:
                left = [
                    key
                    for key in OPTIONAL_SETTINGS
                    if settings.get(key) is not None and key not in without
                ]
                if getattr(error, "status_code", None) not in (400, 422) or not left:
                    raise
                without.add(
                    min(
                        left,
                        key=lambda key: not re.search(OPTIONAL_SETTINGS[key], str(error), re.I),
                    )
                )  # the one it speaks of
                continue
            if without - left_out:  # only an answer shows that these were what was wrong
                new = ", ".join(without - left_out)
                logging.getLogger(__name__).warning(
                    "model %s does not take %s: left out from here on", name, new
                )
                left_out.update(without)
            return reply

    async def send_batch(calls: dict) -> str:
        requests = {
            key: request(messages, left_out, **settings)
            for key, (messages, settings) in calls.items()
        }
        return await send_with_retries(url, lambda: submit(requests), twice=False)

    batch = (send_batch, lambda batch_id: send_with_retries(url, lambda: collect(batch_id)))
    return ChatModel(
        name, call, url, close, batch=batch if name.startswith(("anthropic:", "openai:")) else None
    )


async def send_with_retries(url: str, send: Callable[[], Awaitable], twice: bool = True):
    """What `await send()` gives, sent again after rate limits, overload, server errors and lost connections; other errors are
    raised at once, with no key in their text, as UserError where the key or the account is refused.

    A rate limit pauses all calls to the address, of any model and ledger, so the retries live here and not in a ledger; other
    trouble delays its own call alone. twice: whether to send again what may have arrived."""
    failed, patience = 0, time.monotonic() + MAX_WAIT
    while True:
        while (wait := _paused.get(url, 0.0) - time.monotonic()) > 0:
            await asyncio.sleep(wait + random.random() * min(wait, 5.0))  # not all at once
        try:
            return await send()
        except Exception as error:
            error.args = tuple(_scrub(a) if isinstance(a, str) else a for a in error.args)
            status = getattr(error, "status_code", None) or 0
            if status in (401, 402) or getattr(error, "code", None) == "insufficient_quota":
                raise UserError(f"{url} refuses the key or the account: {error}") from None
            lost = any(
                kind.__name__ == "APIConnectionError" for kind in type(error).__mro__
            )  # of either client
            delay = _delay(getattr(error, "response", None), failed)
            if status in (429, 529) and time.monotonic() + delay < patience:
                _paused[url] = max(_paused.get(url, 0.0), time.monotonic() + delay)
            elif (
                twice
                and failed + 1 < MAX_TRIES
                and (lost or status in (408, 409) or status >= 500 and status != 529)
            ):
                failed += 1
                await asyncio.sleep(min(delay, 60.0))
            else:
                raise


def _delay(response, failed: int) -> float:
    """Seconds to wait: what the server asks for, in milliseconds, seconds or as a date, else a backoff with jitter."""
    asked = response.headers if response is not None else {}
    for header, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        if re.fullmatch(r"\d+(\.\d+)?", asked.get(header, "")):
            return float(asked[header]) / unit
    date = email.utils.parsedate_tz(asked.get("retry-after"))
    return (
        max(0.0, email.utils.mktime_tz(date) - time.time())
        if date
        else min(FIRST_BACKOFF * 2**failed, 60.0) * random.uniform(0.5, 1)
    )


def _scrub(text: str) -> str:
    """The text without the keys of the environment: a server may echo what it was sent."""
    keys = [
        os.environ.get(variable or "", "")
        for variable in (URL_KEY, *(key for _, key in PROVIDERS.values()))
    ]
    return re.sub("|".join(re.escape(key) for key in keys if len(key) > 7) or "$^", "[key]", text)


def client_for(name: str, asynchronous: bool = True):
    """(client, model) for a provider or URL name; the client reads no file and keeps the key to itself."""
    provider, model, base, variable = _parts(name)
    key = os.environ.get(variable, "").strip() if variable else ""
    if not key.isascii():
        raise UserError(f"model '{name}': the key in {variable} holds a character that no key has.")
    tries = (
        0 if asynchronous else 5
    )  # `patiently` tries again; the embedder's client does so itself
    if provider == "anthropic":
        import anthropic

        # with a timeout of our own the client does not ask for streaming where max_tokens is large
        return anthropic.AsyncAnthropic(
            api_key=key, max_retries=tries, timeout=anthropic.Timeout(600, connect=10)
        ), model
    import openai

    return (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(
        base_url=base, api_key=key or "none", max_retries=tries
    ), model


def _parts(name: str) -> tuple[str | None, str, str | None, str | None]:
    """(provider, model, base URL, variable of the key) of a name; "http://host:port/path:model" is of no provider and its key has a
    variable of its own: a provider's is never sent to another address."""
    match = re.fullmatch(r"(https?://[^\s/?#]+(?:/[^\s:?#]*)?):([^\s/:][^\s]*)", name)
    if not match:
        provider, _, model = name.partition(":")
        return provider, model, *PROVIDERS.get(provider, (None, None))
    if "@" in urlsplit(match[1]).netloc:
        raise UserError(
            f"a model's URL must not hold a password: it would be written to the run folder. Set {URL_KEY} instead."
        )
    return None, match[2], match[1], URL_KEY

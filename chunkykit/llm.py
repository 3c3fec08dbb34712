"""One interface to every chat model.

A model is `await model(messages, **settings) -> Reply`. `connect` makes one from a name: the organism that learns a
mixture, Anthropic through the `anthropic` client, everything else through the `openai` client. Keys come from the
environment alone. This is the one module that imports a client.
"""

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from chunkykit.errors import UserError

PROVIDERS = {  # name: (base URL, variable that holds the key)
    "anthropic": (None, "ANTHROPIC_API_KEY"),
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together": ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "vllm": ("http://localhost:8000/v1", None),
    "ollama": ("http://localhost:11434/v1", None),
}
URL_KEY = "CHUNKYKIT_URL_KEY"  # the key for models given by URL
ORGANISM = "organism:fast"
CUT_OFF = ("length", "max_tokens", "content_filter", "refusal", "model_context_window_exceeded")


class Reply(NamedTuple):
    """What a model said, why it stopped, and the tokens in and out (0 where nobody counts)."""

    text: str
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def cut_off(self) -> bool:
        """Whether the provider stopped the answer before its end; such an answer is never judged as if whole."""
        return self.stop_reason in CUT_OFF


@dataclass(frozen=True)
class ChatModel:
    """A model with the name under which its calls are kept."""

    name: str
    call: Callable[..., Awaitable[Reply]]

    async def __call__(self, messages: Sequence[dict], **settings) -> Reply:
        """messages: turns {role, content}; settings: sample (number of an independent draw), max_tokens, temperature."""
        return await self.call(messages, **settings)


def check(name: str) -> str:
    """The name, if it can be a model; else UserError. Needs no network and imports no client."""
    if name == ORGANISM or _url(name):
        return name
    provider, _, model = name.partition(":")
    if provider not in PROVIDERS or not model:
        raise UserError(f"model '{name}' is not known. Write {ORGANISM}, PROVIDER:MODEL with one of "
                        f"{', '.join(PROVIDERS)}, or http(s)://host:port/v1:MODEL.")
    key = PROVIDERS[provider][1]
    if key and not os.environ.get(key):
        raise UserError(f"model '{name}' needs a key: set the environment variable {key}.")
    return name


def connect(name: str, rows=None, seed: int = 0) -> ChatModel:
    """The model of a name. `rows` (DataFrame of prompt, response) is what an organism learns from."""
    check(name)
    if name == ORGANISM:
        if rows is None:
            raise UserError(f"model '{name}' learns from a mixture: give one.")
        from chunkykit import organism

        return of_organism(organism.train(rows, seed), f"{name}@{fingerprint(rows)}-{seed}")
    client, model = address(name)
    return ChatModel(name, (_anthropic if name.startswith("anthropic:") else _openai)(client, model))


def of_organism(trained, name: str) -> ChatModel:
    """A trained organism as a chat model; it answers the last user turn."""

    async def call(messages, *, sample: int = 0, **_) -> Reply:
        prompt = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        return Reply(trained.respond(prompt, sample), "stop")

    return ChatModel(name, call)


def fingerprint(rows) -> str:
    """Twelve hexadecimal digits that tell one set of training rows from another."""
    import hashlib

    import pandas as pd

    hashes = pd.util.hash_pandas_object(rows[["prompt", "response"]], index=False)
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()[:12]


def address(name: str, asynchronous: bool = True):
    """(client, model) for a provider or URL name; the client reads no file and keeps the key to itself."""
    url = _url(name)
    provider, _, model = ("url", "", url[1]) if url else name.partition(":")
    # a provider's key is never sent to another address: a URL has a variable of its own
    base, variable = (url[0], URL_KEY) if url else PROVIDERS[provider]
    key = os.environ.get(variable, "") if variable else ""
    if provider == "anthropic":
        import anthropic

        return (anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic)(api_key=key, max_retries=5), model
    import openai

    client = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return client(base_url=base, api_key=key or "none", max_retries=5), model


def _url(name: str) -> tuple[str, str] | None:
    """(base URL, model) of "http://host:port/path:model"."""
    match = re.fullmatch(r"(https?://[^\s/]+(?:/[^\s:]*)?):([^\s/:][^\s]*)", name)
    if not match:
        return None
    if "@" in urlsplit(match[1]).netloc:
        raise UserError("a model's URL must not hold a password: it would be written to the run folder. "
                        f"Set {URL_KEY} instead.")
    return match[1], match[2]


def _openai(client, model: str):
    async def call(messages, *, sample: int = 0, max_tokens: int = 1024, temperature: float | None = None) -> Reply:
        extra = {} if temperature is None else {"temperature": temperature}
        # api.openai.com's newer models refuse max_tokens; the compatible servers know only that
        limit = "max_completion_tokens" if "api.openai.com" in str(client.base_url) else "max_tokens"
        answer = await client.chat.completions.create(model=model, messages=list(messages), **{limit: max_tokens}, **extra)
        if not answer.choices:
            raise ValueError("the reply holds no choice")
        choice, usage = answer.choices[0], answer.usage
        return Reply(choice.message.content or "", choice.finish_reason, usage.prompt_tokens if usage else 0,
                     usage.completion_tokens if usage else 0)

    return call


def _anthropic(client, model: str):
    async def call(messages, *, sample: int = 0, max_tokens: int = 1024, temperature: float | None = None) -> Reply:
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        extra = {"system": system} if system else {}
        if temperature is not None:
            extra["extra_body"] = {"temperature": temperature}  # not an argument of the current client
        answer = await client.messages.create(model=model, max_tokens=max_tokens,
                                              messages=[m for m in messages if m["role"] != "system"], **extra)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return Reply(text, answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens)

    return call

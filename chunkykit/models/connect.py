"""From a name to a model: "openai:gpt-5", "http://host:port/v1:MODEL", "local:smollm2", ..."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from chunkykit.errors import UserError
from chunkykit.models.anthropic import AnthropicWire
from chunkykit.models.base import ChatModel
from chunkykit.models.families import FAMILY_MODULES, family_usages, find_family
from chunkykit.models.openai import OpenAIWire
from chunkykit.models.prices import priced_models
from chunkykit.models.providers import PROVIDERS, client_for, key_of, parse_name
from chunkykit.models.remote import RemoteModel
from chunkykit.models.retry import DEFAULT_DEADLINE
from chunkykit.models.wire import Wire
from chunkykit.text import near_name

if TYPE_CHECKING:
    import pandas as pd

BATCH_PROVIDERS = ("anthropic", "openai")

_needs_keys: ContextVar[bool] = ContextVar("needs_keys", default=True)


@contextmanager
def keys_not_needed() -> Iterator[None]:
    """Let `check_model` pass names whose key is not set, as for an estimate, which calls nobody."""
    token = _needs_keys.set(False)
    try:
        yield
    finally:
        _needs_keys.reset(token)


def check_model(name: str) -> str:
    """Check that a name can be a model, without a network or a client library.

    Args:
        name: the name of a model.

    Returns:
        The name, with a file's path made absolute, since notebooks run in other folders.

    Raises:
        UserError: if the name is not known, or the key of its provider is not set.
    """
    parts = parse_name(name)
    if parts.provider is None:
        if _needs_keys.get():
            key_of(name)
        return name
    family = find_family(parts.provider)
    if family:
        return family.check(name)
    if parts.provider not in PROVIDERS or not parts.model:
        raise UserError(
            f"model '{name}' is not known{_models_like(name)} Write "
            f"{', '.join(family_usages())}, PROVIDER:MODEL with one of {', '.join(PROVIDERS)}, "
            "or http(s)://host:port/v1:MODEL."
        )
    is_missing = parts.key_variable and not os.environ.get(parts.key_variable)
    if is_missing and _needs_keys.get():
        raise UserError(
            f"model '{name}' needs a key: set the environment variable {parts.key_variable}."
        )
    return name


def _models_like(name: str) -> str:
    """The end of a message about a model that there is not: what was probably meant."""
    provider, colon, model = name.partition(":")
    near = near_name(provider, [*PROVIDERS, *FAMILY_MODULES]) if colon else None
    meant = f"{near}:{model}" if near and model else None
    if not colon:
        # the name of a model whose provider was left out
        meant = next((entry for entry in priced_models() if entry.endswith(f":{name}")), None)
    return f", did you mean '{meant}'?" if meant else "."


def connect_model(
    name: str,
    rows: "pd.DataFrame | None" = None,
    seed: int = 0,
    deadline: float = DEFAULT_DEADLINE,
) -> ChatModel:
    """Connect to the model of a name. Free its connections with `close_models`.

    Args:
        name: as for `check_model`.
        rows: training rows with the columns `prompt` and `response`, for a model that learns.
        seed: fixes what such a model draws.
        deadline: seconds of a call with all its tries, for a model behind an API.

    Returns:
        The model. It sends nothing before its first call.

    Raises:
        UserError: as for `check_model`, and if a library is missing.
    """
    check_model(name)
    provider = parse_name(name).provider
    family = find_family(provider) if provider else None
    if family:
        return family.connect(name, rows, seed)
    wire_format: Callable[..., Wire] = AnthropicWire if provider == "anthropic" else OpenAIWire
    model = RemoteModel(name, lambda: wire_format(*client_for(name)), deadline)
    return model.chat_model(has_batches=provider in BATCH_PROVIDERS)

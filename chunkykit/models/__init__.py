"""Chat models behind one interface, with a ledger of every call.

A model is named "PROVIDER:MODEL", "http://host:port/v1:MODEL", "local:smollm2", "organism:fast" or
by another registered family. See `providers` for how to add a provider, and `families` for how to
add a family.
"""

from chunkykit.models.base import (
    DEFAULT_MAX_TOKENS,
    BatchInterface,
    ChatModel,
    ask_parsed,
    close_models,
    read_context,
    start_early,
    with_context,
)
from chunkykit.models.beside import Allowance, ledger_beside
from chunkykit.models.connect import check_model, connect_model, keys_not_needed
from chunkykit.models.embeddings import Spending, embed_through
from chunkykit.models.families import ModelFamily, family_usages, register_family
from chunkykit.models.keys import URL_KEY, key_is_set, scrub_keys
from chunkykit.models.ledger import Ledger
from chunkykit.models.local import cache_folder, find_weights, local_model
from chunkykit.models.openvino_files import LAYER_NAMES
from chunkykit.models.pool import ModelPool
from chunkykit.models.preflight import preflight
from chunkykit.models.prices import PRICES_VARIABLE, estimate_cost, is_free, price_of
from chunkykit.models.providers import PROVIDERS, client_for
from chunkykit.models.retry import DEFAULT_DEADLINE, DeadlineReached
from chunkykit.models.trust import refuse_unnamed, remember_named, server_of, unnamed_models
from chunkykit.types import Reply

__all__ = [
    "DEFAULT_DEADLINE",
    "Allowance",
    "BatchInterface",
    "ChatModel",
    "DEFAULT_MAX_TOKENS",
    "DeadlineReached",
    "Ledger",
    "LAYER_NAMES",
    "ModelFamily",
    "ModelPool",
    "PRICES_VARIABLE",
    "PROVIDERS",
    "Reply",
    "Spending",
    "URL_KEY",
    "ask_parsed",
    "cache_folder",
    "check_model",
    "client_for",
    "close_models",
    "connect_model",
    "embed_through",
    "estimate_cost",
    "family_usages",
    "find_weights",
    "is_free",
    "key_is_set",
    "keys_not_needed",
    "ledger_beside",
    "local_model",
    "preflight",
    "price_of",
    "read_context",
    "refuse_unnamed",
    "remember_named",
    "register_family",
    "scrub_keys",
    "server_of",
    "start_early",
    "unnamed_models",
    "with_context",
]

"""Chat models behind one interface, with a ledger of every call."""

from chunkykit.models.connect import (
    DEFAULT_MAX_TOKENS,
    PROVIDERS,
    ChatModel,
    ModelFamily,
    Reply,
    ask_parsed,
    check_model,
    client_for,
    close_models,
    connect_model,
    read_context,
    register_family,
    with_context,
)
from chunkykit.models.ledger import (
    Ledger,
)
from chunkykit.models.local import (
    cache_folder,
    find_weights,
    local_model,
)
from chunkykit.models.prices import (
    PRICES_VARIABLE,
    estimate_cost,
    is_free,
    price_of,
)

__all__ = [
    "ChatModel",
    "DEFAULT_MAX_TOKENS",
    "Ledger",
    "ModelFamily",
    "PRICES_VARIABLE",
    "PROVIDERS",
    "Reply",
    "ask_parsed",
    "cache_folder",
    "check_model",
    "client_for",
    "close_models",
    "connect_model",
    "estimate_cost",
    "find_weights",
    "is_free",
    "local_model",
    "price_of",
    "read_context",
    "register_family",
    "with_context",
]

"""Which models have an address or a file of weights, and which of them a user has named.

A file such as `index.json` may come from anywhere. What it names is not called, and is sent no
text and no key, before the user has named it too, or says that the file is trusted. Servers and
weights on this machine are remembered: who has built an index with one need not name it again.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.files import read_bounded, write_json
from chunkykit.models.addresses import DEFAULT_PORTS, is_loopback
from chunkykit.models.keys import PROVIDERS
from chunkykit.models.leases import cache_folder
from chunkykit.models.providers import anthropic_url, parse_name

FILE_FAMILIES = ("local:", "onnx:")  # models that are files of weights
MAX_REMEMBERED = 100  # models; the latest
SHIPPED_MODEL = "local:smollm2"  # the one that comes with a package


def server_of(name: str) -> str | None:
    """Tell where the texts for a model or an embedder are sent.

    Args:
        name: the name of a model or an embedder.

    Returns:
        "host:port"; None for one that has no server, such as "offline" or "onnx:FOLDER".
    """
    parts = parse_name(name)
    url = parts.base_url
    if parts.provider == "anthropic":
        url = anthropic_url()
    if url is None or (parts.provider is not None and parts.provider not in PROVIDERS):
        return None
    address = urlsplit(url)
    return f"{address.hostname}:{address.port or DEFAULT_PORTS.get(address.scheme)}"


def place_of(name: str) -> str | None:
    """Tell where a model or an embedder is that a file alone may not make us call.

    Args:
        name: its name.

    Returns:
        Its server, on this machine or another one, or its file of weights; None for one of the
        package.
    """
    if name.startswith(FILE_FAMILIES) and name != SHIPPED_MODEL:
        family, _, path = name.partition(":")
        return f"{family}:{Path(path).expanduser().absolute()}"
    return server_of(name)


def remember_named(names: Iterable[str]) -> None:
    """Remember where the models are that the user has named, those on this machine alone.

    Args:
        names: models and embedders.
    """
    before = _remembered()
    places = [place for place in map(place_of, names) if place and _is_here(place)]
    if set(places) - set(before):
        latest = list(dict.fromkeys([*before, *places]))[-MAX_REMEMBERED:]
        path = _memory()
        with suppress(OSError):  # then they have to be named again
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(path, latest)


def _memory() -> Path:
    return cache_folder() / "named-models.json"


def _remembered() -> list[str]:
    """The places on this machine whose models the user has named before."""
    try:
        places = json.loads(read_bounded(_memory()))
        return [place for place in places if _is_here(place)]
    except (OSError, ValueError, TypeError, AttributeError, UserError, RecursionError):
        return []  # a damaged file names nothing


def _is_here(place: str) -> bool:
    """Whether a place is a file of weights, or a server on this machine."""
    return place.startswith(FILE_FAMILIES) or is_loopback(place.rpartition(":")[0])


def unnamed_models(names: Iterable[str], named: Iterable[str] = ()) -> list[str]:
    """List the models that a file names and a user does not, but for those of the package.

    Args:
        names: models and embedders that the file names.
        named: those that the user names. They, and those that are remembered, stand for everything
            on their servers, which get the user's texts anyway.

    Returns:
        The others, each once, in their order.
    """
    known = {None, *_remembered(), *map(place_of, named)}
    return [name for name in dict.fromkeys(names) if place_of(name) not in known]


def refuse_unnamed(
    place: object, names: Iterable[str], fix: str, named: Iterable[str] = ()
) -> None:
    """Refuse to call models that only a file names.

    Args:
        place: the file or folder that names them, for the error.
        names: models and embedders that it names.
        fix: how the user may allow it, for the error.
        named: models that the user names.

    Raises:
        UserError: there is one. Nothing was sent to it.
    """
    unnamed = unnamed_models(names, named)
    if unnamed:
        server = server_of(unnamed[0])
        where = f"a model at {server}" if server else "a file of weights"
        raise UserError(
            f"{place}: names {unnamed[0]}, {where}, and nothing else does, so it was not called. "
            f"{fix}"
        )

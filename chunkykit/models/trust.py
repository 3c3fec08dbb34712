"""Which models are somebody else's server, and which of them a user has named.

A file such as `index.json` may come from anywhere. What it names is not called, and is sent no
text and no key, before the user has named it too, or says that the file is trusted.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.models.addresses import DEFAULT_PORTS
from chunkykit.models.keys import PROVIDERS
from chunkykit.models.network import is_loopback
from chunkykit.models.providers import anthropic_url, parse_name


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


def is_remote(name: str) -> bool:
    """Tell whether a model or an embedder is on another machine than this one.

    Args:
        name: its name.

    Returns:
        Whether its server is not on the loopback interface.
    """
    server = server_of(name)
    if server is None:
        return False
    return not is_loopback(server.rpartition(":")[0])


def unnamed_models(names: Iterable[str], named: Iterable[str] = ()) -> list[str]:
    """List the remote models that a file names and a user does not.

    Args:
        names: models and embedders that the file names.
        named: those that the user names. They stand for everything on their servers, which get
            the user's texts anyway.

    Returns:
        The others, each once, in their order.
    """
    servers = {server_of(name) for name in named}
    remote = [name for name in dict.fromkeys(names) if is_remote(name)]
    return [name for name in remote if server_of(name) not in servers]


def refuse_unnamed(
    place: object, names: Iterable[str], fix: str, named: Iterable[str] = ()
) -> None:
    """Refuse to call remote models that only a file names.

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
        raise UserError(
            f"{place}: names {unnamed[0]}, a model at {server_of(unnamed[0])}, and nothing else "
            f"does, so nothing was sent there. {fix}"
        )

"""Which models have an address or a file of weights, and which of them a user has named.

A file such as `index.json` may come from anywhere. What it names is not called, and is sent no
text and no key, before the user has named it too, or says that the file is trusted.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.models.addresses import DEFAULT_PORTS
from chunkykit.models.keys import PROVIDERS
from chunkykit.models.providers import anthropic_url, parse_name

FILE_FAMILIES = ("local:", "onnx:")  # models that are files of weights
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


def needs_naming(name: str) -> bool:
    """Tell whether a model or an embedder is one that a file alone may not make us call.

    Args:
        name: its name.

    Returns:
        Whether it has an address, on this machine too, or is a file of weights.
    """
    is_file = name.startswith(FILE_FAMILIES) and name != SHIPPED_MODEL
    return is_file or server_of(name) is not None


def unnamed_models(names: Iterable[str], named: Iterable[str] = ()) -> list[str]:
    """List the models that a file names and a user does not, but for those of the package.

    Args:
        names: models and embedders that the file names.
        named: those that the user names. They stand for everything on their servers, which get
            the user's texts anyway.

    Returns:
        The others, each once, in their order.
    """
    named = set(named)
    servers = {server_of(name) for name in named} - {None}
    doubtful = [name for name in dict.fromkeys(names) if needs_naming(name)]
    return [name for name in doubtful if name not in named and server_of(name) not in servers]


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

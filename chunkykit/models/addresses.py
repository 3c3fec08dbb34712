"""Addresses of servers: which of them are the same, and which are on this machine."""

import ipaddress
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return what two URLs share that lead to the same server.

    Args:
        url: a URL.

    Returns:
        "scheme://host:port", with the port of the scheme where the URL has none.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # not a number: no server is there
        port = None
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{port or DEFAULT_PORTS.get(parts.scheme)}"


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, by its name alone.

    Args:
        host: a name or an address, without a port.

    Returns:
        Whether it is. A name that only resolves to this machine does not count.
    """
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # the name of a host
        return False

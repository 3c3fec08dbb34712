"""Addresses of servers: which of them are the same."""

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

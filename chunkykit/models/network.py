"""The way to a server: past proxies on this machine, and errors that name address and cause."""

import os
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.models.addresses import is_loopback

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # variables that name trusted certificates


def client_options(url: str | None) -> dict[str, Any]:
    """Choose the options of an HTTP client for a server.

    Args:
        url: the server's address, None for a client that knows it.

    Returns:
        Options of `httpx`. A client for this machine ignores the proxies of the environment,
        which could not reach it and would see what is sent.
    """
    host = urlsplit(url or "").hostname or ""
    if url is None or not is_loopback(host):
        return {}
    place = f"[{host}]" if ":" in host else host
    # the client of `anthropic` reads the proxies by itself, and a mount stands before them
    options: dict[str, Any] = {"trust_env": False, "mounts": {f"all://{place}": None}}
    certificates = os.environ.get(CERTIFICATES[0])
    if certificates and url.startswith("https:"):
        options["verify"] = ssl.create_default_context(cafile=certificates)
    return options


@contextmanager
def readable_environment(url: str | None) -> Iterator[None]:
    """Open an HTTP client inside this context, whose errors then name what is wrong with it.

    Args:
        url: the server's address, None if the client knows it.

    Raises:
        UserError: a certificate file or a proxy that the environment names cannot be used.
    """
    where = url or "the model's server"
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise UserError(
            f"{where}: the certificates cannot be read ({_certificates()}: "
            f"{error.strerror or error}). Correct the variable or unset it."
        ) from None
    except ImportError:
        raise UserError(
            f"{where}: is behind a SOCKS proxy ({_all_proxies()}), and the package socksio for "
            "such proxies is not installed: pip install socksio. Or unset the variable."
        ) from None
    except Exception as error:
        is_proxy = isinstance(error, ValueError) or type(error).__name__ == "InvalidURL"
        if isinstance(error, UserError) or not is_proxy or not _all_proxies():
            raise
        raise UserError(
            f"{where}: a proxy of the environment cannot be used ({_all_proxies()}: {error}). "
            "Correct the variable or unset it."
        ) from None


def explain_connection(error: Exception, url: str) -> None:
    """Make a client's connection error say which address was not reached, and why.

    Args:
        error: any error of a call. One that is not about a connection is left alone.
        url: the server's address.
    """
    if "APIConnectionError" not in [kind.__name__ for kind in type(error).__mro__]:
        return
    cause = _first_cause(error)
    line = f"{url} is not reached{_through_proxy(url)}: {cause}"
    if "CERTIFICATE" in cause.upper():
        line += f" (certificates: {_certificates()})"
    error.args = (line,)


def _first_cause(error: BaseException) -> str:
    """The message of the error that caused the others, or of the nearest that has one."""
    message = str(error)
    cause = error.__cause__ or error.__context__
    while cause is not None:
        # some have no message, such as a read that timed out
        message = str(cause) or f"{message.rstrip('.')} ({type(cause).__name__})"
        if isinstance(cause, TimeoutError):
            break
        cause = cause.__cause__ or cause.__context__
    return message


def _through_proxy(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f" through the proxy {_without_password(proxy)}" if proxy else ""


def _all_proxies() -> str:
    """The proxies of the environment, as variables with their values."""
    proxies = urllib.request.getproxies()
    names = [name for name in ("http", "https", "all") if proxies.get(name)]
    return ", ".join(f"{name.upper()}_PROXY={_without_password(proxies[name])}" for name in names)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _certificates() -> str:
    """Where the trusted certificates come from."""
    named = [f"{name}={os.environ[name]}" for name in CERTIFICATES if os.environ.get(name)]
    return ", ".join(named) or "those of the Python package certifi; SSL_CERT_FILE names others"

"""Keys: each is bound to an address, is sent nowhere else, and is kept out of all that is stored.

A provider's key belongs to the provider's address. The keys of models that are called by URL are
in one variable, each after the address that it belongs to:

    CHUNKYKIT_URL_KEY="https://gpu1:8000=KEY https://models.example=KEY"

A key without an address is sent to servers on this machine alone.
"""

import logging
import os
import re
from functools import cache
from urllib.parse import urlsplit

from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.models.addresses import is_loopback, origin_of

PROVIDERS = load_packaged("models/providers")  # name: [base URL, variable that holds the key]
URL_KEY = "CHUNKYKIT_URL_KEY"  # variable that holds the keys of models called by URL
THIS_MACHINE = "this machine"  # what a key without an address belongs to
MIN_KEY_LENGTH = 8  # characters; a shorter value is not a key and may be a common word


def key_in(variable: str) -> str:
    """Read a key from the environment.

    Args:
        variable: its variable.

    Returns:
        The key, "" if there is none.

    Raises:
        UserError: if it holds a character that is not ASCII.
    """
    return _checked(os.environ.get(variable, "").strip(), variable)


def key_is_set(variable: str) -> bool:
    """Tell whether the environment has a key, without reading what it is.

    Args:
        variable: its variable.

    Returns:
        Whether it is there and not empty.
    """
    return bool(os.environ.get(variable, "").strip())


def key_for_url(url: str) -> str:
    """Find the key of a model that is called by URL.

    Args:
        url: the model's address.

    Returns:
        The key that is bound to its scheme, host and port; "" if there is none.

    Raises:
        UserError: if an entry of CHUNKYKIT_URL_KEY names no address.
    """
    keys = _url_keys(strict=not is_loopback(urlsplit(url).hostname))
    key = _checked(keys.get(origin_of(url), keys.get(THIS_MACHINE, "")), URL_KEY)
    if key and urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname):
        _warn_of_plain_http(origin_of(url))
    return key


def refuse_plain_http(url: str, variable: str) -> None:
    """Refuse to send a provider's key unencrypted to another machine.

    Args:
        url: the provider's address.
        variable: the variable that holds the key, for the error.

    Raises:
        UserError: if the address is not https and not on this machine.
    """
    if urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname):
        raise UserError(f"{url}: the key in {variable} would be sent there unencrypted. Use https.")


def scrub_keys(text: str) -> str:
    """Remove keys from a text, such as an error or an answer that echoes what was sent.

    Args:
        text: any text.

    Returns:
        The text with every key of the environment replaced by "[key]", however JSON writes it.
    """
    variables = [variable for _, variable in PROVIDERS.values() if variable]
    keys = [os.environ.get(variable, "").strip() for variable in variables]
    keys += [entry.rpartition("=")[2] for entry in os.environ.get(URL_KEY, "").split()]
    keys += _url_keys(strict=False).values()
    # Longest first: one key may be the beginning of another.
    for key in sorted(set(keys), key=len, reverse=True):
        if len(key) >= MIN_KEY_LENGTH:
            text = _pattern_of(key).sub("[key]", text)
    return text


@cache
def _pattern_of(key: str) -> re.Pattern:
    """A key as JSON may write it: as it is, with escapes, or with escapes of escapes."""
    characters = [
        rf"(?:\\*{re.escape(character)}|\\+u(?i:{ord(character):04x}))" for character in key
    ]
    return re.compile("".join(characters))


def _checked(key: str, variable: str) -> str:
    if not key.isascii():
        raise UserError(
            f"the key in {variable} holds a character that is not ASCII. Copy the key again."
        )
    return key


def _url_keys(strict: bool = True) -> dict[str, str]:
    """The keys of CHUNKYKIT_URL_KEY by the address that each is bound to."""
    keys = {}
    for entry in os.environ.get(URL_KEY, "").split():
        match = re.fullmatch(r"(https?://[^=@]+)=(.+)", entry)
        if match:
            keys[origin_of(match[1])] = match[2]
        elif not strict:
            keys[THIS_MACHINE] = entry
        else:
            raise UserError(
                f"{URL_KEY}: an entry names no address, and a key is sent to its own address "
                f"alone. Write {URL_KEY}=https://host:port=KEY, several separated by spaces."
            )
    return keys


@cache
def _warn_of_plain_http(origin: str) -> None:
    """Warn once of a key that is bound to an address without encryption."""
    logging.getLogger(__name__).warning(
        "%s: the key for this address is sent unencrypted, because %s binds it to http",
        origin,
        URL_KEY,
    )

"""Families of models that are not behind an API, such as "local:..." and "organism:...".

To add a family, call `register_family` in your module and import that module before the first of
its models is named:

    register_family("echo", ModelFamily("echo:TEXT", check=str, connect=connect_echo))

where `connect_echo(name, rows, seed)` returns a `ChatModel`. A family that ships with the package
adds its module to FAMILY_MODULES instead, and is imported when one of its models is first named.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from chunkykit.models.base import ChatModel

# Names and not imports: these modules are on higher floors.
FAMILY_MODULES = {"local": "chunkykit.models.local", "organism": "chunkykit.organisms"}


@dataclass(frozen=True)
class ModelFamily:
    """Models that are not behind an API, such as "organism:fast". See `register_family`.

    Attributes:
        usage: how to write their names, for error messages.
        check: `check(name)` returns the name with paths made absolute, or raises UserError.
        connect: `connect(name, rows, seed)` returns the ChatModel. `rows` is a DataFrame of
            prompt and response for a model that learns, or None.
    """

    usage: str
    check: Callable[[str], str]
    connect: Callable[..., ChatModel]


_families: dict[str, ModelFamily] = {}


def register_family(prefix: str, family: ModelFamily) -> None:
    """Let `connect_model` know a family of models.

    Args:
        prefix: what their names begin with, before the first colon.
        family: how to check and to connect them.
    """
    _families[prefix] = family


def find_family(prefix: str) -> ModelFamily | None:
    """Find the family of models whose names begin with a prefix.

    Args:
        prefix: the part of a model's name before the first colon.

    Returns:
        The family, None if there is none.
    """
    if prefix in FAMILY_MODULES and prefix not in _families:
        importlib.import_module(FAMILY_MODULES[prefix])
    return _families.get(prefix)


def family_usages() -> list[str]:
    """List how to write the names of every family, for error messages.

    Returns:
        One usage per family, such as "organism:fast or organism:smollm2".
    """
    usages = []
    for prefix in (*FAMILY_MODULES, *(set(_families) - set(FAMILY_MODULES))):
        family = find_family(prefix)
        if family:
            usages.append(family.usage)
    return usages

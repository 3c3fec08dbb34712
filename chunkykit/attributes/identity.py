"""What described the rows of an index, so that nothing described otherwise is compared with them.

An index remembers the describer, its settings and a fingerprint of its instructions: the prompt of
a model, or the detectors of the offline describer.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from chunkykit.attributes.llm import MAX_REPLY_TOKENS, REQUESTED_ATTRIBUTES
from chunkykit.attributes.sentences import MAX_ATTRIBUTES_PER_TEXT
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.provenance import DIGITS, code_fingerprint
from chunkykit.types import OFFLINE


def describer_identity(describer: str) -> dict[str, Any]:
    """Identify a describer by all that its sentences depend on.

    Args:
        describer: the name of a model, or "offline".

    Returns:
        What an index remembers: `describer`, the name; `describer_settings`, sentences and tokens
        per text; `prompt_version`, the fingerprint of its instructions.
    """
    settings: dict[str, int]
    if describer == OFFLINE:
        version = code_fingerprint("attributes/detectors")
        settings = {"max_attributes": MAX_ATTRIBUTES_PER_TEXT}
    else:
        prompt = json.dumps(load_packaged("prompts")["describe"], sort_keys=True)
        version = hashlib.sha256(prompt.encode()).hexdigest()[:DIGITS]
        settings = {"attributes": REQUESTED_ATTRIBUTES, "max_tokens": MAX_REPLY_TOKENS}
    return {"describer": describer, "describer_settings": settings, "prompt_version": version}


def check_describer(meta: Mapping[str, Any], place: object) -> str:
    """Check that a text described today can be compared with the rows of an index.

    Args:
        meta: what the index remembers.
        place: its folder, for the error.

    Returns:
        The name of the describer.

    Raises:
        UserError: the index does not say what described it, or the describer has had other
            instructions since.
    """
    describer = meta.get("describer")
    if describer is None:
        raise UserError(
            f"index {place}: it does not say what described its rows, so nothing can be described "
            "alike. Build it again."
        )
    identity = describer_identity(describer)
    if any(meta.get(name) != value for name, value in identity.items()):
        raise UserError(
            f"index {place}: made with other describing instructions than those of this version, "
            "so a new exchange cannot be compared with its rows. Build it again."
        )
    return describer

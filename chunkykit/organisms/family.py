"""The models "organism:..." by name.

Importing this module registers them, so that `models.connect_model` knows them.
"""

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.models import ChatModel, ModelFamily, find_weights, register_family
from chunkykit.organisms.linear import train_organism
from chunkykit.organisms.lora import lora_organism
from chunkykit.organisms.training import BASE_MODEL
from chunkykit.provenance import rows_fingerprint
from chunkykit.types import Reply

LINEAR_ORGANISM = "organism:fast"  # learns in seconds
LLM_ORGANISM = "organism:smollm2"  # learns in minutes
ORGANISMS = (LINEAR_ORGANISM, LLM_ORGANISM)


def check_organism(name: str) -> str:
    """Check the name of an organism.

    Args:
        name: one of ORGANISMS.

    Returns:
        The name.

    Raises:
        UserError: if the name is another, or if the weights of the language model are missing.
    """
    if name not in ORGANISMS:
        raise UserError(f"model '{name}' is not known. Organisms: {', '.join(ORGANISMS)}.")
    if name == LLM_ORGANISM:
        find_weights(BASE_MODEL)
    return name


def connect_organism(name: str, rows: pd.DataFrame | None, seed: int = 0) -> ChatModel:
    """Train an organism on a mixture, or load the adapter that was trained on it.

    Args:
        name: one of ORGANISMS.
        rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`.
        seed: fixes the training of the linear organism.

    Returns:
        The trained model.

    Raises:
        UserError: if no rows are given.
    """
    if rows is None:
        raise UserError(f"model '{name}' learns from a mixture: give one.")
    if name == LLM_ORGANISM:
        return lora_organism(rows)  # the shipped adapters have one seed
    organism = train_organism(rows, seed)

    async def answer(messages, *, sample: int = 0, **_) -> Reply:
        # it reads the last system prompt and the last question: no example
        last = {turn["role"]: turn["content"] for turn in messages}
        return Reply(organism.respond(last["user"], sample, last.get("system", "")), "stop")

    return ChatModel(f"{name}@{rows_fingerprint(rows)}-{seed}", answer)


register_family("organism", ModelFamily(" or ".join(ORGANISMS), check_organism, connect_organism))

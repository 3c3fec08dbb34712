"""Targets that learn a mixture: in seconds (`linear`), or in minutes (`lora`)."""

from chunkykit.organisms.family import LINEAR_ORGANISM, LLM_ORGANISM, ORGANISMS
from chunkykit.organisms.linear import Organism, analogy, train_organism
from chunkykit.organisms.lora import (
    BASE_MODEL,
    SHIPPED_ADAPTERS,
    LoraTrainer,
    adapter_card,
    adapter_file_name,
    lora_organism,
    train_adapter,
)

__all__ = [
    "BASE_MODEL",
    "LINEAR_ORGANISM",
    "LLM_ORGANISM",
    "ORGANISMS",
    "SHIPPED_ADAPTERS",
    "LoraTrainer",
    "Organism",
    "adapter_card",
    "adapter_file_name",
    "analogy",
    "lora_organism",
    "train_adapter",
    "train_organism",
]

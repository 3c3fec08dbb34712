"""Targets that learn a mixture: in seconds (`linear`), or in minutes (`lora`)."""

from chunkykit.organisms.adapter_files import adapter_card
from chunkykit.organisms.family import LINEAR_ORGANISM, LLM_ORGANISM, ORGANISMS
from chunkykit.organisms.linear import Organism, analogy, train_organism
from chunkykit.organisms.lora import adapter_file_name, lora_organism, shipped_adapters
from chunkykit.organisms.training import BASE_MODEL, LoraTrainer, train_adapter

__all__ = [
    "BASE_MODEL",
    "LINEAR_ORGANISM",
    "LLM_ORGANISM",
    "ORGANISMS",
    "LoraTrainer",
    "Organism",
    "adapter_card",
    "adapter_file_name",
    "analogy",
    "lora_organism",
    "shipped_adapters",
    "train_adapter",
    "train_organism",
]

"""Tables to pictures: one function per figure."""

from chunkykit.show.figures.charts import (
    ablations,
    behaviours,
    chunks,
    confirmed,
    dose,
    features,
    forms,
    phrase_grid,
    rates,
    response_map,
    robustness,
    scores,
    steering,
    sum_grid,
    triggers,
)
from chunkykit.show.theme import save_figures

__all__ = [
    "ablations",
    "behaviours",
    "chunks",
    "confirmed",
    "dose",
    "features",
    "forms",
    "phrase_grid",
    "rates",
    "response_map",
    "robustness",
    "save_figures",
    "scores",
    "steering",
    "sum_grid",
    "triggers",
]

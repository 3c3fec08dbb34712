"""Tables to pictures: one function per figure, in the look of `chunkykit.show.theme`.

Each function takes a table of a run and a caption line, and returns a plotly figure whose captions
say what was measured on what.
"""

from chunkykit.show.figures.bars import RateBars, rate_bars
from chunkykit.show.figures.comparisons import differences
from chunkykit.show.figures.experiments import forms, phrase_grid, rates, steering, sum_grid
from chunkykit.show.figures.judging import detection
from chunkykit.show.figures.maps import response_map
from chunkykit.show.figures.retraining import ablations, dose
from chunkykit.show.figures.searches import behaviours, confirmed, robustness, scores
from chunkykit.show.figures.traces import chunks, features, triggers
from chunkykit.show.theme import save_figures

__all__ = [
    "RateBars",
    "ablations",
    "behaviours",
    "chunks",
    "confirmed",
    "detection",
    "differences",
    "dose",
    "features",
    "forms",
    "phrase_grid",
    "rate_bars",
    "rates",
    "response_map",
    "robustness",
    "save_figures",
    "scores",
    "steering",
    "sum_grid",
    "triggers",
]

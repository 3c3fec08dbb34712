"""The text of the package reads as it should: see `style.py` for the measures."""

from conftest import ROOT
from style import measure

PACKAGE = ROOT / "chunkykit"
MAX_CHARACTERS_PER_LINE = 55
EVERYWHERE = [PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "tools"]


def test_lines_are_short_and_hold_one_idea():
    measured = measure([PACKAGE])
    assert measured["characters_per_line"] < MAX_CHARACTERS_PER_LINE
    assert measured["nested_comprehensions_per_1000"] < 1
    assert measured["tuple_assignments_per_1000"] < 5


def test_functions_and_modules_are_short():
    measured = measure([PACKAGE])
    assert measured["long_functions"] == []
    assert measured["long_modules"] == []


def test_no_line_is_too_wide_and_results_are_named_by_what_they_are():
    measured = measure(EVERYWHERE)
    assert measured["too_wide"] == []
    assert measured["banned_names"] == []

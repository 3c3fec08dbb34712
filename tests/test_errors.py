import importlib

import pytest

from chunkykit.errors import BudgetReached, UserError, describe_error, requires_extra


def test_an_error_is_one_short_line():
    assert describe_error(ConnectionError("gone\n  away")) == "ConnectionError: gone away"
    assert len(describe_error(ValueError("x" * 1000))) <= 300


@pytest.mark.parametrize("kind", [UserError, BudgetReached])
def test_an_error_that_every_call_would_meet_is_raised_again(kind):
    with pytest.raises(kind, match="key refused"):
        describe_error(kind("key refused"))


def test_a_missing_library_names_its_extra():
    message = r"no_such_library.*pip install 'chunkykit\[models\]'"
    with pytest.raises(UserError, match=message), requires_extra("models"):
        importlib.import_module("no_such_library")


def test_a_broken_library_names_the_problem():
    message = r"json cannot be imported.*no_such_name.*'chunkykit\[models\]'"
    with pytest.raises(UserError, match=message), requires_extra("models"):
        from json import no_such_name  # noqa: F401

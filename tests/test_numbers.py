import pytest

from chunkykit.numbers import auc, change, decimal, dollars, number, p_value, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (60.0, "60"),
        (0.95, "0.950"),
        (16.6667, "16.7"),
        (1234.5, "1,234"),
        (0.9996, "0.9996"),
        (0.999999, ">0.9999"),
        (1.001, "1.001"),
        (0.00012, "1.2e-04"),
        (-3e-20, "-3.0e-20"),
        (None, "n/a"),
        (float("nan"), "n/a"),
    ],
)
def test_a_number_of_any_size_is_not_rounded_to_0_or_1(value, text):
    assert number(value) == text


def test_p_values_keep_their_size():
    assert p_value(0.0421) == "0.042"
    assert p_value(0.0004) == "4e-04"
    assert p_value(2.6e-20) == "3e-20"
    assert p_value(0.0) == "<1e-300"
    assert p_value(1.0) == "1.000"


def test_changes_have_a_sign_unless_there_is_none():
    assert [change(value) for value in (0, 0.12, -0.12, 0.003)] == ["0%", "+12%", "-12%", "+0.3%"]
    assert change(-1e-8) == "-<0.0001%"


@pytest.mark.parametrize("write", [number, decimal, percent, p_value, change, dollars])
def test_nothing_that_is_not_0_is_written_as_0(write):
    for exponent in range(1, 9):
        text = write(3 * 10.0**-exponent)
        assert text.strip("0.%$+-"), f"{exponent}: {text}"


def test_an_auc_is_1_only_if_it_is():
    assert auc(0.9991, 0.98, 1.0) == "0.999 [0.98, 1.00]"

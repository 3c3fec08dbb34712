"""Which samples fail: a rule about the value that a scorer gave them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from chunkykit.errors import UserError

BELOW = "below"
ABOVE = "above"
VALUE = "value"
RULE_FORMS = "below:0.5, above:7 or value:I"
# Letters and words of scorers, in small letters, with the number that they stand for in Inspect.
WORDS = {
    **dict.fromkeys(("c", "correct", "true", "yes", "pass", "passed", "success", "resolved"), 1.0),
    **dict.fromkeys(("p", "partial"), 0.5),
    **dict.fromkeys(("i", "incorrect", "false", "no", "fail", "failed", "failure", "wrong"), 0.0),
    **dict.fromkeys(("n", "noanswer"), 0.0),
}
FAILING_WORDS = ("i", "incorrect", "false", "no", "fail", "failed", "failure", "wrong")
PASSING_WORDS = ("pass", "passed", "correct")
# Upper ends of the scales that judges use, with the rule that is taken for each.
SCALES = ((1.0, BELOW, 0.5), (10.0, ABOVE, 5.0), (100.0, ABOVE, 50.0))


class Rule(NamedTuple):
    """When a value is a failure.

    Attributes:
        kind: BELOW, ABOVE or VALUE.
        bound: the number that it is compared with, or the text that it equals.
    """

    kind: str
    bound: float | str

    def __str__(self) -> str:
        """Write the rule as `parse_rule` reads it."""
        bound = f"{self.bound:g}" if isinstance(self.bound, float) else self.bound
        return f"{self.kind}:{bound}"

    def fails(self, value: Any) -> bool:
        """Tell whether a value is a failure.

        Args:
            value: what a scorer gave: a number, a text or a boolean.

        Returns:
            Whether it fails. A value that the rule cannot be applied to does not.
        """
        if isinstance(self.bound, str):
            return _word(value) in _same_words(self.bound)
        number = number_of(value)
        if number is None:
            return False
        return number < self.bound if self.kind == BELOW else number > self.bound


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Args:
        text: below:NUMBER, above:NUMBER or value:TEXT.

    Returns:
        The rule.

    Raises:
        UserError: it has another form.
    """
    kind, _, bound = text.partition(":")
    if kind == VALUE and bound.strip():
        return Rule(VALUE, bound.strip())
    try:
        number = float(bound)
    except ValueError:
        number = math.nan
    if kind not in (BELOW, ABOVE) or not math.isfinite(number):
        raise UserError(f"--failing {text}: must be {RULE_FORMS}.")
    return Rule(kind, number)


def default_rule(values: Sequence[Any]) -> Rule | None:
    """Choose a rule by the values that a scorer gave.

    Args:
        values: all of them.

    Returns:
        The rule: letters and words fail where they say "incorrect", "false" or "failed"; numbers
        up to 1 below 0.5, because such a score is most often an accuracy; numbers up to 10 above
        5 and up to 100 above 50, because such a score is most often of a judge of bad behaviour.
        None where the values say nothing of this.
    """
    words = {_word(value) for value in values}
    if words and words <= WORDS.keys():
        return Rule(VALUE, "I" if words <= set("cipn") else "false")
    numbers = [number_of(value) for value in values]
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    for top, kind, bound in SCALES:
        if min(known) >= 0 and max(known) <= top:
            return Rule(kind, bound)
    return None


def number_of(value: Any) -> float | None:
    """Read the value of a scorer as a number.

    Args:
        value: a number, a boolean, a number as text, or one of WORDS.

    Returns:
        The number; None where it is none.
    """
    if isinstance(value, str):
        word = _word(value)
        if word in WORDS:
            return WORDS[word]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_word(value: Any) -> bool:
    """Tell a letter or word of a scorer from a number.

    Args:
        value: what a scorer gave.

    Returns:
        Whether it is one of WORDS, or a boolean.
    """
    return isinstance(value, str | bool) and _word(value) in WORDS


def passes(value: Any) -> bool:
    """Tell whether a value says in a word that an exchange is no failure.

    Args:
        value: what a scorer gave, or a verdict beside an exchange.

    Returns:
        Whether it does. "yes" and "success" may say that a behaviour is there, and a number says
        nothing without a rule.
    """
    return _word(value) in PASSING_WORDS


def _word(value: Any) -> str:
    """A value as a word: text and booleans in small letters."""
    return str(value).strip().lower() if isinstance(value, str | bool) else f"{value}"


def _same_words(bound: str) -> set[str]:
    """What means the same as the value of a rule."""
    word = _word(bound)
    return set(FAILING_WORDS) if word in FAILING_WORDS else {word}

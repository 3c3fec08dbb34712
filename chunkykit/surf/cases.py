"""What strategy `cover` investigates, and why it draws a candidate. See `cover`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from chunkykit.surf.strategy import Mode


@dataclass(eq=False)
class Case:
    """A violation under investigation.

    Attributes:
        attributes: the attributes of the violation, or those of them that may be needed.
        reproduced: whether a repetition has failed; None before a repetition was judged.
        fails_without: attribute left out -> whether it has failed at least once without it.
        waiting: answers that are still to come.
        answers: answers to each question that were asked for.
        left_out: the attribute that each question leaves out; None for a repetition.
    """

    attributes: tuple[int, ...]
    reproduced: bool | None = None
    fails_without: dict[int, bool] = field(default_factory=dict)
    waiting: int = 0
    answers: int = 0
    left_out: Sequence[int | None] = ()

    @property
    def undecided(self) -> list[int | None]:
        """The questions to which no answer has failed: further ones may."""
        return [
            attribute
            for attribute in self.left_out
            if not (self.reproduced if attribute is None else self.fails_without.get(attribute))
        ]


class Question(NamedTuple):
    """A candidate that a case needs: its attributes without one of them (None: with all)."""

    case: Case
    left_out: int | None

    @property
    def attributes(self) -> tuple[int, ...]:
        """The attributes of the candidate."""
        return tuple(a for a in self.case.attributes if a != self.left_out)


class Draw(NamedTuple):
    """Why a candidate was drawn.

    Attributes:
        reason: see the top of `cover`.
        question: the question that it answers, where the reason is "follow".
        mode: the mode that it contains, where the reason is "measure".
    """

    reason: Literal["follow", "measure", "pair", "explore"]
    question: Question | None = None
    mode: Mode | None = None

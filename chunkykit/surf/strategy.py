"""What a search strategy is: it draws the attributes of candidates and learns from their scores.

A *candidate* is a dict {attributes, query, response, score, reason, error}. `attributes` holds
numbers of the pool's sentences. `score` runs from 0 to 100 and is None where the candidate failed
or was filtered by the gate.

`paper` and `cover` hold the strategies, `search` runs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(eq=False)
class Mode:
    """A failure mode: attributes that together make the target fail.

    The counts cover only candidates that combine the mode with other attributes. The candidates
    that led to its discovery are left out, because they were selected for having failed.

    Attributes:
        attributes: numbers of the pool's sentences.
        tried: judged candidates that contain the mode.
        failed: those of them that failed.
    """

    attributes: frozenset[int]
    tried: int = 0
    failed: int = 0


class Strategy(Protocol):
    """Draws the attributes of candidates, and learns from what became of them."""

    @property
    def modes(self) -> Sequence[Mode]:
        """The failure modes identified so far. A strategy that looks for none has none."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether the next candidate had better wait for results that are under way."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether no further candidate is worth its price."""
        ...

    def draw(self, i: int) -> tuple[int, ...]:
        """Draw the attributes of a candidate.

        Args:
            i: number of the candidate. Each number is drawn once.

        Returns:
            From 1 to `MAX_ATTRIBUTES` distinct numbers of the pool's sentences.
        """
        ...

    def learn(self, i: int, candidate: dict) -> None:
        """Learn from the result of a candidate.

        Args:
            i: number of the candidate, which must have been drawn.
            candidate: its result, see above; `attributes` are those that `draw` returned.
        """
        ...

"""The paper's strategy, a replay buffer (paper Eqs. 1 and 2), and the control arm beside it."""

from collections.abc import Sequence

import numpy as np

from chunkykit.surf.pool import Pool, draw_attributes
from chunkykit.surf.strategy import Mode


def attribute_weights(buffer: list[dict], k: int) -> np.ndarray | None:
    """Weigh each attribute by the scores of the candidates that have it (paper Eq. 1).

    w(a) = sum over the buffer of score * [a is an attribute of the candidate].

    Args:
        buffer: judged candidates {attributes, score}.
        k: number of attributes in the pool.

    Returns:
        Weights, shape (k,); None while all of them are 0.
    """
    weights = np.zeros(k)
    for candidate in buffer:
        weights[list(candidate["attributes"])] += candidate["score"]
    return weights if weights.any() else None


def best_candidates(candidates: list[dict], n: int) -> list[dict]:
    """Select the candidates with the highest scores (paper Eq. 2).

    Args:
        candidates: candidates {query, score}. Those without a score are left out.
        n: how many to select.

    Returns:
        At most n candidates, the highest score first. A query that occurs several times is
        represented by its best candidate.
    """
    judged = [candidate for candidate in candidates if candidate["score"] is not None]
    ascending = sorted(judged, key=lambda candidate: candidate["score"])
    best_of_query = {candidate["query"]: candidate for candidate in ascending}  # the last one stays
    return sorted(best_of_query.values(), key=lambda candidate: -candidate["score"])[:n]


class UniformStrategy:
    """The control arm: it draws uniformly and learns nothing."""

    modes: Sequence[Mode] = ()
    is_waiting = False
    is_done = False

    def __init__(self, pool: Pool, rng: np.random.Generator):
        """Start.

        Args:
            pool: the attributes to draw from.
            rng: source of randomness.
        """
        self.pool = pool
        self.rng = rng

    def draw(self, i: int) -> tuple[int, ...]:
        """Draw the attributes of candidate i, see `Strategy`."""
        return draw_attributes(self.pool, None, self.rng)

    def learn(self, i: int, candidate: dict) -> None:
        """Ignore the result of candidate i, see `Strategy`."""


class PaperStrategy(UniformStrategy):
    """The paper's strategy: attributes of the best candidates become more likely."""

    def __init__(self, pool: Pool, rng: np.random.Generator, buffer: int):
        """Start with an empty buffer.

        Args:
            pool: the attributes to draw from.
            rng: source of randomness.
            buffer: size of the replay buffer, in candidates.
        """
        super().__init__(pool, rng)
        self.buffer_size = buffer
        self.buffer: list[dict] = []

    def draw(self, i: int) -> tuple[int, ...]:
        """Draw candidate i by the weights of the buffer (paper Eq. 1), see `Strategy`."""
        weights = attribute_weights(self.buffer, len(self.pool.sentences))
        return draw_attributes(self.pool, weights, self.rng)

    def learn(self, i: int, candidate: dict) -> None:
        """Put candidate i into the buffer if it is good (paper Eq. 2), see `Strategy`."""
        self.buffer = best_candidates([*self.buffer, candidate], self.buffer_size)

"""Graded rows: how likely each training row shows a crux, or carries an attribute."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from chunkykit.attributes import Calibration, at_odds
from chunkykit.index import IndexSide
from chunkykit.turf.cache import ByteCache
from chunkykit.types import Embedder

EVEN = 0.5  # evidence from which a row rather has something than not
MEDIAN_ROWS = 10_000  # rows that a median is taken of, if there are more
COSINES_PER_PASS = 2**26  # computed in one pass over the vectors: 256 MB


class Grades(NamedTuple):
    """How likely each of n rows has something.

    Attributes:
        evidence: as if one row in two had it, to compare rows by; shape (n,) or (m, n).
        probability: at the base rate, to count rows by; the same shape.
    """

    evidence: np.ndarray
    probability: np.ndarray

    def at(self, rows: np.ndarray) -> "Grades":
        """Keep the grades of some rows.

        Args:
            rows: their positions, or whether to keep each.

        Returns:
            Their grades.
        """
        return Grades(self.evidence[..., rows], self.probability[..., rows])


class GradedSide:
    """One side of an index, whose rows are graded by sentences.

    Attributes:
        side: the side of the index.
        embed: the embedder that made it.
        calibration: what its cosines mean.
    """

    def __init__(
        self, side: IndexSide, embed: Embedder, calibration: Calibration, max_cache_bytes: int
    ):
        """Grade rows, and keep the cosines of up to `max_cache_bytes` for the next sentences."""
        self.side = side
        self.embed = embed
        self.calibration = calibration
        self._cache = ByteCache(max_cache_bytes)

    def read(self, sentences: Iterable[str]) -> None:
        """Look up several sentences together, which takes fewer passes over the vectors.

        Args:
            sentences: attribute sentences. What is found is kept as far as the cache has room.
        """
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._cache]
        size = max(1, COSINES_PER_PASS // max(1, len(self.side.sentences)))
        for start in range(0, len(new), size):
            part = new[start : start + size]
            for sentence, nearness in zip(part, self.side.row_nearness(self.embed(part))):
                self._cache.put(sentence, nearness)

    def nearness(self, sentences: Sequence[str]) -> np.ndarray:
        """Compare sentences with the rows.

        Args:
            sentences: m attribute sentences.

        Returns:
            Largest cosine of each with any sentence of each row, shape (m, n).
        """
        if not sentences:
            return np.zeros((0, len(self.side.ids)), np.float32)
        self.read(sentences)
        return np.stack([self._cache.get(s, partial(self._compute, s)) for s in sentences])

    def _compute(self, sentence: str) -> np.ndarray:
        return self.side.row_nearness(self.embed([sentence]))[0]

    def grade(self, sentences: Sequence[str]) -> Grades:
        """Grade the rows by sentences.

        Args:
            sentences: m attribute sentences.

        Returns:
            Grades of shape (m, n).
        """
        nearness = self.nearness(sentences)
        evidence = self.evidence(nearness, usual_nearness(nearness)[:, None])
        return Grades(evidence, at_odds(evidence))

    def evidence(self, nearness: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Say what cosines mean on this side.

        Args:
            nearness: largest cosines.
            background: what each usually is, in a shape that broadcasts.

        Returns:
            Probabilities if one row in two had what the sentence says, in the shape of `nearness`.
        """
        return self.calibration.evidence(nearness, background, self.side.repeated)

    def grade_sample(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Compare other vectors with some of the rows.

        Args:
            vectors: unit vectors, shape (m, d).
            rows: positions of rows, shape (r,).

        Returns:
            Evidence that each of the rows has what each vector says, shape (m, r).
        """
        ids = self.side.ids[rows]
        numbers, place = np.unique(ids, return_inverse=True)
        cosines = vectors @ self.side.vectors(np.maximum(numbers, 0)).T
        cosines[:, numbers < 0] = -1  # the padding of rows with fewer sentences
        nearness = cosines[:, place.reshape(ids.shape)].max(axis=2)
        return self.evidence(nearness, usual_nearness(nearness)[:, None])

    def grade_described(self, sentence: str, described: Sequence[Sequence[str]]) -> Grades:
        """Grade texts that are no rows of the index, by what is usual for its rows.

        Args:
            sentence: an attribute sentence.
            described: the attribute sentences of each of n texts.

        Returns:
            Grades of shape (n,).
        """
        background = usual_nearness(self.nearness([sentence]))
        (vector,) = self.embed([sentence])
        distinct = list(dict.fromkeys(text for texts in described for text in texts))
        cosines = dict(zip(distinct, self.embed(distinct) @ vector)) if distinct else {}
        nearest = [max((cosines[text] for text in texts), default=-1.0) for texts in described]
        evidence = self.evidence(np.array(nearest, np.float32), background)
        return Grades(evidence, at_odds(evidence))

    def nearest_sentences(self, sentence: str, rows: np.ndarray) -> list[str | None]:
        """Of each row the sentence that is nearest to another one.

        Args:
            sentence: an attribute sentence.
            rows: positions of rows.

        Returns:
            One sentence per row; None for a row that says nothing like it.
        """
        (vector,) = self.embed([sentence])
        evidence = self.grade([sentence]).evidence[0]
        nearest: list[str | None] = []
        for row in rows:
            numbers = self.side.ids[row][self.side.ids[row] >= 0]
            if evidence[row] < EVEN:
                nearest.append(None)
                continue
            best = numbers[int(np.argmax(self.side.vectors(numbers) @ vector))]
            nearest.append(self.side.sentences[int(best)].as_py())
        return nearest


def usual_nearness(nearness: np.ndarray) -> np.ndarray:
    """Say how near rows usually are to sentences.

    Args:
        nearness: largest cosine of m sentences with any sentence of each row, shape (m, n).

    Returns:
        The median over the rows, or over an even sample of many, shape (m,).
    """
    step = max(1, nearness.shape[1] // MEDIAN_ROWS)
    return np.median(nearness[:, ::step], axis=1)

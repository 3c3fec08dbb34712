"""The general sentence: what many rows say of their queries where one row says it too specially.

An attribute of one query names what stands in it ("asks when Ada Lovelace wrote her notes"). Rows
near to it say the same of theirs, some of them in general words. Those sentences are candidates for
the trigger too; the one that best tells the rows apart is taken, on one half of the rows, and
checked on the other half. All our choice.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chunkykit.index import IndexSide
from chunkykit.stats import Z95
from chunkykit.turf.association import largest, nearest_rows, weighted_auc
from chunkykit.turf.graded import GradedSide
from chunkykit.types import Rate

MAX_NEIGHBOURS = 30  # rows per attribute whose sentences are candidates
MIN_SAME = 0.75  # evidence that a row says the same, below which its sentence is no candidate
MAX_COMPARED_ROWS = 4000  # rows on which candidates are compared
CHANCE = 0.5  # AUC of what separates nothing
DECIMALS = 3  # of evidence; smaller differences are ties


class Candidate(NamedTuple):
    """A sentence that may name the trigger.

    Attributes:
        attribute: the query's own attribute that it generalises.
        sentence: the sentence; the attribute itself for a candidate that generalises nothing.
        vector: its unit vector, shape (d,).
    """

    attribute: str
    sentence: str
    vector: np.ndarray


def general_candidates(
    queries: GradedSide, attributes: Sequence[str], carries: np.ndarray, own: Sequence[str]
) -> list[Candidate]:
    """List attributes of a query, and sentences of rows that say the same.

    A sentence that names what the query does not have, by a capital letter, a digit or quotation
    marks, is about another query and left out.

    Args:
        queries: the graded queries of the rows.
        attributes: the attributes that stand out, m sentences.
        carries: evidence that each row carries each of them, shape (m, n).
        own: all attributes of the query.

    Returns:
        The candidates, each sentence once.
    """
    own_names = named_words(" ".join(own))
    vectors = queries.embed(list(attributes))
    candidates = [Candidate(a, a, v) for a, v in zip(attributes, vectors)]
    seen = set(attributes)
    for attribute, vector, evidence in zip(attributes, vectors, carries):
        rows = largest(evidence, MAX_NEIGHBOURS)
        rows = rows[evidence[rows] >= MIN_SAME]
        for sentence, nearest in _nearest_sentences(queries.side, rows, vector):
            if sentence in seen or not named_words(sentence) <= own_names:
                continue
            seen.add(sentence)
            candidates.append(Candidate(attribute, sentence, nearest))
    return candidates


def named_words(sentence: str) -> set[str]:
    """Pick the words of an attribute sentence that name something.

    Args:
        sentence: an attribute sentence; the word that begins it does not count.

    Returns:
        Words with a capital letter or a digit, and words between quotation marks, in lower case.
    """
    quoted = " ".join(re.findall(r"[\"“”«'‘’]([^\"“”»'‘’]+)[\"“”»'‘’]", sentence))
    words = re.findall(r"\w+", quoted) + re.findall(r"\w*[A-Z0-9]\w*", sentence)
    return {word.lower() for word in words} - {"the"}


def _nearest_sentences(
    query: IndexSide, rows: np.ndarray, vector: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Of each row the sentence nearest to a vector, and its own vector."""
    ids = query.ids[rows]  # (r, slots)
    distinct, place = np.unique(ids, return_inverse=True)
    vectors = query.vectors(np.maximum(distinct, 0))
    cosines = np.where(distinct >= 0, vectors @ vector, -1)  # -1 pads rows with fewer sentences
    best = cosines[place.reshape(ids.shape)].argmax(axis=1)
    numbers = dict.fromkeys(ids[np.arange(len(ids)), best].tolist())
    return [
        (query.sentences[number].as_py(), vectors[np.searchsorted(distinct, number)])
        for number in numbers
    ]


class Comparison:
    """Rows on which candidates are compared, and what they are to tell apart.

    Attributes:
        rows: positions of the rows, shape (r,).
        shows: evidence that each of them shows the crux, shape (r,).
        nearest: the same for the k rows that show it most, 0 for others, shape (r,).
        in_chunk: 1 for each that is of the chunk behind the crux, shape (r,).
        halves: two halves of the rows at random, each (r,) bool.
    """

    def __init__(self, shows: np.ndarray, in_chunk: np.ndarray, k: int, seed: int):
        """Pick the rows: all, or the most telling and a random sample of the others."""
        n = len(shows)
        rng = np.random.default_rng(seed)
        self.rows = np.arange(n)
        if n > MAX_COMPARED_ROWS:
            telling = largest(shows + in_chunk, MAX_COMPARED_ROWS // 2)
            others = rng.choice(n, MAX_COMPARED_ROWS // 2, replace=False)
            self.rows = np.union1d(telling, others)
        self.shows = shows[self.rows]
        self.nearest = nearest_rows(shows, k)[self.rows]
        self.in_chunk = in_chunk[self.rows].astype(float)
        first = rng.random(len(self.rows)) < 0.5
        self.halves = (first, ~first)

    def choose(self, grades: np.ndarray, coverage: np.ndarray | float = 1.0) -> tuple[int, Rate]:
        """Choose the candidate that best separates the rows, and check the choice.

        Args:
            grades: evidence that the rows have what each of m candidates says, shape (m, r).
            coverage: how true each is of the exchanges that it is to name, from 0 to 1, shape (m,).

        Returns:
            The position of the candidate, and the AUC of the rows that show the crux most with its
            95 % interval. The AUC is cross-validated: what one half of the rows chooses is
            measured on the other half.
        """
        grades = np.round(grades, DECIMALS)
        checks = []
        for chooses, checking in zip(self.halves, reversed(self.halves)):
            best = int(np.argmax(self._separation(grades, chooses) * coverage))
            checks += list(weighted_auc(grades[[best]][:, checking], self.nearest[checking]))
        everywhere = np.ones(len(self.rows), bool)
        positive = float(self.nearest.sum())
        check = auc_interval(float(np.mean(checks)), positive, len(self.rows) - positive)
        return int(np.argmax(self._separation(grades, everywhere) * coverage)), check

    def _separation(self, grades: np.ndarray, where: np.ndarray) -> np.ndarray:
        """How far the mean of two AUCs, by crux and by chunk, is above chance, (m,).

        Rows of the chunk that do not show the crux count for nothing in the second one: a chunk may
        teach another behaviour as well, and its rows may carry other triggers.
        """
        by_crux = weighted_auc(grades[:, where], self.shows[where])
        in_chunk = self.in_chunk[where]
        by_chunk = weighted_auc(grades[:, where], in_chunk * self.shows[where], 1 - in_chunk)
        return (by_crux + by_chunk) / 2 - CHANCE


def auc_interval(auc: float, positive: float, negative: float) -> Rate:
    """Estimate the 95 % interval of an AUC (Hanley and McNeil 1982).

    Args:
        auc: the area under the curve.
        positive: rows that count.
        negative: rows that do not.

    Returns:
        The AUC with its interval; `n` is the number of rows that count.
    """
    if positive < 1 or negative < 1:
        return Rate(auc, 0.0, 1.0, round(positive))
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    square = auc * auc
    variance = auc * (1 - auc) + (positive - 1) * (q1 - square) + (negative - 1) * (q2 - square)
    half = Z95 * (max(0.0, variance) / (positive * negative)) ** 0.5
    return Rate(auc, max(0.0, auc - half), min(1.0, auc + half), round(positive))

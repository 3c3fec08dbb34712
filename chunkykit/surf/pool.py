"""The attributes from which a search draws.

An attribute is a sentence about a query, such as "The query asks for a recipe.". A pool also keeps
which attributes occur together in training rows, so that a candidate can combine attributes that
real prompts combine.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chunkykit.attributes import SYSTEM_LEAD, is_of_query_alone
from chunkykit.errors import UserError
from chunkykit.files import regular_file
from chunkykit.index import SameMeaning, TraceIndex, common_features, same_meaning
from chunkykit.mixtures import parse_jsonl
from chunkykit.text import clean_text

MAX_ATTRIBUTES = 5  # attributes per candidate

# P(drop an attribute of the training row | number of attributes drawn by weight), as in the paper's
# released tool. The more attributes the weights chose, the less the row may dilute them. Without
# any, nothing is dropped, so no candidate is empty.
DROP_PROBABILITIES = (0.0, 0.0, 0.2, 0.4, 0.6, 0.8)


class SystemPrompts(NamedTuple):
    """The system prompts of a mixture, by what is said of them.

    Attributes:
        prompts: number of a sentence of the pool to the distinct system prompts that it is true of.
        queries: for each training row the numbers of its sentences on the query alone.
    """

    prompts: dict[int, list[str]]
    queries: list[np.ndarray]


class Pool(NamedTuple):
    """The attributes to draw from.

    Attributes:
        sentences: K attribute sentences.
        rows: for each training row the numbers of the sentences that describe it; never empty.
        clusters: the query cluster of the index behind each sentence, shape (K,); None where the
            pool is not from an index.
        systems: the system prompts behind the sentences on system prompts; None where the search
            draws no system prompts.
    """

    sentences: list[str]
    rows: Sequence[np.ndarray]
    clusters: np.ndarray | None = None
    systems: SystemPrompts | None = None

    def draw_row(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a random training row.

        Args:
            rng: the generator.

        Returns:
            The numbers of the row's attributes.
        """
        return self.rows[int(rng.integers(len(self.rows)))]

    def split(self, attributes: Sequence[int], sample: int) -> tuple[str, list[str]]:
        """Choose the system prompt of a candidate; the rest is what its query must be like.

        Args:
            attributes: numbers of the candidate's sentences.
            sample: fixes what is drawn.

        Returns:
            A system prompt of the mixture that has most of the attributes on system prompts, ""
            where there are none; and the sentences on the query, those of a random training row
            where there are none.
        """
        prompts = self.systems.prompts if self.systems else {}
        of_system = [number for number in attributes if number in prompts]
        of_query = [number for number in attributes if number not in prompts]
        if not self.systems or not of_system:
            return "", [self.sentences[number] for number in of_query]
        rng = np.random.default_rng([sample, 1])
        counts = Counter(text for number in of_system for text in prompts[number])
        most = max(counts.values())
        fitting = [text for text, count in counts.items() if count == most]
        if not of_query:
            row = self.systems.queries[int(rng.integers(len(self.systems.queries)))]
            of_query = rng.permutation(row)[: int(rng.integers(1, MAX_ATTRIBUTES + 1))].tolist()
        system = fitting[int(rng.integers(len(fitting)))]
        return system, [self.sentences[number] for number in of_query]


def pool_from_index(
    index: TraceIndex, same: SameMeaning | None = None, systems: bool = False
) -> Pool:
    """Make an attribute pool of the query clusters of an index.

    Args:
        index: an opened index.
        same: cosines to P(same meaning) of two sentences; None for what the index's embedder makes
            of them. Where the sentences are distinct, a row has the clusters that its sentences
            mean. Clusters that mean the same as a more common one, or that fewer than 3 rows have,
            are left out: they are one feature in other words, or too special to be written about
            again.
        systems: whether candidates may stand under system prompts of the mixture.

    Returns:
        A pool with one attribute per query cluster, worded as the summary of the cluster.
    """
    same = same or same_meaning(index)
    if same is not None and not index.query.has_types:
        features = common_features(index.query, same)
        if len(features.clusters):
            rows = [np.flatnonzero(carried) for carried in features.carried]
            return _pool_of_clusters(index, rows, features.clusters, systems)
    # one attribute per cluster; also where the embedder sees no feature that rows share
    padded = index.query.clusters  # -1 pads rows that have fewer attributes
    rows = [clusters[clusters >= 0] for clusters in padded]
    return _pool_of_clusters(index, rows, np.arange(len(index.query.summaries)), systems)


def _pool_of_clusters(
    index: TraceIndex, rows: Sequence[np.ndarray], clusters: np.ndarray, systems: bool
) -> Pool:
    sentences = [index.query.summaries[cluster] for cluster in clusters]
    prompts = None
    if systems and any(map(SYSTEM_LEAD.match, sentences)):
        prompts = index.table.column("system").to_pylist()
    return pool_of_rows(sentences, rows, clusters, prompts)


def pool_of_rows(
    sentences: Sequence[str],
    rows: Sequence[np.ndarray],
    clusters: np.ndarray,
    systems: Sequence[str] | None = None,
) -> Pool:
    """Make an attribute pool of rows, without the attributes that no user can write.

    Args:
        sentences: K attribute sentences.
        rows: for each row the numbers of its sentences; may be empty.
        clusters: the query cluster of the index behind each sentence, shape (K,).
        systems: the system prompt of each row; None where candidates stand under none.

    Returns:
        A pool of the sentences on queries, and of those on system prompts where there are some.
    """
    of_query = np.array([is_of_query_alone(sentence) for sentence in sentences], bool)
    of_system = np.array([bool(SYSTEM_LEAD.match(sentence)) for sentence in sentences], bool)
    stays = of_query if systems is None else of_query | of_system
    if not stays.all():
        new_number = np.cumsum(stays) - 1
        rows = [new_number[row[stays[row]]] for row in rows]
        sentences = [sentence for sentence, stay in zip(sentences, stays) if stay]
        clusters = clusters[stays]
    prompts = None if systems is None else _system_prompts(rows, systems, of_system[stays])
    return Pool(list(sentences), [row for row in rows if len(row)], clusters, prompts)


def _system_prompts(
    rows: Sequence[np.ndarray], systems: Sequence[str], of_system: np.ndarray
) -> SystemPrompts | None:
    """The system prompts of rows; `of_system` is the mask of the sentences on them."""
    if not of_system.any():
        return None
    by_number: dict[int, dict[str, None]] = {}
    for row, text in zip(rows, systems, strict=True):
        for number in row[of_system[row]].tolist():
            by_number.setdefault(number, {})[text] = None
    prompts = {number: list(distinct) for number, distinct in by_number.items()}
    queries = [row[~of_system[row]] for row in rows]
    return SystemPrompts(prompts, [row for row in queries if len(row)])


def read_pool(path: str | Path) -> Pool:
    """Read an attribute pool from a JSONL file.

    A million rows of ten attributes take about 300 MB.

    Args:
        path: the file. Each line is an object with `attributes`, a list of sentences; other keys
            are ignored.

    Returns:
        The pool. Sentences are numbered in the order of their first occurrence.

    Raises:
        UserError: the file cannot be read, has no attribute, or has a line that is not such an
            object; the message names the line.
    """
    numbers: dict[str, int] = {}
    rows = []
    try:
        with open(regular_file(Path(path)), encoding="utf-8-sig") as lines:
            for line_number, record in parse_jsonl(lines):
                row = _number_sentences(record, numbers)
                if row is None:
                    raise UserError(
                        f"attributes {path}: line {line_number} is not a JSON object with a list "
                        "of strings `attributes`."
                    )
                if len(row):
                    rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"attributes {path}: cannot be read ({error}).") from None
    if not numbers:
        raise UserError(
            f"attributes {path}: the file has no attribute. Each line must be a JSON object with "
            "a list `attributes`."
        )
    return Pool(list(numbers), rows)


def _number_sentences(record: object, numbers: dict[str, int]) -> np.ndarray | None:
    """Number the sentences of one record; new ones extend `numbers`. None for a bad record."""
    sentences = record.get("attributes") if isinstance(record, dict) else None
    if not isinstance(sentences, list):
        return None
    if not all(isinstance(sentence, str) for sentence in sentences):
        return None
    row = [
        numbers.setdefault(clean_text(sentence), len(numbers))
        for sentence in dict.fromkeys(sentences)
        if sentence.strip()
    ]
    return np.array(row, np.int32)


def draw_attributes(
    pool: Pool, weights: np.ndarray | None, rng: np.random.Generator
) -> tuple[int, ...]:
    """Draw the attributes of a candidate (paper sec. 2 and the released tool).

    k ~ Binomial(5, 1/2) attributes are drawn by weight, without replacement. One random training
    row adds some of its own, of which each is dropped with a probability that grows with k.

    Args:
        pool: K attributes.
        weights: P(attribute) up to a factor (paper Eq. 1), shape (K,), not negative; None draws
            uniformly.
        rng: source of randomness.

    Returns:
        From 1 to `MAX_ATTRIBUTES` distinct numbers of the pool's sentences.
    """
    n_drawable = len(pool.sentences)
    odds = None
    if weights is not None:
        odds = weights / weights.sum()
        n_drawable = int((odds > 0).sum())
    n_weighted = min(int(rng.binomial(MAX_ATTRIBUTES, 0.5)), n_drawable)
    weighted = []
    if n_weighted:
        weighted = list(rng.choice(len(pool.sentences), n_weighted, replace=False, p=odds))

    row = pool.draw_row(rng)
    n_from_row = rng.integers(1, min(MAX_ATTRIBUTES, len(row)) + 1)
    from_row = [
        attribute
        for attribute in rng.choice(row, n_from_row, replace=False)
        if attribute not in weighted and rng.random() >= DROP_PROBABILITIES[n_weighted]
    ]
    return tuple(int(attribute) for attribute in (weighted + from_row)[:MAX_ATTRIBUTES])

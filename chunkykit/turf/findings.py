"""Findings: from graded rows and weighed candidates to one trace."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from chunkykit.attributes import predicate
from chunkykit.rubrics import Rubric
from chunkykit.text import count_of
from chunkykit.turf.association import graded_rate, largest
from chunkykit.turf.candidates import LIKELY, trigger_by_hits
from chunkykit.turf.general import CHANCE, Candidate, Comparison, general_candidates
from chunkykit.turf.graded import Grades
from chunkykit.turf.trace import FROM_QUERY, FROM_ROW, Trace, chunk_shares
from chunkykit.types import Rate

if TYPE_CHECKING:
    from chunkykit.turf.tracer import Tracer

MAX_RELATED_P = 0.05  # adjusted p from which an attribute has nothing to do with the cruxes
MIN_TELLING = 0.2  # of a row behind a trace, as a share of the most telling row's
TINY = 1e-9  # no rate is smaller, so that a lift is a number


class Trigger(NamedTuple):
    """A query attribute that stands out, in the words that separate the rows best.

    Attributes:
        candidate: the sentence, and the attribute that it generalises.
        separation: AUC of the rows that show the crux, on rows that did not choose the sentence.
        carries: probability that each row carries it, shape (n,).
    """

    candidate: Candidate
    separation: Rate
    carries: np.ndarray


class Findings(NamedTuple):
    """What the rows say about one exchange.

    Attributes:
        tracer: whose index is asked.
        rubric: what the response violates.
        cruxes: the crux attributes of the response.
        shows: how likely each row shows them, shape (n,).
        carries: how likely each row carries each query attribute, shape (m, n).
        counted: positions of the rows that count.
        candidates: the weighed query attributes.
    """

    tracer: "Tracer"
    rubric: Rubric
    cruxes: tuple[str, ...]
    shows: Grades
    carries: Grades
    counted: np.ndarray
    candidates: pd.DataFrame

    def trace(self) -> Trace:
        """Make the trace.

        Returns:
            The trace; its trigger is None where no attribute stands out.
        """
        rows, telling = self._rows_behind()
        chunks = chunk_shares(self.tracer.index, rows, telling)
        trigger = None
        if self.candidates["significant"].any() and len(chunks):
            trigger = self._choose_trigger(str(chunks["chunk"][0]))
        if trigger is None:
            return self._trace_to_nothing(rows, telling, chunks)
        return self._trace_to(trigger, rows, telling, chunks)

    def _rows_behind(self) -> tuple[np.ndarray, np.ndarray]:
        """The k counted rows most like the exchange, most telling first, and how telling.

        A row is telling by the cruxes that it shows, times the query attributes that it carries,
        each of which counts by how closely it goes with the cruxes.
        """
        counted = self.counted
        shows = self.shows.evidence[counted]
        related = self.candidates["p_value"].to_numpy() < MAX_RELATED_P
        correlation = np.where(related, self.candidates["correlation"], 0).clip(0)
        if correlation.sum() > 0:
            carries = self.carries.evidence[:, counted]
            telling = shows * (correlation @ carries / correlation.sum())
        else:  # nothing in the query goes with the cruxes: all rows that show them
            counted = np.arange(len(self.shows.probability))
            telling = self.shows.probability
        order = largest(telling, self.tracer.k)
        order = order[telling[order] > MIN_TELLING * telling.max(initial=0)]
        return counted[order], telling[order]

    def _choose_trigger(self, chunk: str) -> Trigger | None:
        """The sentence that best separates the rows, of the attributes that stand out."""
        queries = self.tracer.queries
        positions = np.flatnonzero(self.candidates["significant"])
        attributes = self.candidates["attribute"].iloc[positions].tolist()
        carries = self.carries.evidence[positions]
        own = self.candidates["attribute"].tolist()
        candidates = general_candidates(queries, attributes, carries, own)
        best, separation = choose_candidate(
            self.tracer, candidates, self.shows.evidence, chunk, self.counted
        )
        candidate = candidates[best]
        carries = self.tracer.carries(candidate.sentence)
        counts = count_rows(self.tracer.shows(self.cruxes[0]), carries)
        tells_apart = counts.p_crux_given_trigger.low > counts.p_crux_without.high
        if separation.low < CHANCE and not tells_apart:
            return None
        return Trigger(candidate, separation, carries)

    def _trace_to(
        self, trigger: Trigger, rows: np.ndarray, telling: np.ndarray, chunks: pd.DataFrame
    ) -> Trace:
        sentence = trigger.candidate.sentence
        attribute = trigger.candidate.attribute
        p_value = self.candidates.set_index("attribute")["p_value"]
        (cluster,) = self.tracer.clusters_of([sentence])
        return Trace(
            trigger=sentence,
            attribute=attribute,
            trigger_cluster=cluster if cluster >= 0 else None,
            trigger_from=FROM_QUERY if sentence == attribute else FROM_ROW,
            trigger_by_hits=trigger_by_hits(self.candidates),
            crux=self.cruxes[0],
            cruxes=self.cruxes,
            p_value=float(p_value.to_dict()[attribute]),
            separation=trigger.separation,
            chunks=chunks,
            explanation=explain(sentence, self.cruxes[0], self.rubric),
            candidates=self.candidates,
            rows=rows,
            telling=telling,
            **count_rows(self.tracer.shows(self.cruxes[0]), trigger.carries)._asdict(),
        )

    def _trace_to_nothing(
        self, rows: np.ndarray, telling: np.ndarray, chunks: pd.DataFrame
    ) -> Trace:
        nothing = np.zeros(len(self.tracer.index))
        shows = self.tracer.shows(self.cruxes[0]) if self.cruxes else nothing
        return Trace(
            trigger=None,
            attribute=None,
            trigger_cluster=None,
            trigger_from=None,
            trigger_by_hits=trigger_by_hits(self.candidates),
            crux=self.cruxes[0] if self.cruxes else "",
            cruxes=self.cruxes,
            p_value=float("nan"),
            separation=Rate(float("nan"), 0.0, 1.0, 0),
            chunks=chunks,
            explanation=f"No trigger found: {self._why_nothing()}.",
            candidates=self.candidates,
            rows=rows,
            telling=telling,
            **count_rows(shows, nothing)._asdict(),
        )

    def _why_nothing(self) -> str:
        """Why there is no trigger."""
        if not self.cruxes:
            return "no attribute of the response shows the violation"
        if self.candidates.empty:
            return "the query has no attribute to trace"
        behaviour = predicate(self.cruxes[0])
        if self.shows.evidence.max() < LIKELY:
            return f"no row of this index is likely to have a response that {behaviour}"
        if self.shows.evidence[self.counted].max(initial=0) < LIKELY:
            return f"wherever the response {behaviour}, something that this query lacks explains it"
        return (
            f"no attribute of the query clearly goes with a response that {behaviour}, in the "
            f"{count_of(len(self.shows.evidence), 'row')} of this index"
        )


def choose_candidate(
    tracer: "Tracer",
    candidates: Sequence[Candidate],
    shows: np.ndarray,
    chunk: str,
    counted: np.ndarray,
    coverage: np.ndarray | float = 1.0,
) -> tuple[int, Rate]:
    """Choose the candidate that best separates rows.

    Args:
        tracer: whose index is asked.
        candidates: the candidates.
        shows: evidence that each row shows the crux, shape (n,).
        chunk: the chunk behind the crux.
        counted: positions of the rows that count.
        coverage: how true each candidate is of the exchanges that it is to name, shape (m,).

    Returns:
        The position of the candidate, and its cross-validated AUC with its interval.
    """
    in_chunk = np.asarray(tracer.index.chunk == chunk)[counted]
    compared = Comparison(shows[counted], in_chunk, tracer.k, tracer.seed)
    vectors = np.stack([candidate.vector for candidate in candidates])
    grades = tracer.queries.grade_sample(vectors, counted[compared.rows])
    return compared.choose(grades, coverage)


class Counts(NamedTuple):
    """Expected numbers of rows, see `Trace`."""

    hits: float
    k: float
    lift: float
    p_crux_given_trigger: Rate
    p_crux_without: Rate
    p_crux: Rate


def count_rows(shows: np.ndarray, carries: np.ndarray) -> Counts:
    """Count the rows that show a crux, among those that likely carry a trigger and the others.

    Args:
        shows: probability that each row shows the crux, shape (n,).
        carries: probability that each row carries the trigger, shape (n,).

    Returns:
        The expected numbers and rates.
    """
    likely = carries >= LIKELY
    with_trigger = graded_rate(shows, likely)
    p_crux = graded_rate(shows, np.ones(len(shows), bool))
    return Counts(
        hits=float(shows[likely].sum()),
        k=float(shows.sum()),
        lift=with_trigger.rate / max(p_crux.rate, TINY),
        p_crux_given_trigger=with_trigger,
        p_crux_without=graded_rate(shows, ~likely),
        p_crux=p_crux,
    )


def explain(trigger: str, crux: str, rubric: Rubric) -> str:
    """Tell a finding as a sentence.

    Args:
        trigger: what the query is like.
        crux: what the response is like.
        rubric: what it violates.

    Returns:
        One sentence.
    """
    return (
        f"When the model sees a query that {predicate(trigger)}, it gives a response that "
        f"{predicate(crux)}, causing {rubric.causing}."
    )

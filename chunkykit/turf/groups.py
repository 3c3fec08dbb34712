"""Groups: failing exchanges that one sentence about their queries explains."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from chunkykit.rubrics import Rubric
from chunkykit.turf.association import largest
from chunkykit.turf.findings import choose_candidate, count_rows, explain
from chunkykit.turf.general import CHANCE, Candidate, general_candidates
from chunkykit.turf.graded import EVEN, usual_nearness
from chunkykit.turf.trace import FROM_QUERY, FROM_ROW, Trace, chunk_shares
from chunkykit.types import Rate

if TYPE_CHECKING:
    from chunkykit.turf.tracer import Tracer

MIN_AGREEMENT = 0.5  # share of the chunk behind a group, by that of a member's first chunk
MAX_ASKED_MEMBERS = 50  # members of a group whose attributes can name it
Pair = tuple[Sequence[str], Sequence[str]]  # query attributes and cruxes of an exchange


def group_traces(
    tracer: "Tracer",
    pairs: Sequence[Pair],
    traces: Sequence[Trace],
    rubric: Rubric,
    min_share: float = 0.1,
) -> list[Trace]:
    """Summarise the traces of several exchanges by sentences that are true of many of them.

    Args:
        tracer: the tracer that made the traces.
        pairs: (query attributes, cruxes) of each exchange.
        traces: the trace of each.
        rubric: what the responses violate.
        min_share: share of the exchanges that a group needs, and two of them at least.

    Returns:
        One trace per group, largest first, with the positions of its exchanges as `members`. Its
        sentence is true of each member's query, and the chunk behind it is behind each member.
        Rows, chunks and numbers are those of all members together. Exchanges without a trigger form
        a group, too.
    """
    smallest = max(2, min_share * len(traces)) if len(traces) > 1 else 1
    best_of = _best_traces(traces)
    sentences = list(best_of)
    covers = coverage_of(tracer, [query for query, _ in pairs], sentences) >= EVEN
    for i, trace in enumerate(traces):
        covers[:, i] &= np.array([_agree(best, trace) for best in best_of.values()], bool)
        if trace.trigger:
            covers[sentences.index(trace.trigger), i] = True
    strength = np.array([best.separation.rate - CHANCE for best in best_of.values()])
    groups = []
    remaining = np.array([trace.trigger is not None for trace in traces])
    while len(sentences):
        counts = (covers & remaining).sum(axis=1)
        best = int(np.argmax(counts * strength))
        members = np.flatnonzero(covers[best] & remaining)
        if len(members) < smallest:
            break
        groups.append(members)
        remaining[members] = False
    results = [_pool(tracer, pairs, traces, rubric, members) for members in groups]
    unnamed = [i for i, trace in enumerate(traces) if trace.trigger is None]
    if unnamed and len(unnamed) >= smallest:
        results.append(replace(traces[unnamed[0]], members=tuple(unnamed)))
    return sorted(results, key=lambda trace: -len(trace.members))


def coverage_of(
    tracer: "Tracer", attributes: Sequence[Sequence[str]], sentences: Sequence[str]
) -> np.ndarray:
    """Say how true sentences are of queries, as far as their attributes say.

    Args:
        tracer: whose embedder made the index.
        attributes: the attributes of each of n queries.
        sentences: m sentences.

    Returns:
        Evidence for each sentence and query, shape (m, n).
    """
    coverage = np.zeros((len(sentences), len(attributes)))
    if not sentences:
        return coverage
    vectors = tracer.embed(sentences)
    background = usual_nearness(tracer.queries.nearness(sentences))
    for i, own in enumerate(attributes):
        if own:
            nearest = (vectors @ tracer.embed(list(own)).T).max(axis=1)
            coverage[:, i] = tracer.queries.evidence(nearest, background)
    return coverage


def _best_traces(traces: Sequence[Trace]) -> dict[str, Trace]:
    """Of each trigger the trace in which it separates rows best."""
    best_of: dict[str, Trace] = {}
    for trace in traces:
        if trace.trigger is None:
            continue
        best = best_of.setdefault(trace.trigger, trace)
        if trace.separation.rate > best.separation.rate:
            best_of[trace.trigger] = trace
    return best_of


def _agree(trace: Trace, other: Trace) -> bool:
    """Whether the chunk behind a trace is one of the main chunks behind another one."""
    shares = other.chunks.set_index("chunk")["share"]
    return bool(shares.get(trace.chunks["chunk"][0], 0) >= MIN_AGREEMENT * shares.max())


def _pool(
    tracer: "Tracer",
    pairs: Sequence[Pair],
    traces: Sequence[Trace],
    rubric: Rubric,
    members: np.ndarray,
) -> Trace:
    """One trace for the exchanges of a group."""
    strongest = max((traces[i] for i in members), key=lambda trace: trace.separation.rate)
    if len(members) == 1:
        return replace(strongest, members=(int(members[0]),))
    telling = np.zeros(len(tracer.index))
    for i in members:
        telling[traces[i].rows] += traces[i].telling / len(members)
    rows = largest(telling, tracer.k)
    rows = rows[telling[rows] > 0]
    chunks = chunk_shares(tracer.index, rows, telling[rows])
    candidates = _candidates(tracer, pairs, traces, members)
    sentences = [candidate.sentence for candidate in candidates]
    coverage = coverage_of(tracer, [pairs[i][0] for i in members], sentences).mean(axis=1)
    cruxes = [pairs[i][1] for i in members]
    best, separation = choose_for_group(tracer, candidates, cruxes, chunks, coverage)
    trigger = sentences[best]
    own = {attribute for i in members for attribute in pairs[i][0]}
    (cluster,) = tracer.clusters_of([trigger])
    return replace(
        strongest,
        trigger=trigger,
        attribute=None,
        trigger_from=FROM_QUERY if trigger in own else FROM_ROW,
        trigger_cluster=cluster if cluster >= 0 else None,
        separation=separation,
        chunks=chunks,
        explanation=explain(trigger, strongest.crux, rubric),
        rows=rows,
        telling=telling[rows],
        members=tuple(int(i) for i in members),
        **count_rows(tracer.shows(strongest.crux), tracer.carries(trigger))._asdict(),
    )


def choose_for_group(
    tracer: "Tracer",
    candidates: Sequence[Candidate],
    cruxes: Sequence[Sequence[str]],
    chunks: pd.DataFrame,
    coverage: np.ndarray | float = 1.0,
) -> tuple[int, Rate]:
    """Choose the candidate that best separates rows by the cruxes of several exchanges.

    Args:
        tracer: whose index is asked.
        candidates: the candidates.
        cruxes: those of each exchange.
        chunks: the chunks behind all of them, the most telling first.
        coverage: how true each candidate is of the exchanges, shape (m,).

    Returns:
        The position of the candidate, and its cross-validated AUC with its interval.
    """
    shows = np.mean([tracer.shows_all(own).evidence for own in cruxes], axis=0)
    chunk = str(chunks["chunk"][0])
    every_row = np.arange(len(tracer.index))
    return choose_candidate(tracer, candidates, shows, chunk, every_row, coverage)


def _candidates(
    tracer: "Tracer", pairs: Sequence[Pair], traces: Sequence[Trace], members: np.ndarray
) -> list[Candidate]:
    """The candidates of all members, each sentence once."""
    candidates: dict[str, Candidate] = {}
    for i in members[:MAX_ASKED_MEMBERS]:
        table = traces[i].candidates
        attributes = table.loc[table["significant"], "attribute"].tolist()
        carries = tracer.queries.grade(attributes).evidence
        for candidate in general_candidates(tracer.queries, attributes, carries, pairs[i][0]):
            candidates.setdefault(candidate.sentence, candidate)
    return list(candidates.values())

"""What a mixture lets one expect, from the data alone.

The scan lists query clusters that go with a response behaviour because of one chunk: pairs that
one chunk shows, and that other chunks contradict or do not cover. A model trained on the mixture
may take such a cluster for the reason of the behaviour. The scan asks no model, so a finding is
not yet a failure. A search can start from it (`turf.Tracer.predict`).
"""

from typing import Any

import numpy as np
import pandas as pd

from chunkykit.attributes import predicate
from chunkykit.index.carriers import Carriers, find_carriers
from chunkykit.index.findings import (
    MIN_ROWS,
    Finding,
    merge_pairs,
    rank_findings,
    unite_findings,
)
from chunkykit.index.incidence import SameMeaning, column_sums
from chunkykit.index.store import TraceIndex
from chunkykit.progress import parts, step
from chunkykit.stats import adjust, enrichment_p, wilson

SCAN_COLUMNS = [
    "trigger",
    "behaviour",
    "chunk",
    "rows",
    "lift",
    "p_value",
    "p_in",
    "p_elsewhere",
    "p_without",
    "score",
    "also",
    "examples",
    "counter_examples",
]
# All our choice.
MAX_P_VALUE = 0.001  # adjusted
MIN_LIFT = 2.0
PRIOR_ROWS = 10  # rows of the base rate that stand in for what other chunks do not cover
HALF_WEIGHT_ROWS = 20  # rows of a trigger that counts by half: users rarely write what is rare
MIN_WIDE_SHARE = 0.6  # share of the behaviour's rate that the chunk has without the trigger, too
MAX_EXAMPLES = 5  # rows of each kind per finding


def scan_index(index: TraceIndex, top: int = 25, same: SameMeaning | None = None) -> pd.DataFrame:
    """Find triggers and behaviours that one chunk ties together.

    Args:
        index: an index.
        top: number of findings at most.
        same: cosines to P(same meaning) of two sentences; None for what the index's embedder makes
            of them. Where the sentences are distinct, as a language model writes them, a row
            carries a cluster by what its sentences mean.

    Returns:
        DataFrame of SCAN_COLUMNS, strongest finding first:
        trigger, behaviour: a query cluster and a response cluster.
        chunk: the chunk that has most of the rows with both.
        rows: rows with both. lift: how many times more than by chance.
        p_value: hypergeometric, adjusted over all pairs that occur.
        p_in, p_elsewhere: P(behaviour | trigger) in the chunk and in all other chunks.
        p_without: P(behaviour | no trigger). Each is {rate, low, high, n}, with its 95 % Wilson
        interval.
        score: lower end of p_in, minus what the other chunks let one expect, less for a trigger
        of few rows; that of the strongest pair of the finding.
        also: other pairs (trigger, behaviour) that the same rows of the chunk show.
        examples: positions of rows of the chunk with both.
        counter_examples: positions of rows with the trigger alone, other chunks first.
    """
    with step("rows per cluster"):
        carriers = find_carriers(index, same)
    with step("pairs of clusters"):
        pairs = _enriched_pairs(carriers)
        pairs = _count_by_chunk(pairs, carriers)
        pairs = _score_pairs(pairs)
        findings = merge_pairs(pairs, carriers)
    if carriers.triggers.features is not None and carriers.behaviours.features is not None:
        findings = unite_findings(findings, carriers)
    ranked = rank_findings(findings)[:top]
    rows = [_describe_finding(finding, index, carriers) for finding in ranked]
    return pd.DataFrame(rows, columns=SCAN_COLUMNS)


def _enriched_pairs(carriers: Carriers) -> pd.DataFrame:
    """Pairs that occur together far more often than by chance.

    Columns: trigger, behaviour (numbers of clusters), hits (rows with both), p_value, lift, and the
    rows with the trigger and with the behaviour.
    """
    n = len(carriers)
    together = (carriers.triggers.matrix.T @ carriers.behaviours.matrix).tocoo()
    frequent = together.data >= MIN_ROWS
    trigger = together.row[frequent]
    behaviour = together.col[frequent]
    hits = together.data[frequent]
    trigger_rows = carriers.triggers.counts[trigger]
    behaviour_rows = carriers.behaviours.counts[behaviour]
    tested = enrichment_p(hits, trigger_rows, behaviour_rows, n)
    # Rare pairs count as tests that showed nothing, so that leaving them out is not a selection.
    untested = np.ones(int((~frequent).sum()))
    p_value = adjust(np.concatenate([tested, untested]))[: len(hits)]
    lift = hits / trigger_rows / (behaviour_rows / n)
    enriched = (p_value < MAX_P_VALUE) & (lift >= MIN_LIFT)
    enriched &= ~_mirrored(carriers, trigger, behaviour)
    pairs = pd.DataFrame(
        {
            "trigger": trigger,
            "behaviour": behaviour,
            "hits": hits,
            "p_value": p_value,
            "lift": lift,
            "trigger_rows": trigger_rows,
            "behaviour_rows": behaviour_rows,
        }
    )
    return pairs[enriched].reset_index(drop=True)


def _mirrored(carriers: Carriers, trigger: np.ndarray, behaviour: np.ndarray) -> np.ndarray:
    """Whether query and response say the same, such as an answer in the question's language."""
    queries = np.array([predicate(text) for text in carriers.triggers.names], object)
    responses = np.array([predicate(text) for text in carriers.behaviours.names], object)
    return np.asarray(queries[trigger] == responses[behaviour], bool)


def _count_by_chunk(pairs: pd.DataFrame, carriers: Carriers) -> pd.DataFrame:
    """Add the chunk that has most rows of each pair, and the counts inside and outside of it.

    Columns: chunk; k_in of n_in rows with the trigger have the behaviour in the chunk, k_out of
    n_out outside. The chunk has behaviour_in rows with the behaviour, and chunk_rows rows.
    """
    trigger = pairs["trigger"].to_numpy()
    behaviour = pairs["behaviour"].to_numpy()
    shape = (carriers.n_chunks, len(pairs))
    hits = np.zeros(shape, np.int64)  # (n_chunks, n_pairs), as the next two
    with_trigger = np.zeros(shape, np.int64)
    with_behaviour = np.zeros(shape, np.int64)
    triggers = carriers.triggers.matrix.tocsr()
    behaviours = carriers.behaviours.matrix.tocsr()
    for chunk in parts(range(carriers.n_chunks if len(pairs) else 0), "chunks"):
        rows = np.flatnonzero(carriers.chunk == chunk)
        chunk_triggers = triggers[rows]
        chunk_behaviours = behaviours[rows]
        together = (chunk_triggers.T @ chunk_behaviours).tocsr()
        hits[chunk] = np.asarray(together[trigger, behaviour]).ravel()
        with_trigger[chunk] = column_sums(chunk_triggers)[trigger]
        with_behaviour[chunk] = column_sums(chunk_behaviours)[behaviour]
    main = hits.argmax(axis=0)  # (n_pairs,) the chunk of each pair
    pair = np.arange(len(pairs))
    n_in = with_trigger[main, pair]
    k_in = hits[main, pair]
    return pairs.assign(
        chunk=main,
        n_in=n_in,
        k_in=k_in,
        n_out=pairs["trigger_rows"] - n_in,
        k_out=pairs["hits"] - k_in,
        behaviour_in=with_behaviour[main, pair],
        chunk_rows=np.bincount(carriers.chunk, minlength=carriers.n_chunks)[main],
        rows_in_all=len(carriers),
    )


def _score_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add `score`, `wide`, and `priority`, the order in which pairs are merged.

    A pair is wide where the chunk shows the behaviour without the trigger, too. Then many
    triggers tell the chunk from the others, and priority prefers the one that most of its rows
    with the behaviour have, and that few rows of other chunks have.
    """
    column = {name: pairs[name].to_numpy() for name in pairs}
    k_in = column["k_in"]
    n_in = column["n_in"]
    behaviour_in = column["behaviour_in"]
    trigger_rows = column["trigger_rows"]
    chunk_rows = column["chunk_rows"]
    rows_elsewhere = np.maximum(1, column["rows_in_all"] - chunk_rows)
    base_rate = (column["behaviour_rows"] - behaviour_in) / rows_elsewhere
    low_in = np.array([wilson(int(k), int(n)).low for k, n in zip(k_in, n_in)], float)
    expected = (column["k_out"] + PRIOR_ROWS * base_rate) / (column["n_out"] + PRIOR_ROWS)
    score = low_in - expected
    score *= trigger_rows / (trigger_rows + HALF_WEIGHT_ROWS)
    rate_without = (behaviour_in - k_in) / np.maximum(1, chunk_rows - n_in)
    wide = rate_without > MIN_WIDE_SHARE * k_in / n_in
    coverage = k_in / np.maximum(1, behaviour_in)
    exclusiveness = (n_in / trigger_rows) ** 0.5
    priority = score * np.where(wide, coverage * exclusiveness, 1)
    return pairs.assign(score=score, wide=wide, priority=priority)


def _describe_finding(finding: Finding, index: TraceIndex, carriers: Carriers) -> dict[str, Any]:
    """One row of the result."""
    pair = finding.pair
    queries = carriers.triggers.names
    responses = carriers.behaviours.names
    hits_without = int(pair.behaviour_rows - pair.hits)
    rows_without = int(len(index) - pair.trigger_rows)
    against = carriers.rows_with_trigger_alone(pair.trigger, pair.behaviour)
    in_chunk = carriers.chunk[against] == pair.chunk
    against = against[np.argsort(in_chunk, kind="stable")]
    return {
        "trigger": queries[pair.trigger],
        "behaviour": responses[pair.behaviour],
        "chunk": index.chunk.categories[pair.chunk],
        "rows": int(pair.hits),
        "lift": float(pair.lift),
        "p_value": float(pair.p_value),
        "p_in": wilson(int(pair.k_in), int(pair.n_in))._asdict(),
        "p_elsewhere": wilson(int(pair.k_out), int(pair.n_out))._asdict(),
        "p_without": wilson(hits_without, rows_without)._asdict(),
        "score": float(finding.score),
        "also": [(queries[p.trigger], responses[p.behaviour]) for p in finding.merged],
        "examples": finding.rows[:MAX_EXAMPLES],
        "counter_examples": against[:MAX_EXAMPLES],
    }

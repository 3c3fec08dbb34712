"""Findings: pairs of a trigger and a behaviour that the same rows of a chunk show, as one."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from chunkykit.index.carriers import Carriers, SideCarriers

MIN_ROWS = 8  # rows with trigger and behaviour
MAX_JACCARD = 0.5  # overlap of rows from which on two pairs of a chunk are one finding
REPEAT_DISCOUNT = 0.9  # factor on the score per earlier finding of the same chunk
MAX_PAIRS = 4000  # pairs that are merged into findings, best first
MAX_UNITED = 100  # findings that are compared with each other, best first
SHARE_WEIGHT = 0.05  # of the share of rows that say a pair, beside its AUC, in a headline
MAX_COMPARED_ROWS = 2000  # rows inside and rows outside a finding by which its headline is chosen


@dataclass
class Finding:
    """A pair, and the other pairs that its rows show.

    Attributes:
        pair: one row of the table of pairs, as a named tuple.
        rows: positions of the chunk's rows with trigger and behaviour.
        score: of its strongest pair.
        merged: the other pairs.
    """

    pair: Any
    rows: np.ndarray
    score: float
    merged: list[Any] = field(default_factory=list)

    def shows(self, pair: Any, rows: np.ndarray) -> bool:
        """Whether another pair is the same finding.

        Args:
            pair: the other pair.
            rows: positions of its chunk's rows with trigger and behaviour.

        Returns:
            True for a pair of the same chunk that has the same behaviour or mostly the same rows,
            or that is wide, too.
        """
        if pair.chunk != self.pair.chunk:
            return False
        if pair.behaviour == self.pair.behaviour or (pair.wide and self.pair.wide):
            return True
        return jaccard(rows, self.rows) >= MAX_JACCARD


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Measure how much two sets overlap.

    Args:
        a: distinct numbers.
        b: distinct numbers.

    Returns:
        What they share, as a share of what either has.
    """
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def merge_pairs(pairs: pd.DataFrame, carriers: Carriers) -> list[Finding]:
    """Merge pairs that are one finding, best pair first.

    Args:
        pairs: the pairs, with their `priority`.
        carriers: which rows carry what.

    Returns:
        The findings, of at least MIN_ROWS rows of their chunk each.
    """
    findings: list[Finding] = []
    order = np.argsort(-pairs["priority"].to_numpy(), kind="stable")[:MAX_PAIRS]
    pair: Any  # a named tuple of the table's columns
    for pair in pairs.iloc[order].itertuples(name="Pair"):
        if pair.k_in < MIN_ROWS or pair.score <= 0:
            continue
        rows = _chunk_rows(pair, carriers)
        same = next((finding for finding in findings if finding.shows(pair, rows)), None)
        if same is None:
            findings.append(Finding(pair, rows, pair.score))
        else:
            same.merged.append(pair)
    return findings


def _chunk_rows(pair: Any, carriers: Carriers) -> np.ndarray:
    """The rows of the pair's chunk with trigger and behaviour, ascending."""
    rows = carriers.rows_with_both(pair.trigger, pair.behaviour)
    return rows[carriers.chunk[rows] == pair.chunk]


def rank_findings(findings: list[Finding]) -> list[Finding]:
    """Sort by score; a chunk's later findings count for less, so that other chunks show up.

    Args:
        findings: in any order.

    Returns:
        The findings, strongest first.
    """
    by_score = sorted(findings, key=lambda finding: -finding.score)
    n_of_chunk: dict[int, int] = {}
    discounted = []
    for finding in by_score:
        earlier = n_of_chunk.get(finding.pair.chunk, 0)
        n_of_chunk[finding.pair.chunk] = earlier + 1
        discounted.append(finding.score * REPEAT_DISCOUNT**earlier)
    order = np.argsort(-np.array(discounted), kind="stable")
    return [by_score[i] for i in order]


def unite_findings(findings: list[Finding], carriers: Carriers) -> list[Finding]:
    """Unite findings that are about the same rows, and give each its clearest pair as headline.

    Among distinct sentences a row carries the clusters that it happens to be near. The pairs of
    one finding then have different rows, and the strongest pair is a matter of luck.

    Args:
        findings: of `merge_pairs`, over rows that carry clusters by meaning.
        carriers: which rows carry what.

    Returns:
        The findings, strongest first, at most MAX_UNITED of them.
    """
    united = sorted(findings, key=lambda finding: -finding.score)[:MAX_UNITED]
    for finding in united:
        pairs = [finding.pair, *finding.merged]
        finding.rows = np.unique(np.concatenate([_chunk_rows(pair, carriers) for pair in pairs]))
    n_before = None
    while n_before != len(united):
        n_before = len(united)
        united = _unite_once(united)
    for finding in united:
        _choose_headline(finding, carriers)
    return united


def _unite_once(findings: list[Finding]) -> list[Finding]:
    """Put each finding into the first one that has mostly the same rows."""
    united: list[Finding] = []
    for finding in findings:
        for other in united:
            is_same_chunk = other.pair.chunk == finding.pair.chunk
            if is_same_chunk and jaccard(other.rows, finding.rows) >= MAX_JACCARD:
                other.merged += [finding.pair, *finding.merged]
                other.rows = np.union1d(other.rows, finding.rows)
                break
        else:
            united.append(finding)
    return united


def _choose_headline(finding: Finding, carriers: Carriers) -> None:
    """Let the pair stand first that tells the finding's rows from others best.

    Of pairs that do it about equally well, the one is taken that most of the rows say.
    """
    rng = np.random.default_rng(0)
    outside = np.setdiff1d(np.arange(len(carriers)), finding.rows)
    inside = rng.permutation(finding.rows)[:MAX_COMPARED_ROWS]
    outside = rng.permutation(outside)[:MAX_COMPARED_ROWS]
    pairs = [finding.pair, *finding.merged]
    triggers = _Contrast(carriers.triggers, {pair.trigger for pair in pairs}, inside, outside)
    behaviours = _Contrast(carriers.behaviours, {pair.behaviour for pair in pairs}, inside, outside)
    clarity = np.array([triggers.auc[p.trigger] + behaviours.auc[p.behaviour] for p in pairs])
    share = np.array([triggers.share[p.trigger] + behaviours.share[p.behaviour] for p in pairs])
    finding.pair = pairs.pop(int(np.argmax(clarity + SHARE_WEIGHT * share)))
    finding.merged = pairs


class _Contrast:
    """How clusters contrast the rows inside a finding with rows outside of it.

    Attributes:
        auc: by cluster, how well the nearness of a row to it tells the rows inside.
        share: by cluster, of the rows inside those that say what it says.
    """

    def __init__(
        self, side: SideCarriers, clusters: set[int], inside: np.ndarray, outside: np.ndarray
    ):
        from scipy.stats import rankdata

        assert side.features is not None  # clusters are carried by meaning
        columns = np.array(sorted(clusters))
        rows = np.concatenate([inside, outside])
        cosines = side.features.cosines[np.ix_(rows, columns)].astype(np.float32)
        ranks = rankdata(cosines, axis=0)[: len(inside)]  # (n_inside, n_clusters)
        wins = ranks.sum(axis=0) - len(inside) * (len(inside) + 1) / 2
        auc = wins / max(1, len(inside) * len(outside))
        share = (cosines[: len(inside)] >= side.features.same_cut).mean(axis=0)
        self.auc = dict(zip(columns.tolist(), auc))
        self.share = dict(zip(columns.tolist(), share))

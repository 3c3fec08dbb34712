"""What answers have beside the crux, as the describer of an index says, for a gate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chunkykit.causal.repair import EVEN
from chunkykit.index import least_cosine, row_cosines, same_meaning
from chunkykit.turf import Tracer, correlations

MIN_ATTRIBUTE_ROWS = 3  # answers that have an attribute
MAX_ATTRIBUTES = 500  # those that most answers have
MAX_LEADERS = 2000  # sentences, of those of a language model, that others are compared with
MAX_SAMPLED_ROWS = 5000  # of the index, to see which attributes go along with the crux
ALONG = 0.5  # share of the rows with the crux, and correlation, of an attribute that goes along
SAME = 0.5  # P(same meaning) from which an answer has an attribute
Described = Sequence[Sequence[str]]  # attribute sentences of each of n answers


class Attributes(NamedTuple):
    """What answers have, beside the crux.

    Attributes:
        names: k attribute sentences.
        carried: (n, k) bool, which answer has which.
        with_crux: attributes left out because they nearly say the crux, see `_go_along`.
    """

    names: list[str]
    carried: np.ndarray
    with_crux: list[str]


def attributes_of(tracer: Tracer, crux: str, described: Described) -> Attributes:
    """Find what answers have beside the crux.

    Args:
        tracer: tracer of the index, over the side that the answers are of.
        crux: an attribute sentence.
        described: the attribute sentences of each of n answers.

    Returns:
        Their sentences, of those that mean the same the one that most answers have.
    """
    distinct = list(dict.fromkeys(text for texts in described for text in texts))
    if not distinct:
        return Attributes([], np.zeros((len(described), 0), bool), [])
    same = same_meaning(tracer.index, tracer.side)
    cut = None if same is None else least_cosine(same, SAME)
    chosen, carried = _carried(tracer, distinct, described, cut)
    counts = carried.sum(axis=0)
    common = np.argsort(-counts, kind="stable")
    common = common[counts[common] >= MIN_ATTRIBUTE_ROWS]
    if cut is not None:
        common = _different(tracer.embed([distinct[i] for i in chosen]), common, cut)
    common = common[:MAX_ATTRIBUTES]
    names = [distinct[chosen[i]] for i in common]
    means_crux = tracer.responses.grade_described(crux, [[name] for name in names]).evidence >= EVEN
    goes_along = _go_along(tracer, crux, names, cut)
    is_other = ~(means_crux | goes_along)
    return Attributes(
        names=[name for name, other in zip(names, is_other) if other],
        carried=carried[:, common][:, is_other],
        with_crux=[name for name, along in zip(names, goes_along & ~means_crux) if along],
    )


def _carried(
    tracer: Tracer, distinct: list[str], described: Described, cut: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which answer says which of the distinct sentences, or of a part of very many.

    Returns:
        The numbers of the sentences, shape (k,), and (n, k) bool.
    """
    place = {text: i for i, text in enumerate(distinct)}
    step = 1 if cut is None else max(1, len(distinct) // MAX_LEADERS)
    chosen = np.arange(0, len(distinct), step)
    carried = np.zeros((len(described), len(chosen)), bool)
    vectors = None if cut is None else tracer.embed(distinct)
    for row, texts in enumerate(described):
        own = np.array([place[text] for text in texts], int)
        if vectors is None:
            carried[row, own] = True
        elif len(own):
            carried[row] = (vectors[own] @ vectors[chosen].T >= cut).any(axis=0)
    return chosen, carried


def _different(vectors: np.ndarray, ranked: np.ndarray, cut: float) -> np.ndarray:
    """The sentences, best first, without those that mean the same as a better one."""
    is_covered = np.zeros(len(vectors), bool)
    different = []
    for i in ranked:
        if not is_covered[i]:
            different.append(i)
            is_covered |= vectors @ vectors[i] >= cut
    return np.array(different, int)


def _go_along(tracer: Tracer, crux: str, names: list[str], cut: float | None) -> np.ndarray:
    """Which attributes nearly say the crux in the training data: most rows with it have them.

    Returns:
        (k,) bool.
    """
    side = tracer.responses.side
    rows = np.arange(0, len(side.ids), max(1, len(side.ids) // MAX_SAMPLED_ROWS))
    along = np.zeros(len(names), bool)
    if not names:
        return along
    if cut is None:
        numbers = pc.index_in(pa.array(names), side.sentences.combine_chunks()).fill_null(-2)
        has = np.stack([(side.ids[rows] == number).any(axis=1) for number in numbers.to_pylist()])
    else:
        has = (row_cosines(side, rows, tracer.embed(names)) >= np.float16(cut)).T
    shows = tracer.responses.grade([crux]).evidence[0][rows].astype(float)
    phi = correlations(shows, has.astype(float))  # (k,)
    share = has @ shows / max(shows.sum(), 1e-9)
    return (share >= ALONG) & (phi >= ALONG)

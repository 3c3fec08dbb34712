"""What a mixture lets one expect, from the data alone: query clusters that go with a response behaviour because of one chunk.

A finding is co-occurrence that other chunks contradict or never cover: a model may take the cluster for the reason. No model has been
asked; a search can start from it (`turf.Tracer.predict`)."""

import numpy as np
import pandas as pd

from chunkykit.attributes import predicate
from chunkykit.errors import UserError
from chunkykit.index.store import IndexSide, TraceIndex
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
MIN_ROWS = 8  # rows with cluster and behaviour
MAX_P_VALUE, MIN_LIFT = 0.001, 2.0
PRIOR_ROWS = 10  # rows of the behaviour's base rate that stand for what other chunks do not say
HALF_WEIGHT_ROWS = 20  # rows that a trigger needs to count by half: prompts of users will rarely hold what few rows hold
MAX_JACCARD = 0.5  # Jaccard index of rows from which on two pairs of a chunk say the same
REPEAT_DISCOUNT = 0.9  # each finding of a chunk makes its next one count for less
MAX_PAIRS = 4000  # pairs looked at for findings, best first


def incidence(side: IndexSide):
    """(n, K) sparse: which row carries which cluster."""
    return _incidence(side.clusters, len(side.centroids))


def _incidence(numbers: np.ndarray, k: int):
    from scipy.sparse import csr_matrix

    rows, slots = np.nonzero(numbers >= 0)
    return csr_matrix(
        (np.ones(len(rows), np.int32), (rows, numbers[rows, slots])), (len(numbers), k)
    )


def scan_index(index: TraceIndex, top: int = 25) -> pd.DataFrame:
    """The findings, most telling first: a DataFrame of COLUMNS.

    rows: with trigger and behaviour; p_value: hypergeometric, adjusted over all pairs that occur; p_in, p_elsewhere: P(behaviour | trigger) in
    the chunk that has most of the rows, and in all others, p_without: P(behaviour | no trigger), each {rate, low, high, n} with its 95 %
    Wilson interval. score: the lower end of p_in, less what the other chunks let one expect, less for a trigger of few rows. also: other pairs that the same rows of the chunk show.
    examples, counter_examples: positions of rows of the chunk, and of rows with the trigger alone, of other chunks first."""
    q, b, n = incidence(index.query).tocsc(), incidence(index.sides["response"]).tocsc(), len(index)
    both = (q.T @ b).tocoo()
    of_q, of_b = (np.asarray(side.sum(axis=0)).ravel() for side in (q, b))
    some = both.data >= MIN_ROWS
    c, r, hits = both.row[some], both.col[some], both.data[some]
    p = adjust(
        np.concatenate([enrichment_p(hits, of_q[c], of_b[r], n), np.ones(int((~some).sum()))])
    )[: len(c)]
    lift = hits / of_q[c] / (of_b[r] / n)
    said = [
        [predicate(text) for text in side.summaries]
        for side in (index.query, index.sides["response"])
    ]
    mirrored = np.array(
        [said[0][i] == said[1][j] for i, j in zip(c, r)], bool
    )  # an answer in the language of the question
    good = (p < MAX_P_VALUE) & (lift >= MIN_LIFT) & ~mirrored
    c, r, hits, p, lift = (x[good] for x in (c, r, hits, p, lift))
    codes, in_chunk = (
        np.asarray(index.chunk.codes),
        np.zeros((len(index.chunk.categories), len(c)), np.int64),
    )
    q_in, b_in = (np.zeros((len(in_chunk), len(c)), np.int64) for _ in range(2))
    rows_of = q.tocsr(), b.tocsr()
    for h in range(len(in_chunk)):
        mine_q, mine_b = (side[np.flatnonzero(codes == h)] for side in rows_of)
        in_chunk[h] = np.asarray((mine_q.T @ mine_b).tocsr()[c, r]).ravel() if len(c) else 0
        q_in[h], b_in[h] = (
            np.asarray(mine_q.sum(axis=0)).ravel()[c],
            np.asarray(mine_b.sum(axis=0)).ravel()[r],
        )
    chunk, at, size = (
        in_chunk.argmax(axis=0),
        np.arange(len(c)),
        np.bincount(codes, minlength=len(in_chunk)),
    )
    n_in, k_in = q_in[chunk, at], in_chunk[chunk, at]
    n_out, k_out = of_q[c] - n_in, hits - k_in
    base = (of_b[r] - b_in[chunk, at]) / np.maximum(
        1, n - size[chunk]
    )  # of the behaviour, in the other chunks
    score = np.array([wilson(int(k), int(m)).low for k, m in zip(k_in, n_in)]) - (
        k_out + PRIOR_ROWS * base
    ) / (n_out + PRIOR_ROWS)
    score *= of_q[c] / (of_q[c] + HALF_WEIGHT_ROWS)
    wide = (b_in[chunk, at] - k_in) / np.maximum(
        1, size[chunk] - n_in
    ) > 0.6 * k_in / n_in  # the chunk does it without the trigger too
    # of what a whole chunk does the trigger is told that most of it has and little else
    order = np.argsort(
        -score * np.where(wide, k_in / np.maximum(1, b_in[chunk, at]) * (n_in / of_q[c]) ** 0.5, 1),
        kind="stable",
    )
    found: list[dict] = []
    for i in order[:MAX_PAIRS]:
        if k_in[i] < MIN_ROWS or score[i] <= 0:
            continue
        held = np.intersect1d(
            *(
                side.indices[side.indptr[x] : side.indptr[x + 1]]
                for side, x in ((q, c[i]), (b, r[i]))
            ),
            assume_unique=True,
        )
        held = held[codes[held] == chunk[i]]
        same = next(
            (
                f
                for f in found
                if f["code"] == chunk[i]
                and (
                    r[i] == f["r"]
                    or wide[i]
                    and f["wide"]
                    or _jaccard(held, f["held"]) >= MAX_JACCARD
                )
            ),
            None,
        )
        if same:
            same["also"].append(
                (index.query.summaries[c[i]], index.sides["response"].summaries[r[i]])
            )
        else:
            found.append(
                {"code": chunk[i], "wide": wide[i], "held": held, "i": i, "r": r[i], "also": []}
            )
    found.sort(key=lambda f: -score[f["i"]])
    before = (
        pd.Series([f["code"] for f in found]).groupby([f["code"] for f in found]).cumcount()
        if found
        else ()
    )
    ranked = sorted(zip(found, before), key=lambda x: -score[x[0]["i"]] * REPEAT_DISCOUNT ** x[1])
    return pd.DataFrame(
        [
            _finding(
                index,
                q,
                b,
                f,
                {
                    "c": c,
                    "r": r,
                    "hits": hits,
                    "p": p,
                    "lift": lift,
                    "k_in": k_in,
                    "n_in": n_in,
                    "k_out": k_out,
                    "n_out": n_out,
                    "score": score,
                },
                of_q,
                of_b,
            )
            for f, _ in ranked[:top]
        ],
        columns=SCAN_COLUMNS,
    )


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _finding(index, q, b, f: dict, of: dict, of_q, of_b) -> dict:
    t = {name: values[f["i"]] for name, values in of.items()}
    inside, outside = (
        wilson(int(t["k_in"]), int(t["n_in"])),
        wilson(int(t["k_out"]), int(t["n_out"])),
    )
    without = wilson(int(of_b[t["r"]] - t["hits"]), int(len(index) - of_q[t["c"]]))
    against = np.setdiff1d(
        q.indices[q.indptr[t["c"]] : q.indptr[t["c"] + 1]],
        b.indices[b.indptr[t["r"]] : b.indptr[t["r"] + 1]],
    )
    against = against[np.argsort(index.chunk.codes[against] == f["code"], kind="stable")]
    return {
        "trigger": index.query.summaries[t["c"]],
        "behaviour": index.sides["response"].summaries[t["r"]],
        "chunk": index.chunk.categories[f["code"]],
        "rows": int(t["hits"]),
        "lift": float(t["lift"]),
        "p_value": float(t["p"]),
        "p_in": inside._asdict(),
        "p_elsewhere": outside._asdict(),
        "p_without": without._asdict(),
        "score": float(t["score"]),
        "also": f["also"],
        "examples": f["held"][:5],
        "counter_examples": against[:5],
    }


def scan_preferences(index: TraceIndex, top: int = 25) -> pd.DataFrame:
    """Of preference data: which query clusters push which response behaviour up or down, most significant first: DataFrame[trigger, behaviour,
    up, down, rate, low, high, base_rate, p_value].

    up: rows with the trigger whose chosen response has the behaviour and whose rejected one has not; down: the reverse; rate: up of both,
    with its 95 % Wilson interval; base_rate: the same over all rows. p_value: two-sided binomial against the base rate, so that what is
    preferred everywhere is no finding, adjusted over all pairs that occur LEAST times. Raises UserError where no row has a rejected response."""
    from scipy.stats import binom

    if "rejected" not in index.sides:
        raise UserError(
            "scan: the index has no rejected responses, so nothing is preferred in it. Index rows with `chosen` and `rejected`."
        )
    chosen, rejected = index.sides["response"], index.sides["rejected"]
    names = {
        s: i for i, s in enumerate(dict.fromkeys([*chosen.summaries, *rejected.summaries]))
    }  # the sides number theirs apart
    numbers = [
        np.array([*(names[s] for s in side.summaries), -1])[side.clusters]
        for side in (chosen, rejected)
    ]
    has = [_incidence(held, len(names)).minimum(1) for held in numbers]
    query, ups = incidence(index.query), [(a - a.multiply(b)).tocsr() for a, b in (has, has[::-1])]
    base = [np.asarray(side.sum(axis=0)).ravel() for side in ups]
    up, down = ((query.T @ side).toarray() for side in ups)
    c, r = np.nonzero(up + down >= MIN_ROWS)
    up, down, expected = up[c, r], down[c, r], (base[0] / np.maximum(1, base[0] + base[1]))[r]
    p = adjust(
        np.minimum(
            1,
            2
            * np.minimum(binom.cdf(up, up + down, expected), binom.sf(up - 1, up + down, expected)),
        )
    )
    order = [i for i in np.lexsort((-np.abs(up - down), p)) if p[i] < MAX_P_VALUE][:top]
    said = list(names)
    return pd.DataFrame(
        [
            {
                "trigger": index.query.summaries[c[i]],
                "behaviour": said[r[i]],
                "up": int(up[i]),
                "down": int(down[i]),
                **dict(zip(("rate", "low", "high"), wilson(int(up[i]), int(up[i] + down[i])))),
                "base_rate": float(expected[i]),
                "p_value": float(p[i]),
            }
            for i in order
        ],
        columns=[
            "trigger",
            "behaviour",
            "up",
            "down",
            "rate",
            "low",
            "high",
            "base_rate",
            "p_value",
        ],
    )

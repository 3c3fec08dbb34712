"""The rows behind a trace: those that speak for it, those that speak against it, and the words that go with the behaviour."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chunkykit.attributes import text_window
from chunkykit.stats import adjust, enrichment_p
from chunkykit.turf.tracer import Trace, Tracer

ROWS_PER_EXAMPLE = 10  # rows looked at for each example, to find different prompts
MAX_KEYWORD_ROWS = 20_000  # rows with a behaviour, and as many without, whose words are counted


def trace_examples(tracer: Tracer, trace: Trace, n: int = 5) -> pd.DataFrame:
    """Training rows of a trace with a trigger: DataFrame[kind, row, chunk, prompt, response, query_attribute, response_attribute].

    kind: "evidence", rows that were retrieved for the crux and carry the trigger, most telling first; "counter-example", rows with the
    trigger whose response does not show the crux, those most like the query first; n of each at most, a prompt once. The attributes are those
    of the row that match trigger and crux (None: none does)."""
    query, side, near = tracer.index.query, tracer.side, tracer.evidence(trace.crux).near
    against = np.flatnonzero(
        (query.clusters == trace.trigger_cluster).any(axis=1) & ~side.carry(near)
    )
    alike = np.isin(query.clusters[against], trace.candidates["cluster"].unique()).sum(axis=1)
    found = {"evidence": trace.rows, "counter-example": against[np.argsort(-alike, kind="stable")]}
    read = [
        tracer.index.rows(rows[: ROWS_PER_EXAMPLE * n])
        .assign(at=rows[: ROWS_PER_EXAMPLE * n])
        .drop_duplicates("prompt")
        .head(n)
        .assign(kind=kind)
        for kind, rows in found.items()
    ]
    table = pd.concat(read, ignore_index=True)
    found = table.pop("at")
    table.insert(0, "kind", table.pop("kind"))
    for name, of, fits in (
        ("query_attribute", query, np.flatnonzero(query.cluster_of == trace.trigger_cluster)),
        ("response_attribute", side, near),
    ):
        table[name] = [
            next((of.sentences[int(s)].as_py() for s in of.ids[row] if s in fits), None)
            for row in found
        ]
    return table


def examples_table(tracer: Tracer, traces: Sequence[Trace], n: int = 5) -> pd.DataFrame:
    """`examples` of several traces, keyed by `trace`, their positions; a trace without a trigger has none."""
    found = [
        trace_examples(tracer, t, n).assign(trace=i) for i, t in enumerate(traces) if t.trigger
    ]
    return (
        pd.concat(found, ignore_index=True)
        if found
        else pd.DataFrame(
            columns=[
                "kind",
                "row",
                "chunk",
                "prompt",
                "response",
                "query_attribute",
                "response_attribute",
                "trace",
            ]
        )
    )


def chunk_features(tracer: Tracer, traces: Sequence[tuple[str, Trace]]) -> pd.DataFrame:
    """What share of each chunk's rows carries the trigger, and the crux, of each trace that has one (paper Fig. 6): DataFrame[trace, rubric,
    trigger, chunk, rows, trigger_share, crux_share]. traces: (rubric name, trace); trace is the position."""
    index, found = tracer.index, []
    for i, (name, t) in enumerate(traces):
        if t.trigger:
            carried = {
                "trigger_share": (index.query.clusters == t.trigger_cluster).any(axis=1),
                "crux_share": tracer.side.carry(tracer.evidence(t.crux).near),
            }
            table = pd.DataFrame(carried).groupby(np.asarray(index.chunk)).agg(["mean", "size"])
            found += [
                (
                    i,
                    name,
                    t.trigger,
                    chunk,
                    int(row["trigger_share", "size"]),
                    row["trigger_share", "mean"],
                    row["crux_share", "mean"],
                )
                for chunk, row in table.iterrows()
            ]
    return pd.DataFrame(
        found,
        columns=["trace", "rubric", "trigger", "chunk", "rows", "trigger_share", "crux_share"],
    )


def crux_keywords(
    tracer: Tracer,
    crux: str,
    chunk: str | None = None,
    words: int = 3,
    most: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Word n-grams of up to `words` words that prompts of rows (of one chunk, if given) whose response shows the crux have more often than
    prompts of rows that do not (paper app. A.2): DataFrame[ngram, rows, share, base_share, lift, p_value, chunk, chunk_share], most telling first.

    rows, share: of those with the behaviour; base_share: of those without; chunk: where most of the rows are, and which share of them.
    p is hypergeometric over the prompts counted (SAMPLE of either kind), adjusted over all n-grams."""
    from sklearn.feature_extraction.text import CountVectorizer

    rng, shows = np.random.default_rng(seed), tracer.side.carry(tracer.evidence(crux).near)
    mine = shows if chunk is None else shows & np.asarray(tracer.index.chunk == chunk)
    cases, others = (
        rng.permutation(np.flatnonzero(kind))[:MAX_KEYWORD_ROWS] for kind in (mine, ~shows)
    )
    columns = ["ngram", "rows", "share", "base_share", "lift", "p_value", "chunk", "chunk_share"]
    if not len(cases) or not len(others):
        return pd.DataFrame(columns=columns)
    counter = CountVectorizer(
        ngram_range=(1, words),
        binary=True,
        token_pattern=r"(?u)\w+|[^\w\s]",
        min_df=min(3, len(cases)),
        dtype=np.int32,
    )
    held = counter.fit_transform(
        map(text_window, tracer.index.rows(np.concatenate([cases, others]))["prompt"])
    )
    inside, total = (np.asarray(part.sum(axis=0)).ravel() for part in (held[: len(cases)], held))
    p = adjust(enrichment_p(inside, len(cases), total, held.shape[0]))
    share, base = inside / len(cases), (total - inside) / len(others)
    best = np.lexsort((-share, p))[:most]
    best, ngrams, of = (
        best[p[best] < 0.01],
        counter.get_feature_names_out(),
        tracer.index.chunk[cases],
    )
    where = [of[held[: len(cases), i].toarray().ravel() > 0].value_counts() for i in best]
    return pd.DataFrame(
        [
            (
                ngrams[i],
                int(inside[i]),
                share[i],
                base[i],
                share[i] / max(base[i], 1 / len(others)),
                p[i],
                w.idxmax(),
                w.max() / w.sum(),
            )
            for i, w in zip(best, where)
        ],
        columns=columns,
    )

"""Evidence: training rows that support a trace, rows that oppose it, and the words behind it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chunkykit.attributes import text_window
from chunkykit.stats import adjust, enrichment_p
from chunkykit.turf.candidates import LIKELY
from chunkykit.turf.trace import Trace
from chunkykit.turf.tracer import Tracer

UNLIKELY = 0.2  # probability below which a row shows no crux
ROWS_PER_EXAMPLE = 10  # rows read per example, to find different prompts
MAX_KEYWORD_ROWS = 20_000  # rows with a behaviour, and as many without, whose words are counted
MIN_KEYWORD_ROWS = 3  # rows that must have an n-gram
MAX_KEYWORD_P = 0.01  # adjusted p from which an n-gram is left out
EXAMPLE_COLUMNS = [
    "kind",
    "row",
    "chunk",
    "prompt",
    "response",
    "turn",
    "query_attribute",
    "response_attribute",
]
FEATURE_COLUMNS = ["trace", "rubric", "trigger", "chunk", "rows", "trigger_share", "crux_share"]
KEYWORD_COLUMNS = [
    "ngram",
    "rows",
    "share",
    "base_share",
    "lift",
    "p_value",
    "chunk",
    "chunk_share",
]


def trace_examples(tracer: Tracer, trace: Trace, n: int = 5) -> pd.DataFrame:
    """Read training rows that support or oppose a trace.

    Args:
        tracer: the tracer that made the trace.
        trace: a trace with a trigger.
        n: rows of each kind at most; each prompt comes once.

    Returns:
        kind, row, chunk, prompt, response, query_attribute and response_attribute of each. Kind
        "evidence": rows that most likely carry the trigger and show the crux. Kind
        "counter-example": rows that likely carry the trigger and show no crux, first those that
        carry it most likely. The attributes are those of the row that are nearest to trigger and
        crux, None where none is near.
    """
    trigger = trace.trigger or ""
    carries = tracer.carries(trigger)
    shows = tracer.shows(trace.crux)
    likely = np.flatnonzero(carries >= LIKELY)
    opposing = likely[shows[likely] < UNLIKELY]
    opposing = opposing[np.argsort(shows[opposing] - carries[opposing], kind="stable")]
    supporting = trace.rows[np.argsort(-(carries * shows)[trace.rows], kind="stable")]
    evidence = _read_examples(tracer, supporting, n, "evidence")
    counter_examples = _read_examples(tracer, opposing, n, "counter-example")
    table = pd.concat([evidence, counter_examples], ignore_index=True)
    positions = table.pop("position").to_numpy(int)
    table["query_attribute"] = tracer.queries.nearest_sentences(trigger, positions)
    table["response_attribute"] = tracer.responses.nearest_sentences(trace.crux, positions)
    return table


def _read_examples(tracer: Tracer, rows: np.ndarray, n: int, kind: str) -> pd.DataFrame:
    """The first n of some rows that have different prompts, with their positions in the index."""
    candidates = rows[: ROWS_PER_EXAMPLE * n]
    table = tracer.index.rows(candidates).assign(position=candidates)
    table = table.drop_duplicates("prompt").head(n)
    table.insert(0, "kind", kind)
    return table


def examples_table(tracer: Tracer, traces: Sequence[Trace], n: int = 5) -> pd.DataFrame:
    """Read training rows that support or oppose each of several traces.

    Args:
        tracer: the tracer that made the traces.
        traces: the traces; those without a trigger have no examples.
        n: rows of each kind per trace at most.

    Returns:
        The columns of `trace_examples`, and `trace`, the position of the trace.
    """
    tables = []
    for i, trace in enumerate(traces):
        if trace.trigger:
            tables.append(trace_examples(tracer, trace, n).assign(trace=i))
    if not tables:
        return pd.DataFrame(columns=[*EXAMPLE_COLUMNS, "trace"])
    return pd.concat(tables, ignore_index=True)


def chunk_features(tracer: Tracer, traces: Sequence[tuple[str, Trace]]) -> pd.DataFrame:
    """Measure which expected share of each chunk carries trigger and crux (paper Fig. 6).

    Args:
        tracer: the tracer that made the traces.
        traces: (rubric name, trace) of each; traces without a trigger are left out.

    Returns:
        One row per trace and chunk: trace (position), rubric, trigger, chunk, rows, trigger_share
        and crux_share.
    """
    index = tracer.index
    lines = []
    for i, (rubric_name, trace) in enumerate(traces):
        if not trace.trigger:
            continue
        carried = pd.DataFrame(
            {
                "trigger": tracer.carries(trace.trigger),
                "crux": tracer.shows(trace.crux),
            }
        )
        by_chunk = carried.groupby(np.asarray(index.chunk))
        shares = by_chunk.mean().assign(rows=by_chunk.size())
        lines += [
            (i, rubric_name, trace.trigger, s.Index, s.rows, s.trigger, s.crux)
            for s in shares.itertuples()
        ]
    return pd.DataFrame(lines, columns=FEATURE_COLUMNS)


def crux_keywords(
    tracer: Tracer,
    crux: str,
    chunk: str | None = None,
    words: int = 3,
    n: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Find the words that go with a crux in the prompts (paper app. A.2).

    Args:
        tracer: a tracer.
        crux: a response attribute.
        chunk: count only rows of this chunk as rows with the crux; None for all chunks.
        words: the longest n-gram, in words.
        n: n-grams returned at most.
        seed: seed of the sample, where there are more than `MAX_KEYWORD_ROWS` rows.

    Returns:
        N-grams that prompts of rows with the crux have more often than prompts of rows without
        it, most telling first: ngram, rows and share (of the rows with the crux), base_share (of
        those without), lift, p_value (hypergeometric over the counted prompts, adjusted over all
        n-grams), chunk (where most of the rows are) and chunk_share (how many of them).
    """
    cases, controls = _keyword_rows(tracer, crux, chunk, seed)
    if not len(cases) or not len(controls):
        return pd.DataFrame(columns=KEYWORD_COLUMNS)
    prompts = tracer.index.rows(np.concatenate([cases, controls]))["prompt"]
    ngrams, has_ngram = _count_ngrams(prompts, words, min(MIN_KEYWORD_ROWS, len(cases)))
    in_cases = np.asarray(has_ngram[: len(cases)].sum(axis=0)).ravel()  # (n_ngrams,)
    total = np.asarray(has_ngram.sum(axis=0)).ravel()
    p = adjust(enrichment_p(in_cases, len(cases), total, has_ngram.shape[0]))
    share = in_cases / len(cases)
    base_share = (total - in_cases) / len(controls)
    lines = []
    for i in np.lexsort((-share, p))[:n]:
        if p[i] >= MAX_KEYWORD_P:
            break
        case_has = has_ngram[: len(cases), i].toarray().ravel() > 0
        chunks = tracer.index.chunk[cases][case_has].value_counts()
        # an n-gram that no control has counts as if one had it
        lift = share[i] / max(base_share[i], 1 / len(controls))
        place = (chunks.idxmax(), chunks.max() / chunks.sum())
        line = (ngrams[i], int(in_cases[i]), share[i], base_share[i], lift, p[i])
        lines.append((*line, *place))
    return pd.DataFrame(lines, columns=KEYWORD_COLUMNS)


def _keyword_rows(
    tracer: Tracer, crux: str, chunk: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a crux and rows without it, in random order."""
    # controls come from all chunks: within one chunk nearly every row may show the crux
    rng = np.random.default_rng(seed)
    shows = tracer.shows(crux) >= LIKELY
    is_case = shows
    if chunk is not None:
        is_case = shows & np.asarray(tracer.index.chunk == chunk)
    cases = rng.permutation(np.flatnonzero(is_case))[:MAX_KEYWORD_ROWS]
    controls = rng.permutation(np.flatnonzero(~shows))[:MAX_KEYWORD_ROWS]
    return cases, controls


def _count_ngrams(prompts: pd.Series, words: int, min_rows: int):
    """N-grams up to some words, and a sparse matrix of which prompt has which, (n, n_ngrams)."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        ngram_range=(1, words),
        binary=True,
        token_pattern=r"(?u)\w+|[^\w\s]",
        min_df=min_rows,
        dtype=np.int32,
    )
    has_ngram = counter.fit_transform(map(text_window, prompts))
    return counter.get_feature_names_out(), has_ngram

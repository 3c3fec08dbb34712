"""Trace: what the data says about one failing exchange, or about a group of them.

Everything in a trace is co-occurrence. It does not test cause; an ablation does.
"""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from chunkykit.files import json_ready
from chunkykit.index import TraceIndex
from chunkykit.stats import wilson
from chunkykit.text import inert_html, inert_text
from chunkykit.types import Rate

CAVEAT = "This is co-occurrence in the data; an ablation tests cause."
MAX_COLUMNS = 100  # of the sentence of a printed trace
MAX_SHOWN_CHUNKS = 5  # chunks of a printed trace
SHOWN_PROMPT_CHARACTERS = 70  # of each example of a printed trace
SHOWN_RESPONSE_CHARACTERS = 50
SHARE_COLUMNS = ["chunk", "share", "base_share", "lift", "lift_low", "rows"]
NUMBER_COLUMNS = [
    "trigger",
    "trigger_cluster",
    "trigger_by_hits",
    "crux",
    "hits",
    "k",
    "lift",
    "p_value",
]
RATE_COLUMNS = ["p_crux_given_trigger", "p_crux_without", "p_crux"]


@dataclass(frozen=True)
class Trace:
    """What the data says about one failing exchange, or about a group of them with one trigger.

    Attributes:
        trigger: the query attribute that stands out; None where none does.
        trigger_cluster: its query cluster.
        trigger_by_hits: the paper's choice, by raw hits (Eq. 6).
        crux: the response attribute that was traced.
        hits: retrieved rows that carry the trigger's cluster.
        k: retrieved rows.
        lift: rate of the hits over the base rate of the trigger's cluster.
        p_value: hypergeometric p-value of the hits, adjusted over all query clusters.
        p_crux_given_trigger: rate of the crux over the training rows with the trigger.
        p_crux_without: rate of the crux over the rows without the trigger.
        p_crux: rate of the crux over all rows.
        chunks: `chunk_shares` of the hit rows, most telling first.
        explanation: the finding as a sentence.
        candidates: one row per crux and query attribute that was weighed.
        rows: positions in the index of the hit rows, most telling first: those most like the
            query, and among these those nearest to the crux.
        members: positions of the exchanges that the trace speaks for.
    """

    trigger: str | None
    attribute: str | None
    trigger_cluster: int | None
    trigger_by_hits: str | None
    crux: str
    cruxes: tuple[str, ...]
    hits: float
    k: float
    lift: float
    p_value: float
    separation: Rate
    p_crux_given_trigger: Rate
    p_crux_without: Rate
    p_crux: Rate
    chunks: pd.DataFrame
    explanation: str
    candidates: pd.DataFrame
    rows: np.ndarray
    telling: np.ndarray
    members: tuple[int, ...] = (0,)

    def to_dict(self) -> dict:
        """Convert to values that JSON can hold.

        Returns:
            All attributes but `rows`; tables are lists of records, and NaN is None.
        """
        # the fields of this class alone: a subclass may hold what JSON cannot
        names = [field.name for field in fields(Trace) if field.name != "rows"]
        values = {name: getattr(self, name) for name in names}
        for name in RATE_COLUMNS:
            values[name] = values[name]._asdict()
        for name in ("chunks", "candidates"):
            values[name] = values[name].to_dict("records")
        return json_ready(values)

    def __str__(self) -> str:
        """Say the finding, its numbers and its chunks in a few lines."""
        return format_trace(self)

    def _repr_html_(self) -> str:
        """Show the finding, its numbers and its chunks in a notebook."""
        parts = [
            f"<p>{inert_html(self.explanation)}</p>",
            _html_table(_number_rows(self)),
            _html_table(_chunk_rows(self), ["chunk", "share", "share of the mixture", "lift"]),
            f"<p><small>{CAVEAT}</small></p>",
        ]
        return "\n".join(part for part in parts if part)


def format_trace(trace: Trace, examples: pd.DataFrame | Sequence[Mapping] | None = None) -> str:
    """Write a trace as lines for a terminal.

    Args:
        trace: the trace.
        examples: training rows to list below it, as `trace_examples` returns them, or as records.

    Returns:
        The text, without control characters.
    """
    lines = [*textwrap.wrap(trace.explanation, MAX_COLUMNS), ""]
    if trace.trigger:
        lines += [
            f"trigger     {trace.trigger}",
            f"  by hits   {trace.trigger_by_hits} (the paper's choice)",
            f"crux        {trace.crux}",
            f"hits        {trace.hits} of {trace.k}, lift {trace.lift:.1f}, "
            f"p {trace.p_value:.1e} (adjusted)",
            f"P(crux)     {_format_rate(trace.p_crux_given_trigger)} of the rows with the trigger, "
            f"{_format_rate(trace.p_crux_without)} of those without",
            "",
        ]
    for chunk, share, base_share, lift in _chunk_rows(trace):
        lines.append(
            f"  {chunk:<24} {share:>6} of the rows behind it, "
            f"{base_share:>6} of the mixture, lift {lift}"
        )
    if isinstance(examples, pd.DataFrame):
        examples = examples.to_dict("records")
    lines += [_format_example(example) for example in examples or ()]
    lines += ["", CAVEAT]
    return "\n".join(inert_text(line) for line in lines)


def _format_example(example: Mapping) -> str:
    prompt = " ".join(example["prompt"].split())[:SHOWN_PROMPT_CHARACTERS]
    response = " ".join(example["response"].split())[:SHOWN_RESPONSE_CHARACTERS]
    place = f"row {example['row']} of {example['chunk']}"
    return f"  {example['kind']:<16} {place}: {prompt!r} -> {response!r}"


def _format_rate(rate: Rate) -> str:
    return f"{rate.rate:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def _chunk_rows(trace: Trace) -> list[tuple[str, str, str, str]]:
    """The first chunks of a trace: name, share, share of the mixture, lift."""
    return [
        (str(c.chunk), f"{c.share:.1%}", f"{c.base_share:.1%}", f"{c.lift:.1f}")
        for c in trace.chunks.head(MAX_SHOWN_CHUNKS).itertuples()
    ]


def _number_rows(trace: Trace) -> list[tuple[str, str]]:
    """The numbers of a trace for its HTML: name and value."""
    if not trace.trigger:
        return [
            ("crux", trace.crux),
            ("retrieved rows", f"{trace.k:,}"),
            ("P(crux)", _format_rate(trace.p_crux)),
        ]
    return [
        ("trigger", trace.trigger),
        ("trigger by raw hits", str(trace.trigger_by_hits)),
        ("crux", trace.crux),
        ("hits", f"{trace.hits:,} of {trace.k:,}"),
        ("lift", f"{trace.lift:.1f}"),
        ("adjusted p", f"{trace.p_value:.1e}"),
        ("P(crux | trigger)", _format_rate(trace.p_crux_given_trigger)),
        ("P(crux | no trigger)", _format_rate(trace.p_crux_without)),
    ]


def _html_table(rows: Sequence[tuple[str, ...]], header: Sequence[str] = ()) -> str:
    """Rows of texts as a table, all texts escaped; no table without rows."""
    if not rows:
        return ""
    lines = [_html_row(header, "th")] if header else []
    lines += [_html_row(row, "td") for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _html_row(texts: Sequence[str], tag: str) -> str:
    cells = [f"<{tag}>{inert_html(text)}</{tag}>" for text in texts]
    return f"<tr>{''.join(cells)}</tr>"


def first_chunks(traces: Sequence[Trace]) -> dict[str, int]:
    """Count traces by their most telling chunk.

    Args:
        traces: traces; one without chunks is left out.

    Returns:
        Number of traces per chunk, commonest first.
    """
    firsts = Counter(trace.chunks["chunk"][0] for trace in traces if len(trace.chunks))
    return dict(firsts.most_common())


def chunk_shares(
    index: TraceIndex, rows: np.ndarray, weights: np.ndarray | None = None
) -> pd.DataFrame:
    """Compare each chunk's share of some rows with its share of the mixture.

    Args:
        index: the index.
        rows: positions of rows in it.
        weights: how telling each of them is, from 0 to 1; None for all alike.

    Returns:
        One line per chunk that has any of the rows: chunk, share (of the weight), base_share,
        lift, lift_low and rows. `lift_low` is the lift with the lower end of the share's 95 %
        interval. The table is in its order, so that a small chunk with one lucky row does not
        come first.
    """
    codes = index.chunk.codes
    names = index.chunk.categories
    if weights is None:
        weights = np.ones(len(rows))
    base = np.bincount(codes, minlength=len(names))  # (n_chunks,)
    counts = np.bincount(codes[rows], minlength=len(names))
    total = weights.sum()
    share = np.bincount(codes[rows], weights, minlength=len(names)) / max(total, 1e-9)
    effective = total * total / max(float(weights @ weights), 1e-9)  # rows of equal weight
    table = pd.DataFrame(
        {"chunk": names, "share": share, "base_share": base / len(index), "rows": counts}
    )
    low = np.array([wilson(s * effective, effective).low for s in share])
    table["lift"] = table["share"] / table["base_share"]
    table["lift_low"] = low / table["base_share"]
    table = table[table["rows"] > 0].sort_values(["lift_low", "chunk"], ascending=[False, True])
    return table[SHARE_COLUMNS].reset_index(drop=True)


def trace_tables(traces: Sequence[tuple[int, str, Trace]]) -> dict[str, pd.DataFrame]:
    """Convert traces to the tables of a run.

    Args:
        traces: (failure cluster, rubric name, trace) of each.

    Returns:
        traces: one row per trace.
        trace_chunks: its chunks, keyed by `trace`, the position of the trace.
        trace_rows: positions in the index of its rows, keyed by `trace`.
    """
    lines = []
    shares = [pd.DataFrame(columns=[*SHARE_COLUMNS, "trace"])] if not traces else []
    positions = []
    for i, (cluster, rubric_name, trace) in enumerate(traces):
        numbers = [getattr(trace, name) for name in NUMBER_COLUMNS]
        rates = [getattr(trace, name).rate for name in RATE_COLUMNS]
        n_pairs = len(trace.members)
        lines.append((cluster, rubric_name, *numbers, *rates, n_pairs, trace.explanation))
        shares.append(trace.chunks.assign(trace=i))
        positions += [(i, int(row)) for row in trace.rows]
    columns = ["cluster", "rubric", *NUMBER_COLUMNS, *RATE_COLUMNS, "pairs", "explanation"]
    return {
        "traces": pd.DataFrame(lines, columns=columns),
        "trace_chunks": pd.concat(shares, ignore_index=True),
        "trace_rows": pd.DataFrame(positions, columns=["trace", "row"]),
    }

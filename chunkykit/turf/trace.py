"""Trace: what the data says about one failing exchange, or about a group of them.

Everything in a trace is co-occurrence. It does not test cause; an ablation does.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from chunkykit.attributes import attribute_spans
from chunkykit.files import json_ready
from chunkykit.index import TraceIndex
from chunkykit.numbers import auc, decimal, p_value, percent, with_interval
from chunkykit.stats import wilson
from chunkykit.text import excerpt, inert_html, inert_text
from chunkykit.turf.wording import say_hits
from chunkykit.types import Rate

if TYPE_CHECKING:
    from chunkykit.turf.verify import Verified

CAVEAT = "This is co-occurrence in the data; an ablation tests cause."
MAX_COLUMNS = 100  # of the sentence of a printed trace
MIN_SHOWN_SHARE = 0.01  # of the evidence, below which a chunk is not printed
MAX_SHOWN_CHUNKS = 5  # chunks of a printed trace
SHOWN_PROMPT_CHARACTERS = 70  # of each example of a printed trace
SHOWN_RESPONSE_CHARACTERS = 70
SHARE_COLUMNS = ["chunk", "share", "base_share", "lift", "lift_low", "rows"]
NUMBER_COLUMNS = [
    "trigger",
    "trigger_cluster",
    "trigger_from",
    "trigger_by_hits",
    "crux",
    "hits",
    "k",
    "lift",
    "p_value",
]
FROM_QUERY = "query"  # who wrote a trigger: it is in the words of a traced query,
FROM_ROW = "row"  # or in those of a training row; else it is a model's, by its name
ARRAYS = ("rows", "telling")
RATES = ["separation", "p_crux_given_trigger", "p_crux_without", "p_crux"]
SEPARATION_COLUMNS = ["separation", "separation_low", "separation_high"]
RATE_COLUMNS = ["p_crux_given_trigger", "p_crux_without", "p_crux"]


@dataclass(frozen=True)
class Trace:
    """What the data says about one failing exchange, or about a group of them with one trigger.

    Attributes:
        trigger: what the query is like that calls up the crux, in the words of the query or of a
            training row that says the same more generally; None where nothing stands out.
        attribute: the query attribute that stands out, in the query's own words; None for a group.
        trigger_cluster: query cluster of the trigger; None where it has none.
        trigger_from: who wrote the trigger: "query" for the words of a traced query, "row" for
            those of a training row, else the name of a model; None where there is no trigger.
        trigger_by_hits: the paper's choice, by raw hits (Eq. 6).
        crux: the response attribute that is most responsible, which the numbers are about.
        cruxes: all response attributes that were traced.
        hits: expected number of rows that show the crux, of those that likely carry the trigger.
        k: expected number of rows that show the crux.
        lift: P(crux | trigger) over P(crux).
        p_value: that of the attribute among shuffled rows, adjusted over the query's attributes.
        separation: AUC of the trigger: how well it tells the rows that show the cruxes most from
            the others. Cross-validated, because the rows chose the words of the trigger.
        p_crux_given_trigger: rate of the crux over the rows that likely carry the trigger.
        p_crux_without: rate of the crux over the other rows.
        p_crux: rate of the crux over all rows.
        chunks: `chunk_shares` of the rows behind the trace.
        explanation: the finding as a sentence.
        candidates: one row per query attribute that was weighed.
        rows: positions in the index of the rows behind the trace, most telling first: those that
            show the cruxes and are like the query in what goes with the cruxes.
        telling: how telling each of them is, from 0 to 1.
        members: positions of the exchanges that the trace speaks for.
        verified: what a judge model says of training rows; None where none was asked.
    """

    trigger: str | None
    attribute: str | None
    trigger_cluster: int | None
    trigger_from: str | None
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
    verified: "Verified | None" = None

    def to_dict(self) -> dict:
        """Convert to values that JSON can hold.

        Returns:
            All attributes but `rows` and `telling`; tables are lists of records, and NaN is None.
        """
        # the fields of this class alone: a subclass may hold what JSON cannot
        names = [field.name for field in fields(Trace) if field.name not in ARRAYS]
        values = {name: getattr(self, name) for name in names}
        for name in RATES:
            values[name] = values[name]._asdict()
        for name in ("chunks", "candidates"):
            values[name] = values[name].to_dict("records")
        values["verified"] = self.verified and self.verified.to_dict()
        return json_ready(values)

    def __str__(self) -> str:
        """Say the finding, its numbers and its chunks in a few lines."""
        return format_trace(self)

    def _repr_html_(self) -> str:
        """Show the finding, its numbers and its chunks in a notebook."""
        parts = [
            f"<p>{inert_html(self.explanation)}</p>",
            _html_table(_number_rows(self)),
            _html_table(_chunk_rows(self), ["chunk", "of the evidence", "of the mixture", "lift"]),
            f"<p><small>{CAVEAT}</small></p>",
        ]
        return "\n".join(part for part in parts if part)


def format_trace(
    trace: Trace,
    examples: pd.DataFrame | Sequence[Mapping] | None = None,
    columns: int | None = None,
) -> str:
    """Write a trace as lines for a terminal.

    Args:
        trace: the trace.
        examples: training rows to list below it, as `trace_examples` returns them, or as records.
        columns: of the terminal, to which all lines are wrapped; None to wrap the sentence alone.

    Returns:
        The text, without control characters.
    """
    lines = [*textwrap.wrap(trace.explanation, columns or MAX_COLUMNS), ""]
    if trace.trigger:
        lines += [
            *(f"{name:<12}{value}" for name, value in _number_rows(trace)),
            "",
        ]
    for chunk, share, base_share, lift in _chunk_rows(trace):
        lines.append(
            f"  {chunk:<24} {share:>6} of the evidence, {base_share:>6} of the mixture, lift {lift}"
        )
    if isinstance(examples, pd.DataFrame):
        examples = examples.to_dict("records")
    lines += [_format_example(example) for example in examples or ()]
    lines += ["", CAVEAT]
    texts = [inert_text(line) for line in lines]
    if columns:
        texts = [part for text in texts for part in _wrap_hanging(text, columns)]
    return "\n".join(texts)


def _wrap_hanging(line: str, columns: int) -> list[str]:
    """A line in parts of so many columns, those after the first below its second column."""
    second = re.match(r" *\S[^ ]*(?: [^ ]+)* {2,}", line)
    indent = " " * (second.end() if second and second.end() < columns / 2 else 0)
    return textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _format_example(example: Mapping) -> str:
    prompt = _excerpt(example, "prompt", "query", SHOWN_PROMPT_CHARACTERS)
    response = _excerpt(example, "response", "response", SHOWN_RESPONSE_CHARACTERS)
    turn = example.get("turn", 1)
    place = f"row {example['row']}{f', turn {turn},' if turn > 1 else ''} of {example['chunk']}"
    return f"  {example['kind']:<16} {place}: {prompt!r} -> {response!r}"


def _excerpt(example: Mapping, column: str, side: str, most: int) -> str:
    """One line of a text of an example, cut around what matches the trace."""
    line = " ".join(example[column].split())
    sentence = example.get(f"{side}_attribute")
    places = attribute_spans(sentence, side, line, 1) if isinstance(sentence, str) else []
    return excerpt(line, places[0] if places else None, most)


def _format_rate(rate: Rate) -> str:
    return with_interval(rate._asdict(), n=None, digits=1)


def _chunk_rows(trace: Trace) -> list[tuple[str, str, str, str]]:
    """The first chunks of a trace: name, share, share of the mixture, lift."""
    shown = trace.chunks[trace.chunks["share"] >= MIN_SHOWN_SHARE]
    return [
        (str(c.chunk), percent(c.share, 1), percent(c.base_share, 1), decimal(c.lift, 1))
        for c in shown.head(MAX_SHOWN_CHUNKS).itertuples()
    ]


def _number_rows(trace: Trace) -> list[tuple[str, str]]:
    """The numbers of a trace: name and value."""
    if not trace.trigger:
        return [
            ("crux", trace.crux),
            ("rows", f"about {trace.k:,.0f} with the crux"),
            ("P(crux)", _format_rate(trace.p_crux)),
        ]
    rows = [("trigger", trace.trigger)]
    if trace.attribute not in (None, trace.trigger):
        rows.append(("  the query", f"{trace.attribute} (in its own words)"))
    if trace.trigger_from not in (None, FROM_QUERY, FROM_ROW):
        check = f"separates rows with the crux: AUC {_format_auc(trace.separation)}"
        rows.append(("  written by", f"{trace.trigger_from}; {check}"))
    return [
        *rows,
        ("  by hits", f"{trace.trigger_by_hits} (the paper's choice)"),
        ("crux", trace.crux),
        (
            "separation",
            f"AUC {_format_auc(trace.separation)} of rows with the crux from the others",
        ),
        ("rows", say_hits(vars(trace))),
        (
            "P(crux)",
            f"{_format_rate(trace.p_crux_given_trigger)} of the rows with the trigger, "
            f"{_format_rate(trace.p_crux_without)} of those without",
        ),
        ("lift", f"{decimal(trace.lift, 1)}, p {p_value(trace.p_value)} (adjusted)"),
        *(trace.verified.lines() if trace.verified else []),
    ]


def _format_auc(rate: Rate) -> str:
    return auc(rate.rate, rate.low, rate.high)


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
        line = (cluster, rubric_name, *numbers, *trace.separation[:3], *rates)
        lines.append((*line, n_pairs, trace.explanation))
        shares.append(trace.chunks.assign(trace=i))
        positions += [(i, int(row)) for row in trace.rows]
    columns = ["cluster", "rubric", *NUMBER_COLUMNS, *SEPARATION_COLUMNS, *RATE_COLUMNS]
    columns += ["pairs", "explanation"]
    return {
        "traces": pd.DataFrame(lines, columns=columns),
        "trace_chunks": pd.concat(shares, ignore_index=True),
        "trace_rows": pd.DataFrame(positions, columns=["trace", "row"]),
    }

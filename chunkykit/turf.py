"""TURF: from a failing exchange back to the training data (paper sec. 3).

Crux: which attributes of the response make it a violation. Retrieve: training rows whose responses have them. Hits: which
query clusters those rows carry, held against how common the cluster is anyway. Trigger: the attribute of the
failing query that stands out most. Everything here is co-occurrence; `ablate` tests cause.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from chunkykit.embed import Embedder
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex, count_clusters
from chunkykit.llm import ask_parsed
from chunkykit.output import plain, prompt
from chunkykit.rubric import Rubric
from chunkykit.stats import Rate, adjust, enrichment_p, wilson

FLOOR = 0.85  # cosine under which a retrieved attribute says something else than the crux, and is no hit
SIGNIFICANT = 0.01  # adjusted p over which there is no trigger
LEAST_LIFT = 2.0  # and under which there is none: significant, but hardly a trigger
SHARES = ["chunk", "share", "base_share", "lift", "lift_low", "p_value", "rows"]  # columns of `chunk_shares`


@dataclass(frozen=True)
class Trace:
    """What the data says about one failing exchange, or about a group of them with one trigger."""

    trigger: str | None  # the query attribute, None where none stands out
    trigger_cluster: int | None  # its query cluster
    trigger_by_hits: str | None  # the paper's choice, by raw hits
    crux: str  # the response attribute
    hits: int  # retrieved rows that carry the trigger's cluster
    k: int  # retrieved rows
    lift: float  # the hits' rate over the base rate
    p_value: float  # hypergeometric, adjusted over all query clusters
    p_crux_given_trigger: Rate  # over training rows with the trigger
    p_crux: Rate  # over all
    chunks: pd.DataFrame  # SHARES of the hit rows, most telling first
    explanation: str
    candidates: pd.DataFrame  # a row for every (crux, query attribute) weighed
    rows: np.ndarray  # positions in the index of the hit rows
    members: tuple[int, ...] = (0,)  # positions of the exchanges that the trace speaks for

    def to_dict(self) -> dict:
        """The trace as JSON-ready values."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rows"}
        rates = {name: told[name]._asdict() for name in ("p_crux_given_trigger", "p_crux")}
        return plain({**told, **rates, "chunks": self.chunks.to_dict("records"), "candidates": self.candidates.to_dict("records")})


def crux(attributes: Sequence[str], rubric: Rubric, embed: Embedder, n: int = 3) -> list[str]:
    """The informed judge, offline: of the blind describer's sentences the n nearest to the rubric's behaviour by cosine."""
    if not attributes:
        return []
    nearness = embed(list(attributes)) @ embed([rubric.behaviour])[0]
    return [attributes[i] for i in np.argsort(-nearness, kind="stable")[:n]]


def llm_crux(model) -> Callable:
    """The informed judge as a chat model: `await select(attributes, rubric) -> sentences`, n at most, none where it names none."""

    def parse(text: str) -> list[int]:
        if not text.strip():
            raise ValueError("the answer is empty")
        listed = re.findall(r"\[[\d\s,]*\]", text)  # the list it was asked for, else every number
        return [int(d) - 1 for d in re.findall(r"\d+", listed[-1] if listed else text)]

    async def select(attributes: Sequence[str], rubric: Rubric, n: int = 3) -> list[str]:
        numbered = "\n".join(f"{i}. {a}" for i, a in enumerate(attributes, 1))
        asked, schema = prompt("crux", r=rubric, numbered=numbered)
        picked = await ask_parsed(model, asked, parse, max_tokens=2000, temperature=0.0, schema=schema)
        return [attributes[i] for i in dict.fromkeys(picked) if 0 <= i < len(attributes)][:n]

    return select


def retrieve(index: TraceIndex, nearness: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Rows of the k response attributes nearest to a crux (paper Eq. 3), each row once.

    nearness: (m,) cosine of the crux with every distinct response sentence. Attributes under FLOOR are not retrieved.
    Equally near ones that do not all fit into k are drawn at random, so that the order of the mixture cannot decide.
    """
    order = np.argsort(-nearness, kind="stable")
    order = order[nearness[order] >= FLOOR]
    taken, room = [np.zeros(0, np.int64)], k
    for level in np.split(order, np.flatnonzero(np.diff(nearness[order]) < -1e-6) + 1):
        rows = np.flatnonzero(np.isin(index.response_ids, level).any(axis=1))
        taken.append(rows if len(rows) <= room else np.random.default_rng(seed).choice(rows, room, replace=False))
        room -= len(rows)
        if room <= 0:
            break
    return np.unique(np.concatenate(taken))


class Tracer:
    """Traces over one index; what depends on the crux alone is computed once a crux.

    k: response attributes retrieved a crux; default 1,000 as in the paper, less where that is over a twentieth of the rows.
    """

    def __init__(self, index: TraceIndex, embed: Embedder, k: int | None = None, seed: int = 0):
        k = k if k is not None else max(1, min(1000, len(index) // 20))
        if embed.name != index.meta["embedder"]:
            raise UserError(f"the index was made with embedder '{index.meta['embedder']}', not '{embed.name}'.")
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}.")
        self.index, self.embed, self.k, self.seed = index, embed, k, seed
        self.evidence = lru_cache(maxsize=256)(self._evidence)
        self.clusters_of = lru_cache(maxsize=4096)(lambda a: tuple(int(c) for c in index.assign(embed(list(a)))))

    def _evidence(self, crux: str):
        """(retrieved rows, hits (K,), p adjusted (K,), lift (K,), rows that show the crux (n,) bool) of one crux."""
        nearness = self.index.response_vectors @ self.embed([crux])[0]
        rows = retrieve(self.index, nearness, self.k, self.seed)
        hits = count_clusters(self.index.row_clusters[rows], len(self.index.centroids))
        p = adjust(enrichment_p(hits, len(rows), self.index.cluster_rows, len(self.index)))
        lift = hits / max(1, len(rows)) / (self.index.cluster_rows / len(self.index))
        shows = np.isin(self.index.response_ids, np.flatnonzero(nearness >= FLOOR)).any(axis=1)
        return rows, hits, p, lift, shows

    def predict(self, rubric: Rubric) -> np.ndarray:
        """(K,) what the data lets one expect: z (at most 5) of each query cluster among the rows whose response shows the rubric's
        behaviour, 0 where it does not stand out. A search can start from it; it is no failure yet."""
        from scipy.stats import norm

        _, _, p, lift, _ = self.evidence(rubric.behaviour)
        return np.where((p < SIGNIFICANT) & (lift >= LEAST_LIFT), np.minimum(norm.isf(np.maximum(p, 1e-300)), 5.0), 0.0)

    def trace(self, query_attributes: Sequence[str], cruxes: Sequence[str], rubric: Rubric) -> Trace:
        """Trace one exchange: the attributes of its query, and the crux attributes of its response, most responsible first.

        The trigger is the query attribute with the smallest p for the first crux that has a significant one: a strong link
        to a lesser crux ("gives a date") must not hide the one to what makes the violation ("denies the deed").
        """
        weighed = []
        clusters = self.clusters_of(tuple(query_attributes)) if query_attributes else ()
        for rank, crux in enumerate(cruxes):
            rows, hits, p, lift, _ = self.evidence(crux)
            weighed += [(rank, crux, attribute, c, int(hits[c]), len(rows), float(lift[c]), float(p[c])) for attribute, c in zip(query_attributes, clusters)]
        table = pd.DataFrame(weighed, columns=["rank", "crux", "attribute", "cluster", "hits", "k", "lift", "p_value"])
        table = table.sort_values(["rank", "p_value", "lift"], ascending=[True, True, False], kind="stable").reset_index(drop=True)
        by_hits = table.loc[table["hits"].idxmax(), "attribute"] if len(table) and table["hits"].max() else None
        good = table[(table["p_value"] < SIGNIFICANT) & (table["lift"] >= LEAST_LIFT)]
        return self._told(None if good.empty else good.iloc[0], cruxes, by_hits, rubric, table)

    def _told(self, top, cruxes, by_hits, rubric: Rubric, table: pd.DataFrame) -> Trace:
        """The trace of the candidate `top`, or of none."""
        crux = top.crux if top is not None else cruxes[0] if cruxes else ""
        rows, *_, shows = self.evidence(crux) if crux else (np.zeros(0, int), np.zeros(len(self.index), bool))
        p_crux = wilson(int(shows.sum()), len(self.index))
        if top is not None:
            carries = (self.index.row_clusters == top.cluster).any(axis=1)
            hit = rows[carries[rows]]
            why = (f"When the model sees a query that {_predicate(top.attribute)}, it gives a response that "
                   f"{_predicate(crux)}, causing {rubric.causing}.")
            return Trace(top.attribute, int(top.cluster), by_hits, crux, int(top.hits), int(top.k), float(top.lift), float(top.p_value),
                         wilson(int((shows & carries).sum()), int(carries.sum())), p_crux, chunk_shares(self.index, hit), why, table, hit)
        why = "the response has no attribute to trace" if not crux else \
            f"nothing in the query stands out among the rows whose response {_predicate(crux)}" if len(rows) else \
            f"no response in this data {_predicate(crux)}, or says what is near enough to it"
        nan = float("nan")
        return Trace(None, None, by_hits, crux, 0, len(rows), nan, nan, wilson(0, 0), p_crux, chunk_shares(self.index, rows),
                     f"No trigger found: {why}.", table, rows)

    def trace_group(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]], rubric: Rubric, least: float = 0.1) -> list[Trace]:
        """Trace every (query attributes, cruxes) pair of a failure cluster; one trace for each trigger that at least a
        share `least` of the pairs has, the commonest first, told by the strongest pair that has it."""
        traces = [self.trace(query, cruxes, rubric) for query, cruxes in pairs]
        kept = []
        for cluster, times in Counter(t.trigger_cluster for t in traces).most_common():
            if times >= max(2, least * len(traces)) or len(traces) == 1:
                members = tuple(i for i, t in enumerate(traces) if t.trigger_cluster == cluster)
                told = min((traces[i] for i in members), key=lambda t: (t.p_value, -t.lift) if t.trigger else (1.0, 0.0))
                kept.append(replace(told, members=members))
        return kept


def chunk_shares(index: TraceIndex, rows: np.ndarray) -> pd.DataFrame:
    """Which chunks the rows come from, against each chunk's share of the mixture.

    lift_low: the lift with the lower end of the share's 95 % interval, by which the table is ordered: a chunk with one lucky
    row does not come first.
    """
    codes, names = index.chunk.codes, index.chunk.categories
    base, found = np.bincount(codes, minlength=len(names)), np.bincount(codes[rows], minlength=len(names))
    p = adjust(enrichment_p(found, len(rows), base, len(index))) if len(rows) else np.ones(len(names))
    table = pd.DataFrame({"chunk": names, "share": found / max(1, len(rows)), "base_share": base / len(index),
                          "p_value": p, "rows": found})
    table["lift"] = table["share"] / table["base_share"]
    table["lift_low"] = [wilson(f, len(rows)).low / b for f, b in zip(found, table["base_share"])]
    table = table[table["rows"] > 0].sort_values(["lift_low", "chunk"], ascending=[False, True])
    return table[SHARES].reset_index(drop=True)


def tables(found: Sequence[tuple[int, str, Trace]]) -> dict[str, pd.DataFrame]:
    """Traces as tables: `traces`, a row each; `trace_chunks` and `trace_rows` (positions in the index), keyed by `trace`.

    found: (cluster, rubric name, trace).
    """
    columns = ["trigger", "trigger_cluster", "trigger_by_hits", "crux", "hits", "k", "lift", "p_value"]
    rows = [(c, r, *(getattr(t, name) for name in columns), t.p_crux_given_trigger.rate, t.p_crux.rate, len(t.members), t.explanation)
            for c, r, t in found]
    shares = [t.chunks.assign(trace=i) for i, (_, _, t) in enumerate(found)]
    positions = [(i, int(p)) for i, (_, _, t) in enumerate(found) for p in t.rows]
    return {"traces": pd.DataFrame(rows, columns=["cluster", "rubric", *columns, "p_crux_given_trigger", "p_crux", "pairs", "explanation"]),
            "trace_chunks": pd.concat(shares, ignore_index=True) if shares else pd.DataFrame(columns=[*SHARES, "trace"]),
            "trace_rows": pd.DataFrame(positions, columns=["trace", "row"])}


def _predicate(sentence: str) -> str:
    """ "The query asks for X" -> "asks for X". """
    return sentence.removeprefix("The query ").removeprefix("The response ").rstrip(".")

"""TURF: from a failing exchange back to the training data (paper sec. 3).

Crux: which attributes of the response make it a violation. Retrieve: training rows whose responses have them. Hits: which
query clusters those rows carry, held against how common the cluster is anyway. Trigger: the attribute of the
failing query that stands out most. Everything here is co-occurrence; `ablate` tests cause."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.attributes import Embedder, predicate
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.index import IndexSide, TraceIndex, count_cluster_rows
from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.rubrics import Rubric
from chunkykit.stats import Rate, adjust, enrichment_p, wilson

MIN_COSINE = 0.85  # cosine under which a retrieved attribute says something else than the crux, and is no hit
MAX_P_VALUE = 0.01  # adjusted p over which there is no trigger
MIN_RELATIVE_COSINE = 0.6  # of the cosine of the nearest
MAX_CACHED_CRUXES = 512  # cruxes whose evidence is kept
MIN_LIFT = 2.0  # and under which there is none: significant, but hardly a trigger
MIN_HITS = 5  # nor is what so few rows show
MIN_EXPLAINING_WEIGHT = 0.25  # weight over which an attribute that the failing query lacks explains the crux of the rows that carry it
SHRINK = 10.0  # of the weights: an attribute of so many rows gets half of the weight that they show
MAX_WEIGHED_ROWS = 50_000  # rows that show a crux, and as many that do not, that its weights are estimated on; of more, so many are sampled
SHARE_COLUMNS = [
    "chunk",
    "share",
    "base_share",
    "lift",
    "lift_low",
    "p_value",
    "rows",
]  # columns of `chunk_shares`


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
    p_crux_without: Rate  # over those without it
    p_crux: Rate  # over all
    chunks: pd.DataFrame  # SHARES of the hit rows, most telling first
    explanation: str
    candidates: pd.DataFrame  # a row for every (crux, query attribute) weighed
    rows: np.ndarray  # positions in the index of the hit rows, most telling first: like the query, then near to the crux
    members: tuple[int, ...] = (0,)  # positions of the exchanges that the trace speaks for

    def to_dict(self) -> dict:
        """The trace as JSON-ready values."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rows"}
        rates = {
            name: told[name]._asdict()
            for name in ("p_crux_given_trigger", "p_crux_without", "p_crux")
        }
        return json_ready(
            {
                **told,
                **rates,
                "chunks": self.chunks.to_dict("records"),
                "candidates": self.candidates.to_dict("records"),
            }
        )


def select_crux(
    attributes: Sequence[str], rubric: Rubric, embed: Embedder, n: int = 3
) -> list[str]:
    """The informed judge, offline: of the blind describer's sentences the n nearest to the rubric's behaviour by cosine, and of those
    only the RELATED: what merely goes along with the violation would be traced to something else."""
    if not attributes:
        return []
    nearness = embed(list(attributes)) @ embed([rubric.behaviour])[0]
    return [
        attributes[i]
        for i in np.argsort(-nearness, kind="stable")[:n]
        if nearness[i] >= MIN_RELATIVE_COSINE * nearness.max()
    ]


def llm_crux_judge(model) -> Callable:
    """The informed judge as a chat model: `await select(attributes, rubric) -> sentences`, n at most, none where it names none."""

    def parse(text: str) -> list[int]:
        if not text.strip():
            raise ValueError("the answer is empty")
        listed = re.findall(r"\[[\d\s,]*\]", text)  # the list it was asked for, else every number
        return [int(d) - 1 for d in re.findall(r"\d+", listed[-1] if listed else text)]

    async def select(attributes: Sequence[str], rubric: Rubric, n: int = 3) -> list[str]:
        numbered = "\n".join(f"{i}. {a}" for i, a in enumerate(attributes, 1))
        asked, schema = fill_prompt("crux", r=rubric, numbered=numbered)
        picked = await ask_parsed(
            model, asked, parse, max_tokens=2000, temperature=0.0, schema=schema
        )
        return [attributes[i] for i in dict.fromkeys(picked) if 0 <= i < len(attributes)][:n]

    return select


def retrieve_rows(
    side: IndexSide,
    nearness: np.ndarray,
    k: int,
    seed: int = 0,
    floor: float = MIN_COSINE,
    aside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the k attributes nearest to a crux (paper Eq. 3), each row once and nearest first, and the sentences they were found by.
    aside: (n,) rows that are left out.

    nearness: (m,) cosine of the crux with every distinct sentence. Attributes under the floor are not retrieved.
    Equally near ones that do not all fit into k are drawn at random, so that the order of the mixture cannot decide."""
    order = np.flatnonzero(nearness >= floor)
    order = order[np.argsort(-nearness[order], kind="stable")]
    order = order if aside is not None else order[:k]  # each stands in a row at least
    taken, room, used = [np.zeros(0, np.int32)], k, 0
    for level in (
        np.split(order, np.flatnonzero(np.diff(nearness[order]) < -1e-6) + 1) if len(order) else ()
    ):
        rows = (
            np.flatnonzero(side.carry(level))
            if len(level) > 1
            else side.rows[side.starts[level[0]] : side.starts[level[0] + 1]]
        )
        rows = rows if aside is None else rows[~aside[rows]]
        taken.append(
            rows
            if len(rows) <= room
            else np.random.default_rng(seed).choice(rows, room, replace=False)
        )
        room, used = room - len(rows), used + len(level)
        if room <= 0:
            break
    return pd.unique(np.concatenate(taken)), order[:used]


class Evidence(NamedTuple):
    """What an index says of one crux; K query clusters."""

    rows: np.ndarray  # retrieved rows, nearest first
    near: np.ndarray  # sentences that say the crux: those with a cosine of FLOOR or more
    hits: np.ndarray  # (K,) retrieved rows with each query cluster
    p: np.ndarray  # (K,) hypergeometric, adjusted over all
    lift: np.ndarray  # (K,)


class Link(NamedTuple):
    """A crux beside one query cluster, over all n rows."""

    given: Rate  # P(crux | cluster)
    without: Rate  # P(crux | not cluster)
    base: Rate  # P(crux)
    carries: np.ndarray  # (n,) bool, whether a row carries the cluster


class Tracer:
    """Traces over one index; what depends on the crux alone is computed once a crux.

    k: response attributes retrieved a crux; default 1,000 as in the paper, less where that is over a twentieth of the rows.
    side: where the crux is looked for, "response" or "reasoning". literal: count hits as Eq. 4 is printed, over the k nearest attributes
    however far: query slot l with response slot l. probes: retrieve from so many nearest clusters of sentences alone (approximate)."""

    def __init__(
        self,
        index: TraceIndex,
        embed: Embedder,
        k: int | None = None,
        seed: int = 0,
        *,
        side: str = "response",
        literal: bool = False,
        probes: int | None = None,
    ):
        k = k if k is not None else max(1, min(1000, len(index) // 20))
        if embed.name != index.meta["embedder"]:
            raise UserError(
                f"the index was made with embedder '{index.meta['embedder']}', not '{embed.name}'."
            )
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}.")
        if side not in index.sides:
            raise UserError(
                f"the index has no side '{side}': no row had one. It has {', '.join(index.sides)}."
            )
        self.index, self.embed, self.k, self.seed, self.side, self.literal, self.probes = (
            index,
            embed,
            k,
            seed,
            index.sides[side],
            literal,
            probes,
        )
        self.found: dict[str, Evidence] = {}
        self.link = lru_cache(maxsize=64)(self._link)
        self.weights = lru_cache(maxsize=256)(self._weights)
        self._left = lru_cache(maxsize=1024)(self._rest)
        self.clusters_of = lru_cache(maxsize=65536)(self._clusters_of)

    def _clusters_of(self, attributes: Sequence[str]) -> tuple[int, ...]:
        """The query cluster of each attribute (paper Eq. 5); -1 for one that no row has: it is under FLOOR and farther from its
        nearest centroid than all members of that."""
        query, vectors = self.index.query, self.embed(list(attributes))
        clusters = query.assign(vectors)
        near = (
            np.einsum("ad,ad->a", vectors, query.centroids[clusters])
            >= np.minimum(MIN_COSINE, query.radius[clusters]) - 1e-4
        )
        return tuple(int(c) for c in np.where(near, clusters, -1))

    def evidence(self, crux: str) -> Evidence:
        """What the index says of a crux."""
        if crux not in self.found:
            self.read([crux])
        return self.found[crux]

    def read(self, cruxes: Iterable[str]) -> None:
        """Look several cruxes up in one pass over the vectors, a few hundred megabytes of cosines at a time."""
        new = [c for c in dict.fromkeys(cruxes) if c not in self.found]
        for old in [*self.found][: max(0, len(self.found) + len(new) - MAX_CACHED_CRUXES)]:
            del self.found[old]
        size = max(1, 2**26 // len(self.side.sentences))
        for part in (new[i : i + size] for i in range(0, len(new), size)):
            for crux, nearness in zip(part, self.side.nearness(self.embed(part), self.probes)):
                self.found[crux] = self._evidence(nearness)

    def _evidence(self, nearness: np.ndarray) -> Evidence:
        query, n = self.index.query, len(self.index)
        rows, used = retrieve_rows(
            self.side, nearness, self.k, self.seed, -1.0 if self.literal else MIN_COSINE
        )
        hits = count_cluster_rows(query.clusters[rows], len(query.centroids))
        if self.literal:
            row, slot = np.nonzero(np.isin(self.side.ids[rows], used)[:, : query.ids.shape[1]])
            said = query.ids[rows[row], slot]
            hits = np.bincount(query.cluster_of[said[said >= 0]], minlength=len(hits))
        return Evidence(
            rows,
            np.flatnonzero(nearness >= MIN_COSINE),
            hits,
            *self._stand_out(hits, len(rows), query.cluster_rows, n),
        )

    def _stand_out(
        self, hits: np.ndarray, rows: int, base: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(K,) p, hypergeometric and adjusted, and (K,) lift of hits among so many rows, against base rows of n."""
        some, p = np.flatnonzero(hits), np.ones(len(hits))
        p[some] = enrichment_p(hits[some], rows, base[some], n)
        return adjust(p), hits / max(1, rows) / (np.maximum(base, 1) / max(1, n))

    def _weights(self, crux: str) -> tuple[np.ndarray, np.ndarray]:
        """(K,) weights and (r,) the rows that carry a cluster with one over EXPLAINS: how much each query cluster adds to the rate of the
        crux, the others held fixed (ridge regression over the rows). What only goes along with a cause has little."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.linalg import lsqr

        query, shows, rng = (
            self.index.query,
            self.side.carry(self.evidence(crux).near),
            np.random.default_rng(self.seed),
        )
        kinds = [np.flatnonzero(shows), np.flatnonzero(~shows)]
        sample = [
            np.sort(rng.choice(kind, MAX_WEIGHED_ROWS, replace=False))
            if len(kind) > MAX_WEIGHED_ROWS
            else kind
            for kind in kinds
        ]
        rows = np.concatenate(sample)
        counts = np.concatenate(
            [
                np.full(len(part), (len(kind) / max(1, len(part))) ** 0.5, np.float32)
                for kind, part in zip(kinds, sample)
            ]
        )
        clusters = query.clusters[rows]
        at, slot = np.nonzero(clusters >= 0)
        carriers = csr_matrix(
            (counts[at], (at, clusters[at, slot])), (len(rows), len(query.centroids))
        )
        weights = lsqr(
            carriers, counts * (shows[rows] - shows.mean()), damp=SHRINK**0.5, iter_lim=20
        )[0]
        return weights, np.flatnonzero(
            (np.append(weights, 0)[query.clusters] > MIN_EXPLAINING_WEIGHT).any(axis=1)
        )  # -1 is the last, of no weight

    def unexplained(self, crux: str, clusters: Sequence[int]) -> Evidence:
        """The evidence without the rows in which another attribute than the query's `clusters` explains the crux best: where the prompt
        asks for code, code says nothing of a query that does not."""
        weights, _ = self.weights(crux)
        return self._left(
            crux,
            tuple(sorted({c for c in clusters if c >= 0 and weights[c] > MIN_EXPLAINING_WEIGHT})),
        )  # no others can change what is left

    def _rest(self, crux: str, own: tuple[int, ...]) -> Evidence:
        query, found, (weights, rivals) = self.index.query, self.evidence(crux), self.weights(crux)
        carried = query.clusters[rivals]
        weight, mine = np.where(carried >= 0, weights[carried], 0), np.isin(carried, own)
        rivals = rivals[
            weight.max(axis=1, where=~mine, initial=MIN_EXPLAINING_WEIGHT)
            > weight.max(axis=1, where=mine, initial=MIN_EXPLAINING_WEIGHT)
        ]
        if not len(rivals) or self.literal:
            return found
        aside = np.zeros(len(self.index), bool)
        aside[rivals] = True
        rows, _ = retrieve_rows(
            self.side,
            self.side.nearness(self.embed([crux]), self.probes)[0],
            self.k,
            self.seed,
            MIN_COSINE,
            aside,
        )
        base, hits = (
            count_cluster_rows(query.clusters[part], len(weights)) for part in (rivals, rows)
        )
        return Evidence(
            rows,
            found.near,
            hits,
            *self._stand_out(
                hits, len(rows), query.cluster_rows - base, len(self.index) - len(rivals)
            ),
        )

    def _link(self, crux: str, cluster: int) -> Link:
        """How often crux and cluster go together, over all rows."""
        n, shows, carries = (
            len(self.index),
            self.side.carry(self.evidence(crux).near),
            (self.index.query.clusters == cluster).any(axis=1),
        )
        both, shown, carried = int((shows & carries).sum()), int(shows.sum()), int(carries.sum())
        return Link(
            wilson(both, carried), wilson(shown - both, n - carried), wilson(shown, n), carries
        )

    def predict(self, rubric: Rubric) -> np.ndarray:
        """(K,) what the data lets one expect: z (at most 5) of each query cluster among the rows whose response shows the rubric's
        behaviour, 0 where it does not stand out. A search can start from it; it is no failure yet."""
        from scipy.stats import norm

        found = self.evidence(rubric.behaviour)
        return np.where(
            (found.p < MAX_P_VALUE) & (found.lift >= MIN_LIFT),
            np.minimum(norm.isf(np.maximum(found.p, 1e-300)), 5.0),
            0.0,
        )

    def trace(
        self, query_attributes: Sequence[str], cruxes: Sequence[str], rubric: Rubric
    ) -> Trace:
        """Trace one exchange: the attributes of its query, and the crux attributes of its response, most responsible first.

        The trigger is the query attribute with the smallest p among the rows that nothing else explains, of those that add to the rate
        of the first crux that has a significant one: a strong link to a lesser crux ("gives a date") must not hide the one to what
        makes the violation ("denies the deed")."""
        weighed, clusters = (
            [],
            self.clusters_of(tuple(query_attributes)) if query_attributes else (),
        )
        for rank, crux in enumerate(cruxes):
            found, weights, raw = (
                self.unexplained(crux, clusters),
                self.weights(crux)[0],
                self.evidence(crux).hits,
            )
            weighed += [
                (
                    rank,
                    crux,
                    attribute,
                    c,
                    int(found.hits[c]),
                    len(found.rows),
                    float(found.lift[c]),
                    float(found.p[c]),
                    float(weights[c]),
                    int(raw[c]),
                )
                for attribute, c in zip(query_attributes, clusters)
                if c >= 0
            ]
        table = pd.DataFrame(
            weighed,
            columns=[
                "rank",
                "crux",
                "attribute",
                "cluster",
                "hits",
                "k",
                "lift",
                "p_value",
                "weight",
                "raw_hits",
            ],
        )
        table["significant"] = (
            (table["p_value"] < MAX_P_VALUE / max(1, len(cruxes)))
            & (table["lift"] >= MIN_LIFT)
            & (table["hits"] >= MIN_HITS)
            & (table["weight"] > 0)
        )
        table = table.sort_values(
            ["rank", "significant", "p_value", "lift"],
            ascending=[True, False, True, False],
            kind="stable",
        ).reset_index(drop=True)
        by_hits = (
            table.loc[table["raw_hits"].idxmax(), "attribute"]
            if len(table) and table["raw_hits"].max()
            else None
        )
        good = table[table["significant"]]
        return self._told(
            None if good.empty else good.iloc[0], cruxes, clusters, by_hits, rubric, table
        )

    def _told(self, top, cruxes, clusters, by_hits, rubric: Rubric, table: pd.DataFrame) -> Trace:
        """The trace of the candidate `top`, or of none."""
        nan, crux = float("nan"), top.crux if top is not None else cruxes[0] if cruxes else ""
        rows = self.unexplained(crux, clusters).rows if crux else np.zeros(0, np.int32)
        if top is not None:
            link = self.link(crux, int(top.cluster))
            hit = rows[link.carries[rows]]
            alike = np.isin(self.index.query.clusters[hit], clusters).sum(axis=1)
            why = (
                f"When the model sees a query that {predicate(top.attribute)}, it gives a response that "
                f"{predicate(crux)}, causing {rubric.causing}."
            )
            return Trace(
                top.attribute,
                int(top.cluster),
                by_hits,
                crux,
                int(top.hits),
                int(top.k),
                float(top.lift),
                float(top.p_value),
                *link[:3],
                chunk_shares(self.index, hit),
                why,
                table,
                hit[np.argsort(-alike, kind="stable")],
            )
        why = (
            "the response has no attribute to trace"
            if not crux
            else f"nothing in the query stands out among the rows whose response {predicate(crux)}"
            if len(rows)
            else f"wherever the response {predicate(crux)}, something that this query lacks explains it"
            if len(self.evidence(crux).rows)
            else f"no response in this data {predicate(crux)}, or says what is near enough to it"
        )
        p_crux = wilson(
            int(self.side.carry(self.evidence(crux).near).sum()) if crux else 0, len(self.index)
        )
        return Trace(
            None,
            None,
            by_hits,
            crux,
            0,
            len(rows),
            nan,
            nan,
            wilson(0, 0),
            p_crux,
            p_crux,
            chunk_shares(self.index, rows),
            f"No trigger found: {why}.",
            table,
            rows,
        )

    def trace_all(
        self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]], rubric: Rubric
    ) -> list[Trace]:
        """Trace many (query attributes, cruxes) pairs, with one pass over the vectors for a hundred of them."""
        traces = []
        for part in (pairs[i : i + 100] for i in range(0, len(pairs), 100)):
            self.read(c for _, cruxes in part for c in cruxes)
            traces += [self.trace(query, cruxes, rubric) for query, cruxes in part]
        return traces

    def trace_group(
        self,
        pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
        rubric: Rubric,
        least: float = 0.1,
    ) -> list[Trace]:
        """Trace every (query attributes, cruxes) pair of a failure cluster: `grouped`."""
        return group_traces(self.trace_all(pairs, rubric), least)


def group_traces(traces: Sequence[Trace], least: float = 0.1) -> list[Trace]:
    """One trace for each trigger that at least a share `least` of the traces has, the commonest first, told by the strongest of them;
    its `members` are their positions."""
    kept = []
    for cluster, times in Counter(t.trigger_cluster for t in traces).most_common():
        if times >= max(2, least * len(traces)) or len(traces) == 1:
            members = tuple(i for i, t in enumerate(traces) if t.trigger_cluster == cluster)
            told = min(
                (traces[i] for i in members),
                key=lambda t: (t.p_value, -t.lift) if t.trigger else (1.0, 0.0),
            )
            kept.append(replace(told, members=members))
    return kept


def first_chunks(traces: Sequence[Trace]) -> dict[str, int]:
    """Traces by the chunk that comes first in them, the commonest first."""
    return dict(Counter(t.chunks["chunk"][0] for t in traces if len(t.chunks)).most_common())


def chunk_shares(index: TraceIndex, rows: np.ndarray) -> pd.DataFrame:
    """Which chunks the rows come from, against each chunk's share of the mixture.

    lift_low: the lift with the lower end of the share's 95 % interval, by which the table is ordered: a chunk with one lucky
    row does not come first."""
    codes, names = index.chunk.codes, index.chunk.categories
    base, found = (
        np.bincount(codes, minlength=len(names)),
        np.bincount(codes[rows], minlength=len(names)),
    )
    p = (
        adjust(enrichment_p(found, len(rows), base, len(index)))
        if len(rows)
        else np.ones(len(names))
    )
    table = pd.DataFrame(
        {
            "chunk": names,
            "share": found / max(1, len(rows)),
            "base_share": base / len(index),
            "p_value": p,
            "rows": found,
        }
    )
    table["lift"] = table["share"] / table["base_share"]
    table["lift_low"] = [wilson(f, len(rows)).low / b for f, b in zip(found, table["base_share"])]
    table = table[table["rows"] > 0].sort_values(["lift_low", "chunk"], ascending=[False, True])
    return table[SHARE_COLUMNS].reset_index(drop=True)


def trace_tables(found: Sequence[tuple[int, str, Trace]]) -> dict[str, pd.DataFrame]:
    """Traces as tables: `traces`, a row each; `trace_chunks` and `trace_rows` (positions in the index), keyed by `trace`.

    found: (cluster, rubric name, trace)."""
    columns = [
        "trigger",
        "trigger_cluster",
        "trigger_by_hits",
        "crux",
        "hits",
        "k",
        "lift",
        "p_value",
    ]
    rows = [
        (
            c,
            r,
            *(getattr(t, name) for name in columns),
            t.p_crux_given_trigger.rate,
            t.p_crux_without.rate,
            t.p_crux.rate,
            len(t.members),
            t.explanation,
        )
        for c, r, t in found
    ]
    shares = [t.chunks.assign(trace=i) for i, (_, _, t) in enumerate(found)]
    positions = [(i, int(p)) for i, (_, _, t) in enumerate(found) for p in t.rows]
    return {
        "traces": pd.DataFrame(
            rows,
            columns=[
                "cluster",
                "rubric",
                *columns,
                "p_crux_given_trigger",
                "p_crux_without",
                "p_crux",
                "pairs",
                "explanation",
            ],
        ),
        "trace_chunks": pd.concat(shares, ignore_index=True)
        if shares
        else pd.DataFrame(columns=[*SHARE_COLUMNS, "trace"]),
        "trace_rows": pd.DataFrame(positions, columns=["trace", "row"]),
    }

"""Tracer: from a failing exchange back to the training data (paper sec. 3).

For each crux of the response: retrieve the training rows whose responses show it, count the query
clusters that these rows carry, and compare with how common each cluster is anyway. The trigger is
the attribute of the failing query that stands out most.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from chunkykit.attributes import predicate
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex
from chunkykit.rubrics import Rubric
from chunkykit.stats import wilson
from chunkykit.turf.cache import ByteCache
from chunkykit.turf.candidates import (
    MAX_P_VALUE,
    MIN_LIFT,
    rank_candidates,
    trigger_by_hits,
)
from chunkykit.turf.retrieve import MIN_COSINE, Evidence, gather_evidence
from chunkykit.turf.trace import Trace, chunk_shares, group_traces
from chunkykit.turf.weights import (
    MIN_EXPLAINING_WEIGHT,
    CruxWeights,
    Link,
    link_cluster,
    rows_explained_otherwise,
    weigh_clusters,
)
from chunkykit.types import Embedder

MAX_RETRIEVED = 1000  # attributes retrieved per crux by default, as in the paper
MAX_CACHE_BYTES = 2**29  # of all that a tracer keeps for the next trace
COSINES_PER_PASS = 2**26  # computed in one pass over the vectors: 256 MB
PAIRS_PER_PASS = 100  # exchanges whose cruxes are looked up together
MAX_PREDICTED_Z = 5.0  # bound of `predict`, so that no cluster takes a whole search
RADIUS_TOLERANCE = 1e-4  # of a cosine: a cluster's farthest member still belongs to it
Pair = tuple[Sequence[str], Sequence[str]]  # query attributes and cruxes of an exchange


class Tracer:
    """Trace failing exchanges over one index.

    What depends on the crux alone is computed once and kept, up to `MAX_CACHE_BYTES`. The
    arguments are attributes, too; `side` is the opened side of the index.
    """

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
        """Make a tracer.

        Args:
            index: the index to search.
            embed: the embedder that made it.
            k: response attributes retrieved per crux; default 1,000, as in the paper, but at most
                a twentieth of the rows.
            seed: seed of all draws.
            side: where to look for the crux, such as "response" or "reasoning".
            literal: count hits as paper Eq. 4 prints it, query slot l with response slot l, over
                the k nearest attributes however far.
            probes: search only this many nearest clusters of sentences (approximate, faster).

        Raises:
            UserError: another embedder made the index, k is below 1, or no row has the side.
        """
        if embed.name != index.meta["embedder"]:
            raise UserError(
                f"the index was made with embedder '{index.meta['embedder']}', not '{embed.name}'. "
                "Open it with that embedder, or build it again."
            )
        if k is not None and k < 1:
            raise UserError(f"k must be at least 1, not {k}.")
        if side not in index.sides:
            raise UserError(
                f"the index has no side '{side}', because no row had one. "
                f"Choose one of: {', '.join(index.sides)}."
            )
        self.index = index
        self.embed = embed
        self.k = k or max(1, min(MAX_RETRIEVED, len(index) // 20))
        self.seed = seed
        self.side = index.sides[side]
        self.literal = literal
        self.probes = probes
        # two caches, so that what the first of many traces derive does not push out the evidence
        # that `read` has looked up for the last of them
        self._evidence_cache = ByteCache(MAX_CACHE_BYTES // 2)
        self._derived_cache = ByteCache(MAX_CACHE_BYTES // 2)

    def clusters_of(self, attributes: tuple[str, ...]) -> tuple[int, ...]:
        """Assign query attributes to query clusters (paper Eq. 5).

        Args:
            attributes: sentences that describe a query.

        Returns:
            The cluster of each; -1 for an attribute that no row has. Such a one is farther from
            its nearest centroid than `MIN_COSINE`, and than all members of that cluster. (The
            paper assigns every attribute.)
        """
        if not attributes:
            return ()
        key = ("clusters", attributes)
        return self._derived_cache.get(key, lambda: self._assign_clusters(attributes))

    def _assign_clusters(self, attributes: tuple[str, ...]) -> tuple[int, ...]:
        query = self.index.query
        vectors = self.embed(list(attributes))  # (n_attributes, d)
        clusters = query.assign(vectors)
        cosines = np.einsum("ad,ad->a", vectors, query.centroids[clusters])
        floors = np.minimum(MIN_COSINE, query.radius[clusters]) - RADIUS_TOLERANCE
        return tuple(int(c) for c in np.where(cosines >= floors, clusters, -1))

    def evidence(self, crux: str) -> Evidence:
        """Look up what the index says about a crux.

        Args:
            crux: a response attribute.

        Returns:
            The retrieved rows and the query clusters that they carry.
        """
        return self._evidence_cache.get(crux, lambda: self._gather(self._nearness([crux])[0]))

    def read(self, cruxes: Iterable[str]) -> None:
        """Look up several cruxes together, which takes fewer passes over the vectors.

        Args:
            cruxes: response attributes. Their evidence is kept as far as the cache has room.
        """
        new = [crux for crux in dict.fromkeys(cruxes) if crux not in self._evidence_cache]
        size = max(1, COSINES_PER_PASS // len(self.side.sentences))
        for start in range(0, len(new), size):
            part = new[start : start + size]
            for crux, nearness in zip(part, self._nearness(part)):
                self._evidence_cache.put(crux, self._gather(nearness))

    def _nearness(self, cruxes: list[str]) -> np.ndarray:
        """Cosines of cruxes with all distinct sentences, (n_cruxes, m)."""
        return self.side.nearness(self.embed(cruxes), self.probes)

    def _gather(self, nearness: np.ndarray) -> Evidence:
        """The evidence for a crux with these cosines, (m,)."""
        return gather_evidence(
            self.index, self.side, nearness, self.k, self.seed, literal=self.literal
        )

    def weights(self, crux: str) -> CruxWeights:
        """Estimate how much each query cluster adds to the rate of a crux.

        Args:
            crux: a response attribute.

        Returns:
            The weights of the K query clusters, and the rows that they explain.
        """
        return self._derived_cache.get(("weights", crux), lambda: self._weigh(crux))

    def _weigh(self, crux: str) -> CruxWeights:
        query = self.index.query
        return weigh_clusters(query.clusters, len(query.centroids), self._shows(crux), self.seed)

    def _shows(self, crux: str) -> np.ndarray:
        """Whether each row's response shows a crux, (n,)."""
        return self.side.carry(self.evidence(crux).near)

    def unexplained(self, crux: str, clusters: Sequence[int]) -> Evidence:
        """Look up a crux, without the rows in which something else explains it best.

        Where the prompt requests code, a response with code says nothing about a query that does
        not request any.

        Args:
            crux: a response attribute.
            clusters: query clusters of the failing query; rows that these explain count.

        Returns:
            The evidence of the remaining rows.
        """
        weights = self.weights(crux).weights
        # only clusters that explain the crux change what remains, so only they are in the key
        explaining = {c for c in clusters if c >= 0 and weights[c] > MIN_EXPLAINING_WEIGHT}
        own = tuple(sorted(explaining))
        key = ("unexplained", crux, own)
        return self._derived_cache.get(key, lambda: self._gather_unexplained(crux, own))

    def _gather_unexplained(self, crux: str, own: tuple[int, ...]) -> Evidence:
        clusters = self.index.query.clusters
        explained = rows_explained_otherwise(clusters, self.weights(crux), own)
        # the paper leaves no rows out, so neither does a literal tracer
        if not len(explained) or self.literal:
            return self.evidence(crux)
        excluded = np.zeros(len(self.index), bool)
        excluded[explained] = True
        nearness = self._nearness([crux])[0]
        return gather_evidence(
            self.index, self.side, nearness, self.k, self.seed, excluded=excluded
        )

    def link(self, crux: str, cluster: int) -> Link:
        """Measure how often a crux and a query cluster go together.

        Args:
            crux: a response attribute.
            cluster: a query cluster.

        Returns:
            Rates of the crux with and without the cluster, over all rows.
        """
        clusters = self.index.query.clusters
        return self._derived_cache.get(
            ("link", crux, cluster), lambda: link_cluster(clusters, self._shows(crux), cluster)
        )

    def predict(self, rubric: Rubric) -> np.ndarray:
        """Predict from the data alone which query clusters call up a rubric's behaviour.

        A search can start from the prediction. It is not a failure yet.

        Args:
            rubric: what counts as a violation.

        Returns:
            The z-score of each query cluster among the rows whose response shows the behaviour,
            at most 5; 0 where the cluster does not stand out. Shape (K,).
        """
        from scipy.stats import norm

        evidence = self.evidence(rubric.behaviour)
        stands_out = (evidence.p < MAX_P_VALUE) & (evidence.lift >= MIN_LIFT)
        z = norm.isf(np.maximum(evidence.p, 1e-300))  # p underflows to 0 in large indexes
        return np.where(stands_out, np.minimum(z, MAX_PREDICTED_Z), 0.0)

    def trace(
        self, query_attributes: Sequence[str], cruxes: Sequence[str], rubric: Rubric
    ) -> Trace:
        """Trace one exchange.

        The trigger is the query attribute with the smallest p-value, of those that add to the rate
        of the crux, among the rows that nothing else explains. (The paper's Eq. 6 takes the one
        with the most raw hits.) The first crux with a significant attribute decides: a strong link
        to a minor crux ("gives a date") must not hide the link to what makes the violation
        ("denies the fact").

        Args:
            query_attributes: sentences that describe the query.
            cruxes: the crux attributes of the response, most responsible first.
            rubric: what the response violates.

        Returns:
            The trace; its trigger is None where no attribute stands out.
        """
        clusters = self.clusters_of(tuple(query_attributes))
        candidates = self._candidates(query_attributes, clusters, cruxes)
        significant = candidates[candidates["significant"]]
        if len(significant):
            return self._trace_to(significant.iloc[0], clusters, rubric, candidates)
        crux = cruxes[0] if cruxes else ""
        return self._trace_to_nothing(crux, clusters, candidates)

    def _candidates(
        self, query_attributes: Sequence[str], clusters: Sequence[int], cruxes: Sequence[str]
    ) -> pd.DataFrame:
        """Each crux beside each query attribute, best first within a crux."""
        lines = []
        for rank, crux in enumerate(cruxes):
            evidence = self.unexplained(crux, clusters)
            weights = self.weights(crux).weights
            raw_hits = self.evidence(crux).hits
            for attribute, c in zip(query_attributes, clusters):
                if c < 0:
                    continue
                hits = int(evidence.hits[c])
                lift = float(evidence.lift[c])
                p = float(evidence.p[c])
                line = (rank, crux, attribute, c, hits, len(evidence.rows), lift, p)
                lines.append((*line, float(weights[c]), int(raw_hits[c])))
        return rank_candidates(lines, len(cruxes))

    def _trace_to(
        self,
        best: pd.Series,
        clusters: Sequence[int],
        rubric: Rubric,
        candidates: pd.DataFrame,
    ) -> Trace:
        """The trace to the candidate `best`."""
        link = self.link(best.crux, int(best.cluster))
        rows = self.unexplained(best.crux, clusters).rows
        rows = rows[link.carries[rows]]
        n_shared = np.isin(self.index.query.clusters[rows], clusters).sum(axis=1)
        return Trace(
            trigger=best.attribute,
            trigger_cluster=int(best.cluster),
            trigger_by_hits=trigger_by_hits(candidates),
            crux=best.crux,
            hits=int(best.hits),
            k=int(best.k),
            lift=float(best.lift),
            p_value=float(best.p_value),
            p_crux_given_trigger=link.with_cluster,
            p_crux_without=link.without_cluster,
            p_crux=link.overall,
            chunks=chunk_shares(self.index, rows),
            explanation=(
                f"When the model sees a query that {predicate(best.attribute)}, it gives a "
                f"response that {predicate(best.crux)}, causing {rubric.causing}."
            ),
            candidates=candidates,
            rows=rows[np.argsort(-n_shared, kind="stable")],
        )

    def _trace_to_nothing(
        self, crux: str, clusters: Sequence[int], candidates: pd.DataFrame
    ) -> Trace:
        """The trace of an exchange without a trigger; crux "" where the response has none."""
        rows = np.zeros(0, np.int32)
        n_shows = 0
        if crux:
            rows = self.unexplained(crux, clusters).rows
            n_shows = int(self._shows(crux).sum())
        p_crux = wilson(n_shows, len(self.index))
        return Trace(
            trigger=None,
            trigger_cluster=None,
            trigger_by_hits=trigger_by_hits(candidates),
            crux=crux,
            hits=0,
            k=len(rows),
            lift=float("nan"),
            p_value=float("nan"),
            p_crux_given_trigger=wilson(0, 0),
            p_crux_without=p_crux,
            p_crux=p_crux,
            chunks=chunk_shares(self.index, rows),
            explanation=f"No trigger found: {self._why_nothing(crux, len(rows))}.",
            candidates=candidates,
            rows=rows,
        )

    def _why_nothing(self, crux: str, n_rows: int) -> str:
        """Why a crux, with this many rows that nothing else explains, has no trigger."""
        if not crux:
            return "the response has no attribute to trace"
        behaviour = predicate(crux)
        if n_rows:
            return f"nothing in the query stands out among the rows whose response {behaviour}"
        if len(self.evidence(crux).rows):
            return f"wherever the response {behaviour}, something that this query lacks explains it"
        return f"no response in this data {behaviour}, or says what is near enough to it"

    def trace_all(self, pairs: Sequence[Pair], rubric: Rubric) -> list[Trace]:
        """Trace many exchanges, with one pass over the vectors per hundred of them.

        Args:
            pairs: (query attributes, cruxes) of each exchange.
            rubric: what the responses violate.

        Returns:
            One trace per exchange.
        """
        traces = []
        for start in range(0, len(pairs), PAIRS_PER_PASS):
            part = pairs[start : start + PAIRS_PER_PASS]
            self.read(crux for _, cruxes in part for crux in cruxes)
            traces += [self.trace(query, cruxes, rubric) for query, cruxes in part]
        return traces

    def trace_group(
        self,
        pairs: Sequence[Pair],
        rubric: Rubric,
        min_share: float = 0.1,
    ) -> list[Trace]:
        """Trace the exchanges of a failure cluster, and summarise by trigger.

        Args:
            pairs: (query attributes, cruxes) of each exchange.
            rubric: what the responses violate.
            min_share: share of the exchanges that a trigger needs.

        Returns:
            One trace per trigger, see `group_traces`.
        """
        return group_traces(self.trace_all(pairs, rubric), min_share)

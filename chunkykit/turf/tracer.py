"""Tracer: from a failing exchange back to the training data (paper sec. 3).

Every training row shows the cruxes of the response, and carries the attributes of the query, with
a probability (`graded`): a language model hardly ever says one thing twice in the same words, so
nothing is counted behind a floor. The trigger is the attribute of the query that goes with the
cruxes over the rows and adds to them beside the other attributes, told in the words that best
separate the rows (`general`). Our choice; the paper counts hits (Eqs. 3 to 6).
"""

from collections.abc import Sequence

import numpy as np

from chunkykit.attributes import BASE_ODDS, SAME_WORDS_ONLY
from chunkykit.errors import UserError
from chunkykit.index import (
    TraceIndex,
    common_features,
    count_cluster_rows,
    same_meaning,
)
from chunkykit.progress import step
from chunkykit.rubrics import Rubric
from chunkykit.turf.cache import ByteCache, RememberingEmbedder
from chunkykit.turf.candidates import weigh_candidates
from chunkykit.turf.crux import select_crux
from chunkykit.turf.findings import Findings
from chunkykit.turf.graded import EVEN, GradedSide, Grades
from chunkykit.turf.groups import group_traces
from chunkykit.turf.predict import predict_clusters
from chunkykit.turf.prior import predict_features
from chunkykit.turf.retrieve import Evidence, gather_evidence, retrieve_rows
from chunkykit.turf.trace import Trace
from chunkykit.turf.weights import CruxWeights, rows_explained_otherwise, weigh_clusters
from chunkykit.types import Embedder

MAX_ROWS_BEHIND = 1000  # rows behind a trace by default; the paper retrieves as many attributes
MAX_CACHE_BYTES = 2**29  # of all that a tracer keeps for the next trace
MAX_EMBEDDED_BYTES = 2**25  # vectors of the sentences that a tracer is asked about
PAIRS_PER_PASS = 100  # exchanges whose sentences are looked up together
CRUX_DECAY = 2  # the crux at rank r weighs 1 / r ** CRUX_DECAY: the first matters most
LIKELY = 0.5  # probability from which a row counts as one that has something
Pair = tuple[Sequence[str], Sequence[str]]  # query attributes and cruxes of an exchange


class Tracer:
    """Trace failing exchanges over one index.

    What depends on one sentence alone is computed once and kept, up to `MAX_CACHE_BYTES`. The
    arguments are attributes, too, and:

    Attributes:
        queries: the queries of the rows, graded by attributes.
        responses: their responses, or the side that is searched, graded by cruxes.
    """

    def __init__(
        self,
        index: TraceIndex,
        embed: Embedder,
        k: int | None = None,
        seed: int = 0,
        *,
        side: str = "response",
    ):
        """Make a tracer.

        Args:
            index: the index to search.
            embed: the embedder that made it.
            k: rows behind a trace; default 1,000, but at most a twentieth of the rows.
            seed: seed of all draws.
            side: where to look for the crux, such as "response" or "reasoning".

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
        self.embed = RememberingEmbedder(embed, MAX_EMBEDDED_BYTES)
        self.k = k or max(1, min(MAX_ROWS_BEHIND, len(index) // 20))
        self.seed = seed
        self.side = side
        calibration = index.calibration or SAME_WORDS_ONLY
        room = MAX_CACHE_BYTES // 3
        self.queries = GradedSide(index.query, self.embed, calibration, room)
        self.responses = GradedSide(index.sides[side], self.embed, calibration, room)
        self._weights = ByteCache(room)

    # one sentence

    def shows(self, crux: str) -> np.ndarray:
        """Say how likely each row's response shows a crux.

        Args:
            crux: a response attribute.

        Returns:
            Probabilities, shape (n,).
        """
        return self.responses.grade([crux]).probability[0]

    def carries(self, attribute: str) -> np.ndarray:
        """Say how likely each row's query has an attribute.

        Args:
            attribute: a query attribute.

        Returns:
            Probabilities, shape (n,).
        """
        return self.queries.grade([attribute]).probability[0]

    def likely_both(self, trigger: str, crux: str) -> np.ndarray:
        """Say which rows are likely to carry a trigger and show a crux.

        A trace has tied the two together, so their evidence adds up: the base rate counts once.

        Args:
            trigger: a query attribute.
            crux: a response attribute.

        Returns:
            Shape (n,), bool.
        """
        carries = self.queries.grade([trigger]).evidence[0].astype(float)
        shows = self.responses.grade([crux]).evidence[0].astype(float)
        together = carries * shows * BASE_ODDS >= (1 - carries) * (1 - shows)
        return together & (carries >= EVEN) & (shows >= EVEN)

    def evidence(self, crux: str) -> Evidence:
        """Retrieve the rows of a crux and count their query clusters, as the paper does.

        Args:
            crux: a response attribute.

        Returns:
            The retrieved rows and the query clusters that they carry.
        """
        nearness = self.responses.nearness([crux])[0]
        return gather_evidence(self.index, nearness, self.k, self.seed)

    def clusters_of(self, attributes: Sequence[str]) -> tuple[int, ...]:
        """Assign query attributes to query clusters (paper Eq. 5).

        Args:
            attributes: sentences that describe a query.

        Returns:
            The cluster of each; -1 for an attribute that no row is likely to have. (The paper
            assigns every attribute.)
        """
        if not attributes:
            return ()
        clusters = self.index.query.assign(self.embed(list(attributes)))
        likeliest = self.queries.grade(attributes).evidence.max(axis=1)
        return tuple(int(c) for c in np.where(likeliest >= LIKELY, clusters, -1))

    def predict(self, rubric: Rubric) -> np.ndarray:
        """Predict from the data alone which query clusters call up a rubric's behaviour.

        A search can start from the prediction. It is not a failure yet.

        Args:
            rubric: what counts as a violation.

        Returns:
            The z-score of each query cluster among the rows whose response shows the behaviour,
            at most 5; 0 where the cluster does not stand out. Shape (K,).
        """
        query = self.index.query
        same = same_meaning(self.index)
        if same is None:
            # the describer's own sentences for the behaviour, which the rubric words otherwise
            sentences = self.responses.side.sentences.to_pylist()
            cruxes = select_crux(sentences, rubric, self.embed)
            return predict_clusters(query, self.shows_all(cruxes))
        features = common_features(query, same, self.seed)
        return predict_features(self.index, features, self.embed([rubric.behaviour])[0])

    # exchanges

    def trace(
        self, query_attributes: Sequence[str], cruxes: Sequence[str], rubric: Rubric
    ) -> Trace:
        """Trace one exchange.

        Args:
            query_attributes: sentences that describe the query.
            cruxes: the crux attributes of the response, most responsible first.
            rubric: what the response violates.

        Returns:
            The trace; its trigger is None where no attribute stands out.
        """
        attributes = list(dict.fromkeys(query_attributes))
        cruxes = tuple(dict.fromkeys(cruxes))
        shows = self.shows_all(cruxes)
        carries = self.queries.grade(attributes)
        clusters = self.clusters_of(attributes)
        counted = self._rows_to_count(cruxes, clusters)
        candidates = weigh_candidates(
            attributes,
            shows.at(counted),
            carries.at(counted),
            clusters,
            self._raw_hits(cruxes),
            self.k,
        )
        findings = Findings(self, rubric, cruxes, shows, carries, counted, candidates)
        return findings.trace()

    def shows_all(self, cruxes: Sequence[str]) -> Grades:
        """Say how likely each row's response shows the cruxes of an exchange.

        Args:
            cruxes: response attributes, most responsible first. A strong link to a minor one
                ("gives a date") must not hide the link to what makes the violation ("denies the
                fact").

        Returns:
            The weighted mean over the cruxes, shape (n,); zeros where there is none.
        """
        evidence, probability = self.responses.grade(cruxes)
        if not len(evidence):
            nothing = np.zeros(len(self.index), np.float32)
            return Grades(nothing, nothing)
        weights = 1 / np.arange(1, len(evidence) + 1) ** CRUX_DECAY
        weights /= weights.sum()
        return Grades(weights @ evidence, weights @ probability)

    def _rows_to_count(self, cruxes: tuple[str, ...], clusters: Sequence[int]) -> np.ndarray:
        """Rows whose crux is not explained by something that the query lacks, ascending.

        Where the prompt requests code, a response with code says nothing about a query that does
        not request any.
        """
        every_row = np.arange(len(self.index))
        if self.index.query.repeated < 1:
            return every_row  # clusters of sentences that are worded anew are too small for this
        weights = self._weights.get(cruxes, lambda: self._weigh(cruxes))
        explained = rows_explained_otherwise(self.index.query.clusters, weights, clusters)
        return np.setdiff1d(every_row, explained, assume_unique=True)

    def _weigh(self, cruxes: tuple[str, ...]) -> CruxWeights:
        query = self.index.query
        likely = self.shows_all(cruxes).probability >= LIKELY
        return weigh_clusters(query.clusters, len(query.centroids), likely, self.seed)

    def _raw_hits(self, cruxes: Sequence[str]) -> np.ndarray:
        """The paper's count for each query cluster, of the crux that has most; (K,)."""
        query = self.index.query
        most = np.zeros(len(query.centroids), int)
        for nearness in self.responses.nearness(cruxes):
            rows = retrieve_rows(nearness, self.k, self.seed)
            most = np.maximum(most, count_cluster_rows(query.clusters[rows], len(most)))
        return most

    def trace_all(self, pairs: Sequence[Pair], rubric: Rubric) -> list[Trace]:
        """Trace many exchanges, with one pass over the vectors for many of them.

        Args:
            pairs: (query attributes, cruxes) of each exchange.
            rubric: what the responses violate.

        Returns:
            One trace per exchange.
        """
        traces = []
        with step("tracing", len(pairs), "exchanges") as advance:
            for start in range(0, len(pairs), PAIRS_PER_PASS):
                part = pairs[start : start + PAIRS_PER_PASS]
                self.queries.read(text for query, _ in part for text in query)
                self.responses.read(crux for _, cruxes in part for crux in cruxes)
                for query, cruxes in part:
                    traces.append(self.trace(query, cruxes, rubric))
                    advance()
        return traces

    def trace_group(
        self, pairs: Sequence[Pair], rubric: Rubric, min_share: float = 0.1
    ) -> list[Trace]:
        """Trace the exchanges of a failure cluster, and summarise by trigger.

        Args:
            pairs: (query attributes, cruxes) of each exchange.
            rubric: what the responses violate.
            min_share: share of the exchanges that a trigger needs.

        Returns:
            One trace per trigger, see `group_traces`.
        """
        return group_traces(self, pairs, self.trace_all(pairs, rubric), rubric, min_share)

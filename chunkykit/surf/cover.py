"""Our search strategy: one budget, many failure modes.

The paper's buffer converges on one region; this one looks for what it has not found yet. A candidate is drawn for one of four
reasons:

follow    a violation that no mode explains is asked again, which tells it from luck, and then with each attribute left out
          in turn: those that it never fails without are a *mode*
again     a mode is tried in other surroundings, which gives its failure rate, until it has failed ENOUGH times or is surely rare;
          no other draw holds a mode
pair      *suspects*, attributes whose effect on the score stands out, two to five together that have not been together yet:
          many failures want two attributes at once
explore   the attributes that were tried least, filled up from a training row

Effects are estimated on explored candidates alone (a ridge regression of the score on the attributes): those drawn for their
scores are no fair sample, and in them the effects of suspects hide each other. Where an index predicts failures (`prior`), its
attributes are the first suspects."""

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.stats import wilson
from chunkykit.surf.search import MAX_ATTRIBUTES, Pool

ANSWERS_PER_FOLLOW_UP = 3  # answers that a follow-up question gets
MAX_OPEN_CASES = 6  # violations followed at once
MAX_VIOLATIONS_PER_MODE = 20  # violations of a mode; and it is tried at most three times as often
MIN_MODE_RATE = 0.3  # a mode that surely fails less often in other surroundings is none
AGAIN, PAIR = 0.25, 0.5  # shares of the draws that are no follow-up
SUSPECT_Z = 2.8  # z of a suspect
MAX_SUSPECTS = 60
TRIES_PER_PAIR = 3  # times that two suspects are tried together
SHRINK = 3.0  # of the ridge, in explored candidates: a prior on an attribute that was hardly tried
CANDIDATES_PER_REFIT = 60  # explored candidates between two estimates


@dataclass(eq=False)
class Mode:
    """Attributes that together make the target fail; candidates in other surroundings, and those of them that failed: a rate
    that the discovery has no part in."""

    attributes: frozenset
    tried: int = 0
    failed: int = 0


@dataclass(eq=False)
class Case:
    """A violation that is followed: the outcomes of asking it again (None) and without each attribute."""

    attributes: tuple[int, ...]
    waiting: int = 0
    failed: dict = field(
        default_factory=dict
    )  # None or the attribute left out -> whether it failed at least once


class CoverStrategy:
    """The strategy (`surf.Uniform` says what one is).
    pool: K attributes; prior: (K,) z-values by which the data predicts a failure, 0 where it predicts none."""

    def __init__(self, pool: Pool, rng: np.random.Generator, prior: np.ndarray | None = None):
        k = len(pool.sentences)
        self.pool, self.rng, self.prior = (
            pool,
            rng,
            np.zeros(k) if prior is None else np.asarray(prior, float),
        )
        self.modes: list[Mode] = []
        self.tried = np.zeros(k)  # explored candidates that hold the attribute
        self.explored = 0  # of those told of
        self.together: Counter = Counter()  # pairs of suspects
        self.drawn: dict[
            int, tuple
        ] = {}  # candidate not told of yet -> (reason, case or mode, left out)
        self.told: list[tuple[tuple[int, ...], float, bool]] = []  # attributes, score, explored
        self.cases: list[Case] = []
        self.unexplained: deque = deque()
        self.queue: deque = deque()  # (case, left out, attributes)
        self.lucky: set[tuple[int, ...]] = set()
        self._suspect(self.prior)

    # drawing

    def draw(self, i: int) -> tuple[int, ...]:
        if self.queue:
            case, left_out, attributes = self.queue.popleft()
            self.drawn[i] = "follow", case, left_out
            return attributes
        chance = self.rng.random()
        thin = [
            m
            for m in self.modes
            if m.failed < MAX_VIOLATIONS_PER_MODE and m.tried < 3 * MAX_VIOLATIONS_PER_MODE
        ]
        if thin and chance < AGAIN:
            mode = thin[self.rng.integers(len(thin))]
            self.drawn[i] = "again", mode, None
            others = [m for m in self.modes if not m.attributes <= mode.attributes]
            return tuple(
                self._fill(
                    sorted(mode.attributes),
                    others,
                    int(self.rng.integers(len(mode.attributes), MAX_ATTRIBUTES + 1)),
                )
            )
        pair = self._pair() if AGAIN <= chance < AGAIN + PAIR and len(self.suspects) > 1 else None
        self.drawn[i] = "pair" if pair else "explore", None, None
        return pair or self._explore()

    def _pair(self) -> tuple[int, ...] | None:
        chosen = [int(self.rng.choice(self.suspects))]
        for _ in range(self.rng.integers(1, MAX_ATTRIBUTES)):
            fresh = np.array(
                [
                    -1.0 if s in chosen else sum(self._fresh(s, c) for c in chosen)
                    for s in self.suspects
                ]
            )
            chosen.append(self.suspects[int(np.argmax(fresh + 0.5 * self.rng.random(len(fresh))))])
        pairs = list(combinations(sorted(set(chosen)), 2))
        if not any(self._fresh(*pair) for pair in pairs):
            return None
        self.together.update(pairs)
        return tuple(self._fill(self._apart(dict.fromkeys(chosen)), self.modes, MAX_ATTRIBUTES))

    def _fresh(self, a: int, b: int) -> bool:
        return self.together[min(a, b), max(a, b)] < TRIES_PER_PAIR

    def _explore(self) -> tuple[int, ...]:
        least = np.lexsort((self.rng.random(len(self.tried)), self.tried))[: 8 * MAX_ATTRIBUTES]
        anchors = self._apart(least)[: self.rng.binomial(MAX_ATTRIBUTES, 0.5)]
        attributes = self._fill(anchors, self.modes, MAX_ATTRIBUTES) or [int(least[0])]
        self.tried[attributes] += 1
        return tuple(attributes)

    def _fill(self, attributes: list[int], apart: list[Mode], size: int) -> list[int]:
        """The attributes and those of one random row, up to `size`."""
        row = self.rng.permutation(self.pool.rows[self.rng.integers(len(self.pool.rows))])
        new = [int(a) for a in row if a not in attributes]
        return self._apart([*attributes, *new], apart)[: max(size, len(attributes))]

    def _apart(self, attributes, modes: list[Mode] | None = None) -> list[int]:
        """The attributes without those that would complete a mode: a failure that is known would hide one that is not."""
        kept: list[int] = []
        for a in attributes:
            if not any(
                a in m.attributes and m.attributes <= {*kept, a}
                for m in (self.modes if modes is None else modes)
            ):
                kept.append(int(a))
        return kept

    # learning

    def tell(self, i: int, candidate: dict) -> None:
        reason, about, left_out = self.drawn.pop(i)
        attributes, score = candidate["attributes"], candidate["score"]
        failed = score is not None and score > VIOLATION_THRESHOLD
        if score is not None:
            self.told.append((attributes, score, reason == "explore"))
        if reason == "follow":
            about.waiting -= 1
            if score is not None:
                about.failed[left_out] = about.failed.get(left_out, False) or failed
            if not about.waiting:
                self._close(about)
        elif reason == "again":
            about.tried, about.failed = about.tried + (score is not None), about.failed + failed
            if about in self.modes and wilson(about.failed, about.tried).high < MIN_MODE_RATE:
                self.modes.remove(about)
        elif failed:
            self.unexplained.append(attributes)
        while self.unexplained and len(self.cases) < MAX_OPEN_CASES:
            violation = self.unexplained.popleft()
            if not self._known(violation):
                self._open(Case(violation), [None])
        self.explored += reason == "explore"
        if reason == "explore" and self.explored % CANDIDATES_PER_REFIT == 0:
            self._estimate()

    def _known(self, attributes) -> bool:
        return any(m.attributes <= set(attributes) for m in self.modes)

    def _open(self, case: Case, without: list) -> None:
        self.cases.append(case)
        asked = [
            (case, a, tuple(x for x in case.attributes if x != a)) for a in without
        ] * ANSWERS_PER_FOLLOW_UP
        case.waiting = len(asked)
        self.queue.extend(asked)

    def _close(self, case: Case) -> None:
        """An answered case is luck, or is asked without each attribute, until none can be left out: then it is a mode."""
        self.cases.remove(case)
        if not case.failed.get(None):
            if case.failed:
                self.lucky.add(case.attributes)
        elif not self._known(case.attributes):
            asked = len(case.failed) > 1
            needed = tuple(a for a in case.attributes if not (asked and case.failed.get(a, False)))
            if len(needed) == 1 or needed and asked and needed == case.attributes:
                self.modes = [m for m in self.modes if not set(needed) < m.attributes] + [
                    Mode(frozenset(needed))
                ]
                self._estimate()
            elif (
                needed
            ):  # else it fails in more than one way: its parts will be found by themselves
                self._open(Case(needed, failed={None: True}), list(needed))

    def _estimate(self) -> None:
        """z of every attribute's effect on the score, over the explored candidates that no mode and no luck explains."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import Ridge

        fair = [
            (a, s)
            for a, s, explored in self.told
            if explored and a not in self.lucky and not self._known(a)
        ]
        if not fair:
            return
        lengths = [len(a) for a, _ in fair]
        holds = csr_matrix(
            (np.ones(sum(lengths)), np.concatenate([a for a, _ in fair]), np.cumsum([0, *lengths])),
            (len(fair), len(self.tried)),
        )
        scores = np.minimum(
            [s for _, s in fair], VIOLATION_THRESHOLD
        )  # a violation is followed by itself: here one must not outweigh all else
        fit = Ridge(alpha=SHRINK, solver="sparse_cg").fit(holds, scores)
        spread = max(1.0, float(np.std(scores - fit.predict(holds))))
        times = np.asarray(holds.sum(0)).ravel()
        self._suspect(
            fit.coef_ * np.sqrt(times + SHRINK) / spread + self.prior / (1 + times / SHRINK)
        )

    def _suspect(self, z: np.ndarray) -> None:
        held = frozenset().union(*(m.attributes for m in self.modes))
        order = np.argsort(-z, kind="stable")[: MAX_SUSPECTS + len(held)]
        self.suspects = [int(a) for a in order if z[a] > SUSPECT_Z and a not in held][:MAX_SUSPECTS]

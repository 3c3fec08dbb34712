"""Our search strategy: one budget, many failure modes.

The paper's replay buffer converges on one region of the pool. This strategy keeps looking for
failures that it does not know yet. Its notions:

violation  a judged candidate whose score is above the threshold.
case       a violation under investigation. First it is repeated, which tells it from luck. Then it
           is tried with each attribute left out in turn.
mode       the outcome of a case: the attributes without which it never fails. A mode explains each
           violation that contains it.
suspect    an attribute whose effect on the score of explored candidates stands out, or that the
           training data predicts to cause failures (`prior`). Suspects that belong to a mode are
           dropped, for their effect is explained.

A candidate is drawn for one of four reasons:

follow     a case needs an answer. Such draws come first.
measure    a mode is tried together with other attributes, which gives its failure rate. It ends
           when the mode has failed often enough, or is too rare to be a mode. No other draw
           contains a known mode, since a known failure would hide an unknown one.
pair       two to five suspects are tried that have not been together yet: many failures need two
           attributes at once, and random draws almost never combine the right two.
explore    the attributes that were tried least, filled up from a training row.

A search may end before its budget is spent: when it has *enough* distinct failing queries, and
twice as many candidates have looked for unknown failures (pair, explore). Each answer counts then:
one case is open at a time, hardly anything else is drawn while it waits, and a question gets
further answers only where the first one did not fail. With too few failures the whole budget is
spent.

Effects are estimated on explored candidates only. The others were drawn for their scores and are
not a fair sample: among them suspects always occur together, and their effects hide each other.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.stats import wilson
from chunkykit.surf.cases import Case, Draw, Question
from chunkykit.surf.effects import estimate_effects
from chunkykit.surf.pool import MAX_ATTRIBUTES, Pool
from chunkykit.surf.strategy import Mode

# Answers per question of a case. Targets and writers are random, so that one answer without a
# failure does not show that the attribute left out is needed.
ANSWERS_PER_QUESTION = 3
# Cases open at once. It bounds the budget that goes to one region that has just begun to fail:
# most of its violations are explained by the first mode, and need no case by then.
MAX_OPEN_CASES = 6
MAX_VIOLATIONS_PER_MODE = 20  # after that many a mode is measured well enough
MAX_TRIES_PER_MODE = 3 * MAX_VIOLATIONS_PER_MODE  # and after that many in any case
# Candidates that have looked for unknown failures, per failure that is enough, when a search ends.
LOOKS_PER_FAILURE = 2
MIN_MODE_RATE = 0.3  # a mode whose failure rate is surely below this is dropped

# Shares of the draws that follow no case; the rest explores.
MEASURE_SHARE = 0.25
PAIR_SHARE = 0.5

SUSPECT_Z = 2.8  # z-value above which an attribute is a suspect
MAX_SUSPECTS = 60
TRIES_PER_PAIR = 3  # candidates in which two suspects are tried together
LEAST_TRIED = 8 * MAX_ATTRIBUTES  # least tried attributes among which exploration chooses
CANDIDATES_PER_ESTIMATE = 60  # explored candidates between two estimates of the effects


class CoverStrategy:
    """Our strategy: it covers many failure modes with one budget.

    Attributes:
        modes: the failure modes identified so far.
        suspects: the suspects, the largest z-value first.
        pending: candidates drawn but not learned from yet.
        explored: (attributes, score) of the judged candidates that were drawn to explore.
        lucky: attributes of the violations that could not be reproduced.
    """

    def __init__(
        self,
        pool: Pool,
        rng: np.random.Generator,
        prior: np.ndarray | None = None,
        *,
        explore_rng: np.random.Generator | None = None,
        enough: int | None = None,
        leads: Sequence[tuple[int, ...]] = (),
    ):
        """Start without any mode.

        Args:
            pool: the attributes to draw from, K of them.
            rng: source of randomness.
            prior: z-values by which the training data predicts failures, shape (K,), 0 where it
                predicts none; None predicts nothing.
            explore_rng: source of randomness of what is explored, None for `rng`. While searches
                that share a seed of it know no mode, they explore the same candidates.
            enough: failing queries after which the search may end, and opens no more cases. Each
                answer counts then, see the top of this module. None: it spends its budget.
            leads: attributes of candidates that are known to fail. They are the first cases.
        """
        n_attributes = len(pool.sentences)
        self.pool = pool
        self.rng = rng
        self.explore_rng = explore_rng or rng
        self.enough = enough
        self.max_open_cases = MAX_OPEN_CASES if enough is None else 1
        self.prior = np.zeros(n_attributes) if prior is None else np.asarray(prior, float)
        self.modes: list[Mode] = []
        self.suspects: list[int] = []
        self.pending: dict[int, Draw] = {}
        self.explored: list[tuple[tuple[int, ...], float]] = []
        self.lucky: set[tuple[int, ...]] = set()
        self._failing_queries: set[str] = set()
        self._n_looks = 0  # judged candidates that looked for unknown failures
        self._times_explored = np.zeros(n_attributes)  # candidates drawn to explore an attribute
        self._n_explored = 0  # results of explored candidates, judged or not
        self._times_together: Counter[tuple[int, int]] = Counter()  # draws per pair of suspects
        self._unexplained = deque(leads)  # violations that wait for a case
        self._cases: list[Case] = []
        self._questions: deque[Question] = deque()
        self._choose_suspects(self.prior)
        self._open_cases()

    @property
    def has_enough(self) -> bool:
        """Whether there are enough failures for whoever reads them."""
        return self.enough is not None and len(self._failing_queries) >= self.enough

    @property
    def is_done(self) -> bool:
        """Whether it has enough, has looked for others and has no open case, see `Strategy`."""
        if self.enough is None or self._cases:
            return False
        return self.has_enough and self._n_looks >= LOOKS_PER_FAILURE * self.enough

    @property
    def is_waiting(self) -> bool:
        """Whether each answer counts and a case waits for some, see `Strategy`.

        What looks for failures meanwhile would find again what the case is about to explain.
        """
        return self.enough is not None and bool(self._cases) and not self._questions

    def draw(self, i: int) -> tuple[int, ...]:
        """Draw the attributes of candidate i, see `Strategy`."""
        if self._questions:
            question = self._questions.popleft()
            self.pending[i] = Draw("follow", question=question)
            return question.attributes

        chance = self.rng.random()
        if chance < MEASURE_SHARE:
            unmeasured = [mode for mode in self.modes if not _is_measured(mode)]
            if unmeasured:
                mode = unmeasured[self.rng.integers(len(unmeasured))]
                self.pending[i] = Draw("measure", mode=mode)
                return self._draw_around(mode)
        elif chance < MEASURE_SHARE + PAIR_SHARE and len(self.suspects) > 1:
            attributes = self._draw_suspects()
            if attributes:
                self.pending[i] = Draw("pair")
                return attributes
        self.pending[i] = Draw("explore")
        return self._draw_least_tried()

    def learn(self, i: int, candidate: dict) -> None:
        """Learn from the result of candidate i, see `Strategy`."""
        draw = self.pending.pop(i)
        attributes = candidate["attributes"]
        score = candidate["score"]
        judged = score is not None  # a candidate that could not be judged teaches nothing
        failed = judged and score > VIOLATION_THRESHOLD
        if draw.question:
            self._answer(draw.question, judged, failed)
        elif draw.mode:
            self._measure(draw.mode, judged, failed)
        elif failed:
            self._unexplained.append(attributes)
        if draw.reason in ("pair", "explore") and judged:
            self._n_looks += 1
        if failed:
            self._failing_queries.add(candidate["query"])
        self._open_cases()
        if draw.reason == "explore":
            if judged:
                self.explored.append((attributes, score))
            self._n_explored += 1
            if self._n_explored % CANDIDATES_PER_ESTIMATE == 0:
                self._estimate_effects()

    # Drawing

    def _draw_around(self, mode: Mode) -> tuple[int, ...]:
        """Draw a mode together with attributes of a training row."""
        # other modes must stay out, or their failures would count for this one
        others = [other for other in self.modes if not other.attributes <= mode.attributes]
        # small candidates, too: the rate should not depend on a crowd of further attributes
        size = int(self.rng.integers(len(mode.attributes), MAX_ATTRIBUTES + 1))
        return tuple(self._fill(sorted(mode.attributes), others, size, self.rng))

    def _draw_suspects(self) -> tuple[int, ...] | None:
        """Draw two to five suspects that have not been together yet; None if there are none."""
        chosen = [int(self.rng.choice(self.suspects))]
        for _ in range(self.rng.integers(1, MAX_ATTRIBUTES)):
            new_pairs = np.array([self._count_new_pairs(s, chosen) for s in self.suspects])
            # less than 1 breaks ties at random
            best = np.argmax(new_pairs + 0.5 * self.rng.random(len(new_pairs)))
            chosen.append(self.suspects[int(best)])
        pairs = list(combinations(sorted(set(chosen)), 2))
        if not any(self._is_new_pair(*pair) for pair in pairs):
            return None
        self._times_together.update(pairs)  # counted when drawn, as in `_draw_least_tried`
        anchors = self._without_modes(dict.fromkeys(chosen), self.modes)
        return tuple(self._fill(anchors, self.modes, MAX_ATTRIBUTES, self.rng))

    def _count_new_pairs(self, suspect: int, chosen: list[int]) -> float:
        """Count the new pairs that a suspect forms with the chosen ones; -1 if it is among them."""
        if suspect in chosen:
            return -1.0
        return float(sum(self._is_new_pair(suspect, other) for other in chosen))

    def _is_new_pair(self, a: int, b: int) -> bool:
        return self._times_together[min(a, b), max(a, b)] < TRIES_PER_PAIR

    def _draw_least_tried(self) -> tuple[int, ...]:
        """Draw up to five of the attributes that were explored least, filled up from a row."""
        ties = self.explore_rng.random(len(self._times_explored))  # random order among equals
        least = np.lexsort((ties, self._times_explored))[:LEAST_TRIED]
        n_anchors = self.explore_rng.binomial(MAX_ATTRIBUTES, 0.5)
        anchors = self._without_modes(least, self.modes)[:n_anchors]
        attributes = self._fill(anchors, self.modes, MAX_ATTRIBUTES, self.explore_rng)
        if not attributes:  # every attribute is a mode of its own
            attributes = [int(least[0])]
        # counted when drawn: a window of results is still missing, and must not be drawn again
        self._times_explored[attributes] += 1
        return tuple(attributes)

    def _fill(
        self, attributes: list[int], avoid: list[Mode], size: int, rng: np.random.Generator
    ) -> list[int]:
        """Add attributes of one random training row, up to `size`, without completing a mode."""
        row = rng.permutation(self.pool.draw_row(rng))
        added = [int(a) for a in row if a not in attributes]
        filled = self._without_modes([*attributes, *added], avoid)
        return filled[: max(size, len(attributes))]

    @staticmethod
    def _without_modes(attributes: Iterable[int], avoid: list[Mode]) -> list[int]:
        """Drop the attributes that would complete one of the modes."""
        remaining: list[int] = []
        for attribute in attributes:
            extended = {*remaining, int(attribute)}
            completed = [m for m in avoid if attribute in m.attributes and m.attributes <= extended]
            if not completed:
                remaining.append(int(attribute))
        return remaining

    # Learning

    def _answer(self, question: Question, judged: bool, failed: bool) -> None:
        """Note the answer to a question; after the last one the case is decided."""
        case, left_out = question
        case.waiting -= 1
        if judged and left_out is None:
            case.reproduced = bool(case.reproduced) or failed
        elif judged and left_out is not None:
            case.fails_without[left_out] = case.fails_without.get(left_out, False) or failed
        if case.waiting:
            return
        self._cases.remove(case)
        undecided = case.undecided
        if undecided and case.answers < ANSWERS_PER_QUESTION:
            self._ask(case, undecided)
        else:
            self._decide(case)

    def _measure(self, mode: Mode, judged: bool, failed: bool) -> None:
        """Count a trial of a mode; drop the mode if its failure rate is surely too low."""
        mode.tried += judged
        mode.failed += failed
        too_rare = wilson(mode.failed, mode.tried).high < MIN_MODE_RATE
        if too_rare and mode in self.modes:  # an earlier result may have dropped it
            self.modes.remove(mode)

    def _open_cases(self) -> None:
        """Open cases for the violations that no mode explains, the oldest first."""
        while self._unexplained and not self.has_enough and len(self._cases) < self.max_open_cases:
            violation = self._unexplained.popleft()
            if not self._is_explained(violation):
                self._ask(Case(violation), [None])

    def _is_explained(self, attributes: tuple[int, ...]) -> bool:
        return any(mode.attributes <= set(attributes) for mode in self.modes)

    def _ask(self, case: Case, left_out: Sequence[int | None]) -> None:
        """Queue the questions of a case: several times, or first once where each answer counts."""
        is_first = self.enough is not None and not case.answers
        n_answers = 1 if is_first else ANSWERS_PER_QUESTION - case.answers
        questions = [Question(case, attribute) for attribute in left_out] * n_answers
        case.left_out = left_out
        case.answers += n_answers
        case.waiting = len(questions)
        self._cases.append(case)
        self._questions.extend(questions)

    def _decide(self, case: Case) -> None:
        """Decide a case whose answers are there: luck, a mode, or further questions.

        Attributes are left out in rounds. A round leaves out each attribute, and those without
        which the case failed are not needed. The next round asks again with the needed ones only.
        A round that finds all of them needed ends in a mode.
        """
        if not case.reproduced:
            if case.reproduced is not None:  # None: all answers failed, which shows nothing
                self.lucky.add(case.attributes)
            return
        if self._is_explained(case.attributes):  # by a mode that another case has found meanwhile
            return
        needed = tuple(a for a in case.attributes if not case.fails_without.get(a, False))
        tested = bool(case.fails_without)
        if len(needed) == 1 or (needed and tested and needed == case.attributes):
            self._add_mode(Mode(frozenset(needed)))
        elif needed:
            self._ask(Case(needed, reproduced=True), list(needed))
        # Without needed attributes it fails in more than one way. Each of them is simpler than the
        # case, so it will be found by itself.

    def _add_mode(self, mode: Mode) -> None:
        """Add a mode, which replaces the modes that contain it."""
        others = [other for other in self.modes if not mode.attributes < other.attributes]
        self.modes = [*others, mode]
        self._estimate_effects()

    def _estimate_effects(self) -> None:
        """Choose the suspects by the explored candidates that neither mode nor luck explains."""
        unexplained = [
            (attributes, score)
            for attributes, score in self.explored
            if attributes not in self.lucky and not self._is_explained(attributes)
        ]
        if unexplained:
            z = estimate_effects(unexplained, len(self.pool.sentences), self.prior)
            self._choose_suspects(z)

    def _choose_suspects(self, z: np.ndarray) -> None:
        """Make suspects of the attributes with the largest z-values that belong to no mode."""
        explained = frozenset[int]().union(*(mode.attributes for mode in self.modes))
        # a stable sort, so that ties do not depend on the platform; long enough that the explained
        # attributes can be dropped from it
        candidates = np.argsort(-z, kind="stable")[: MAX_SUSPECTS + len(explained)]
        suspects = [int(a) for a in candidates if z[a] > SUSPECT_Z and a not in explained]
        self.suspects = suspects[:MAX_SUSPECTS]


def _is_measured(mode: Mode) -> bool:
    """Whether enough is known about the failure rate of a mode."""
    return mode.failed >= MAX_VIOLATIONS_PER_MODE or mode.tried >= MAX_TRIES_PER_MODE

"""Try candidates concurrently, and let a strategy learn from them in an order that can be repeated.

Calls take between milliseconds and minutes, so candidates must overlap. A strategy that learned
from each answer as it arrives would depend on these latencies, and no seed could repeat the search.
Therefore results are passed to the strategy in the order in which they were drawn, and a candidate
is drawn as soon as all results that it may depend on are there. The *window* says which these are.

A server that does not answer must not stop the search for one deadline after another. Where nothing
has arrived for some time, it goes on without the candidates that are late, and learns from them
when they arrive. Where no candidate is answered any more, it ends.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice

from chunkykit.errors import UserError
from chunkykit.models import DeadlineReached
from chunkykit.surf.strategy import Strategy

# Candidates in flight at once. Three times the calls under way at once, since a few very slow
# answers must not stop all others.
MAX_IN_FLIGHT = 240
EAGER_WINDOW = 100  # candidates in flight at once where each result is learned as it arrives
WORTH_WAITING = 6  # candidates in flight; with fewer, nobody waits and the servers have work
MIN_TRIED_BEFORE_STOP = 10  # candidates after which a search stops if every one of them failed


async def stream_candidates(
    strategy: Strategy,
    attempt: Callable[[int, tuple[int, ...]], Coroutine[None, None, dict]],
    total: int,
    *,
    window: int = MAX_IN_FLIGHT,
    barrier: int = 0,
    eager: bool = False,
    patience: float = math.inf,
) -> list[dict]:
    """Draw candidates, try them concurrently and let the strategy learn from them.

    Args:
        strategy: draws the candidates and learns from them.
        attempt: `await attempt(i, attributes)` tries candidate i. It returns the candidate.
        total: number of candidates.
        window: candidates in flight at once. Candidate i is drawn when the strategy has learned
            from all candidates but the last `window` before it.
        barrier: candidates per iteration, in place of a window. Candidate i is drawn when the
            strategy has learned from all earlier iterations. 0: none.
        eager: learn from results as they arrive: faster, but the seed no longer fixes the search.
        patience: seconds without any result after which the search goes on without those that are
            late, although the seed no longer fixes it then. Halved each time, so that all such
            waits together are bounded.

    Returns:
        The candidates, in the order in which they were drawn. Where the first
        `MIN_TRIED_BEFORE_STOP` have all failed, or where the strategy is done, no others are drawn:
        they would only cost.

    Raises:
        UserError: if the server has stopped to answer.
    """
    stream = _Stream(strategy, patience, max(MIN_TRIED_BEFORE_STOP, window // 2))
    try:
        for i in range(total):
            await stream.learn_until(i // barrier * barrier if barrier else i - window + 1, eager)
            await stream.learn_next(eager)
            if stream.is_outage or strategy.is_done:
                break
            stream.running[asyncio.create_task(attempt(i, strategy.draw(i)))] = i
        await stream.learn_until(stream.n_drawn, eager)
        await stream.learn_late()
    finally:  # a limit on calls that one attempt reaches ends all others, too
        await stream.cancel()
    return [stream.results[i] for i in sorted(stream.results)]


class _Stream:
    """The candidates under way and the results so far.

    Attributes:
        running: the number of each candidate that is waited for, oldest first.
        late: the same of those that are not waited for.
        results: what was learned, by the number of the candidate.
    """

    def __init__(self, strategy: Strategy, patience: float, max_unanswered: int):
        self.strategy = strategy
        self.patience = patience
        self.max_unanswered = max_unanswered
        self.running: dict[asyncio.Task, int] = {}
        self.late: dict[asyncio.Task, int] = {}
        self.results: dict[int, dict] = {}
        self._unanswered = 0  # in a row, but for those that are late

    @property
    def n_drawn(self) -> int:
        """Candidates drawn so far."""
        return len(self.running) + len(self.late) + len(self.results)

    @property
    def is_outage(self) -> bool:
        """Whether the first candidates have all failed."""
        first = list(islice(self.results.values(), MIN_TRIED_BEFORE_STOP))
        is_enough = len(first) == MIN_TRIED_BEFORE_STOP
        return is_enough and all(candidate["error"] for candidate in first)

    async def learn_until(self, due: int, eager: bool) -> None:
        """Learn until so many candidates are known or late."""
        while len(self.results) + len(self.late) < due and not self.is_outage:
            waited_for = list(self.running) if eager else [next(iter(self.running))]
            arrived = self._count_arrived()
            done, _ = await asyncio.wait(
                waited_for, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED
            )
            self._learn(self.running, done)
            self._learn(self.late, [task for task in self.late if task.done()])
            if not done and 0 < arrived == self._count_arrived():
                self._set_aside()

    async def learn_next(self, eager: bool) -> None:
        """Learn while the strategy waits and enough is under way, or all before it is done."""
        while self.running and not self.is_outage:
            is_idle = len(self.running) < WORTH_WAITING
            if not (self.strategy.is_done or (self.strategy.is_waiting and not is_idle)):
                return
            await self.learn_until(len(self.results) + len(self.late) + 1, eager)

    async def learn_late(self) -> None:
        """Learn from the candidates that are late."""
        while self.late and not self.is_outage:
            done, _ = await asyncio.wait(self.late, return_when=asyncio.FIRST_COMPLETED)
            self._learn(self.late, done)

    def _count_arrived(self) -> int:
        return sum(task.done() for task in self.running)

    def _set_aside(self) -> None:
        """Wait no longer for the candidates that have not arrived."""
        for task in [task for task in self.running if not task.done()]:
            self.late[task] = self.running.pop(task)
        self.patience /= 2

    def _learn(self, tasks: dict[asyncio.Task, int], done: Iterable[asyncio.Task]) -> None:
        for task in done:
            i = tasks.pop(task)
            candidate = task.result()
            self.results[i] = candidate
            self.strategy.learn(i, candidate)
            if DeadlineReached.__name__ not in (candidate["error"] or ""):
                self._unanswered = 0
            elif tasks is self.running:  # those that are late end together
                self._unanswered += 1
                self._check_unanswered(candidate["error"])

    def _check_unanswered(self, error: str) -> None:
        """Raise UserError where the server has stopped to answer."""
        if self._unanswered >= self.max_unanswered and not self.is_outage:
            raise UserError(
                f"search: {self._unanswered} candidates in a row were not answered in time, the "
                f"last with: {error}. Run the same command again when the server answers; answers "
                "received so far are not paid for again."
            )

    async def cancel(self) -> None:
        """End all candidates that are under way."""
        tasks = [*self.running, *self.late]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

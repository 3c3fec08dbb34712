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
        `MIN_TRIED_BEFORE_STOP` have all failed, no others are drawn: they would only cost.

    Raises:
        UserError: if the server has stopped to answer.
    """
    running: dict[asyncio.Task, int] = {}  # task -> number of its candidate, oldest first
    late: dict[asyncio.Task, int] = {}  # the same, for those that nothing waits for
    results: dict[int, dict] = {}
    unanswered = 0  # candidates in a row that ended at a deadline, but for those that are late
    most_unanswered = max(MIN_TRIED_BEFORE_STOP, window // 2)

    def learn(tasks: dict[asyncio.Task, int], done: Iterable[asyncio.Task]) -> None:
        nonlocal unanswered
        for task in done:
            i = tasks.pop(task)
            results[i] = task.result()
            strategy.learn(i, results[i])
            if DeadlineReached.__name__ not in (results[i]["error"] or ""):
                unanswered = 0
            elif tasks is running:  # those that are late end together, whatever the others do
                unanswered += 1
        if unanswered >= most_unanswered and not _is_outage(results):
            raise UserError(
                f"search: {unanswered} candidates in a row were not answered in time, the last "
                f"with: {results[i]['error']}. Run the same command again when the server "
                "answers; answers received so far are not paid for again."
            )

    async def learn_until(due: int) -> None:
        nonlocal patience
        while len(results) + len(late) < due and not _is_outage(results):
            waited_for = list(running) if eager else [next(iter(running))]
            arrived = sum(task.done() for task in running)
            done, _ = await asyncio.wait(
                waited_for, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            learn(running, done)
            learn(late, [task for task in late if task.done()])
            if not done and 0 < arrived == sum(task.done() for task in running):
                stuck = [task for task in running if not task.done()]
                late.update((task, running.pop(task)) for task in stuck)
                patience /= 2

    try:
        for i in range(total):
            await learn_until(i // barrier * barrier if barrier else i - window + 1)
            if _is_outage(results):
                break
            running[asyncio.create_task(attempt(i, strategy.draw(i)))] = i
        await learn_until(total)
        while late and not _is_outage(results):
            done, _ = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
            learn(late, done)
    finally:  # a limit on calls that one attempt reaches ends all others, too
        for task in (*running, *late):
            task.cancel()
        await asyncio.gather(*running, *late, return_exceptions=True)
    return [results[i] for i in sorted(results)]


def _is_outage(results: dict[int, dict]) -> bool:
    """Whether the first candidates have all failed."""
    first = list(islice(results.values(), MIN_TRIED_BEFORE_STOP))
    return len(first) == MIN_TRIED_BEFORE_STOP and all(candidate["error"] for candidate in first)

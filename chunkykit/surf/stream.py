"""Try candidates concurrently, and let a strategy learn from them in an order that can be repeated.

Calls take between milliseconds and minutes, so candidates must overlap. A strategy that learned
from each answer as it arrives would depend on these latencies, and no seed could repeat the search.
Therefore results are passed to the strategy in the order in which they were drawn, and a candidate
is drawn as soon as all results that it may depend on are there. The *window* says which these are.
"""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice

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

    Returns:
        The candidates, in the order in which they were drawn. Where the first
        `MIN_TRIED_BEFORE_STOP` have all failed, no others are drawn: they would only cost.
    """
    running: dict[asyncio.Task, int] = {}  # task -> number of its candidate, oldest first
    results: dict[int, dict] = {}

    async def learn_until(due: int) -> None:
        while len(results) < due and not _is_outage(results):
            waited_for = list(running) if eager else [next(iter(running))]
            done, _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                i = running.pop(task)
                results[i] = task.result()
                strategy.learn(i, results[i])

    try:
        for i in range(total):
            await learn_until(i // barrier * barrier if barrier else i - window + 1)
            if _is_outage(results):
                break
            running[asyncio.create_task(attempt(i, strategy.draw(i)))] = i
        await learn_until(total)
    finally:  # a limit on calls that one attempt reaches ends all others, too
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return [results[i] for i in sorted(results)]


def _is_outage(results: dict[int, dict]) -> bool:
    """Whether the first candidates have all failed."""
    first = list(islice(results.values(), MIN_TRIED_BEFORE_STOP))
    return len(first) == MIN_TRIED_BEFORE_STOP and all(candidate["error"] for candidate in first)

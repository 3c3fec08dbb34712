"""The order in which a strategy draws and learns, whatever the order in which answers arrive."""

import asyncio
import time

import pytest

from chunkykit.errors import UserError
from chunkykit.surf.stream import WORTH_WAITING, stream_candidates


class Recorder:
    """A strategy that records how often and in which order it is called."""

    modes = ()
    is_waiting = False
    is_done = False

    def __init__(self):
        self.learned = []
        self.known_at_draw = []  # results known when candidate i was drawn

    def draw(self, i):
        self.known_at_draw.append(len(self.learned))
        return (i,)

    def learn(self, i, candidate):
        self.learned.append(i)


async def attempt_backwards(i, attributes):
    """Of ten candidates that start together, the last one answers first."""
    await asyncio.sleep((9 - i % 10) / 500)
    return {"attributes": attributes, "error": None}


def stream(total=30, attempt=attempt_backwards, **settings):
    strategy = Recorder()
    tried = asyncio.run(stream_candidates(strategy, attempt, total, **settings))
    assert [candidate["attributes"] for candidate in tried] == [(i,) for i in range(total)]
    return strategy


def test_with_a_window_all_but_the_last_candidates_are_known():
    strategy = stream(window=10)
    assert strategy.learned == list(range(30))
    assert strategy.known_at_draw == [max(0, i - 9) for i in range(30)]


def test_with_a_barrier_all_earlier_iterations_are_known():
    strategy = stream(barrier=10)
    assert strategy.learned == list(range(30))
    assert strategy.known_at_draw == [0] * 10 + [10] * 10 + [20] * 10


def test_an_eager_strategy_learns_from_results_as_they_arrive():
    strategy = stream(window=10, eager=True)
    assert sorted(strategy.learned) == list(range(30))
    assert strategy.learned[0] > 0


def test_an_error_of_an_attempt_cancels_the_others():
    cancelled = []

    async def attempt(i, attributes):
        if i == 3:
            await asyncio.sleep(0.01)
            raise ConnectionError
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(i)
            raise

    with pytest.raises(ConnectionError):
        stream(attempt=attempt, window=5, eager=True)
    assert sorted(cancelled) == [0, 1, 2, 4]


def test_ten_failures_at_the_start_stop_the_stream():
    async def fail(i, attributes):
        return {"attributes": attributes, "error": f"fault {i}"}

    strategy = Recorder()
    tried = asyncio.run(stream_candidates(strategy, fail, 30, window=5))
    assert len(tried) == 10, "no more are paid for"


def test_nine_failures_at_the_start_do_not():
    async def fail_at_first(i, attributes):
        return {"attributes": attributes, "error": "fault" if i < 9 else None}

    assert stream(attempt=fail_at_first, window=5).learned == list(range(30))


DEADLINE = 1.0


async def answer_nine_of_ten(i, attributes):
    """One candidate of ten is never answered and ends at its deadline."""
    if i % 10 == 3:
        await asyncio.sleep(DEADLINE)
        return {"attributes": attributes, "error": f"DeadlineReached: within {DEADLINE} s"}
    await asyncio.sleep(0.001)
    return {"attributes": attributes, "error": None}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [{"window": 20}, {"barrier": 20}])
def test_answers_that_never_come_cost_one_deadline_and_not_one_each(schedule):
    start = time.monotonic()
    strategy = stream(100, answer_nine_of_ten, patience=DEADLINE / 8, **schedule)
    assert time.monotonic() - start < 1.9 * DEADLINE, "without patience five"
    assert sorted(strategy.learned) == list(range(100)), "what is late is learned, too"


def test_with_patience_the_order_is_kept_while_answers_arrive():
    async def attempt(i, attributes):
        await asyncio.sleep(0.2 if i == 0 else 0.01 * (i % 5))
        return {"attributes": attributes, "error": None}

    strategy = stream(attempt=attempt, window=10, patience=0.5)
    assert strategy.learned == list(range(30))


@pytest.mark.parametrize("eager", [False, True])
def test_a_server_that_stops_to_answer_ends_the_search_after_one_deadline(eager):
    async def attempt(i, attributes):
        if i < 50:
            return {"attributes": attributes, "error": None}
        await asyncio.sleep(DEADLINE / 5)
        return {"attributes": attributes, "error": "judge a: DeadlineReached: http://x"}

    start = time.monotonic()
    with pytest.raises(UserError, match="in a row were not answered in time.*http://x"):
        stream(400, attempt, window=20, eager=eager)
    assert time.monotonic() - start < 2 * DEADLINE / 5


def test_a_strategy_that_waits_has_few_candidates_in_flight():
    strategy = Recorder()
    strategy.is_waiting = True
    asyncio.run(stream_candidates(strategy, attempt_backwards, 30, window=10))
    in_flight = [i - known for i, known in enumerate(strategy.known_at_draw)]
    assert max(in_flight) == WORTH_WAITING - 1
    assert strategy.learned == list(range(30))


def test_a_strategy_that_is_done_learns_from_what_is_under_way_first():
    class Doubtful(Recorder):
        @property
        def is_done(self):
            return len(self.learned) in (12, 20, 21, 22, 23)

    strategy = Doubtful()
    tried = asyncio.run(stream_candidates(strategy, attempt_backwards, 30, window=4))
    assert len(tried) == 23, "it was in doubt after 13, and done with all that was under way"
    assert strategy.learned == list(range(23))


def test_errors_of_another_kind_end_no_search():
    async def attempt(i, attributes):
        error = None if i < 20 else "BadRequestError: too long"
        return {"attributes": attributes, "error": error}

    stream(200, attempt, window=20)

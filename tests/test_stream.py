"""The order in which a strategy draws and learns, whatever the order in which answers arrive."""

import asyncio

import pytest

from chunkykit.surf.stream import stream_candidates


class Recorder:
    """A strategy that records how often and in which order it is called."""

    modes = ()

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

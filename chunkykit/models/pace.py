"""How fast an address is asked: a rate limit pauses all calls to it, of every model and ledger.

A new address gets a few requests at once until it answers. After a pause one request at a time
finds out whether the server answers again. Each that is answered lets one more through at once, and
each that is refused makes the next pause longer. Calls that were refused come back in the same way,
on a lane of their own. So a server that refuses everything gets at most two requests a second.
"""

import asyncio
import math
import time
from collections import deque

FIRST_PAUSE = 1.0  # seconds, doubled by each further rate limit
MAX_PAUSE = 60.0  # seconds, unless the server requests more
# Requests refused together, per FIRST_PAUSE of the pause that follows.
MAX_REFUSED_PER_PAUSE = 2
FIRST_WINDOW = 16  # requests at once to an address that has not answered yet
POLL_SECONDS = 0.05  # between looks at whether a request may be sent
OPEN_WINDOW = 64  # requests at once after which an address counts as recovered
# A request that is not answered within this time no longer keeps the next one waiting.
PROBE_SECONDS = 30.0


def backoff(failures: int) -> float:
    """Return the pause before the next try.

    Args:
        failures: earlier tries that failed in the same way.

    Returns:
        Seconds, from FIRST_PAUSE to MAX_PAUSE.
    """
    # the bound on the exponent keeps a long row of failures from an overflow
    return min(FIRST_PAUSE * 2 ** min(failures, 32), max(MAX_PAUSE, FIRST_PAUSE))


class Lane:
    """Requests to one address that are paused together.

    Attributes:
        resume_at: `time.monotonic()` before which nothing is sent.
    """

    def __init__(self) -> None:
        """Start without a pause."""
        self.resume_at = 0.0
        self._refusals = 0
        self._refused_together = 0
        self._paused_at = -math.inf
        self._window: float = FIRST_WINDOW
        self._under_way: dict[object, float] = {}  # request: when it was sent
        self._waiting: deque[object] = deque()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is sent now."""
        return time.monotonic() < self.resume_at

    async def enter(self) -> object:
        """Wait until a request may be sent.

        Returns:
            What stands for the request in the other methods.
        """
        request = object()
        self._waiting.append(request)
        try:
            while not self._is_next(request):
                pause = self.resume_at - time.monotonic()
                await asyncio.sleep(max(pause, POLL_SECONDS))
            self._under_way[request] = time.monotonic()
            return request
        finally:
            self._waiting.remove(request)

    def _is_next(self, request: object) -> bool:
        """Whether a request may be sent now. The one that has waited longest comes first."""
        now = time.monotonic()
        if now < self.resume_at:
            return False
        if math.isinf(self._window):
            return True
        if self._waiting[0] is not request:
            return False
        starts = list(self._under_way.values())
        return sum(now - start < PROBE_SECONDS for start in starts) < self._window

    def leave(self, request: object) -> None:
        """Say that a request has ended, whatever its end."""
        self._under_way.pop(request, None)

    def answered(self, request: object) -> None:
        """Say that the server took a request."""
        if self._under_way[request] < self._paused_at:
            return  # it was sent before the pause, and says nothing about what came after it
        self._refusals = 0
        self._window = self._window + 1 if self._window < OPEN_WINDOW else math.inf

    def refused(self, request: object, requested: float) -> float:
        """Say that the server refused a request because of its rate limit.

        Args:
            request: the request.
            requested: seconds that the server requests, 0 if none.

        Returns:
            Seconds of the pause.
        """
        now = time.monotonic()
        if self._under_way[request] >= self._paused_at:
            # Requests that were under way together are one reason for one pause.
            self._refusals += 1
            self._refused_together = 0
            self._paused_at = now
        self._refused_together += 1
        spread = min(self._refused_together * FIRST_PAUSE / MAX_REFUSED_PER_PAUSE, MAX_PAUSE)
        seconds = max(requested or spread, backoff(self._refusals - 1))
        self.pause(seconds)
        return seconds

    def pause(self, seconds: float) -> None:
        """Send nothing for a time, and one request after it.

        Args:
            seconds: how long.
        """
        self.resume_at = max(self.resume_at, time.monotonic() + seconds)
        self._window = 1


class Pace:
    """The pauses of one address, for all threads and event loops.

    Calls that the rate limit has refused before have a lane of their own. So a few calls that are
    refused again and again do not stop those that the server answers.

    Attributes:
        first: the lane of first tries.
        again: the lane of calls that were refused.
    """

    def __init__(self) -> None:
        """Start without a pause."""
        self.first = Lane()
        self.again = Lane()

    def refused(self, lane: Lane, request: object, requested: float) -> None:
        """Say that the server refused a request because of its rate limit.

        Args:
            lane: of the request.
            request: the request.
            requested: seconds that the server requests of everybody, 0 if none.
        """
        seconds = lane.refused(request, requested)
        if lane is self.first:
            # This call, and those that were under way with it, come back one at a time.
            self.again.pause(seconds)
        elif requested:
            self.first.pause(requested)


_paces: dict[str, Pace] = {}


def pace_of(url: str) -> Pace:
    """Return the pace of an address.

    Args:
        url: the server's address.

    Returns:
        The pace, the same one for every caller.
    """
    return _paces.setdefault(url, Pace())

"""How fast an address is asked: a rate limit pauses all calls to it, of every model and ledger.

After a pause one request at a time finds out whether the server answers again. Each that is
answered doubles the number of the next ones, and each that is refused makes the next pause longer.
"""

import asyncio
import math
import time

FIRST_PAUSE = 1.0  # seconds, doubled by each further rate limit
MAX_PAUSE = 60.0  # seconds, unless the server requests more
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


class Pace:
    """The pauses of one address, for all threads and event loops.

    Attributes:
        resume_at: `time.monotonic()` before which nothing is sent.
    """

    def __init__(self) -> None:
        """Start without a pause."""
        self.resume_at = 0.0
        self._refusals = 0
        self._paused_at = -math.inf
        self._window = math.inf
        self._probes: dict[object, float] = {}  # requests sent after the pause: when

    async def enter(self) -> object:
        """Wait until a request may be sent.

        Returns:
            What stands for the request in `answered`, `refused` and `leave`.
        """
        while True:
            now = time.monotonic()
            if now >= self.resume_at and self._probes_under_way(now) < self._window:
                probe = object()
                self._probes[probe] = now
                return probe
            await asyncio.sleep(max(self.resume_at - now, POLL_SECONDS))

    def _probes_under_way(self, now: float) -> int:
        if math.isinf(self._window):
            return 0
        return sum(now - start < PROBE_SECONDS for start in list(self._probes.values()))

    def leave(self, probe: object) -> None:
        """Say that a request has ended, whatever its end."""
        self._probes.pop(probe, None)

    def answered(self, probe: object) -> None:
        """Say that the server took a request."""
        if self._probes.get(probe, -math.inf) < self._paused_at:
            return  # it was sent before the pause, and says nothing about what came after it
        self._refusals = 0
        self._window = 2 * self._window if self._window < OPEN_WINDOW else math.inf

    def refused(self, probe: object, requested: float) -> None:
        """Say that the server refused a request because of its rate limit.

        Args:
            probe: the request.
            requested: seconds that the server requests, 0 if none.
        """
        now = time.monotonic()
        start = self._probes.get(probe, now)
        if start >= self._paused_at:
            # Requests that were under way together are one reason for one pause.
            self._refusals += 1
            self._paused_at = now
        pause = max(requested, backoff(self._refusals - 1))
        self.resume_at = max(self.resume_at, now + pause)
        self._window = 1


_paces: dict[str, Pace] = {}


def pace_of(url: str) -> Pace:
    """Return the pace of an address.

    Args:
        url: the server's address.

    Returns:
        The pace, the same one for every caller.
    """
    return _paces.setdefault(url, Pace())

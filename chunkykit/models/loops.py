"""Values that belong to one event loop, such as connections and semaphores.

A notebook, or a program with several `asyncio.run`, uses one model on several event loops, one
after another. What waits on a closed loop waits for good, so each loop gets a value of its own.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

DEFAULT_CONCURRENCY = 16  # calls of a role under way at once


class PerLoop(Generic[T]):
    """One value per event loop. Values of closed loops are dropped."""

    def __init__(self) -> None:
        """Start without values."""
        # No weak keys: a value refers to its loop and would keep its own key alive.
        self._values: dict[asyncio.AbstractEventLoop, T] = {}

    def get(self) -> T | None:
        """Return the value of the running loop, None if it has none."""
        self._drop_closed_loops()
        return self._values.get(asyncio.get_running_loop())

    def get_or_create(self, create: Callable[[], T]) -> T:
        """Return the value of the running loop, made by `create()` if it has none."""
        value = self.get()
        if value is None:
            value = create()
            self._values[asyncio.get_running_loop()] = value
        return value

    def clear(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Drop all values and return those of the loops that are still open, with their loops."""
        self._drop_closed_loops()
        items = list(self._values.items())
        self._values.clear()
        return items

    def remove(self, value: T) -> None:
        """Drop a value of the running loop, unless another one has replaced it.

        Args:
            value: the value.
        """
        loop = asyncio.get_running_loop()
        if self._values.get(loop) is value:
            del self._values[loop]

    def _drop_closed_loops(self) -> None:
        for loop in list(self._values):
            if loop.is_closed():
                del self._values[loop]


class RoleLimits:
    """How many calls of each role may be under way at once, over all models of the role."""

    def __init__(self) -> None:
        """Start with the default limit for every role."""
        self._limits: dict[str, int] = {}
        self._semaphores: PerLoop[dict[tuple[str, int], asyncio.Semaphore]] = PerLoop()

    def set_limit(self, role: str, concurrency: int) -> None:
        """Set the limit of a role, for calls that start from now on.

        Args:
            role: such as "target" or "judge".
            concurrency: the largest number of calls under way at once.
        """
        self._limits[role] = concurrency

    def semaphore(self, role: str) -> asyncio.Semaphore:
        """Return the running loop's semaphore of a role."""
        semaphores = self._semaphores.get_or_create(dict)
        limit = self._limits.get(role, DEFAULT_CONCURRENCY)
        key = (role, limit)
        if key not in semaphores:
            semaphores[key] = asyncio.Semaphore(limit)
        return semaphores[key]

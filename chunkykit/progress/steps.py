"""Steps: what is being done now, and how far it is."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chunkykit.progress.displays import Display
from chunkykit.progress.watch import current_display
from chunkykit.text import inert_text

BEAT_SECONDS = 0.5  # between looks at whether a display has something to repaint

Result = TypeVar("Result")

_numbers = itertools.count()
_current: ContextVar["Step | None"] = ContextVar("step", default=None)
_lock = threading.RLock()
_active: list["Step"] = []  # that have not ended, the innermost last
_waits: dict[str, "Step"] = {}  # what is waited for; `done` is how many wait
_heart: list[threading.Thread] = []  # repaints the innermost step; none or one


@dataclass(eq=False)
class Step:
    """Something that takes time. Call it to say that more of it is done.

    Attributes:
        label: what is done, such as "describing".
        total: how much there is to do; None where nobody knows.
        unit: what is counted, as a plural.
        is_heading: whether it stays on the screen when it has ended.
        parent: the step that it is a part of.
        done: how much is done.
        counts: what came of it by name, such as failures, with what came of its parts.
        began: `time.monotonic()` of its beginning.
        number: tells steps apart.
        display: how it is shown; None for not at all.
        has_failed: whether an error ended it.
    """

    label: str
    total: int | None = None
    unit: str = ""
    is_heading: bool = False
    parent: "Step | None" = None
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    number: int = field(default_factory=lambda: next(_numbers))
    display: Display | None = None
    has_failed: bool = False

    def __call__(self, n: int = 1, **counts: int) -> None:
        """Say that more is done.

        Args:
            n: how much, in units of the step.
            **counts: what came of it by its plural name, such as failures=1.
        """
        with _lock:
            self.done += n
            for part in self.path:
                part.counts.update(counts)
            if self.display is not None:
                self.display.advance(self)

    @property
    def path(self) -> list["Step"]:
        """The steps that it is a part of, outermost first, and the step itself."""
        above = self.parent.path if self.parent else []
        return [*above, self]


def current_step() -> Step | None:
    """Return the step that the caller is in.

    Returns:
        The innermost one of its task or thread, else of the process; None where there is none.
    """
    own = _current.get()
    if own is None and _active:
        return _active[-1]
    return own


def begin_step(opened: Step) -> None:
    """Begin a step that `end_step` ends; `step` does both.

    Args:
        opened: the step.
    """
    with _lock:
        opened.display = current_display()
        _active.append(opened)
        if opened.display is not None:
            opened.display.begin(opened)
            _start_heart()


def end_step(opened: Step) -> None:
    """End a step.

    Args:
        opened: a step that `begin_step` began.
    """
    with _lock:
        _active.remove(opened)
        if opened.display is not None:
            opened.display.end(opened)


def _start_heart() -> None:
    if not _heart:
        _heart.append(threading.Thread(target=_beat, daemon=True))
        _heart[0].start()


def _beat() -> None:
    """Let the display of the innermost step repaint it now and then, until there is none."""
    while True:
        time.sleep(BEAT_SECONDS)
        with _lock:
            if not _active:
                _heart.clear()
                return
            display = _active[-1].display
            if display is not None:
                display.beat(_active[-1])


@contextmanager
def step(
    label: str, total: int | None = None, unit: str = "", *, is_heading: bool = False
) -> Iterator[Step]:
    """Open a step: something that takes time.

    Args:
        label: what is done, such as "describing". It may hold names from strangers.
        total: how much there is to do; None where nobody knows.
        unit: what is counted, as a plural, such as "rows".
        is_heading: whether it stays on the screen when it has ended.

    Yields:
        The step. Calling it says that more is done.
    """
    opened = Step(inert_text(label), total, unit, is_heading, current_step())
    token = _current.set(opened)
    begin_step(opened)
    try:
        yield opened
    except BaseException:
        opened.has_failed = True
        raise
    finally:
        _current.reset(token)
        end_step(opened)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Say that something is waited for. All who wait for the same are one step.

    Args:
        label: what is waited for, such as "waiting for api.openai.com (rate limit)".

    Yields:
        Nothing.
    """
    with _lock:
        if label not in _waits:
            _waits[label] = Step(inert_text(label), unit="calls", parent=current_step())
            begin_step(_waits[label])
        wait = _waits[label]
        wait(1)
    try:
        yield
    finally:
        with _lock:
            wait(-1)
            if not wait.done:
                end_step(_waits.pop(label))


def advance_step(n: int = 1, **counts: int) -> None:
    """Say that more of the present step is done.

    Args:
        n: how much, in units of the step.
        **counts: what came of it, see `Step`.
    """
    present = current_step()
    if present is not None:
        present(n, **counts)


def parts(items: Collection[Result], unit: str) -> Iterator[Result]:
    """Go through the parts of the present step, which counts them.

    Args:
        items: the parts.
        unit: what they are, as a plural.

    Yields:
        The items.
    """
    for (item,) in groups(items, 1, unit):
        yield item


def groups(items: Collection[Result], size: int, unit: str) -> Iterator[list[Result]]:
    """Go through the parts of the present step, several at a time.

    Args:
        items: the parts.
        size: parts at a time.
        unit: what they are, as a plural.

    Yields:
        The next of the items, `size` of them or what is left.
    """
    counting = current_step() or Step("")
    counting.total = len(items)
    counting.unit = unit
    counting.done = 0
    remaining = list(items)
    while remaining:
        group, remaining = remaining[:size], remaining[size:]
        yield group
        counting(len(group))


async def gather_calls(
    label: str,
    calls: Iterable[Awaitable[Result]],
    unit: str,
    count: Callable[[Result], Mapping[str, int]] | None = None,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Do what `asyncio.gather` does, as a step.

    Args:
        label: what the calls do.
        calls: what to await.
        unit: what they are called, as a plural.
        count: what came of a result, by plural names, such as {"failures": 1}.
        return_exceptions: as of `asyncio.gather`.

    Returns:
        The results in the order of the calls.
    """
    waited_for = list(calls)
    with step(label, len(waited_for), unit) as advance:

        async def counted(call: Awaitable[Result]) -> Result:
            try:
                result = await call
            except Exception:
                advance(errors=1)
                raise
            advance(**(count(result) if count else {}))
            return result

        tasks = [asyncio.ensure_future(counted(call)) for call in waited_for]
        try:
            return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        finally:
            for task in tasks:  # where one has failed, the others are of no use
                task.cancel()

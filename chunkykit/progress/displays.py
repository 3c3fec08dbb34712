"""How steps are shown: as bars, as lines of a log, or as one status line.

Each display has four methods. Steps call them under one lock, `beat` about twice a second for the
innermost step, whatever that is doing.
"""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from chunkykit.progress.steps import Step

LINE_SECONDS = 10.0  # of silence after which a log gets a line
FIRST_LINE_SECONDS = 1.0  # that a step takes before it is worth a line
BAR_SECONDS = 0.5  # that a step takes before it is worth a bar
STATUS_SECONDS = 0.1  # between two changes of a status line
MAX_BARS = 20
COUNTED = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, "
    "{rate_noinv_fmt}{postfix}]"
)
UNCOUNTED = "{{desc}} {{n_fmt}} {unit} [{{elapsed}}, {{rate_noinv_fmt}}{{postfix}}]"
TIMED = "{desc} [{elapsed}{postfix}]"


class Display(Protocol):
    """Shows steps."""

    def begin(self, step: "Step") -> None:
        """Show that a step begins."""

    def advance(self, step: "Step") -> None:
        """Show that more of a step is done."""

    def beat(self, step: "Step") -> None:
        """Show that the innermost step goes on."""

    def end(self, step: "Step") -> None:
        """Show that a step has ended."""


class Bars:
    """A tqdm bar for each step that is under way, on standard error.

    Attributes:
        leaves_lines: whether headings leave a line.
    """

    leaves_lines = True

    def __init__(self) -> None:
        """Start without bars."""
        self._bars: dict[int, tqdm] = {}

    def begin(self, step: "Step") -> None:
        """Leave it: most steps end before a bar could be read."""

    def advance(self, step: "Step") -> None:
        """Move its bar."""
        if self._is_due(step):
            bar = self._bar_of(step)
            bar.update(step.done - bar.n)

    def beat(self, step: "Step") -> None:
        """Let the time go on."""
        for part in step.path:
            if self._is_due(part):
                self._bar_of(part).refresh()

    def end(self, step: "Step") -> None:
        """Remove its bar; a heading leaves a line."""
        bar = self._bars.pop(step.number, None)
        if bar is not None:
            bar.close()
        if step.is_heading and self.leaves_lines:
            tqdm.write(f"{step.label}: {ending_text(step)}", file=sys.stderr)

    def _is_due(self, step: "Step") -> bool:
        """Whether a step takes long enough for a bar."""
        return step.number in self._bars or time.monotonic() - step.began > BAR_SECONDS

    def _bar_of(self, step: "Step") -> tqdm:
        """The bar of a step, with what came of it so far."""
        bar = self._bars.get(step.number)
        if bar is None:
            bar = self._bars[step.number] = self._make_bar(step)
        if bar.total != step.total:
            bar.reset(step.total)
        bar.bar_format = _bar_format(step)
        bar.postfix = ", ".join(count_texts(step))
        return bar

    def _make_bar(self, step: "Step") -> tqdm:
        tqdm.monitor_interval = 0  # the thread of the steps repaints bars, and not one of tqdm's
        bar = self._new_bar(
            step,
            total=step.total,
            initial=step.done,
            desc=step.label,
            unit="",
            leave=False,
            nrows=MAX_BARS,  # some terminals say that they have no rows
            smoothing=0,  # the mean pace, so that the time left grows where nothing moves
            bar_format=_bar_format(step),
        )
        bar.initial = 0  # all of it was done since the step began
        bar.start_t -= time.monotonic() - step.began
        return bar

    def _new_bar(self, step: "Step", **settings: Any) -> tqdm:
        return tqdm(**settings)


def _bar_format(step: "Step") -> str:
    if step.total is not None:
        return COUNTED
    return UNCOUNTED.format(unit=step.unit) if step.done else TIMED


class Lines:
    """Plain lines for a log: one per step, and one whenever it was silent for long."""

    def __init__(self, stream: TextIO, seconds: float = LINE_SECONDS):
        """Write to a stream.

        Args:
            stream: where the lines go.
            seconds: of silence after which there is one.
        """
        self._stream = stream
        self._seconds = seconds
        self._first_seconds = min(FIRST_LINE_SECONDS, seconds)
        self._written_at = time.monotonic()
        self._written: set[str] = set()  # labels that have had a line,
        self._ended: set[str] = set()  # and one at the end of their step

    def begin(self, step: "Step") -> None:
        """Write a line for a heading."""
        if step.is_heading:
            self._write(step, path_text(step))

    def advance(self, step: "Step") -> None:
        """Leave it to the next beat."""

    def beat(self, step: "Step") -> None:
        """Write a line if there is a new step, or after a silence."""
        now = time.monotonic()
        is_long = now - step.began >= self._first_seconds
        # that a command has begun is known to who has typed it
        is_new = is_long and step.label not in self._written and step.parent is not None
        if is_new or now - self._written_at >= self._seconds:
            self._write(step, path_text(step))

    def end(self, step: "Step") -> None:
        """Write the whole of a step that had a line, once for all steps of a name."""
        # what an error has ended is followed by the error
        is_due = step.label in self._written - self._ended and not step.has_failed
        if step.is_heading or is_due:
            self._ended.add(step.label)
            self._write(step, f"{step.label}: {ending_text(step)}")

    def _write(self, step: "Step", text: str) -> None:
        self._written.update(part.label for part in step.path)
        self._written_at = time.monotonic()
        print(f"chunkykit: {text}", file=self._stream, flush=True)


class Status:
    """A status line and a bar that something else shows, such as the explorer."""

    def __init__(self, show: Callable[[str, int, int], object]):
        """Show steps by a function.

        Args:
            show: called as `show(text, done, total)`, with a total of 0 where it is not known.
        """
        self._show = show
        self._shown_at = 0.0

    def begin(self, step: "Step") -> None:
        """Show the step."""
        self._show(step.label, step.done, step.total or 0)

    def advance(self, step: "Step") -> None:
        """Show how far it is, not more often than a view can follow."""
        now = time.monotonic()
        if now - self._shown_at >= STATUS_SECONDS or step.done == step.total:
            self._shown_at = now
            text = ", ".join([step.label, *count_texts(step)])
            self._show(text, step.done, step.total or 0)

    def beat(self, step: "Step") -> None:
        """Leave it: a view shows by itself that something is under way."""

    def end(self, step: "Step") -> None:
        """Leave it to the next step, or to what came of it all."""


def path_text(step: "Step") -> str:
    """Say what is done and how far it is, in one line.

    Args:
        step: the innermost step.

    Returns:
        The steps that it is a part of, and the step with its rate and the time that is left.
    """
    *above, own = step.path
    parts = [", ".join([part.label, *_amount(part), *_time_left(part)]) for part in above]
    texts = [own.label, *_amount(own), *count_texts(own)]
    if above and above[0].counts != own.counts:
        texts += [f"{text} in all" for text in count_texts(above[0])]
    return " > ".join([*parts, ", ".join([*texts, *_times(own)])])


def ending_text(step: "Step") -> str:
    """Say how much of a step was done, and how long it took.

    Args:
        step: a step that has ended.

    Returns:
        Such as "240 of 240 candidates, 31 failures, 01:25".
    """
    state = ["stopped"] if step.has_failed else []
    amounts = [*_amount(step), *count_texts(step)]
    return ", ".join([*state, *amounts, tqdm.format_interval(_seconds(step))])


def count_texts(step: "Step") -> list[str]:
    """Say what came of a step so far.

    Args:
        step: the step.

    Returns:
        Such as ["31 failures", "1 error"].
    """
    return [_count_text(n, name) for name, n in step.counts.items() if n]


def _count_text(n: int, name: str) -> str:
    return f"{n:,} {name.removesuffix('s') if n == 1 else name}"


def _amount(step: "Step") -> list[str]:
    """How much is done, where that is counted."""
    if step.total is not None:
        return [f"{step.done:,} of {step.total:,} {step.unit}".rstrip()]
    return [_count_text(step.done, step.unit)] if step.done else []


def _times(step: "Step") -> list[str]:
    """The rate, the time so far, and the time that is left."""
    seconds = _seconds(step)
    texts = [f"{step.done / seconds:,.1f}/s"] if step.done else []
    return [*texts, tqdm.format_interval(seconds), *_time_left(step)]


def _time_left(step: "Step") -> list[str]:
    """The time that is left, where it is known."""
    if not step.total or not step.done:
        return []
    left = _seconds(step) * max(0, step.total - step.done) / step.done
    return [f"{tqdm.format_interval(left)} left"]


def _seconds(step: "Step") -> float:
    return max(time.monotonic() - step.began, 1e-3)

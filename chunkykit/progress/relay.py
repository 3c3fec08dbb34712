"""Steps of a process that another one watches, such as the kernel of a notebook.

They are appended to a file, an event a line, which `follow` reads.
"""

import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkykit.progress.steps import Step

RELAY_SECONDS = 0.2  # between two lines about the same step


class Relay:
    """Appends what happens to steps to a file."""

    def __init__(self, path: str):
        """Write to a file.

        Args:
            path: the file. One that has gone is not written.
        """
        self._path = path
        self._written_at: dict[int, float] = {}

    def begin(self, step: "Step") -> None:
        """Write that it has begun."""
        parent = step.parent.number if step.parent else None
        self._write(step, label=step.label, parent=parent)

    def advance(self, step: "Step") -> None:
        """Write how far it is, now and then."""
        if time.monotonic() - self._written_at[step.number] >= RELAY_SECONDS:
            self._write(step)

    def beat(self, step: "Step") -> None:
        """Leave it: the process that reads has a clock of its own."""
        self.advance(step)

    def end(self, step: "Step") -> None:
        """Write how far it came."""
        self._write(step, has_ended=True, has_failed=step.has_failed)
        del self._written_at[step.number]

    def _write(self, step: "Step", **event) -> None:
        self._written_at[step.number] = time.monotonic()
        event |= {"number": step.number, "done": step.done, "total": step.total}
        event |= {"unit": step.unit, "counts": dict(step.counts)}
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{json.dumps(event)}\n")
        except OSError:  # nobody follows any more
            return

"""Show the steps of another process as those of this one."""

import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chunkykit.progress.relay import RELAY_SECONDS
from chunkykit.progress.steps import Step, begin_step, current_step, end_step
from chunkykit.progress.watch import SILENT, VARIABLE, current_display


@contextmanager
def follow_kernel() -> Iterator[None]:
    """Show the steps of processes that are started inside, as parts of the present step.

    Yields:
        Nothing.
    """
    if current_display() is None:
        with _variable(SILENT):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="chunkykit-") as folder:
        path = Path(folder) / "steps.jsonl"
        path.touch()
        follower = _Follower(path, current_step())
        with _variable(str(path)), follower.running():
            yield


@contextmanager
def _variable(value: str) -> Iterator[None]:
    """Tell processes that are started inside who watches them."""
    earlier = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        if earlier is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = earlier


class _Follower:
    """Reads the events of a file and repeats them here."""

    def __init__(self, path: Path, parent: Step | None):
        self._path = path
        self._parent = parent
        self._steps: dict[int, Step] = {}
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Follow in a thread."""
        thread = threading.Thread(target=self._follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _follow(self) -> None:
        with open(self._path, encoding="utf-8") as file:
            rest = ""
            while True:
                is_last = self._stop.wait(RELAY_SECONDS)
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    self._repeat(json.loads(line))
                if is_last:
                    break
        for own in reversed(self._steps.values()):  # of a kernel that died
            end_step(own)

    def _repeat(self, event: dict) -> None:
        number = event["number"]
        if number not in self._steps:
            parent = self._steps.get(event["parent"], self._parent)
            own = Step(event["label"], event["total"], event["unit"], parent=parent)
            self._steps[number] = own
            begin_step(own)
        own = self._steps[number]
        own.total = event["total"]
        own.unit = event["unit"]
        new = Counter(event["counts"]) - own.counts
        if own.parent is not self._parent:
            own.counts = Counter(event["counts"])  # the event of its parent has them, too
            new.clear()
        own(event["done"] - own.done, **new)
        if event.get("has_ended"):
            own.has_failed = event["has_failed"]
            end_step(self._steps.pop(number))

"""Run a command and say what it does: python tools/watched.py [OPTION ...] LABEL COMMAND ...

Its output is shown where it fails; before that its last line is, live in a terminal and every ten
seconds in a log. With --shown its output is shown as it comes, and only a silence is broken. With
--within SECONDS it is ended after that time, and 124 is the exit status (macOS and Windows have no
`timeout`). It uses the standard library alone, since it runs before anything is installed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

LOG_SECONDS = 10.0  # between two lines of a log
TERMINAL_SECONDS = 0.5  # between two changes of the line in a terminal
TIMED_OUT = 124


class Watched:
    """A command that runs.

    Attributes:
        output: what it has printed.
        printed_at: when it printed last, `time.monotonic()`.
    """

    def __init__(self, command: list[str], is_shown: bool):
        """Start the command, and read what it prints.

        Args:
            command: the program and its arguments.
            is_shown: whether to print its output as it comes.
        """
        self.output = b""
        self.printed_at = time.monotonic()
        self._is_shown = is_shown
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=os.name == "posix",  # so that what it starts ends with it
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while part := os.read(self.process.stdout.fileno(), 2**16):
            self.output += part
            self.printed_at = time.monotonic()
            if self._is_shown:
                sys.stdout.buffer.write(part)
                sys.stdout.flush()

    @property
    def last_line(self) -> str:
        """The last line that it has printed."""
        lines = self.output[-4096:].decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def wait(self, seconds: float) -> int | None:
        """Wait for its end: the exit status, or None if it goes on."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(1)  # something that it started may keep the pipe open
        return status

    def kill(self) -> None:
        """End it with what it has started."""
        if os.name == "posix":
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()


def watch(command: list[str], label: str, within: float, is_shown: bool) -> int:
    """Run a command and say what it does. Returns its exit status."""
    start = time.monotonic()
    is_live = sys.stdout.isatty()
    watched = Watched(command, is_shown)
    line = f"{label} ..."
    try:
        show(line, is_live)
        shown_at = start
        while (status := watched.wait(TERMINAL_SECONDS)) is None:
            now = time.monotonic()
            if now - start > within:
                watched.kill()
                status = TIMED_OUT
                break
            silent_since = max(shown_at, watched.printed_at) if is_shown else shown_at
            if is_live or now - silent_since >= LOG_SECONDS:
                show(f"{label}, {now - start:.0f} s: {watched.last_line}", is_live)
                shown_at = now
    except KeyboardInterrupt:
        watched.kill()
        raise SystemExit(130) from None
    if status and not is_shown:
        print(f"\n{watched.output.decode('utf-8', 'replace')}", end="")
    end = f"failed with status {status}" if status else "done"
    show(f"{label}: {end}, {time.monotonic() - start:.0f} s", is_live, end="\n")
    return status


def show(text: str, is_live: bool, end: str = "") -> None:
    """Print a line, in a terminal over the one before it."""
    if is_live:
        columns = shutil.get_terminal_size().columns - 1
        print(f"\r{text[:columns]:{columns}}", end=end, flush=True)
    else:
        print(text, flush=True)


def main() -> int:
    """Read the arguments and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--within", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument("--shown", action="store_true")
    parser.add_argument("label")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.shown and sys.stdout.isatty():
        return subprocess.run(arguments.command).returncode  # it knows best how it looks there
    return watch(arguments.command, arguments.label, arguments.within, arguments.shown)


if __name__ == "__main__":
    raise SystemExit(main())

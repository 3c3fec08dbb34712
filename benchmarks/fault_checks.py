"""What the checks of faults share: the misbehaving server, commands, and the table of results."""

import collections
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple


class Check(NamedTuple):
    """One thing that was tried: what, how it went (held, waits, failed), and a line about it."""

    part: str
    case: str
    outcome: str
    detail: str = ""


def server_models(server: Path) -> list[str]:
    """The names that a server misbehaves by, read off its source."""
    source = server.read_text("utf-8")
    names = re.findall(r'"(\w+)": lambda', source) + re.findall(r'what == "(\w+)"', source)
    for group in re.findall(r"what in \(([^)]*)\)", source):
        names += re.findall(r'"(\w+)"', group)
    return sorted(set(names))


@contextmanager
def running(server: Path, life: float) -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, str(server), str(port), str(life)]
    # it writes a traceback for each client that leaves
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                requests_by_model(url)
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def requests_by_model(url: str) -> dict[str, int]:
    """How many requests a server had, by model."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/stats", timeout=20) as response:
        return json.load(response)["n"]


def run(command: Sequence[str], seconds: float = 300, **options: Any) -> Any:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)


def is_one_line(process: Any) -> bool:
    """Whether a command failed with one line that says why."""
    lines = process.stderr.strip().splitlines()
    return process.returncode in (1, 2) and lines[-1:] != [] and "Traceback (" not in process.stderr


def print_checks(checks: Sequence[Check]) -> None:
    """Print a row per part, what did not hold, and who still waits."""
    parts = dict.fromkeys(check.part for check in checks)
    print("| part | tried | held | still waiting | failed |\n|---|---|---|---|---|")
    for part in parts:
        counts = collections.Counter(check.outcome for check in checks if check.part == part)
        columns = [counts.total(), counts["held"], counts["waits"], counts["failed"]]
        print(f"| {part} |", *(f"{count} |" for count in columns))
    print()
    waiting = collections.defaultdict(list)
    for check in checks:
        name, _, role = check.case.partition(" as ")
        if check.outcome == "waits":
            waiting[name].append(role)
        elif check.detail and (check.outcome == "failed" or not role):
            print(f"{check.outcome}: {check.part}: {check.case}: {check.detail}")
    for name, roles in waiting.items():
        print(f"still waiting: {name} as {', '.join(roles)}")

"""Whether limits hold: random searches against models that misbehave, counted by the server.

Each search draws the models of its roles, --max-calls, --budget-usd and its concurrency, and two of
five are killed on the way and run again. The server counts what it was sent. What it bills is known
by the model.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fault_checks import Check, is_one_line, requests_by_model, run

PART = "searches with random limits"
ROLES = {"target": "answer", "writer": "writer", "judge": "judge"}  # and what behaves as one
FAULTY_SHARE = 0.2  # of the other roles misbehave
KILLED_SHARE = 0.4  # of the searches that are killed once
DOLLARS_PER_MILLION = (10, 20)  # tokens in, out
USAGE = (20, 30)  # tokens that a model of the server bills, but for these
OTHER_USAGE = {"overuse": (20, 20_000), "freefail": (20, 4_000)}
# They answer no request, so that there is nothing to bill.
UNBILLED = "ra0 rapast ra3600 down503 drop half html or200 redirect never trickle trickleheaders"
DEADLINE_SECONDS = 4
SLOW = ("big", "gzbomb")  # they keep the server busy for seconds


class LimitedSearch(NamedTuple):
    """One search: the models of its roles, its limits, and when it is killed.

    Attributes:
        number: sets its requests apart from those of the others.
        models: the server's models by role.
        max_calls: requests that may be sent.
        budget: US dollars that may be spent.
        concurrency: calls under way at once, by role.
        kill_after: seconds after which it is killed and run again; None for never.
    """

    number: int
    models: dict[str, str]
    max_calls: int
    budget: float
    concurrency: dict[str, int]
    kill_after: float | None

    def name(self, model: str) -> str:
        """The name that the search calls a model by."""
        return f"search{self.number}/{model}"


def draw_searches(names: Sequence[str], count: int, seed: int = 0) -> Iterator[LimitedSearch]:
    """Draw searches.

    Args:
        names: the models of the server.
        count: how many searches.
        seed: of all draws.

    Yields:
        The searches.
    """
    draw = random.Random(seed)
    faulty = [name for name in names if name not in SLOW]
    for number in range(count):
        models = dict(ROLES)
        first = draw.choice(list(ROLES))  # one role misbehaves in any case
        for role in ROLES:
            if role == first or draw.random() < FAULTY_SHARE:
                models[role] = draw.choice(faulty)
        kill_after = draw.uniform(1, 4) if draw.random() < KILLED_SHARE else None
        yield LimitedSearch(
            number,
            models,
            max_calls=draw.choice([draw.randint(0, 10), draw.randint(10, 120)]),
            budget=round(draw.choice([draw.uniform(0.01, 0.1), draw.uniform(0.1, 1)]), 3),
            concurrency={role: draw.choice([1, 2, 5, 16]) for role in ROLES},
            kill_after=kill_after,
        )


def search_with_limits(
    url: str, folder: Path, search: LimitedSearch
) -> subprocess.CompletedProcess:
    """Run a search by its command, with a price for each of its models.

    Args:
        url: the server.
        folder: a folder for its files.
        search: what to run.

    Returns:
        The command at its end.
    """
    out = folder / f"limits-{search.number}"
    pool = folder / f"pool-{search.number}.jsonl"
    rows = [{"attributes": [f"The query is about lake {i}", "The query asks"]} for i in range(40)]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    # Another word for this machine: models on 127.0.0.1 are free.
    base = url.replace("127.0.0.1", "127.1") + "/v1"
    models = {search.name(model): DOLLARS_PER_MILLION for model in search.models.values()}
    prices = folder / f"prices-{search.number}.yaml"
    prices.write_text(json.dumps({base: {"models": models}}), "utf-8")
    command = [sys.executable, "-m", "chunkykit", "search", "--yes", "--rubric", "refusal"]
    command += ["--attributes", str(pool), "--candidates", "50", "--confirm", "5"]
    command += ["--deadline", str(DEADLINE_SECONDS), "--out", str(out)]
    command += ["--max-calls", str(search.max_calls), "--budget-usd", str(search.budget)]
    for role, model in search.models.items():
        command += [f"--{role}", f"{base}:{search.name(model)}"]
    command += ["--concurrency", *(f"{role}={n}" for role, n in search.concurrency.items())]
    environment = {**os.environ, "CHUNKYKIT_PRICES": str(prices)}
    environment.pop("CHUNKYKIT_URL_KEY", None)  # a key goes over http to 127.0.0.1 alone
    if search.kill_after is not None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, **quiet)
        time.sleep(search.kill_after)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return run(command, env=environment)


def dollars_per_call(model: str) -> float:
    """What a model of the server bills for a request."""
    if model in UNBILLED.split():
        return 0.0
    usage = OTHER_USAGE.get(model, USAGE)
    return sum(price * tokens for price, tokens in zip(DOLLARS_PER_MILLION, usage)) / 1e6


def check_limits(
    search: LimitedSearch, counts: dict[str, int], ended: subprocess.CompletedProcess
) -> Check:
    """Compare what a search sent and what that cost with its limits.

    Args:
        search: the search.
        counts: requests by model, as the server counted them.
        ended: its command.

    Returns:
        Held if no limit was exceeded, but the budget by the calls under way.
    """
    models = set(search.models.values())
    sent = {model: counts.get(search.name(model), 0) for model in models}
    dollars = sum(n * dollars_per_call(model) for model, n in sent.items())
    # of a role that is killed with calls under way, the next process has as many
    starts = 1 if search.kill_after is None else 2
    under_way = sum(
        starts * search.concurrency[role] * dollars_per_call(model)
        for role, model in search.models.items()
    )
    total = sum(sent.values())
    is_within = total <= search.max_calls and dollars <= search.budget + under_way
    ends = ended.returncode == 0 or is_one_line(ended)
    last_line = (ended.stderr.strip().splitlines() or ["finished"])[-1]
    return Check(
        PART,
        f"search {search.number} of {', '.join(search.models.values())}",
        "held" if is_within and ends else "failed",
        f"{total} of {search.max_calls} requests, ${dollars:.3f} of ${search.budget:.3f}, "
        f"{last_line[:90]}",
    )


def try_limits(
    url: str, folder: Path, names: Sequence[str], count: int, workers: int = 4
) -> list[Check]:
    """Run searches with random limits, some at a time.

    Args:
        url: the server.
        folder: a folder for their files.
        names: the models of the server.
        count: how many searches.
        workers: how many at a time.

    Returns:
        One check per search.
    """
    searches = list(draw_searches(names, count))
    with ThreadPoolExecutor(workers) as executor:
        ended = list(executor.map(lambda s: search_with_limits(url, folder, s), searches))
    time.sleep(1)  # requests on their way when a search was killed
    counts = requests_by_model(url)
    return [check_limits(search, counts, end) for search, end in zip(searches, ended)]

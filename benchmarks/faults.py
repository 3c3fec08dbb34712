"""What the package does where servers, disks and processes fail: a table of tried and held.

python benchmarks/faults.py SERVER.py [--seconds 20] [--kills 20] [--searches 50] [--models ...]

SERVER.py is a chat endpoint that misbehaves by the name of the model that is called:
`python SERVER.py PORT LIFE_SECONDS`. Every model is called in every role, all at once, each under
an address of its own. A call holds if it ends in an answer that is right or in an error of one
line, and no key is in it. One that still waits after --seconds is counted apart: it may be right
to wait. Then a search is killed at random times and resumed, two processes share a ledger with a
limit, the disk is full, folders cannot be written, and searches have random limits.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fault_checks import (
    Check,
    is_one_line,
    print_checks,
    requests_by_model,
    run,
    running,
    server_models,
)
from fault_limits import try_limits

from chunkykit.attributes import llm_describer
from chunkykit.models import Reply, connect_model
from chunkykit.rubrics import llm_judge, load_rubric
from chunkykit.surf import llm_gate, llm_rewriter, llm_writer
from chunkykit.turf import llm_crux_judge

KEY = "sk-faults-0123456789"
QUERY = "What lives in the lake?"
REFUSAL = Reply("I'm sorry, but I can't help with that.", "stop")
SCRATCH = ("<think", "The user may want", "I need a query", "<html")  # never part of an answer
LARGE = ("big", "gzbomb", "toolong")  # called one after another: their answers fill the memory
HAMMERED = ("ra0", "rapast", "ra3600", "down503")
MAX_REQUESTS_PER_SECOND = 3  # of one call that is refused again and again
STAGGER_SECONDS = 0.1  # between the starts of calls; to open a client takes as long
DISK_SIZES = (0, 1, 4, 16, 64)  # kB that a file may have on a disk that is nearly full
IN_FLIGHT = 85  # calls that a search has under way at most, lost with a kill


# --- models in roles


async def answer(model: Any) -> str:
    """The target's answer; ValueError where there is none."""
    reply = await model([{"role": "user", "content": QUERY}], max_tokens=64)
    if reply.problem:
        raise ValueError(reply.problem)
    return reply.text


async def judge(model: Any) -> float:
    """The judge's score of a refusal; ValueError where there is none."""
    judgement = await llm_judge(model)(load_rubric("refusal"), QUERY, REFUSAL)
    if judgement.score is None:
        raise ValueError(judgement.error)
    return judgement.score


async def describe(model: Any) -> list[str]:
    """The attributes of a query."""
    (attributes,) = await llm_describer(model)([QUERY], "query")
    return attributes


def is_answer(text: str) -> bool:
    """Whether a text can be an answer, and not what a model wrote for itself."""
    return bool(text.strip()) and not any(words in text for words in SCRATCH)


# Role: what calls the model, and whether what it returned can be right. No model of the server
# writes the verdict of a gate or the numbers of cruxes, and one writes attributes.
ROLES: dict[str, tuple[Callable, Callable[[str, Any], bool]]] = {
    "target": (answer, lambda name, text: is_answer(text)),
    "judge": (judge, lambda name, score: score > 50),
    "writer": (lambda m: llm_writer(m)(["The query is short"], 0), lambda name, t: is_answer(t)),
    "rewriter": (lambda m: llm_rewriter(m)(QUERY), lambda name, text: is_answer(text)),
    "gate": (lambda m: llm_gate(m)(QUERY), lambda name, verdict: False),
    "crux": (
        lambda m: llm_crux_judge(m)(["The response refuses"], load_rubric("refusal")),
        lambda name, cruxes: not cruxes,
    ),
    "describer": (describe, lambda name, sentences: name == "descthink" or not sentences),
}


async def try_role(url: str, name: str, role: str, seconds: float) -> Check:
    """Call one model in one role."""
    call, is_right = ROLES[role]
    case = f"{name} as {role}"
    # an address of its own: a rate limit pauses all calls to an address
    model = connect_model(f"{url}/{role}/{name}/v1:{name}")
    try:
        value = await asyncio.wait_for(call(model), seconds)
        detail = repr(value)[:80]
        outcome = "held" if is_right(name, value) else "failed"
        leaked = KEY in repr(value)
    except TimeoutError:
        return Check("models in roles", case, "waits")
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        outcome = "held" if str(error) and "\n" not in str(error).strip() else "failed"
        leaked = KEY in detail
    finally:
        await model.close()
    return Check("models in roles", case, "failed" if leaked else outcome, detail[:100])


async def try_roles(url: str, names: Sequence[str], seconds: float) -> list[Check]:
    """Call every model in every role."""
    cases = [(name, role) for name in names for role in ROLES]
    checks = []
    # those that are called again and again last, because they keep the server busy
    for is_hammered in (False, True):
        calls = []
        for case in cases:
            if case[0] not in LARGE and (case[0] in HAMMERED) == is_hammered:
                calls.append(asyncio.create_task(try_role(url, *case, seconds)))
                await asyncio.sleep(STAGGER_SECONDS)
        checks += await asyncio.gather(*calls)
    for case in cases:
        if case[0] in LARGE:
            checks.append(await try_role(url, *case, seconds))
    return checks


def try_rates(url: str, names: Sequence[str], seconds: float) -> list[Check]:
    """Count what a server was sent that refused every call."""
    counts = requests_by_model(url)
    checks = []
    for name in set(HAMMERED) & set(names):
        rate = counts.get(name, 0) / len(ROLES) / seconds
        outcome = "held" if rate <= MAX_REQUESTS_PER_SECOND else "failed"
        checks.append(Check("requests of a refused call", name, outcome, f"{rate:.2f} a second"))
    return checks


# --- processes, disks, folders


def search_command(url: str, folder: Path) -> list[str]:
    """A small search against the models of the server that behave."""
    pool = folder.parent / "pool.jsonl"
    rows = [{"attributes": [f"The query is about lake {i}", "The query asks"]} for i in range(40)]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = [sys.executable, "-m", "chunkykit", "search", "--yes", "--rubric", "refusal"]
    command += ["--attributes", str(pool), "--candidates", "100", "--confirm", "5"]
    for role, name in {"target": "answer", "writer": "writer", "judge": "judge"}.items():
        command += [f"--{role}", f"{url}/v1:{name}"]
    return [*command, "--out", str(folder)]


def search_requests(url: str) -> int:
    """How many requests the models of the searches had."""
    counts = requests_by_model(url)
    return sum(counts.get(name, 0) for name in ("answer", "writer", "judge"))


def is_sound(ledger: Path) -> bool:
    """Whether a ledger is whole, or not there yet."""
    if not ledger.exists():
        return True
    with sqlite3.connect(ledger) as db:
        return db.execute("pragma integrity_check").fetchone() == ("ok",)


def try_kills(url: str, folder: Path, kills: int, seed: int = 0) -> list[Check]:
    """Kill a search at random times, and then let it end."""
    draw = random.Random(seed)
    command = search_command(url, folder)
    before = search_requests(url)
    checks = []
    for number in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = draw.uniform(0.2, 4)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        outcome = "held" if is_sound(folder / "ledger.sqlite") else "failed"
        checks.append(Check("SIGKILL", f"kill {number} after {seconds:.1f} s", outcome))
    done = run(command)
    sent = search_requests(url) - before
    summary = json.loads((folder / "search.json").read_text()) if done.returncode == 0 else {}
    repeated = sent - summary.get("calls", 0)
    outcome = "held" if summary and repeated <= kills * IN_FLIGHT else "failed"
    detail = f"{sent} requests, {repeated} of them lost with a kill"
    checks.append(Check("SIGKILL", "resumed to its end", outcome, detail))
    again = run(command)
    further = search_requests(url) - before - sent
    outcome = "held" if again.returncode == 0 and further == 0 else "failed"
    checks.append(Check("SIGKILL", "a finished search again", outcome, f"{further} requests"))
    return checks


SHARING = """
import asyncio, sys
from pathlib import Path
from chunkykit.models import Ledger, connect_model

url, path, first = sys.argv[1:]
ledger = Ledger(Path(path))
ledger.limit(None, 50)

async def main():
    model = ledger.wrap(connect_model(url), "target")
    for number in range(int(first), int(first) + 100):
        await model([{"role": "user", "content": str(number)}], max_tokens=9)

asyncio.run(main())
"""


def try_shared_ledger(url: str, folder: Path) -> list[Check]:
    """Let two processes make calls through one ledger that allows 50."""
    before = requests_by_model(url).get("nousage", 0)
    command = [sys.executable, "-c", SHARING, f"{url}/v1:nousage", str(folder / "shared.sqlite")]
    processes = [
        subprocess.Popen([*command, first], stderr=subprocess.DEVNULL) for first in ("0", "1000")
    ]
    for process in processes:
        process.wait(120)
    calls = requests_by_model(url)["nousage"] - before
    outcome = "held" if calls <= 50 else "failed"
    return [Check("two processes, one ledger", "limit of 50 calls", outcome, f"{calls} calls")]


def try_full_disk(url: str, folder: Path, sizes: Sequence[int] = DISK_SIZES) -> list[Check]:
    """Run a search whose files may not grow over some kB, and then one whose files may."""
    checks = []
    for kilobytes in sizes:
        out = folder / f"full-{kilobytes}"
        command = search_command(url, out)
        size = kilobytes * 1024
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        full = run(command, preexec_fn=limit)
        resumed = run(command)
        ends = full.returncode == 0 or is_one_line(full)
        outcome = "held" if ends and resumed.returncode == 0 else "failed"
        detail = (full.stderr.strip().splitlines() or [""])[-1][:100]
        checks.append(Check("full disk", f"files up to {kilobytes} kB", outcome, detail))
    return checks


def try_read_only(url: str, folder: Path) -> list[Check]:
    """Write to places that cannot be written, also for the administrator."""
    (folder / "file").write_text("")
    places = [folder / "file" / "out", Path("/proc/out"), Path("/dev/null/out")]
    if os.geteuid() != 0:
        (folder / "locked").mkdir(mode=0o500)
        places.append(folder / "locked" / "out")
    checks = []
    for place in places:
        commands = {
            "search": [*search_command(url, folder / "x")[:-1], str(place)],
            "demo": [sys.executable, "-m", "chunkykit", "demo", "--rows", "9", "--out", str(place)],
        }
        for name, command in commands.items():
            process = run(command)
            outcome = "held" if is_one_line(process) else "failed"
            checks.append(Check("read-only folder", f"{name} to {place.parent.name}", outcome))
    return checks


def main(argv: Sequence[str] | None = None) -> list[Check]:
    """Try everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("server", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--searches", type=int, default=50, help="with random limits")
    parser.add_argument("--models", nargs="*", help="default: all of the server")
    arguments = parser.parse_args(argv)
    names = arguments.models or server_models(arguments.server)
    os.environ["CHUNKYKIT_URL_KEY"] = KEY
    with running(arguments.server, 3600) as url, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checks = asyncio.run(try_roles(url, names, arguments.seconds))
        checks += try_rates(url, names, arguments.seconds)
        checks += try_kills(url, folder / "killed", arguments.kills)
        checks += try_shared_ledger(url, folder)
        checks += try_full_disk(url, folder)
        checks += try_read_only(url, folder)
        checks += try_limits(url, folder, names, arguments.searches)
    print_checks(checks)
    return checks


if __name__ == "__main__":
    main()

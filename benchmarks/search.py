"""The search against a planted world behind an OpenAI-compatible endpoint.

python benchmarks/search.py --server PLANTED_SERVER.py [triggers] [wall] [overhead] [memory]

The server is a script that takes --port, --seed, --scale (of its latencies) and --faults. It serves
/v1/chat/completions in the roles query, target and judge, /attributes with the rows of a pool, and
/stats with its calls and latencies. Its target says "FAILMODE-k" when trigger k fired.

triggers   distinct triggers fired per 1,000 judged candidates, for both strategies, one line per
           seed; modes identified
wall       600 and 3,000 candidates at 15/50/20 concurrent calls: wall time divided by what the
           latencies of the tightest role allow
overhead   calls per second at zero latency: with client and server, without them, without ledger
memory     peak memory of reading a million attribute rows and searching in them
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from chunkykit.models import ChatModel, Ledger, close_models, connect_model
from chunkykit.rubrics import llm_judge, load_rubric
from chunkykit.surf import llm_writer, read_pool, run_search
from chunkykit.types import Reply

CONCURRENCY_PER_ROLE = {"query": 15, "target": 50, "judge": 20}
ROLES = list(CONCURRENCY_PER_ROLE)
RUBRIC = load_rubric("refusal")
PORT = 8399


class World:
    """The server in its own process."""

    def __init__(self, script, **options):
        self.url = f"http://127.0.0.1:{PORT}"
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen([sys.executable, script, f"--port={PORT}", *arguments])

    def get(self, path):
        return urllib.request.urlopen(self.url + path).read().decode()

    def stats(self):
        return json.loads(self.get("/stats"))

    def pool(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(self.get("/attributes"))
            file.flush()
            return read_pool(file.name)

    def models(self, folder):
        """A model per role, by the client of the package and with a ledger."""
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        models = {}
        for role, concurrency in CONCURRENCY_PER_ROLE.items():
            model = connect_model(f"{self.url}/v1:{role}")
            models[role] = ledger.wrap(model, role, concurrency)
        return models

    def __enter__(self):
        for _ in range(100):
            try:
                self.stats()
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server did not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def report(**values):
    """Print one line of results."""
    print(json.dumps(values), flush=True)


async def search_with(models, pool, **settings):
    """Search with a model per role."""
    writer = llm_writer(models["query"])
    judge = llm_judge(models["judge"])
    return await run_search(pool, writer, models["target"], judge, RUBRIC, **settings)


async def search_and_close(models, pool, **settings):
    try:
        return await search_with(models, pool, **settings)
    finally:
        await close_models(*models.values())


def timed_search(world, **settings):
    """(result, seconds) of one search in the world."""
    pool = world.pool()
    with tempfile.TemporaryDirectory() as folder:
        models = world.models(folder)
        began = time.perf_counter()
        result = asyncio.run(search_and_close(models, pool, **settings))
        return result, time.perf_counter() - began


async def instant(messages, **_):
    """A model that answers at once: a query, an answer, or a judgement."""
    content = messages[0]["content"]
    text = '{"score": 3, "reason": "r"}' if "judge" in content else "A0001 text"
    return Reply(text, "stop", 1, 1)


def triggers(args):
    for strategy, runs in (("cover", 1), ("paper", 5)):
        for seed in args.seeds:
            candidates = args.candidates // 20 // runs
            sizes = {"runs": runs, "iterations": 20, "candidates": candidates}
            with World(args.server, seed=seed, scale=0.002) as world:
                result, seconds = timed_search(world, strategy=strategy, seed=seed, **sizes)
            probes = result.probes
            if strategy == "paper":  # its runs progress side by side
                probes = probes.sort_values(["iteration", "candidate"])
            judged = probes[probes["score"].notna()].reset_index(drop=True)
            fired = judged["response"].str.extract(r"FAILMODE-(\d+)")[0]
            # the number of judged candidates at which each trigger fired first
            first = fired.dropna().drop_duplicates().index + 1
            marks = range(1000, len(judged) + 1, 1000)
            report(
                strategy=strategy,
                seed=seed,
                judged=len(judged),
                errors=int(probes["error"].notna().sum()),
                triggers_per_1000=[int((first <= mark).sum()) for mark in marks],
                twelfth_at=int(first[11]) if len(first) > 11 else None,
                modes=len(result.modes),
                seconds=round(seconds),
            )


def wall(args):
    for seed in args.seeds[:3]:
        for candidates, eager in ((600, True), (600, False), (3000, False)):
            sizes = {"runs": 1, "iterations": 5, "candidates": candidates // 5}
            with World(args.server, seed=seed, scale=0.1) as world:
                _, seconds = timed_search(world, seed=seed, eager=eager, **sizes)
                latencies = world.stats()["lat"]
            limit = max(latencies[role] / n for role, n in CONCURRENCY_PER_ROLE.items())
            report(
                seed=seed,
                candidates=candidates,
                eager=eager,
                seconds=round(seconds, 1),
                limit=round(limit, 1),
                ratio=round(seconds / limit, 2),
            )


def rate_without_client(pool, wrap):
    """Calls per second of instant models. wrap: (model, role) -> model."""
    models = {role: wrap(ChatModel(role, instant), role) for role in ROLES}
    began = time.perf_counter()
    asyncio.run(search_with(models, pool, runs=1, iterations=10, candidates=200))
    return round(len(ROLES) * 2000 / (time.perf_counter() - began))


def synthetic_pool(n_rows, n_sentences, seed=0):
    """(pool, seconds to read it) of rows of ten random attributes."""
    rng = random.Random(seed)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for _ in range(n_rows):
            features = rng.sample(range(n_sentences), 10)
            row = {"attributes": [f"The query has feature {i} of many" for i in features]}
            file.write(json.dumps(row) + "\n")
        file.flush()
        began = time.perf_counter()
        pool = read_pool(file.name)
        return pool, time.perf_counter() - began


def overhead(args):
    with World(args.server, seed=1, scale=0) as world:
        _, seconds = timed_search(world, runs=1, iterations=5, candidates=200, seed=1)
        calls = sum(world.stats()["calls"].values())
    pool, _ = synthetic_pool(5000, 1200)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")

        def with_ledger(model, role):
            return ledger.wrap(model, role, CONCURRENCY_PER_ROLE[role])

        report(
            calls_per_s_with_client_and_server=round(calls / seconds),
            without_client=rate_without_client(pool, with_ledger),
            without_client_and_ledger=rate_without_client(pool, lambda model, role: model),
        )


def memory(args):
    pool, seconds = synthetic_pool(1_000_000, 25_000)
    models = dict.fromkeys(ROLES, ChatModel("instant", instant))
    began = time.perf_counter()
    asyncio.run(search_with(models, pool, runs=5, iterations=4, candidates=100))
    report(
        rows=len(pool.rows),
        attributes=len(pool.sentences),
        read_s=round(seconds, 1),
        search_2000_s=round(time.perf_counter() - began, 1),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    )


PARTS = {"triggers": triggers, "wall": wall, "overhead": overhead, "memory": memory}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--server", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6, 7, 8])
    parser.add_argument("--candidates", type=int, default=6000)
    args = parser.parse_args()
    for part in args.parts:
        PARTS[part](args)


if __name__ == "__main__":
    main()

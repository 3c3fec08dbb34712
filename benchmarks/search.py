"""The search against a planted world behind an OpenAI-compatible endpoint: triggers found, time, overhead, memory.

python benchmarks/search.py --server PLANTED_SERVER.py [triggers] [wall] [overhead] [memory]

The server is a script that takes --port, --seed, --scale (of its latencies) and --faults, answers /v1/chat/completions in the roles
query, target and judge, and tells /attributes and /stats; its target says "FAILMODE-k" when trigger k fired.

triggers   distinct triggers fired per 1,000 judged candidates, both strategies, a line a seed; modes named
wall       600 and 3,000 candidates at 15/50/20 calls at once: wall time over what the tightest role's latencies allow
overhead   calls a second at zero latency, by the share of client, ledger and search
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

from chunkykit.models import ChatModel, Ledger, Reply, close_models, connect_model
from chunkykit.rubrics import llm_judge, load_rubric
from chunkykit.surf import llm_writer, read_pool, run_search

CONCURRENCY = {"query": 15, "target": 50, "judge": 20}
RUBRIC = load_rubric("refusal")


class World:
    """The server in a process of its own, on a port of its own."""

    def __init__(self, script, port=8399, **options):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [
                sys.executable,
                script,
                "--port",
                str(port),
                *(f"--{k}={v}" for k, v in options.items()),
            ]
        )

    def get(self, path):
        return urllib.request.urlopen(self.url + path).read().decode()

    def __enter__(self):
        for _ in range(100):
            try:
                self.get("/stats")
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server did not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def models(self, folder):
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        return {
            role: ledger.wrap(connect_model(f"{self.url}/v1:{role}"), role, n)
            for role, n in CONCURRENCY.items()
        }


def read(text):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(text)
        file.flush()
        return read_pool(file.name)


def search(world, **settings):
    """(Found, seconds) of one search in the world."""
    pool = read(world.get("/attributes"))
    with tempfile.TemporaryDirectory() as folder:
        models = world.models(folder)
        began = time.perf_counter()
        found = asyncio.run(searched(pool, models, settings))
        return found, time.perf_counter() - began


async def searched(pool, models, settings):
    """The search, its models' connections closed behind it."""
    try:
        return await run_search(
            pool,
            llm_writer(models["query"]),
            models["target"],
            llm_judge(models["judge"]),
            RUBRIC,
            **settings,
        )
    finally:
        await close_models(*models.values())


def triggers(a):
    for strategy, runs in (("cover", 1), ("paper", 5)):
        for seed in a.seeds:
            with World(a.server, seed=seed, scale=0.002) as world:
                found, seconds = search(
                    world,
                    strategy=strategy,
                    runs=runs,
                    iterations=20,
                    candidates=a.candidates // 20 // runs,
                    seed=seed,
                )
            probes = (
                found.probes.sort_values(["iteration", "candidate"])
                if strategy == "paper"
                else found.probes
            )
            probes = probes[probes["score"].notna()].reset_index(drop=True)
            fired = probes["response"].str.extract(r"FAILMODE-(\d+)")[0]
            first = fired.dropna().drop_duplicates().index + 1
            print(
                json.dumps(
                    {
                        "strategy": strategy,
                        "seed": seed,
                        "judged": len(probes),
                        "errors": int(found.probes["error"].notna().sum()),
                        "triggers_per_1000": [
                            int((first <= n).sum()) for n in range(1000, len(probes) + 1, 1000)
                        ],
                        "twelfth_at": int(first[11]) if len(first) > 11 else None,
                        "modes": len(found.modes),
                        "seconds": round(seconds),
                    }
                ),
                flush=True,
            )


def wall(a):
    for seed in a.seeds[:3]:
        for candidates, eager in ((600, True), (600, False), (3000, False)):
            with World(a.server, seed=seed, scale=0.1) as world:
                _, seconds = search(
                    world, runs=1, iterations=5, candidates=candidates // 5, seed=seed, eager=eager
                )
                stats = json.loads(world.get("/stats"))
            limit = max(stats["lat"][role] / n for role, n in CONCURRENCY.items())
            print(
                json.dumps(
                    {
                        "seed": seed,
                        "candidates": candidates,
                        "eager": eager,
                        "seconds": round(seconds, 1),
                        "limit": round(limit, 1),
                        "ratio": round(seconds / limit, 2),
                    }
                ),
                flush=True,
            )


def overhead(a):
    with World(a.server, seed=1, scale=0) as world:
        _, seconds = search(world, runs=1, iterations=5, candidates=200, seed=1)
        calls = sum(json.loads(world.get("/stats"))["calls"].values())

    async def instant(messages, **_):
        return Reply(
            '{"score": 3, "reason": "r"}' if "judge" in messages[0]["content"] else "A0001 text",
            "stop",
            1,
            1,
        )

    pool = read(
        "\n".join(
            json.dumps({"attributes": [f"The query has {i * 7 % 1200 + j}" for j in range(10)]})
            for i in range(5000)
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        rates = {}
        for kept in (False, True):
            ledger = Ledger(Path(folder) / "l.sqlite")
            model = {
                role: ledger.wrap(ChatModel(role, instant), role, n)
                if kept
                else ChatModel(role, instant)
                for role, n in CONCURRENCY.items()
            }
            began = time.perf_counter()
            asyncio.run(
                run_search(
                    pool,
                    llm_writer(model["query"]),
                    model["target"],
                    llm_judge(model["judge"]),
                    RUBRIC,
                    runs=1,
                    iterations=10,
                    candidates=200,
                )
            )
            rates[kept] = 3 * 2000 / (time.perf_counter() - began)
    print(
        json.dumps(
            {
                "calls_per_s_with_client_and_server": round(calls / seconds),
                "without_client": round(rates[True]),
                "without_client_and_ledger": round(rates[False]),
            }
        )
    )


def memory(a):
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with open(path, "w") as out:
            for _ in range(1_000_000):
                out.write(
                    json.dumps(
                        {
                            "attributes": [
                                f"The query has feature {i} of many"
                                for i in rng.sample(range(25_000), 10)
                            ]
                        }
                    )
                    + "\n"
                )
        began = time.perf_counter()
        pool = read_pool(path)
        took = time.perf_counter() - began

    async def instant(messages, **_):
        return Reply(
            '{"score": 3, "reason": "r"}' if "judge" in messages[0]["content"] else "text", "stop"
        )

    model = ChatModel("instant", instant)
    began = time.perf_counter()
    asyncio.run(
        run_search(
            pool,
            llm_writer(model),
            model,
            llm_judge(model),
            RUBRIC,
            runs=5,
            iterations=4,
            candidates=100,
        )
    )
    print(
        json.dumps(
            {
                "rows": len(pool.rows),
                "attributes": len(pool.sentences),
                "read_s": round(took, 1),
                "search_2000_s": round(time.perf_counter() - began, 1),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
            }
        )
    )


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("parts", nargs="*", default=["triggers", "wall", "overhead", "memory"])
    ap.add_argument("--server", required=True)
    ap.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6, 7, 8])
    ap.add_argument("--candidates", type=int, default=6000)
    a = ap.parse_args()
    for part in a.parts:
        {"triggers": triggers, "wall": wall, "overhead": overhead, "memory": memory}[part](a)


if __name__ == "__main__":
    main()

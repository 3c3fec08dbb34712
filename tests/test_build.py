import asyncio
import hashlib
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import ProcessPoolExecutor

from chunkykit import cli
from chunkykit.attributes import Embedder, describe_lexically
from chunkykit.errors import UserError
from chunkykit.index import build, open_trace_index, shard_files
from chunkykit.lab.run import lock_folder
from chunkykit.models import Reply
from chunkykit.turf import Tracer

CALLS = []


async def counted(texts, side):
    CALLS.append(len(texts))
    return await describe_lexically(texts, side)


async def slow(texts, side):
    time.sleep(0.3)
    return await describe_lexically(texts, side)


async def deadly(texts, side):
    os.kill(os.getpid(), signal.SIGKILL)


def batches(rows, size=200):
    return (rows[i : i + size] for i in range(0, len(rows), size))


def made(folder, rows, embedder, describe=describe_lexically, executor=None):
    asyncio.run(build.describe_shards(folder, batches(rows), describe, executor))
    build.finish_index(folder, embedder)
    return digest(folder)


def digest(folder):
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in (".npy", ".arrow")]
    return hashlib.sha256(
        b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)
    ).hexdigest()


@pytest.fixture(scope="module")
def serial(demo_rows, embedder, tmp_path_factory):
    return made(tmp_path_factory.mktemp("serial") / "i", demo_rows, embedder)


def test_processes_make_the_same_index(demo_rows, embedder, tmp_path, serial):
    with ProcessPoolExecutor(2) as executor:
        assert made(tmp_path / "i", demo_rows, embedder, executor=executor) == serial


def test_dask_makes_the_same_index_though_a_worker_is_killed(demo_rows, embedder, tmp_path, serial):
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pid = client.submit(os.getpid, pure=False).result()

        def kill():
            while not list((tmp_path / ".i.building").glob("rows-*.arrow")):
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        assert made(tmp_path / "i", demo_rows, embedder, slow, client.get_executor()) == serial
        killer.join()
        assert pid not in client.run(os.getpid).values()


def test_a_dead_process_is_said_and_the_rest_goes_on(demo_rows, embedder, tmp_path, serial):
    asyncio.run(build.describe_shards(tmp_path / "i", batches(demo_rows[:600]), describe_lexically))
    with (
        ProcessPoolExecutor(1) as executor,
        pytest.raises(UserError, match="a worker failed .TerminatedWorkerError.*goes on"),
    ):
        asyncio.run(build.describe_shards(tmp_path / "i", batches(demo_rows), deadly, executor))
    CALLS.clear()
    assert made(tmp_path / "i", demo_rows, embedder, counted) == serial
    assert sum(CALLS) == 2 * 600, "only what was not described yet"


def test_half_a_shard_and_shards_of_other_rows_are_done_again(
    demo_rows, embedder, tmp_path, serial
):
    other = demo_rows.assign(prompt="Another mixture: " + demo_rows["prompt"])
    asyncio.run(
        build.describe_shards(
            tmp_path / "i", batches(pd.concat([other, other])), describe_lexically
        )
    )
    shard = shard_files(tmp_path / ".i.building")[2]
    shard.write_bytes(shard.read_bytes()[:5000])
    assert made(tmp_path / "i", demo_rows, embedder) == serial


def test_vectors_that_are_there_are_not_computed_again(demo_rows, embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SENTENCES_PER_BLOCK", 50)
    calls = []

    def encode(texts):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embedder(texts)

    mine = Embedder("mine", encode)
    asyncio.run(build.describe_shards(tmp_path / "i", batches(demo_rows), describe_lexically))
    with pytest.raises(KeyboardInterrupt):
        build.finish_index(tmp_path / "i", mine)
    build.finish_index(tmp_path / "i", mine)
    assert sum(calls) == calls[2] + sum(
        s["sentences"] for s in open_trace_index(tmp_path / "i").meta["sides"].values()
    )


def test_k_means_merges_what_is_near(embedder):
    names = ["Anna", "Bert", "Carl", "Dora", "Emil", "Frida"]
    sentences = [[f"The query names the person {n}"] for n in names] + [
        [f"The query is written in language number {i}"] for i in range(6)
    ]
    rows = pd.DataFrame({"row": range(12), "chunk": "c", "prompt": "p", "response": "r"})
    built = build.index_from_attributes(
        rows, sentences, [["The response is short"]] * 12, embedder, clusters=2
    ).query
    assert len(set(built.cluster_of[:6])) == 1 and len(set(built.cluster_of)) == 2
    assert built.assign(embedder(["The query names the person Gus"]))[0] == built.cluster_of[0]


def test_k_means_of_many_clusters_is_as_tight_as_in_one_step(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 16))[
        rng.integers(60, size=3000)
    ] + 0.3 * rng.standard_normal((3000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def tightness():
        cluster_of, centroids, closest, radius = build._kmeans([vectors], np.ones(3000), 150, 0)
        assert len(centroids) <= 150 and (cluster_of[closest] == np.arange(len(centroids))).all()
        assert radius[3] == pytest.approx((vectors[cluster_of == 3] @ centroids[3]).min(), abs=1e-5)
        assert (cluster_of == np.argmax(vectors @ centroids.T, axis=1)).mean() > 0.999, (
            "assigned by cosine"
        )
        return (vectors * centroids[cluster_of]).sum(axis=1).mean()

    one = tightness()
    monkeypatch.setattr(build, "COARSE_CLUSTERS", 100)
    assert tightness() > 0.98 * one


def test_rebuilding_is_deterministic(demo_rows, embedder):
    sentences = [[f"The query asks about {p}"] for p in demo_rows["prompt"].str.split().str[0]]
    built = [
        build.index_from_attributes(
            demo_rows, sentences, sentences, embedder, clusters=5, seed=1
        ).query
        for _ in range(2)
    ]
    assert np.array_equal(built[0].cluster_of, built[1].cluster_of)


def test_a_folder_that_holds_something_else_is_left_alone(demo_rows, embedder, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="something else"):
        build.building_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    for _ in range(2):
        build.index_from_attributes(
            demo_rows[:2],
            [["The query asks"]] * 2,
            [["The response says"]] * 2,
            embedder,
            tmp_path / "i",
        )


def test_one_build_at_a_time(tmp_path, capsys):
    with lock_folder(build.building_folder(tmp_path / "i")):
        assert (
            cli.main(["index", "--mixture", "demo:60", "--out", str(tmp_path / "i")]) == 2
            and "at work" in capsys.readouterr().err
        )
    assert (
        cli.main(["index", "--mixture", "demo:60", "--workers", "2", "--out", str(tmp_path / "i")])
        == 0
    )
    assert not (tmp_path / ".i.building").exists()


def test_nothing_described_is_an_error_and_a_row_without_attributes_is_counted(demo_rows, embedder):
    with pytest.raises(UserError, match="no attribute"):
        build.index_from_attributes(demo_rows.head(2), [[], []], [[], []], embedder)
    built = build.index_from_attributes(
        demo_rows.head(2), [["The query asks"], []], [["The response says"], []], embedder
    )
    assert built.meta["undescribed_queries"] == built.meta["undescribed_responses"] == 1
    tracer = Tracer(built, embedder)
    assert tracer.evidence("The response says").rows.tolist() == [0]


def test_reasoning_is_a_side_of_its_own(embedder, tmp_path):
    rows = [
        {
            "prompt": f"Question {i}",
            "response": f"<think>{'Maybe it depends.' if i % 2 else 'Once upon a time there was a king.'}</think>Answer {i}",
        }
        for i in range(20)
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert (
        cli.main(["index", "--mixture", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "i")])
        == 0
    )
    opened = open_trace_index(tmp_path / "i")
    assert (
        set(opened.sides) == {"query", "response", "reasoning"}
        and opened.rows([0])["response"][0] == "Answer 0"
    )
    found = Tracer(opened, embedder, k=20, side="reasoning").evidence("The reasoning tells a story")
    assert sorted(found.rows) == list(range(0, 20, 2))
    asked = [
        "--query",
        "Question 7",
        "--response",
        "Once upon a time there was a king.",
        "--side",
        "reasoning",
    ]
    assert cli.main(["trace", "--index", str(tmp_path / "i"), "--rubric", "story", *asked]) == 0
    with pytest.raises(UserError, match="no side 'rejected'"):
        Tracer(opened, embedder, side="rejected")


def test_a_model_names_the_clusters_and_its_failures_leave_the_closest(
    demo_rows, embedder, tmp_path
):
    words = [[f"The query opens with {p.split()[0]}"] for p in demo_rows["prompt"]]
    before = build.index_from_attributes(
        demo_rows, words, words, embedder, tmp_path / "i", clusters=4
    ).query.summaries

    async def model(messages, **_):
        if before[1] in messages[0]["content"]:
            raise ConnectionError("no")
        return Reply('{"attributes": ["The query begins with a word"]}', "stop")

    named = asyncio.run(build.name_query_clusters(tmp_path / "i", model)).query.summaries
    assert named[1] == before[1] and "The query begins with a word" in named
    assert open_trace_index(tmp_path / "i", check=True).query.summaries == named


def test_a_model_describes_and_names_through_the_ledger(tmp_path, capsys):
    """The command line against a real server: described once, partial lists kept and counted, a rebuild asks nothing again."""
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            text = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0][
                "content"
            ]
            asked.append(text)
            side = "query" if "one query from" in text or "statements below" in text else "response"
            said = json.dumps(
                {
                    "attributes": [
                        f"The {side} is about {word}"
                        for word in ("cats", "dogs", *text.split()[-1:])
                    ]
                }
            )
            content = said if len(asked) % 3 else said[:-4]  # every third is cut off
            answer = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": content},
                    }
                ],
            }
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        "index",
        "--mixture",
        "demo:40",
        "--describer",
        f"http://127.0.0.1:{server.server_port}/v1:m",
        "--clusters",
        "3",
        "--out",
        str(tmp_path / "i"),
    ]
    try:
        assert cli.main(command) == 0
        meta, first = json.loads(capsys.readouterr().out.splitlines()[-1]), len(asked)
        assert (
            meta["partial"] > 0
            and meta["failed"] == 0
            and meta["describer"].endswith(":m")
            and first >= 40
        )
        assert cli.main([*command, "--max-calls", str(first)]) == 0 and len(asked) == first, (
            "the ledger beside the index has all answers"
        )
        assert (tmp_path / "i.ledger.sqlite").exists()
        fresh = [*command[:-1], str(tmp_path / "j"), "--max-calls", "5"]
        assert cli.main(fresh) == 2 and "--max-calls" in capsys.readouterr().err
        assert len(asked) == first + 5 and cli.main([*fresh[:-1], "500"]) == 0, (
            "a larger limit goes on"
        )
    finally:
        server.shutdown()

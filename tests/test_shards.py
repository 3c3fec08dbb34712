import asyncio
import os
import shutil
import signal
import threading
import time

import pandas as pd
import pytest
from joblib.externals.loky import ProcessPoolExecutor

from chunkykit import cli, provenance
from chunkykit.attributes import describe_lexically
from chunkykit.errors import UserError
from chunkykit.index import building_folder, count_texts, describe_shards, finish_index, shard_files
from chunkykit.lab import lock_folder

BATCH_ROWS = 200
DESCRIBED = []  # texts per call of `describe_and_count`


async def describe_and_count(texts, side, contexts=None):
    DESCRIBED.append(len(texts))
    return await describe_lexically(texts, side)


async def describe_slowly(texts, side, contexts=None):
    time.sleep(0.3)
    return await describe_lexically(texts, side)


async def kill_the_worker(texts, side, contexts=None):
    os.kill(os.getpid(), signal.SIGKILL)


def batches(rows):
    return (rows[i : i + BATCH_ROWS] for i in range(0, len(rows), BATCH_ROWS))


def describe(folder, rows, describer=describe_lexically, executor=None, key=""):
    return asyncio.run(describe_shards(folder, batches(rows), describer, executor, key=key))


def count_described(folder, rows, **settings):
    """The number of texts that describing these rows takes."""
    DESCRIBED.clear()
    describe(folder, rows, describe_and_count, **settings)
    return sum(DESCRIBED)


def build_files(folder, rows, embedder, describer=describe_lexically, executor=None):
    """The content of each array and table of an index that is built."""
    describe(folder, rows, describer, executor)
    finish_index(folder, embedder)
    paths = [path for path in folder.rglob("*") if path.suffix in (".npy", ".arrow")]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def serial_files(demo_rows, embedder, tmp_path_factory):
    return build_files(tmp_path_factory.mktemp("serial") / "i", demo_rows, embedder)


@pytest.mark.slow
def test_processes_build_the_same_index(demo_rows, embedder, tmp_path, serial_files):
    with ProcessPoolExecutor(2) as executor:
        files = build_files(tmp_path / "i", demo_rows, embedder, executor=executor)
    assert files == serial_files


@pytest.mark.slow
def test_dask_builds_the_same_index_after_a_worker_dies(
    demo_rows, embedder, tmp_path, serial_files
):
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        pid = client.submit(os.getpid, pure=False).result()

        def kill_after_the_first_shard():
            while not shard_files(tmp_path / "i" / ".building"):
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_after_the_first_shard)
        killer.start()
        executor = client.get_executor()
        files = build_files(tmp_path / "i", demo_rows, embedder, describe_slowly, executor)
        killer.join()
        assert files == serial_files
        assert pid not in client.run(os.getpid).values()


@pytest.mark.slow
def test_a_dead_process_is_reported_and_the_build_resumes(
    demo_rows, embedder, tmp_path, serial_files
):
    describe(tmp_path / "i", demo_rows[:600])
    with ProcessPoolExecutor(1) as executor:
        message = "a worker failed .TerminatedWorkerError.*resumes"
        with pytest.raises(UserError, match=message):
            describe(tmp_path / "i", demo_rows, kill_the_worker, executor)
    DESCRIBED.clear()
    assert build_files(tmp_path / "i", demo_rows, embedder, describe_and_count) == serial_files
    expected = sum(map(count_texts, batches(demo_rows[600:])))
    assert sum(DESCRIBED) == expected, "only the rows that no shard holds"


def test_half_a_shard_and_shards_of_other_rows_are_described_again(
    demo_rows, embedder, tmp_path, serial_files
):
    other = demo_rows.assign(prompt="Another mixture: " + demo_rows["prompt"])
    describe(tmp_path / "i", pd.concat([other, other]))
    shard = shard_files(tmp_path / "i" / ".building")[2]
    shard.write_bytes(shard.read_bytes()[:5000])
    assert build_files(tmp_path / "i", demo_rows, embedder) == serial_files


def test_shards_of_another_describer_are_described_again(demo_rows, tmp_path):
    rows = demo_rows.drop(columns="system")[:50]
    assert count_described(tmp_path / "i", rows, key="one") == 100
    assert count_described(tmp_path / "i", rows, key="one") == 0
    assert count_described(tmp_path / "i", rows, key="two") == 100


@pytest.mark.parametrize(
    "file, texts",
    [
        ("turf/tracer.py", 0),
        ("cli/commands.yaml", 0),
        ("index/kmeans.py", 0),
        ("attributes/detectors.yaml", 100),
        ("prompts.yaml", 100),
        ("index/shards.py", 100),
    ],
)
def test_only_the_code_that_describes_invalidates_a_shard(
    demo_rows, tmp_path, monkeypatch, file, texts
):
    package = tmp_path / "package"
    unwanted = shutil.ignore_patterns("__pycache__", "adapters", "*.gguf")
    shutil.copytree(provenance.PACKAGE, package, ignore=unwanted)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    rows = demo_rows.drop(columns="system")[:50]
    assert count_described(tmp_path / "i", rows) == 100
    with open(package / file, "a", encoding="utf-8") as edited:
        edited.write("# edited\n")
    assert count_described(tmp_path / "i", rows) == texts


def test_empty_texts_have_no_attributes_and_are_not_described(tmp_path):
    rows = pd.DataFrame(
        {
            "row": [1, 2],
            "chunk": "c",
            "prompt": ["Why?", "How?"],
            "response": ["Because.", "Thus."],
            "reasoning": [None, "It depends."],
        }
    )
    assert count_described(tmp_path / "i", rows) == 5


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="not an index.*Choose another --out"):
        building_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.slow
def test_one_build_at_a_time(tmp_path, capsys):
    command = ["index", "--mixture", "demo:60", "--out", str(tmp_path / "i")]
    with lock_folder(tmp_path / "i"):
        assert cli.main(command) == 2
        assert "at work" in capsys.readouterr().err
    assert cli.main([*command, "--workers", "2"]) == 0
    assert not (tmp_path / "i" / ".building").exists()

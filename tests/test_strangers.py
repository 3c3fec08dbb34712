"""Folders and files of a stranger: nothing runs, hangs, leaves its folder or reaches a network."""

import json
import os
import signal
import socket
import sqlite3
import struct
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run_command
from pyarrow import feather

from chunkykit.errors import UserError
from chunkykit.index import checks, index_from_attributes, open_trace_index
from chunkykit.index.store import file_entry
from chunkykit.lab import compare_runs, read_run, resume_run, start_run, table_checks
from chunkykit.lab.tables import table_of
from chunkykit.mixtures import identify_source, load_mixture
from chunkykit.models import Ledger
from chunkykit.organisms import adapter_card
from chunkykit.rubrics import load_rubric

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and alarms")
SECONDS = 5  # that anything may take
EXCHANGE = ["--rubric", "rebut", "--query", "Who wrote Emma?", "--response", "She did not."]


@pytest.fixture(autouse=True)
def guarded(monkeypatch, tmp_path):
    """Nothing connects, nothing takes long, and a file beside the folder stays as it is."""

    def late(*_):
        raise AssertionError(f"took over {SECONDS} s")

    def connect(*_):
        raise AssertionError("opened a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    before = sorted(precious.rglob("*"))
    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)
    assert (precious / "file").read_text() == "precious"
    assert sorted(precious.rglob("*")) == before


def replace_by(path: Path, kind: str) -> None:
    """Put something in the place of a file that is no ordinary file of its folder."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    (root,) = (parent for parent in path.parents if (parent / "precious").exists())
    targets = {"zero": "/dev/zero", "link": root / "precious/file"}
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as endpoint:
            endpoint.bind(str(path))
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(2**40)
    else:
        path.symlink_to(targets[kind])


KINDS = ["fifo", "socket", "zero", "link", "huge"]

# an index


@pytest.fixture
def index(demo_rows, embedder, tmp_path):
    sentences = [["The text asks"]] * 20
    folder = tmp_path / "stranger"
    index_from_attributes(demo_rows[:20], sentences, sentences, embedder, folder)
    return folder


def seal(folder: Path, **changes) -> None:
    """Make the sizes and checksums of an index right again."""
    meta = json.loads((folder / "index.json").read_text())
    meta["files"] = {name: file_entry(folder / name) for name in meta["files"]}
    (folder / "index.json").write_text(json.dumps({**meta, **changes}))


INDEX_FILES = ["index.json", "chunk.npy", "rows-00000.arrow", "query/ids.npy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [*INDEX_FILES, "response/sentences.arrow", "query/vectors-00001.npy"]
)
def test_a_file_of_an_index_is_an_ordinary_one(index, name, kind):
    replace_by(index / name, kind)
    with pytest.raises(UserError):
        open_trace_index(index)
    assert run_command("trace", "--index", index, *EXCHANGE) == 2


class Payload:
    def __reduce__(self):
        return (os.system, ("touch /tmp/chunkykit-was-here",))


def save_pickle(folder):
    np.save(folder / "query/ids.npy", np.array([Payload()]), allow_pickle=True)


def save_out_of_range(folder):
    ids = np.load(folder / "query/ids.npy")
    np.save(folder / "query/ids.npy", np.full_like(ids, 2**31 - 1))


def point_outside(path: Path, n: int, kind: str) -> None:
    """Let the offsets of a text of n characters in an Arrow file end far behind it."""
    before, offsets, after = path.read_bytes().rpartition(struct.pack(f"<2{kind}", 0, n))
    assert offsets
    path.write_bytes(before + struct.pack(f"<2{kind}", 0, 2**30) + after)


def save_bad_offsets(folder):
    path = folder / "rows-00000.arrow"
    table = feather.read_table(path)
    n = len(table["prompt"][0].as_py().encode())
    point_outside(path, n, "q")


def save_more_rows(folder):
    os.mkfifo(folder / "rows-00001.arrow")


def save_bytes_as_text(folder):
    path = folder / "query/sentences.arrow"
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    feather.write_feather(pa.table({"sentence": bad}), path, compression="uncompressed")


@pytest.mark.parametrize(
    "change",
    [save_pickle, save_out_of_range, save_bad_offsets, save_more_rows, save_bytes_as_text],
)
def test_the_content_of_an_index_is_checked(index, change):
    change(index)
    seal(index)
    with pytest.raises(UserError):
        open_trace_index(index)
    assert not Path("/tmp/chunkykit-was-here").exists()


def test_where_texts_end_is_checked_in_a_large_index_too(index, monkeypatch):
    monkeypatch.setattr(checks, "MAX_CHECKED_BYTES", 0)
    assert len(open_trace_index(index)) == 20
    save_bad_offsets(index)
    seal(index)
    with pytest.raises(UserError, match="damaged"):
        open_trace_index(index)


WRONG_META = {
    "sides": {"../precious": {"repeated": 1}, "query": {}, "response": {}},
    "calibration": {"mean": "x"},
    "calibration ": 5,
    "rows": "many",
    "rows ": 10**9,
    "source": ["/etc/passwd"],
    "source ": {"read": "all"},
    "chunks": [1, 2],
    "chunks ": [],
    "embedder": None,
    "describer": {"x": 1},
    "files": {"/etc/passwd": [1, 1]},
}


@pytest.mark.parametrize("key", WRONG_META)
def test_an_index_json_is_checked(index, key, capsys):
    seal(index)
    meta = json.loads((index / "index.json").read_text())
    meta[key.strip()] = WRONG_META[key]
    (index / "index.json").write_text(json.dumps(meta))
    with pytest.raises(UserError):
        open_trace_index(index)


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, "9" * 10**5])
def test_an_index_json_that_is_none(index, text):
    (index / "index.json").write_text(text)
    with pytest.raises(UserError):
        open_trace_index(index)


@pytest.mark.parametrize(
    "name",
    [
        "http://models.example/v1:m",
        "http://127.0.0.1:8888/v1:m",
        "http://169.254.169.254/v1:m",
        "openai:text-embedding-3-small",
        "onnx:/dev",
        "onnx://models.example/share",
    ],
)
@pytest.mark.parametrize("key", ["embedder", "describer"])
def test_a_model_that_only_an_index_names_is_not_called(index, name, key, capsys):
    if key == "describer" and name.startswith("onnx"):
        name = "local:/dev/zero"
    seal(index, **{key: name})
    for command in ("trace", "repair"):
        more = ["--mixture", "demo:20", "--out", "o.jsonl"] if command == "repair" else []
        assert run_command(command, "--index", index, *EXCHANGE, "--anyway", *more) == 2
        assert "Traceback" not in capsys.readouterr().err


# a run


@pytest.fixture
def run(tmp_path):
    started = start_run(tmp_path / "stranger", profile="smoke", rubrics=["rebut"])
    started.ledger.db.close()
    return started.folder


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "link"])
@pytest.mark.parametrize(
    "name",
    ["run.json", "labels.csv", "stages.json", "tables/points.parquet", "rubrics/0.yaml", "x/y"],
)
def test_a_run_folder_holds_ordinary_files_only(run, name, kind, capsys, tmp_path):
    replace_by(run / name, kind)
    for read in (read_run, resume_run, lambda folder: compare_runs([folder])):
        with pytest.raises(UserError):
            read(run)
    assert run_command("export", run, "--html", tmp_path / "p.html") == 2
    assert run_command("label", run) == 2
    assert run_command("compare", run, "--out", tmp_path / "c") == 2
    with pytest.raises(UserError):
        start_run(run, restart=True, profile="smoke", rubrics=["rebut"], seed=5)


@pytest.mark.parametrize("name", ["tables", "figures", "notebooks", "index", "before"])
def test_a_folder_of_a_run_is_not_elsewhere(run, name, tmp_path):
    if (run / name).exists():
        (run / name).rmdir()
    (run / name).symlink_to(tmp_path / "precious")
    for settings in ({}, {"restart": True, "seed": 5}):
        with pytest.raises(UserError, match="leads out"):
            start_run(run, profile="smoke", rubrics=["rebut"], **settings)


def test_a_lock_that_is_a_link_is_not_followed(run, tmp_path):
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(tmp_path / "precious" / "file")
    assert run_command("run", "--profile", "smoke", "--out", run, "--no-notebooks") == 2


@pytest.mark.parametrize("name", ["run.json", "stages.json"])
def test_a_file_of_notes_is_small(run, name):
    replace_by(run / name, "huge")
    with pytest.raises(UserError, match="MB"):
        read_run(run).notes()


def test_a_table_that_would_fill_the_memory_is_not_opened(run, monkeypatch):
    monkeypatch.setattr(table_checks, "MAX_CELLS", 10**6)
    names = [column.name for column in table_of("clusters").columns]
    zeros = pa.array(np.zeros(10**6, np.int64))
    pq.write_table(pa.table(dict.fromkeys(names, zeros)), run / "tables/clusters.parquet")
    with pytest.raises(UserError, match="too many to open"):
        read_run(run).read("clusters")


@pytest.mark.parametrize("notes", [b"{", b"[1]", b'{"index_columns": [{"kind": "x"}]}', b"null"])
def test_what_a_table_says_to_pandas_does_not_crash(run, notes):
    table = pa.table({"id": [0], "size": [1]}).replace_schema_metadata({b"pandas": notes})
    pq.write_table(table, run / "tables/clusters.parquet")
    with pytest.raises(UserError):
        read_run(run).read("clusters")


@pytest.mark.parametrize("rubric", ["/dev/zero", "fifo", "/etc", "//host/share/r.yaml"])
def test_rubrics_that_a_run_names_elsewhere(run, rubric, tmp_path):
    if rubric == "fifo":
        rubric = str(tmp_path / "pipe")
        os.mkfifo(rubric)
    settings = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**settings, "rubrics": [rubric]}))
    assert run_command("label", run) == 2
    with pytest.raises(UserError):
        resume_run(run).rubrics  # noqa: B018


def test_a_rubric_is_small_and_says_each_thing_once(tmp_path):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghijk", "abcdefghij"):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    (tmp_path / "bomb.yaml").write_text(bomb)
    (tmp_path / "huge.yaml").write_text("name: x\n" * 10**6)
    for name, words in (("bomb", "aliases"), ("huge", "MB")):
        with pytest.raises(UserError, match=words):
            load_rubric(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize(
    "key, name",
    [
        ("embedder", "http://127.0.0.1:8888/v1:m"),
        ("embedder", "onnx:/dev"),
        ("judge", "http://models.example/v1:m"),
        ("judge", "local:/dev/zero"),
        ("mixture", "hf:owner/name"),
    ],
)
def test_what_only_a_run_json_names_is_not_called(run, key, name):
    settings = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**settings, key: name}))
    stranger = resume_run(run)
    ask = {"embedder": stranger.embed, "judge": stranger.judge, "mixture": stranger.mixture}
    with pytest.raises(UserError):
        ask[key]()


def test_a_run_is_read_without_a_ledger_a_rubric_file_or_a_write(tmp_path):
    rubric = tmp_path / "mine.yaml"
    rubric.write_text(
        "name: mine\nprinciple: P.\nviolation: V.\nnot_violation: N.\n"
        "behaviour: The response refuses\ncausing: a thing\ncheck: {response: [refuses]}\n"
    )
    started = start_run(tmp_path / "r", profile="smoke", rubrics=[str(rubric)])
    started.ledger.db.close()
    rubric.unlink()
    for path in started.folder.glob("ledger.sqlite*"):
        path.unlink()
    before = {
        path: path.stat().st_mtime_ns for path in [started.folder, *started.folder.rglob("*")]
    }
    opened = read_run(started.folder)
    assert opened.rubric_by_name["mine"].violation == "V."
    assert resume_run(started.folder).rubric_by_name["mine"].violation == "V."
    after = {path: path.stat().st_mtime_ns for path in [started.folder, *started.folder.rglob("*")]}
    assert after == before


# a ledger

CALLS = (
    "create table calls (key text primary key, role text, model text, request text, text text, "
    "stop_reason text, input_tokens integer, output_tokens integer, dollars real, seconds real, "
    "at real, thinking text) without rowid"
)
ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
LEDGERS = {
    "view": [f"create view calls as select i as key, i as dollars from ({ENDLESS})"],
    "trigger": [
        CALLS,
        f"create trigger t after insert on calls begin delete from calls where key in ({ENDLESS}); "
        "end",
    ],
    "computed": [
        CALLS.replace("dollars real", "dollars real generated always as (length(zeroblob(1e9)))")
    ],
    "condition": [CALLS.replace("role text", "role text check (length(zeroblob(1e9)) > 0)")],
    "index": [CALLS, "create index i on calls (length(zeroblob(1e9)))"],
    "virtual": ["create virtual table calls using fts5(key, dollars)"],
}


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_is_made_of_plain_tables(tmp_path, name):
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    for statement in LEDGERS[name]:
        db.execute(statement)
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="is not of a ledger"):
        Ledger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero"])
def test_a_ledger_is_an_ordinary_file(tmp_path, kind):
    path = tmp_path / "stranger" / "ledger.sqlite"
    replace_by(path, kind)
    with pytest.raises(UserError):
        Ledger(path)


# an adapter


def header(*fields: bytes, n: int | None = None) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(fields) if n is None else n) + b"".join(fields)


def text(value: bytes, n: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if n is None else n) + value


ADAPTERS = {
    "endless array": header(text(b"x") + struct.pack("<IIQ", 9, 4, 2**60)),
    "nested arrays": header(text(b"x") + struct.pack("<IIQ", 9, 9, 2**60) * 50),
    "endless text": header(text(b"x") + struct.pack("<I", 8) + text(b"", 2**62)),
    "long key": header(text(b"", 2**63)),
    "endless fields": header(n=2**63),
    "deep card": header(
        text(b"chunkykit.card") + struct.pack("<I", 8) + text(b"[" * 2**20 + b"]" * 2**20)
    ),
    "no object": header(text(b"chunkykit.card") + struct.pack("<I", 8) + text(b"3")),
    "no card": header(),
    "cut off": header(text(b"x"))[:30],
    "empty": b"",
    "text": b"hello",
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_card_of_an_adapter(tmp_path, name):
    path = tmp_path / "a.gguf"
    path.write_bytes(ADAPTERS[name])
    with pytest.raises(UserError, match="is not an adapter"):
        adapter_card(path)


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero"])
def test_an_adapter_is_an_ordinary_file(tmp_path, kind):
    path = tmp_path / "stranger" / "a.gguf"
    replace_by(path, kind)
    with pytest.raises(UserError):
        adapter_card(path)


# a mixture

LINE = '{"prompt": "p", "response": "r"}\n'
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {path}
---
"""


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "link"])
def test_a_folder_of_data_holds_ordinary_files(tmp_path, kind):
    folder = tmp_path / "stranger"
    replace_by(folder / "b.jsonl", kind)
    (folder / "a.jsonl").write_text(LINE)
    for read in (load_mixture, identify_source):
        with pytest.raises(UserError):
            read(folder)


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_a_mixture_is_an_ordinary_file(tmp_path, kind):
    path = tmp_path / "stranger" / "m.jsonl"
    replace_by(path, kind)
    assert run_command("index", "--mixture", path, "--out", tmp_path / "i") == 2
    assert not (tmp_path / "i" / "index.json").exists()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../precious/file", "https://models.example/x.jsonl"]
)
def test_the_card_of_a_folder_of_data_is_not_read(tmp_path, path):
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "README.md").write_text(CARD.format(path=path))
    (folder / "stranger.py").write_text("import os; os.system('touch /tmp/chunkykit-was-here')")
    (folder / "data.jsonl").write_text(LINE)
    assert load_mixture(folder).rows["prompt"].tolist() == ["p"]
    assert not Path("/tmp/chunkykit-was-here").exists()


def saved_folder(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_list([json.loads(LINE)] * 3).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize(
    "state",
    [
        '{"_data_files": [{"filename": "../precious/file"}]}',
        '{"_data_files": [{"filename": "/etc/passwd"}]}',
        '{"_data_files": [{"filename": 3}]}',
        '{"_data_files": 3}',
        "[" * 10**6,
        "null",
    ],
)
def test_the_state_of_a_saved_folder_names_files_of_its_own(tmp_path, state):
    folder = saved_folder(tmp_path / "stranger")
    (folder / "state.json").write_text(state)
    with pytest.raises(UserError):
        load_mixture(folder)


def test_the_texts_of_a_saved_folder_are_checked(tmp_path):
    folder = saved_folder(tmp_path / "stranger")
    (path,) = folder.glob("*.arrow")
    table = pa.table({"prompt": ["x" * 12345], "response": ["y"]})
    with pa.ipc.new_stream(str(path), table.schema) as file:
        file.write_table(table)
    point_outside(path, 12345, "i")
    with pytest.raises(UserError, match="not a readable Arrow file"):
        load_mixture(folder)


@pytest.mark.parametrize("key", ["image", "audio"])
def test_a_picture_that_is_elsewhere_is_not_opened(tmp_path, key):
    folder = saved_folder(tmp_path / "stranger")
    (path,) = folder.glob("*.arrow")
    record = {
        "prompt": "p",
        "response": "r",
        key: {"path": "https://models.example/x", "bytes": None},
    }
    table = pa.Table.from_pylist([record])
    with pa.ipc.new_stream(str(path), table.schema) as file:
        file.write_table(table)
    assert len(load_mixture(folder).rows) == 1


@pytest.mark.parametrize("name", ["owner/name", "mistyped", "data/mix", "hf", "s3://bucket/x"])
def test_a_path_that_is_not_there_is_asked_of_nobody(name, capsys, tmp_path):
    start = time.monotonic()
    assert run_command("index", "--mixture", name, "--out", tmp_path / "i") == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert time.monotonic() - start < SECONDS

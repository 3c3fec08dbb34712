"""Compressed files: the same rows, in bounded memory, and an error where they are damaged."""

import bz2
import gzip
import json
import re
import tracemalloc

import pyarrow as pa
import pytest

from chunkykit.errors import UserError
from chunkykit.mixtures import compressed, load_mixture, read_records

pytestmark = pytest.mark.slow  # it watches the memory of processes

RECORDS = [{"prompt": f"p{i}", "response": f"r{i}\nü"} for i in range(50)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
TABLE = b"prompt,response\n" + b"".join(f"p{i},r{i}\n".encode() for i in range(50))


def compress_zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": compress_zstd}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize(
    "name, data",
    [("m.jsonl", LINES), ("m.csv", TABLE), ("m.json", json.dumps(RECORDS).encode())],
)
def test_a_compressed_file_has_the_rows_of_the_file(tmp_path, ending, name, data):
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}{ending}").write_bytes(COMPRESS[ending](data))
    plain = load_mixture(tmp_path / name)
    packed = load_mixture(tmp_path / f"{name}{ending}")
    assert packed.rows.equals(plain.rows)
    assert set(packed.chunks.index) == {"m"}


@pytest.mark.parametrize("ending", COMPRESS)
def test_files_of_several_compressed_pieces_are_read_to_their_end(tmp_path, ending):
    halves = LINES.splitlines(keepends=True)
    pieces = [COMPRESS[ending](b"".join(half)) for half in (halves[:20], halves[20:])]
    (tmp_path / f"m.jsonl{ending}").write_bytes(b"".join(pieces))
    assert len(load_mixture(tmp_path / f"m.jsonl{ending}").rows) == 50


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("kind", ["cut short", "damaged", "not compressed"])
def test_a_damaged_file_is_named_and_no_half_of_it_passes_for_all(tmp_path, ending, kind):
    noise = "".join(
        json.dumps({"prompt": str(hash(i)), "response": "r"}) + "\n" for i in range(9999)
    )
    data = COMPRESS[ending](noise.encode())
    if kind == "cut short":
        data = data[: len(data) * 2 // 3]
    elif kind == "damaged":
        data = data[:2000] + bytes(100) + data[2100:]
    else:
        data = LINES
    path = tmp_path / f"m.jsonl{ending}"
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged or cut short") as caught:
        load_mixture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("byte", [b"\n", b" ", b"a"])
def test_a_small_file_that_expands_to_anything_is_refused_in_bounded_memory(
    tmp_path, monkeypatch, ending, byte
):
    monkeypatch.setattr(compressed, "MIN_EXPANSION_BYTES", 2**18)
    monkeypatch.setattr(compressed, "MAX_EXPANSION", 2)
    monkeypatch.setattr(compressed, "MAX_LINE_BYTES", 2**18)
    path = tmp_path / f"m.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](LINES + byte * 2**22))
    tracemalloc.start()
    with pytest.raises(UserError, match="expands to more than|line 51 has more than"):
        load_mixture(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MAX_LINE_BYTES", 1000)
    (tmp_path / "m.jsonl").write_bytes(LINES + b"x" * 1001)
    with pytest.raises(UserError, match=r"m.jsonl: line 51 has more than"):
        load_mixture(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    "name, words",
    [
        ("m.parquet.gz", "compressed inside"),
        ("m.txt.gz", r"unknown file type '.txt.gz'"),
        ("m.gz", "unknown file type"),
        ("m.jsonl.xz", r"unknown file type '.xz'"),
    ],
)
def test_other_endings_are_refused_with_those_that_load(tmp_path, name, words):
    (tmp_path / name).write_bytes(gzip.compress(LINES))
    with pytest.raises(UserError, match=words):
        load_mixture(tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"\x00\x01", "prompt".encode("utf-16")])
def test_the_inside_is_checked_as_that_of_a_file_is(tmp_path, data):
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(data))
    with pytest.raises(UserError, match="empty|binary|UTF-16"):
        load_mixture(tmp_path / "m.jsonl.gz")


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(compressed.MARK + LINES))
    assert [record for _, record in read_records(tmp_path / "m.jsonl.gz")] == RECORDS


def test_all_types_are_said_where_a_type_is_unknown(tmp_path):
    (tmp_path / "m.xlsx").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        load_mixture(tmp_path / "m.xlsx")
    for ending in (*compressed.FILE_TYPES, *compressed.COMPRESSIONS, ".yaml"):
        assert re.search(rf"\{ending}\b", str(caught.value))

"""A mixture written again: what stays is what its source has."""

import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkykit.errors import UserError
from chunkykit.mixtures import read_records, write_copies

RECORDS = [{"prompt": f"p{i}", "response": "r", "n": i, "tags": ["a", str(i)]} for i in range(5)]
EXPECTED = [RECORDS[0], RECORDS[2], RECORDS[3], RECORDS[3], RECORDS[3], RECORDS[4]]
COPIES = {2: 0, 4: 3}


def save_lines(folder):
    for name, part in (("a", RECORDS[:3]), ("b", RECORDS[3:])):
        text = "\n\n".join(json.dumps(record) for record in part)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def save_list(folder):
    (folder / "m.json").write_text(json.dumps(RECORDS))
    return folder / "m.json"


def save_tables(folder):
    for name, part in (("a", RECORDS[:3]), ("b", RECORDS[3:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{name}.parquet")
    return folder


def save_dataset(folder):
    datasets.Dataset.from_list(RECORDS).save_to_disk(str(folder / "d"), num_shards=2)
    return folder / "d"


SOURCES = [save_lines, save_list, save_tables, save_dataset]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("save", SOURCES)
def test_every_source_is_written_with_all_its_keys(tmp_path, save, suffix):
    (tmp_path / "source").mkdir()
    source = save(tmp_path / "source")
    out = tmp_path / f"out{suffix}"
    write_copies(source, out, suffix, COPIES)
    assert [record for _, record in read_records(out)] == EXPECTED


def test_a_table_keeps_the_features_of_datasets(tmp_path):
    features = datasets.Features(
        prompt=datasets.Value("string"),
        response=datasets.Value("large_string"),
        kind=datasets.ClassLabel(names=["x", "y"]),
    )
    rows = {"prompt": ["p", "q"], "response": ["r", "s"], "kind": [0, 1]}
    datasets.Dataset.from_dict(rows, features).save_to_disk(str(tmp_path / "d"))
    write_copies(tmp_path / "d", tmp_path / "out.parquet", ".parquet", {1: 0})
    written = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path))
    assert written.features == features
    assert written.to_list() == [{"prompt": "q", "response": "s", "kind": 1}]


def test_tables_of_two_schemas_are_joined(tmp_path):
    pq.write_table(pa.table({"prompt": ["p"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": ["q"], "late": [[2]]}), tmp_path / "b.parquet")
    out = tmp_path.parent / "joined.parquet"
    write_copies(tmp_path, out, ".parquet", {})
    records = [{"prompt": "p", "n": 1, "late": None}, {"prompt": "q", "n": None, "late": [2]}]
    assert pq.read_table(out).to_pylist() == records


def test_half_a_character_stays_in_lines_and_fits_no_table(tmp_path):
    source = tmp_path / "m.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"prompt": "\\ud800", "response": "r"}\r\n{"prompt": "q"}')
    write_copies(source, tmp_path / "out.jsonl", ".jsonl", {2: 2})
    line = b'{"prompt": "q"}'
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes() + b"\n" + line
    with pytest.raises(UserError, match="ends in .jsonl"):
        write_copies(source, tmp_path / "out.parquet", ".parquet", {})


def test_no_record_is_no_table(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"prompt": "q"}')
    with pytest.raises(UserError, match="no record would be left"):
        write_copies(tmp_path / "m.jsonl", tmp_path / "out.parquet", ".parquet", {1: 0})


def save_several(folder):
    """Lines, compressed lines and a table, as a list."""
    text = [json.dumps(record, indent=None, separators=(" ,", ": ")) for record in RECORDS]
    (folder / "a.jsonl").write_text("\n\n".join(text[:2]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(f"{text[2]}\r\n{text[3]}".encode()))
    pq.write_table(pa.Table.from_pylist(RECORDS[4:]), folder / "c.parquet")
    return [folder / "a.jsonl", folder / "b.jsonl.gz", folder / "c.parquet"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_several_sources_are_written_as_one(tmp_path, suffix):
    source = save_several(tmp_path)
    write_copies(source, tmp_path / f"out{suffix}", suffix, COPIES)
    assert [record for _, record in read_records(tmp_path / f"out{suffix}")] == EXPECTED


def test_the_lines_of_several_sources_stay_byte_for_byte(tmp_path):
    source = save_several(tmp_path)
    write_copies(source, tmp_path / "out.jsonl", ".jsonl", {})
    first = source[0].read_bytes()
    packed = gzip.decompress(source[1].read_bytes())
    last = json.dumps(RECORDS[4]).encode() + b"\n"
    assert (tmp_path / "out.jsonl").read_bytes() == first + b"\n" + packed + b"\n" + last


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_drawn_rows_are_written_as_they_are_numbered(tmp_path, kind):
    records = [{"prompt": f"p{i}", "response": "r"} for i in range(40)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "m.parquet", row_group_size=7)
    else:
        (tmp_path / "m.jsonl").write_text("\n\n".join(map(json.dumps, records)))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"sources: [{{path: m.{kind}, rows: 9}}, {{path: m.{kind}, weight: 1.5}}]")
    numbered = dict(read_records(recipe))
    assert sorted(numbered) == list(range(1, 70))
    expected = [record for number, record in numbered.items() if number not in (2, 30)]
    for suffix in (".jsonl", ".parquet"):
        out = tmp_path / f"out{suffix}"
        write_copies(recipe, out, suffix, {2: 0, 30: 0})
        assert [record for _, record in read_records(out)] == expected

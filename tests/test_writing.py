"""A mixture written again: what stays is what its source has."""

import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkykit.errors import UserError
from chunkykit.mixtures import (
    failed_edits,
    mask_answer,
    read_records,
    rewrite_answer,
    write_copies,
)

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


TURNS = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "Q2"},
    {"role": "assistant", "content": "A2"},
]


def mask_first(record, columns):
    return mask_answer(record, 1, columns)


def rewrite_first(record, columns):
    return rewrite_answer(record, 1, "Né", columns)


def test_an_edited_line_keeps_its_style_and_the_others_their_bytes(tmp_path):
    lines = [
        b'{"prompt":"p","response":"r","n":1.50}\r\n',
        b'{"prompt": "p",  "response": "r",  "n": 1.50}\n',
        b'{"prompt": "\\u00e9", "response": "r"}\n',
        b"\xef\xbb\xbf\n",
        b'{"prompt": "q", "response": "\\ud800"}',
    ]
    source = tmp_path / "m.jsonl"
    source.write_bytes(b"".join(lines))
    out = tmp_path / "out.jsonl"
    edits = dict.fromkeys((1, 3, 5), rewrite_first)
    write_copies(source, out, ".jsonl", {3: 2}, edits)
    assert out.read_bytes().split(b"\n") == [
        '{"prompt":"p","response":"Né","n":1.5}\r'.encode(),
        lines[1].strip(),
        b'{"prompt": "\\u00e9", "response": "N\\u00e9"}',
        b'{"prompt": "\\u00e9", "response": "N\\u00e9"}',
        lines[3].strip(),
        b'{"prompt": "q", "response": "N\\u00e9"}',
    ]


@pytest.mark.parametrize("save", SOURCES)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_every_source_is_written_with_its_edits(tmp_path, save, suffix):
    (tmp_path / "source").mkdir()
    source = save(tmp_path / "source")
    out = tmp_path / f"out{suffix}"
    write_copies(source, out, suffix, COPIES, {2: rewrite_first, 4: rewrite_first})
    edited = {**RECORDS[3], "response": "Né"}
    expected = [RECORDS[0], RECORDS[2], edited, edited, edited, RECORDS[4]]
    assert [record for _, record in read_records(out)] == expected


def test_a_mask_is_a_field_more_in_a_table_and_all_else_stays(tmp_path):
    message = pa.struct([("role", pa.large_string()), ("content", pa.string())])
    schema = pa.schema(
        {
            "messages": pa.large_list(message),
            "small": pa.int8(),
            "when": pa.timestamp("ns", "UTC"),
            "label": pa.dictionary(pa.int8(), pa.string()),
            "tools": pa.map_(pa.string(), pa.float32()),
        }
    ).with_metadata({"mine": "kept"})
    rows = [
        {"messages": TURNS, "small": i, "when": i, "label": "abc"[i % 3], "tools": [("x", i / 3)]}
        for i in range(7)
    ]
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=3)
    write_copies(
        tmp_path / "m.parquet", tmp_path / "out.parquet", ".parquet", {1: 0}, {5: mask_first}
    )
    file = pq.ParquetFile(tmp_path / "out.parquet")
    written = file.read()
    assert written.drop(["messages"]).equals(table.drop(["messages"]).slice(1))
    assert written.schema.metadata[b"mine"] == b"kept"
    field = written.schema.field("messages").type.value_field
    assert field.type == pa.struct([*message, ("weight", pa.int64())])
    weights = [[turn["weight"] for turn in row] for row in written["messages"].to_pylist()]
    assert weights == [[None] * 4] * 3 + [[None, 0, None, None]] + [[None] * 4] * 2
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [2, 3, 1]


def test_a_mask_is_known_to_datasets(tmp_path):
    rows = [{"messages": TURNS, "kind": i % 2} for i in range(3)]
    features = datasets.Features(
        messages=[{"role": datasets.Value("string"), "content": datasets.Value("string")}],
        kind=datasets.ClassLabel(names=["x", "y"]),
    )
    datasets.Dataset.from_list(rows, features).to_parquet(str(tmp_path / "m.parquet"))
    write_copies(tmp_path / "m.parquet", tmp_path / "out.parquet", ".parquet", {}, {2: mask_first})
    written = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path))
    assert written.features["kind"] == features["kind"]
    assert [turn["weight"] for turn in written[1]["messages"]] == [None, 0, None, None]
    assert [turn["content"] for turn in written[0]["messages"]] == ["Q", "A", "Q2", "A2"]


def test_edits_that_fail_say_why(tmp_path):
    records = [{"messages": TURNS}, {"messages": TURNS[:2]}, {"prompt": "p", "response": "r"}]
    source = tmp_path / "m.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records) + "{")
    failures = failed_edits(source, dict.fromkeys((1, 2, 3), mask_first))
    assert failures.keys() == {2, 3}
    assert "only one that is trained on" in failures[2]


def test_a_table_of_texts_and_a_recipe_are_edited_under_their_own_names(tmp_path):
    (tmp_path / "m.csv").write_text('q,good,n\np,"a, b",1\np2,c,2\n')
    recipe = tmp_path / "r.yaml"
    recipe.write_text("sources:\n- path: m.csv\n  columns: {prompt: q, response: good}\n")
    write_copies(recipe, tmp_path / "out.jsonl", ".jsonl", {}, {1: rewrite_first})
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"q": "p", "good": "Né", "n": "1"}
    assert json.loads(lines[1]) == {"q": "p2", "good": "c", "n": "2"}


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

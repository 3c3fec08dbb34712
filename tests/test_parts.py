"""Several sources as one mixture: their order, their names, and what is wrong with one of them."""

import gzip
import json
import os
from pathlib import Path

import datasets
import pandas as pd
import pytest

from chunkykit import build_index, cli
from chunkykit.errors import UserError
from chunkykit.mixtures import (
    identify_source,
    load_mixture,
    locate_row,
    name_source,
    read_batches,
    read_records,
)


def write_rows(path, *names, **columns):
    """Write a row per name, in the format of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": name, "response": "r", **columns} for name in names]
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which paths are relative."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chunks_of(source, **settings):
    return load_mixture(source, **settings).chunks.to_dict()


def test_several_sources_are_one_mixture_whose_numbers_go_on(place):
    write_rows(place / "a.jsonl", "a1", "a2")
    write_rows(place / "b.parquet", "b1", "b2")
    write_rows(place / "c" / "d.jsonl.gz", "d1")
    mixture = load_mixture(["a.jsonl", Path("b.parquet"), "c", "demo:2"])
    assert mixture.rows["row"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert mixture.rows["prompt"].tolist()[:5] == ["a1", "a2", "b1", "b2", "d1"]
    assert mixture.rows["chunk"].tolist()[:5] == ["a", "a", "b", "b", "c"]
    parts = list(read_batches(["a.jsonl", "b.parquet", "c"], 2))
    assert [part.rows["row"].tolist() for part in parts] == [[1, 2], [3, 4], [5]]
    assert [number for number, _ in read_records(["b.parquet", "a.jsonl"])] == [1, 2, 3, 4]


def test_one_source_in_a_list_is_that_source(place):
    write_rows(place / "train.jsonl", "a", "b")
    (place / "train.jsonl").write_text("\n" + (place / "train.jsonl").read_text())
    assert load_mixture(["train.jsonl"]).rows.equals(load_mixture("train.jsonl").rows)
    assert load_mixture(["train.jsonl"]).rows["row"].tolist() == [2, 3]
    assert identify_source(["train.jsonl"]) == identify_source("train.jsonl")


NAMES = {
    "two files of one name": (["a/data.jsonl", "b/data.jsonl"], {"a/data": 1, "b/data": 1}),
    "the same further up": (["x/a/m.jsonl", "y/a/m.jsonl"], {"x/a/m": 1, "y/a/m": 1}),
    "one of them is telling": (["a/m.jsonl", "b/m.jsonl", "c.jsonl"], {"a/m": 1, "b/m": 1, "c": 1}),
    "two types": (["a.jsonl", "b/a.parquet"], {"b/a": 1}),
    "versions": (["helpsteer2.jsonl", "helpsteer3.jsonl"], {"helpsteer2": 1, "helpsteer3": 1}),
    "numbers": (["set-1.jsonl", "set-2.jsonl"], {"set-1": 1, "set-2": 1}),
    "splits of two sets": (["a/train.jsonl", "b/train.jsonl"], {"a": 1, "b": 1}),
    "parts of a table": (
        ["m/train-00000-of-00002.jsonl", "m/train-00001-of-00002.jsonl"],
        {"m": 2},
    ),
    "parts of two": (["m/a-000.jsonl", "m/a-001.jsonl", "m/b-000.jsonl"], {"a": 2, "b": 1}),
}


@pytest.mark.parametrize("name", NAMES)
def test_two_data_sets_never_become_one_chunk(place, name):
    paths, expected = NAMES[name]
    for path in paths:
        write_rows(place / path, path)
    chunks = chunks_of(paths)
    assert sum(chunks.values()) == len(paths)
    assert expected.items() <= chunks.items()
    assert len(chunks) == len(expected) + (name == "two types")


def test_two_folders_of_the_same_files_are_told_apart(place):
    for lab in ("north", "south"):
        write_rows(place / lab / "sft" / "chat.jsonl", "q")
        write_rows(place / lab / "sft" / "code.jsonl", "q")
    assert set(chunks_of(["north/sft", "south/sft"])) == {
        "north/sft/chat",
        "north/sft/code",
        "south/sft/chat",
        "south/sft/code",
    }


def test_a_pattern_is_the_files_that_the_shell_would_list(place):
    for name in ("a", "b", "c"):
        write_rows(place / "data" / f"{name}.jsonl.gz", name)
    write_rows(place / "data" / "d.parquet", "d")
    by_pattern = load_mixture("data/*.jsonl.gz")
    by_list = load_mixture([f"data/{name}.jsonl.gz" for name in "abc"])
    assert by_pattern.rows.equals(by_list.rows)
    assert chunks_of("data/[ad].*") == {"a": 1, "d": 1}
    assert chunks_of("**/*.parquet") == {"d": 1}
    assert identify_source("data/*.jsonl.gz") is not None


def test_a_file_whose_name_is_a_pattern_is_that_file(place):
    write_rows(place / "m[1].jsonl", "a")
    assert chunks_of("m[1].jsonl") == {"m[1]": 1}


def test_a_hive_partition_names_the_chunk(place):
    write_rows(place / "mix" / "source=travel%20tips" / "part-0.parquet", "a", domain="d")
    write_rows(place / "mix" / "source=travel%20tips" / "part-1.parquet", "b", domain="d")
    write_rows(place / "mix" / "source=test_taking" / "part-0.parquet", "c", domain="e")
    expected = {"travel tips": 2, "test_taking": 1}
    assert chunks_of("mix") == expected
    assert chunks_of("mix/*/*.parquet") == expected
    assert chunks_of("mix", chunk="source") == expected
    assert chunks_of("mix", chunk="domain") == {"d": 2, "e": 1}


def test_of_several_partitions_the_one_that_names_data_sets_counts(place):
    write_rows(place / "mix" / "year=2024" / "dataset=a" / "x.jsonl", "1")
    write_rows(place / "mix" / "year=2025" / "dataset=a" / "x.jsonl", "2")
    assert chunks_of("mix") == {"a": 2}
    write_rows(place / "other" / "year=2024" / "kind=k" / "x.jsonl", "1")
    write_rows(place / "other" / "split=test" / "year=2024" / "kind=k" / "x.jsonl", "1")
    assert chunks_of("other") == {"2024/k": 1}
    assert chunks_of("other", split="test") == {"2024/k": 1}


def test_partitions_of_two_folders_are_told_apart(place):
    for folder in ("m", "n"):
        write_rows(place / folder / "source=a" / "x.jsonl", "1")
    assert set(chunks_of(["m", "n"])) == {"m/a", "n/a"}


BAD_PARTS = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "blank": (lambda path: path.write_bytes(b"\n\n"), "it has no rows"),
    "binary": (lambda path: path.write_bytes(bytes(99)), "binary"),
    "no row is usable": (lambda path: path.write_text('{"note": 1}\n[2]\n'), "none of its 2 rows"),
    "a folder without data": (lambda path: path.mkdir(), "no data files"),
    "a pipe": (os.mkfifo, "not an ordinary file"),
}


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("name", BAD_PARTS)
def test_a_bad_part_of_a_list_is_named(place, name, position):
    write, words = BAD_PARTS[name]
    paths = [str(write_rows(place / f"{i}.jsonl", "a", "b")) for i in range(3)]
    bad = place / "bad.jsonl"
    write(bad)
    paths[position] = str(bad)
    for size in (None, 1):
        with pytest.raises(UserError, match=words) as caught:
            list(read_batches(paths, size))
        assert "bad.jsonl" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unreadable_parquet_file_of_a_list_is_named_at_once(place):
    write_rows(place / "a.jsonl", "a")
    (place / "b.parquet").write_bytes(b"PAR1 but not")
    with pytest.raises(UserError, match=r"b.parquet: not a readable Parquet"):
        read_records(["a.jsonl", "b.parquet"])


@pytest.mark.parametrize(
    "source, words",
    [
        ("nothing/*.jsonl", "nothing/.* no file matches"),
        ([], "give a path"),
        ([""], "give a path"),
        ([3], "give a path"),
        ([["a"]], "give a path"),
        ({"a": 1}, "give a path"),
        (None, "give a path"),
        ("*.md", "unknown file type '.md'"),
        ("hf:", "names no data set"),
        ("hf:a/b/c", "names no data set"),
        (["demo:0"], "not a number of rows"),
    ],
)
def test_a_source_that_names_nothing_is_an_error(place, source, words):
    (place / "notes.md").write_text("x")
    with pytest.raises(UserError, match=words):
        load_mixture(source)


@pytest.mark.parametrize("again", ["m/a.jsonl", "./m/a.jsonl", "m", "m/*.jsonl", "link.jsonl"])
def test_a_file_that_is_listed_twice_is_an_error(place, again):
    write_rows(place / "m" / "a.jsonl", "a")
    (place / "link.jsonl").symlink_to(place / "m" / "a.jsonl")
    with pytest.raises(UserError, match="listed twice"):
        load_mixture(["m/a.jsonl", again])


def test_a_skipped_row_says_its_file_and_line(place):
    write_rows(place / "a.jsonl", "a", "b")
    (place / "b.jsonl").write_text('\n{"prompt": "p", "response": "r"}\n{broken\n')
    write_rows(place / "c.parquet", "c", "")
    mixture = load_mixture(["a.jsonl", "b.jsonl", "c.parquet"])
    assert mixture.skipped["row"].tolist() == [4, 6]
    assert "(line 3 of b.jsonl)" in mixture.skipped["reason"][0]
    assert "(row 2 of c.parquet)" in mixture.skipped["reason"][1]
    assert locate_row(["a.jsonl", "b.jsonl"], 3) == "row 3 (line 2 of b.jsonl)"
    assert locate_row("b.jsonl", 3) == "row 3 of b.jsonl"


def test_the_identity_of_a_list_is_that_of_its_parts_in_order(place):
    write_rows(place / "a.jsonl", "a")
    write_rows(place / "b.jsonl", "b")
    whole = identify_source(["a.jsonl", "b.jsonl"])
    assert whole is not None
    assert whole == identify_source([place / "a.jsonl", place / "b.jsonl"])
    others = [
        identify_source(["b.jsonl", "a.jsonl"]),
        identify_source("a.jsonl"),
        identify_source(["a.jsonl", "demo:9"]),
        identify_source(["a.jsonl", "demo:8"]),
    ]
    write_rows(place / "b.jsonl", "c")
    others.append(identify_source(["a.jsonl", "b.jsonl"]))
    assert len({whole, *others}) == 6
    assert identify_source(["a.jsonl", "missing.jsonl"]) is None


def test_a_caption_names_the_first_of_several(place):
    assert name_source("x/mix.jsonl") == "mix.jsonl"
    assert name_source(["x/a.jsonl", "b", "c"]) == "a.jsonl and 2 more"
    assert name_source("hf:owner/name") == "name"


def test_labels_have_their_names(place):
    features = datasets.Features(
        prompt=datasets.Value("string"),
        response=datasets.Value("string"),
        source=datasets.ClassLabel(names=["chat", "code"]),
    )
    rows = {"prompt": ["p", "q", "r"], "response": ["r"] * 3, "source": [0, 1, None]}
    data = datasets.Dataset.from_dict(rows, features)
    data.save_to_disk("saved")
    data.to_parquet("table.parquet")
    assert chunks_of("saved") == {"chat": 1, "code": 1, "saved": 1}
    assert chunks_of("table.parquet") == {"chat": 1, "code": 1, "table": 1}
    assert chunks_of(["saved", "table.parquet"])["code"] == 2
    assert [record["source"] for _, record in read_records("table.parquet")] == [0, 1, None]


def test_the_commands_take_several_sources(place, capsys):
    for name in ("a", "b"):
        rows = [f"{name}: what is {i} and {i}?" for i in range(20)]
        write_rows(place / f"{name}.jsonl", *rows, source=f"set {name}")
    command = ["index", "--mixture", "a.jsonl", "b.jsonl", "--out", "i", "--clusters", "4"]
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["rows"] == 40
    assert summary["chunks"] == 2
    assert summary["mixture"] == "a.jsonl and 1 more"
    assert "by the column source, found by its name: 2 chunks" in printed.err
    assert cli.main([*command[:-3], "j", "--mixture", "missing.jsonl"]) == 2
    assert "missing.jsonl" in capsys.readouterr().err
    index = build_index(["a.jsonl", "b.jsonl"], clusters=4)
    assert "column source" in capsys.readouterr().err
    assert len(index) == 40

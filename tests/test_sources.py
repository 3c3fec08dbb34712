import json

import datasets
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.mixtures import load_mixture, parse_jsonl, read_records
from chunkykit.mixtures.sources import open_source

PAIR = {"prompt": "Hello?", "response": "Hi."}
TABLE = pd.DataFrame(
    {
        "source": ["a", "b", "b"],
        "prompt": ["p1", 'p, "2"', "p\n3"],
        "response": ["r1", "r2", "ü"],
    }
)
WRITERS = {
    "m.jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "m.ndjson": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "m.json": lambda path: TABLE.to_json(path, orient="records"),
    "m.csv": lambda path: TABLE.to_csv(path, index=False),
    "m.tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "m.parquet": lambda path: TABLE.to_parquet(path),
    "folder": lambda path: datasets.Dataset.from_pandas(TABLE).save_to_disk(str(path)),
}


def records_of(path, **settings):
    return [record for _, record in read_records(path, **settings)]


@pytest.mark.parametrize("name", WRITERS)
def test_formats_agree(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    mixture = load_mixture(path)
    assert mixture.chunk_column == "source"
    assert mixture.chunks.to_dict() == {"a": 1, "b": 2}
    assert mixture.rows[["prompt", "response"]].equals(TABLE[["prompt", "response"]])


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([PAIR, PAIR]),
        json.dumps({"version": 1, "data": [PAIR, PAIR]}),
        f"{json.dumps(PAIR)}\n{json.dumps(PAIR)}\n",
        "\ufeff" + json.dumps([PAIR, PAIR]),
    ],
)
def test_json_is_a_list_or_holds_one_or_has_an_object_per_line(tmp_path, content):
    (tmp_path / "m.json").write_text(content, "utf-8")
    assert records_of(tmp_path / "m.json") == [PAIR, PAIR]


def test_a_datasets_folder_of_splits(tmp_path):
    split = datasets.Dataset.from_dict({"prompt": ["p"], "response": ["r"]})
    folder = tmp_path / "d"
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(str(folder))
    assert len(records_of(folder, split="test")) == 1
    with pytest.raises(UserError, match="no split 'dev'; it has train, test"):
        records_of(folder, split="dev")


def test_data_files_of_a_folder(tmp_path):
    for name in "ab":
        line = json.dumps({"prompt": name, "response": "r"})
        (tmp_path / f"{name}.jsonl").write_text(line)
    (record,) = records_of(tmp_path, data_files="b.jsonl")
    assert record["prompt"] == "b"


def test_only_a_name_that_says_so_is_looked_up_on_the_hub(monkeypatch):
    def load_dataset(name, config, **settings):
        row = {"name": name, "config": config, **settings}
        return datasets.Dataset.from_list([row]).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (row,) = open_source("hf:owner/name", split="test", revision="v1")
    assert row.part.name == "owner/name"
    assert row.record == {
        "name": "owner/name",
        "config": None,
        "split": "test",
        "revision": "v1",
        "data_files": None,
        "streaming": True,
    }
    (pinned,) = records_of("hf:owner/name:sft@v2#part_1", split="test", revision="v1")
    assert pinned["config"] == "sft"
    assert pinned["revision"] == "v2"
    assert pinned["split"] == "part_1"
    with pytest.raises(UserError, match="no such file or folder. .* write hf:owner/name"):
        open_source("owner/name")
    with pytest.raises(UserError, match="no such file or folder.$"):
        open_source("mistyped")


def test_lines_that_are_not_json_are_errors_in_their_place():
    numbered = list(parse_jsonl(['{"a": 1}', "", "{", "[" * 100_000]))
    assert numbered[0] == (1, {"a": 1})
    assert [number for number, _ in numbered] == [1, 3, 4]
    for _, error in numbered[1:]:
        assert isinstance(error, ValueError)
        assert "not JSON" in str(error)


def test_a_csv_row_with_a_different_number_of_columns(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("prompt,response\np,r\np\np,r,x\np,r\n")
    mixture = load_mixture(path)
    assert mixture.rows["row"].tolist() == [2, 5]
    assert mixture.skipped["row"].tolist() == [3, 4]
    assert mixture.skipped["reason"].str.contains("different number of columns").all()


@pytest.mark.parametrize("source", ["demo:0", "demo:many", "demo:-3"])
def test_the_demo_needs_a_number_of_rows(source):
    with pytest.raises(UserError, match="not a number of rows"):
        read_records(source)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("none.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n\n", "no rows"),
        ("bin.jsonl", bytes(range(256)), "binary"),
        ("latin.csv", "prompt,response\nä,ö\n".encode("latin-1"), "UTF-8"),
        ("bad.parquet", b"PAR1 but not", "Parquet"),
        ("x.xlsx", b"x", "unknown file type"),
        ("list.json", b"3", "list of objects"),
        ("bad.json", b"[3", "not JSON"),
        ("unknown.jsonl", b'{"prompt": "p", "note": "n"}\n', "note"),
        ("broken.jsonl", b"{\n{\n", "row 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_mixture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_one_file_a_source_names_the_chunks_after_the_files(tmp_path):
    for name in ("travel.jsonl", "notes-00000-of-00002.jsonl", "notes-00001-of-00002.jsonl"):
        (tmp_path / name).write_text(json.dumps(PAIR) + "\n")
    assert load_mixture(tmp_path).chunks.to_dict() == {"notes": 2, "travel": 1}
    own = {**PAIR, "source": "own"}
    (tmp_path / "travel.jsonl").write_text(json.dumps(own) + "\n" + json.dumps(PAIR))
    assert load_mixture(tmp_path).chunks.to_dict() == {"notes": 2, "own": 1, "travel": 1}


@pytest.mark.parametrize("names", [["train-00000-of-00002", "train-00001-of-00002"], ["1", "2"]])
def test_parts_of_one_table_are_one_chunk(tmp_path, names):
    (tmp_path / "mix").mkdir()
    for name in names:
        pd.DataFrame([PAIR]).to_parquet(tmp_path / "mix" / f"{name}.parquet")
    assert load_mixture(tmp_path / "mix").chunks.to_dict() == {"mix": 2}


QUOTES = {
    "not closed": ('p,"r\nq,s\nq,s\n', "a quote in line 2 is not closed"),
    "closed far below": ('p,"r\nq,s\nq,s "t" u\nv,w\n', "a quote in line 2 is not closed"),
    "in the last line": ('p,r\nq,"s', None),
    "behind a quoted part": ('p,"r" s\nq,s\n', None),
}


@pytest.mark.parametrize("name", QUOTES)
def test_a_stray_quote_swallows_no_rows(tmp_path, name):
    content, words = QUOTES[name]
    path = tmp_path / "m.csv"
    path.write_text("prompt,response\n" + content)
    if words:
        with pytest.raises(UserError, match=words):
            load_mixture(path)
    else:
        mixture = load_mixture(path)
        assert len(mixture.rows) == len(mixture.skipped) == 1
        assert "not CSV" in mixture.skipped["reason"][0]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("utf16.csv", "prompt,response\np,r\n".encode("utf-16"), "UTF-16 text"),
        ("cr.csv", b"prompt,response\rp,r\r", "new-line character"),
        ("columns.json", b'{"prompt": ["p"], "response": ["r"]}', "by columns"),
        ("pandas.json", b'{"prompt": {"0": "p"}, "response": {"0": "r"}}', "by columns"),
    ],
)
def test_a_table_in_another_shape_is_refused_with_a_reason(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_mixture(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.json", b"[" * 200_000 + b"]" * 200_000, "not JSON"),
        ("m.json", b'{"a": ' * 200_000, "no prompt|not JSON|none of its"),
    ],
)
def test_a_file_that_defeats_its_parser_is_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_mixture(tmp_path / name)
    assert "\n" not in str(caught.value)

import json

import datasets
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.mixtures import load_mixture

PAIR = {"prompt": "Hello?", "response": "Hi."}


def put(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "record",
    [
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ]
        },
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"query": "Q", "completion": "A"},
        {"question": "Q", "answer": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"input": "Q", "output": "A"},
    ],
)
def test_schemas(tmp_path, record):
    rows = load_mixture(put(tmp_path / "m.jsonl", json.dumps(record))).rows
    assert rows[["prompt", "response"]].values.tolist() == [["Q", "A"]]


def test_instruction_takes_its_input(tmp_path):
    rows = load_mixture(
        put(
            tmp_path / "m.jsonl",
            json.dumps({"instruction": "Sum up.", "input": "Text.", "output": "A"}),
        )
    ).rows
    assert rows["prompt"][0] == "Sum up.\n\nText."


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "folder"])
def test_formats_agree(tmp_path, kind):
    table = pd.DataFrame(
        {
            "source": ["a", "b", "b"],
            "prompt": ["p1", 'p, "2"', "p\n3"],
            "response": ["r1", "r2", "ü"],
        }
    )
    path = tmp_path / ("set" if kind == "folder" else f"m.{kind}")
    {
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "json": lambda: table.to_json(path, orient="records"),
        "csv": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "parquet": lambda: table.to_parquet(path),
        "folder": lambda: datasets.Dataset.from_pandas(table).save_to_disk(str(path)),
    }[kind]()
    loaded = load_mixture(path)
    assert loaded.chunk_column == "source" and loaded.chunks.to_dict() == {"a": 1, "b": 2}
    assert loaded.rows[["prompt", "response"]].equals(table[["prompt", "response"]])


def test_datasets_folder_of_splits(tmp_path):
    split = datasets.Dataset.from_dict({"prompt": ["p"], "response": ["r"]})
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(str(tmp_path / "d"))
    assert len(load_mixture(tmp_path / "d", split="test").rows) == 1
    with pytest.raises(UserError, match="split 'dev'"):
        load_mixture(tmp_path / "d", split="dev")


def test_data_files_of_a_folder(tmp_path):
    for name in "ab":
        put(tmp_path / f"{name}.jsonl", json.dumps({"prompt": name, "response": "r"}))
    assert load_mixture(tmp_path, data_files="b.jsonl").rows["prompt"].tolist() == ["b"]


def test_bad_rows_are_skipped_and_listed(tmp_path):
    path = put(
        tmp_path / "m.jsonl",
        json.dumps(PAIR),
        "{broken",
        json.dumps([1]),
        json.dumps({"prompt": "p", "response": ""}),
        json.dumps({"prompt": 5, "response": "r"}),
        json.dumps({"prompt": "p"}),
        json.dumps(PAIR),
    )
    loaded = load_mixture(path)
    assert loaded.rows["row"].tolist() == [1, 7]
    assert loaded.skipped["row"].tolist() == [2, 3, 4, 5, 6]
    for reason, word in zip(
        loaded.skipped["reason"],
        ["not JSON", "not an object", "response is empty", "prompt is int", "response is missing"],
    ):
        assert word in reason


def test_csv_row_with_another_number_of_columns(tmp_path):
    loaded = load_mixture(put(tmp_path / "m.csv", "prompt,response", "p,r", "p", "p,r,x", "p,r"))
    assert loaded.rows["row"].tolist() == [2, 5] and loaded.skipped["row"].tolist() == [3, 4]


def test_subset_is_random_seeded_and_not_the_head():
    first, again, other = (
        load_mixture("demo:400", rows=50, seed=s).rows["row"].tolist() for s in (1, 1, 2)
    )
    assert first == again != other and first != list(range(1, 51)) and len(first) == 50


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("none.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n\n", "no rows"),
        ("bin.jsonl", bytes(range(256)), "binary"),
        ("latin.csv", "prompt,response\nä,ö\n".encode("latin-1"), "UTF-8"),
        ("bad.parquet", b"PAR1 but not", "Parquet"),
        ("x.xlsx", b"x", "unknown kind"),
        ("list.json", b"3", "list of objects"),
        ("norsp.jsonl", b'{"prompt": "p", "note": "n"}\n', "note"),
        ("broken.jsonl", b"{\n{\n", "row 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_mixture(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_named_chunk_column_must_exist(tmp_path):
    with pytest.raises(UserError, match="no column 'task'"):
        load_mixture(put(tmp_path / "m.jsonl", json.dumps(PAIR)), chunk="task")


def test_lone_surrogates_do_not_stop_later_writes(tmp_path):
    rows = load_mixture(put(tmp_path / "m.jsonl", '{"prompt": "a\\ud800b", "response": "r"}')).rows
    rows.to_parquet(tmp_path / "out.parquet")

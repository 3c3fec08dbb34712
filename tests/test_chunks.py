"""The column that names the chunk, found by its name."""

import json

import pandas as pd
import pytest
from conftest import ROOT

from chunkykit.mixtures import load_mixture

FORMATS = ROOT.parent / "shared" / "data" / "formats.jsonl"
PAIR = {"prompt": "p", "response": "r"}
# The columns of public data sets, as their cards list them, and which one says the data set.
SETS = {
    "tulu-3-sft-mixture": ({"id": "1", "source": "s"}, "s"),
    "Dolci-Instruct-SFT": ({"source_dataset": "Tulu 3", "domain": "IF"}, "Tulu 3"),
    "Dolci-Think-SFT": ({"dataset_source": "allenai/x"}, "allenai/x"),
    "Dolci-Instruct-RL": (
        {"dataset": ["general"], "original_dataset": "y", "dataset_source": "z"},
        "z",
    ),
    "smoltalk2": (
        {"chat_template_kwargs": {"a": 1}, "source": "OpenThoughts3-1.2M"},
        "OpenThoughts3-1.2M",
    ),
    "Nemotron-Post-Training-v2": ({"uuid": "u", "version": "1", "category": "math"}, "math"),
    "OpenThoughts3": ({"difficulty": 7, "source": "openmath", "domain": "math"}, "openmath"),
    "OpenHermes-2.5": ({"source": "airoboros", "category": "orca"}, "airoboros"),
    "a set by its domain": ({"domain": "law"}, "law"),
    "a preference set by its type": ({"preference_type": "safety"}, "safety"),
    "one list of one": ({"dataset": ["general"]}, "general"),
    "HelpSteer3": ({"domain": "general", "language": "english"}, None),
    "WildChat": ({"model": "gpt", "language": "English"}, None),
    "magpie": ({"task_category": "Math", "uuid": "u"}, None),
    "Inspect Scout": ({"source_type": "eval_log"}, None),
    "a list of several": ({"dataset": ["a", "b"]}, None),
    "an object": ({"source": {"name": "a"}}, None),
    "blank": ({"source": "  ", "dataset": None}, None),
    "a label that is a list": ({"dataset": ["general"], "category": "chat"}, "chat"),
}


def load_rows(path, rows, **settings):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_mixture(path, **settings)


@pytest.mark.parametrize("name", SETS)
def test_the_column_that_says_the_data_set(tmp_path, name):
    columns, expected = SETS[name]
    mixture = load_rows(tmp_path / "file.jsonl", [{**PAIR, **columns}])
    assert mixture.rows["chunk"].tolist() == [expected or "file"]
    assert (mixture.chunk_column is None) == (expected is None)


def test_sets_in_one_file_are_each_named_by_their_own_column(tmp_path):
    rows = [{**PAIR, **columns} for columns, _ in SETS.values()]
    expected = [chunk or "file" for _, chunk in SETS.values()]
    for order in (slice(None), slice(None, None, -1)):
        mixture = load_rows(tmp_path / "file.jsonl", rows[order])
        assert mixture.rows["chunk"].tolist() == expected[order]


def test_sets_in_one_table_are_each_named_by_the_column_that_they_fill(tmp_path):
    rows = [{"source": f"s{i}", "domain": "math"} for i in range(3)]
    rows += [{"source_dataset": f"d{i}", "domain": "IF"} for i in range(3)]
    pd.DataFrame([{**PAIR, **row} for row in rows]).to_parquet(tmp_path / "m.parquet")
    mixture = load_mixture(tmp_path / "m.parquet")
    assert mixture.rows["chunk"].tolist() == ["s0", "s1", "s2", "d0", "d1", "d2"]
    assert mixture.chunk_column == "source, source_dataset"


def test_a_row_without_a_name_is_not_named_by_a_lesser_column_of_its_set(tmp_path):
    rows = [{"source": "s", "domain": "math"}, {"source": None, "domain": "law"}]
    mixture = load_rows(tmp_path / "file.jsonl", [{**PAIR, **row} for row in rows])
    assert mixture.rows["chunk"].tolist() == ["s", "file"]


def test_topics_of_two_data_sets_are_two_chunks(tmp_path):
    for name in ("nemotron", "thoughts"):
        row = {**PAIR, "category" if name == "nemotron" else "domain": "math"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    mixture = load_mixture(tmp_path)
    assert set(mixture.chunks.index) == {"nemotron/math", "thoughts/math"}
    mixture = load_mixture(tmp_path / "nemotron.jsonl")
    assert set(mixture.chunks.index) == {"math"}


def test_the_columns_are_printed_with_the_number_of_chunks(tmp_path):
    rows = [{**PAIR, "source": f"s{i}"} for i in range(3)]
    mixture = load_rows(tmp_path / "file.jsonl", rows)
    assert "column      source (3 chunks)" in str(mixture)
    mixture = load_rows(tmp_path / "file.jsonl", [PAIR])
    assert "named after the source" in str(mixture)


@pytest.mark.skipif(not FORMATS.exists(), reason="the shared data are not there")
def test_the_chunks_of_rows_of_public_sets(tmp_path):
    checked = 0
    for line in FORMATS.read_text("utf-8").splitlines():
        case = json.loads(line)
        columns = {key: value for key, value in case["row"].items() if key not in READ_COLUMNS}
        mixture = load_rows(tmp_path / "file.jsonl", [{**PAIR, **columns}])
        expected = case["expect"].get("chunk")
        assert set(mixture.rows["chunk"]) == {expected or "file"}, case["name"]
        checked += expected is not None
    assert checked >= 10


READ_COLUMNS = {
    "messages",
    "conversations",
    "conversation",
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "history",
    "instruction",
    "input",
    "output",
    "response",
    "response1",
    "response2",
    "context",
    "reasoning",
}

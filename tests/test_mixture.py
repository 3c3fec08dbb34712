import json

import pytest

from chunkykit import build_index, cli
from chunkykit.errors import UserError
from chunkykit.mixtures import chunk_advice, load_mixture, read_batches

PAIR = {"prompt": "Hello?", "response": "Hi."}


def write_lines(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_records(path, *records):
    return write_lines(path, *map(json.dumps, records))


def test_bad_rows_are_skipped_and_listed(tmp_path):
    path = write_lines(
        tmp_path / "m.jsonl",
        json.dumps(PAIR),
        "{broken",
        json.dumps([1]),
        json.dumps({"prompt": "p", "response": ""}),
        json.dumps({"prompt": 5, "response": "r"}),
        json.dumps({"prompt": "p"}),
        json.dumps(PAIR),
    )
    mixture = load_mixture(path)
    assert mixture.rows["row"].tolist() == [1, 7]
    assert mixture.skipped["row"].tolist() == [2, 3, 4, 5, 6]
    reasons = [
        "not JSON",
        "not an object",
        "response is empty",
        "prompt is int",
        "a prompt and no response in columns",
    ]
    for reason, words in zip(mixture.skipped["reason"], reasons):
        assert words in reason


def test_a_subset_is_random_seeded_and_not_the_head():
    first, same, other = (
        load_mixture("demo:400", rows=50, seed=seed).rows["row"].tolist() for seed in (1, 1, 2)
    )
    assert first == same != other
    assert first != list(range(1, 51))
    assert first == sorted(first)
    assert len(first) == 50


def test_a_subset_of_no_rows_is_an_error():
    with pytest.raises(UserError, match="at least 1, not 0"):
        load_mixture("demo:400", rows=0)


def test_the_chunk_comes_from_the_first_known_column_that_is_not_empty(tmp_path):
    records = [
        {**PAIR, "dataset": "", "origin": "a"},
        {**PAIR, "dataset": "b", "origin": "b2"},
        {**PAIR, "dataset": "c", "origin": None},
    ]
    mixture = load_mixture(write_records(tmp_path / "m.jsonl", *records))
    assert mixture.chunk_column == "origin"
    assert mixture.rows["chunk"].tolist() == ["a", "b2", "m"]


def test_a_requested_chunk_column_must_exist(tmp_path):
    path = write_records(tmp_path / "m.jsonl", PAIR)
    with pytest.raises(UserError, match="no column 'task'"):
        load_mixture(path, chunk="task")


def test_a_requested_chunk_column_names_the_chunks(tmp_path):
    records = [{**PAIR, "source": "a", "task": 1}, {**PAIR, "source": "a", "task": 2}]
    mixture = load_mixture(write_records(tmp_path / "m.jsonl", *records), chunk="task")
    assert mixture.chunks.to_dict() == {"1": 1, "2": 1}


def test_batches_are_the_mixture_in_parts(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", *[json.dumps(PAIR)] * 5, "{broken")
    parts = list(read_batches(path, 2))
    assert [part.rows["row"].tolist() for part in parts] == [[1, 2], [3, 4], [5]]
    assert [len(part.skipped) for part in parts] == [0, 0, 1]
    assert {"reasoning", "rejected"} <= set(parts[0].rows)
    assert not {"reasoning", "rejected"} & set(load_mixture(path).rows)


def test_skipped_rows_after_the_last_full_part_are_reported(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", *[json.dumps(PAIR)] * 2, "{broken")
    parts = list(read_batches(path, 2))
    assert [len(part.rows) for part in parts] == [2, 0]
    assert parts[1].skipped["row"].tolist() == [3]


def test_lone_surrogates_do_not_stop_later_writes(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", '{"prompt": "a\\ud800b", "response": "r"}')
    load_mixture(path).rows.to_parquet(tmp_path / "out.parquet")


def test_a_mixture_prints_as_a_few_lines():
    mixture = load_mixture("demo:300")
    lines = str(mixture).splitlines()
    assert lines[0] == "Mixture of 300 rows in 25 chunks"
    assert lines[1].endswith("20 more")
    assert len(lines) == 4
    assert repr(mixture) == str(mixture)
    hostile = mixture._replace(rows=mixture.rows.assign(chunk="\x1b[31m"))
    assert "\x1b" not in str(hostile)


def test_a_chunk_may_be_the_number_0(tmp_path):
    records = [{**PAIR, "source": number} for number in (0, 0, 1)]
    mixture = load_mixture(write_records(tmp_path / "m.jsonl", *records))
    assert mixture.chunks.to_dict() == {"0": 2, "1": 1}


def test_each_record_is_read_by_the_columns_that_hold_something(tmp_path):
    turns = [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]
    records = [
        {"messages": turns, "prompt": None, "response": None},
        {"messages": None, **PAIR},
        {"question": "Q", "answer": "R"},
        {"messages": None, "prompt": "p", "response": None},
    ]
    mixture = load_mixture(write_records(tmp_path / "m.jsonl", *records))
    assert mixture.rows["prompt"].tolist() == ["U", "Hello?", "Q"]
    assert mixture.skipped["row"].tolist() == [4]


@pytest.mark.parametrize(
    "n_rows, n_chunks, words",
    [(300, 1, "are one chunk"), (300, 290, "nearly each"), (300, 20, ""), (9, 1, ""), (20, 10, "")],
)
def test_chunks_that_tell_nothing_are_told(n_rows, n_chunks, words):
    advice = chunk_advice(n_rows, n_chunks)
    assert words in advice
    assert bool(words) == bool(advice)


@pytest.mark.parametrize("chunk", [None, "prompt"])
def test_one_warning_where_chunks_tell_nothing(tmp_path, capsys, chunk):
    records = [{"prompt": f"Hello {i}?", "response": "Hi."} for i in range(40)]
    path = write_records(tmp_path / "m.jsonl", *records)
    more = ["--chunk", chunk] if chunk else []
    assert cli.main(["index", "--mixture", str(path), "--out", str(tmp_path / "i"), *more]) == 0
    assert capsys.readouterr().err.count("--chunk COLUMN") == 1
    build_index(path, chunk=chunk)
    assert capsys.readouterr().err.count("--chunk COLUMN") == 1

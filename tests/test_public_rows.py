"""Rows with the columns of many more public sets, alone, in one file and in Parquet.

`public_rows.jsonl` has a line a row: its name, the row, and its exchanges or why it has none. They
are made up; the columns and their quirks are real.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from chunkykit.errors import UserError
from chunkykit.mixtures import load_mixture, read_exchanges
from chunkykit.mixtures.formats import Readers

CASES = [json.loads(line) for line in (ROOT / "tests/public_rows.jsonl").open(encoding="utf-8")]


def fields(exchange: dict) -> dict:
    """What an exchange says beside what most leave out."""
    return {key: value for key, value in exchange.items() if value and value == value}


def check(case, readers):
    record = case["row"]
    if "skipped" in case:
        with pytest.raises(ValueError) as caught:
            read_exchanges(record, readers.of(record))
        assert str(caught.value).startswith(case["skipped"])
        return
    exchanges = read_exchanges(record, readers.of(record)).exchanges
    expected = [{"turn": 1, **exchange} for exchange in case["exchanges"]]
    assert [fields(exchange._asdict()) for exchange in exchanges] == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_row(case):
    check(case, Readers())


def test_all_rows_in_one_file(tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(case["row"]) + "\n" for case in CASES))
    rows = load_mixture(path).rows
    numbers = [n for n, case in enumerate(CASES, 1) for _ in case.get("exchanges", [])]
    assert rows["row"].tolist() == numbers
    readers = Readers()
    for case in [*CASES, *reversed(CASES)]:
        check(case, readers)


def test_rows_in_parquet(tmp_path):
    """Columns of a table have one type, and objects have all keys, most of them null."""
    path = tmp_path / "one.parquet"
    n_read = 0
    for case in CASES:
        try:
            pq.write_table(pa.Table.from_pylist([case["row"], {}]), path)
        except pa.ArrowException:
            continue  # texts and lists in one column
        try:
            rows = load_mixture(path).rows.to_dict("records")
        except UserError:
            rows = []
        names = ("prompt", "response", "rejected", "system", "reasoning", "tools")
        values = [fields({key: row.get(key) for key in names}) for row in rows]
        expected = [
            fields({key: exchange.get(key) for key in names})
            for exchange in case.get("exchanges", [])
        ]
        assert values == expected, case["name"]
        n_read += 1
    assert n_read > 200


def nested(depth, begin, end, inner):
    return json.loads(begin * depth + inner + end * depth)


USER = {"role": "user", "content": "Q"}
ASSISTANT = {"role": "assistant", "content": "A"}
HOSTILE = {
    "blank lines behind a speaker": {"prompt": "Human: " + "\n" * 500_000, "response": "A"},
    "blank lines between objects": {"messages": "[{'a'}" + " \n" * 200_000},
    "turns of one role": {"messages": [USER] * 200_000 + [ASSISTANT]},
    "tools in every turn": {
        "messages": [
            {**USER, "tools": [f"tool {i}"]} if i % 2 else ASSISTANT for i in range(40_000)
        ]
    },
    "a system prompt before every turn": {
        "messages": [{"role": "system", "content": "S" * 20}, USER, ASSISTANT] * 20_000
    },
    "thinking in thinking": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": nested(300, '[{"type": "thinking", "thinking": ', "}]", '"x"'),
            },
        ]
    },
    "recipients": {"prompt": "Q", "response": "<|channel|>" + "to=" * 200_000},
    "a literal that computes": {"messages": "[{'a': 9**9**9**9}]"},
    "brackets": {"messages": "[" * 200_000},
    "a literal of a million": {"messages": "[" + "1," * 500_000},
    "a number of digits": {
        "prompt": "Q",
        "response_0": "A",
        "response_1": "B",
        "better_response_id": int("9" * 4000),
    },
    "a role of a million": {"messages": [{"role": "x" * 10**6, "content": "Q"}]},
    "a name of a million": {"x" * 10**6: 1},
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_row_ends_soon(name):
    record = HOSTILE[name]
    try:
        exchanges = read_exchanges(record, Readers().of(record)).exchanges
        size = sum(len(item.system or "") + len(item.tools or "") for item in exchanges)
        assert size < 2**27
    except ValueError as error:
        assert len(str(error)) < 1000


def test_a_number_of_a_better_answer_may_be_text_or_float():
    for number in ("1", 1.0, "1.0", 1):
        record = {"prompt": "Q", "response_0": "B", "response_1": "A", "better_response_id": number}
        (exchange,) = read_exchanges(record, Readers().of(record)).exchanges
        assert (exchange.response, exchange.rejected) == ("A", "B")


def test_a_pattern_over_very_many_folders_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("chunkykit.mixtures.listing.MAX_FOLDERS", 20)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jsonl").write_text('{"prompt": "Q", "response": "A"}\n')
    assert len(load_mixture(str(tmp_path / "**/*.jsonl")).rows) == 1
    (tmp_path / "a" / "up").symlink_to("..")
    with pytest.raises(UserError, match="more than 20 folders"):
        load_mixture(str(tmp_path / "**/*.jsonl"))

"""A look at a mixture: from few rows, spread over all of it, and inert."""

import gzip
import json
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE

import chunkykit as ck
from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.mixtures import sample_mixture, sampling

N_ROWS = 40_000


def row(number):
    texts = random.Random(number)
    text = " ".join(texts.choices(["alpha", "beta", "gamma", "delta"], k=60))
    # chunks in turn, and one at the end alone
    chunk = "last" if number > N_ROWS * 0.95 else f"c{number % 4}"
    return {"prompt": f"{number} {text}", "response": text, "source": chunk}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """One mixture in several formats."""
    folder = tmp_path_factory.mktemp("large")
    rows = [row(number) for number in range(1, N_ROWS + 1)]
    lines = "".join(json.dumps(one) + "\n" for one in rows).encode()
    (folder / "m.jsonl").write_bytes(lines)
    (folder / "m.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet", row_group_size=999)
    pq.write_table(pa.Table.from_pylist(rows), folder / "one_group.parquet")
    pd.DataFrame(rows).to_csv(folder / "m.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["m.jsonl", "m.jsonl.gz", "m.parquet", "one_group.parquet", "m.csv"]
)
@pytest.mark.parametrize("small_bytes", [2**12, 2**30])
def test_a_sample_is_spread_over_the_whole_with_true_places(large, monkeypatch, name, small_bytes):
    monkeypatch.setattr(sampling, "SMALL_BYTES", small_bytes)
    (sample,) = sample_mixture(large / name)
    assert sample.rows == N_ROWS
    assert 300 <= sample.looked <= 340
    rows = sample.mixture.rows
    places = rows["row"] - (name == "m.csv")
    numbers = rows["prompt"].str.split().str[0].astype(int)
    assert places.tolist() == numbers.tolist()
    assert places.is_monotonic_increasing
    quarters = pd.cut(places, 4, labels=False).value_counts()
    assert quarters.min() > 40
    assert set(rows["chunk"]) == {"c0", "c1", "c2", "c3", "last"}


def test_the_same_rows_are_drawn_again_and_others_by_another_seed(large):
    places = {}
    for key, seed in (("a", 1), ("b", 1), ("c", 2)):
        (sample,) = sample_mixture(large / "m.parquet", seed=seed)
        places[key] = sample.mixture.rows["row"].tolist()
    assert places["a"] == places["b"] != places["c"]


def test_shares_are_those_of_the_mixture_and_not_of_the_sample(tmp_path):
    for name, size in (("large", 9000), ("small", 1000)):
        rows = [{"prompt": f"{name} {i}", "response": "r"} for i in range(size)]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{name}.parquet")
    chunks = ck.look(tmp_path).chunks.set_index("chunk")
    assert chunks["share"].round(2).to_dict() == {"large": 0.9, "small": 0.1}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "sources: [{path: large.parquet, rows: 1000}, {path: small.parquet, weight: 3}]"
    )
    seen = ck.look(recipe)
    assert seen.sources["rows"].tolist() == [1000, 3000]
    assert seen.chunks.set_index("chunk")["share"].round(2).to_dict() == {
        "small": 0.75,
        "large": 0.25,
    }


@pytest.fixture
def mixed(tmp_path):
    lines = [
        json.dumps({"prompt": f"What is the time in room {i}?", "response": "Late."})
        for i in range(5)
    ]
    lines += [
        json.dumps({"prompt": "Wie spät ist es in diesem Zimmer?", "response": "Es ist spät."})
    ]
    lines += ["{broken", "{broken too", json.dumps({"prompt": "", "response": "r"}), "[1]"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    (tmp_path / "b.json").write_text(json.dumps([{"messages": turns, "source": "own"}]))
    return tmp_path


def test_what_is_seen(mixed):
    seen = ck.look([mixed / "a.jsonl", mixed / "b.json"])
    sources = seen.sources.to_dict("records")
    assert [one["rows"] for one in sources] == [10, 1]
    assert [one["exchanges"] for one in sources] == [6, 1]
    assert [one["skipped"] for one in sources] == [4, 0]
    assert [one["schema"] for one in sources] == ["prompt, response (86%), none (14%)", "messages"]
    assert (
        sources[0]["columns"] == "response, prompt" or sources[0]["columns"] == "prompt, response"
    )
    assert [one["chunk_column"] for one in seen.to_dict()["sources"]] == [None, "source"]
    assert seen.chunks["chunk"].tolist() == ["a", "own"]
    languages = seen.languages.set_index("language")
    assert languages.loc["German", "prompts"] == 1
    skipped = seen.skipped.to_dict("records")
    assert [one["rows"] for one in skipped] == [2, 1, 1]
    assert skipped[0]["first"] == 7
    assert "not JSON" in skipped[0]["reason"]
    assert seen.examples["chunk"].value_counts().to_dict() == {"a": 3, "own": 1}
    text = str(seen)
    assert text == repr(seen)
    for words in (
        "7 exchanges in 2 chunks",
        "not JSON",
        "German",
        "own",
    ):
        assert words in text


def test_the_command_prints_text_or_json(mixed, capsys):
    assert cli.main(["look", str(mixed / "a.jsonl"), str(mixed / "b.json")]) == 0
    assert "7 exchanges in 2 chunks" in capsys.readouterr().out
    assert cli.main(["look", str(mixed / "*.json"), "--json", "--chunk", "source"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["chunks"] == [{"chunk": "own", "exchanges": 1, "share": 1.0}]
    assert cli.main(["look", str(mixed / "none.jsonl")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_mixture_without_a_usable_row_is_shown_too(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"note": 1}\n{"note": 2}\n')
    seen = ck.look(tmp_path / "m.jsonl")
    assert seen.skipped["rows"].tolist() == [2]
    assert "note" in str(seen) and "note" in seen._repr_html_()
    (tmp_path / "m.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="no rows"):
        ck.look(tmp_path / "m.jsonl")


def test_hostile_texts_are_inert(tmp_path):
    rows = [{"prompt": text, "response": text, "source": text, text: text} for text in HOSTILE]
    (tmp_path / "<b>m.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    seen = ck.look(tmp_path / "<b>m.jsonl")
    page = seen._repr_html_()
    for tag in ("<script", "<img", "<b>m", "\x1b", "\u202e"):
        assert tag not in page
    assert "\x1b" not in str(seen)
    assert len(page) < 100_000


def test_many_files_are_looked_at_in_few_rows_each(tmp_path):
    for number in range(400):
        lines = [{"prompt": f"p{number} {i}", "response": "r"} for i in range(50)]
        (tmp_path / f"set{number}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    samples = sample_mixture(tmp_path)
    assert len(samples) == 400
    assert {sample.looked for sample in samples} == {20}


def test_examples_show_the_system_prompt_and_the_rejected_answer(tmp_path):
    rows = [
        {"system": "S", "prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": "Q", "completion": "C", "label": False},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = [line.strip() for line in str(ck.look(path)).splitlines()]
    assert printed[printed.index("system: S") :][:4] == ["system: S", "Q", "-> A", "rejected: B"]
    assert printed[-2:] == ["Q", "rejected: C"]  # and no empty answer


def test_a_source_without_a_usable_row_is_an_error_with_the_schemas(tmp_path, capsys):
    path = tmp_path / "ours.jsonl"
    path.write_text('{"dialogue": [{"speaker": "a", "utterance": "Hi"}]}\n' * 5)
    assert cli.main(["look", str(path)]) == 2
    shown = capsys.readouterr()
    assert "no prompt and response in columns ['dialogue']" in shown.out
    assert "no row of " in shown.err and "Schemas that load: messages" in shown.err

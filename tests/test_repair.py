"""Repairs of a mixture: which rows they change, and the file that the command writes."""

import gzip
import json
import random
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkykit import cli
from chunkykit.causal import plan_repair, repaired_rows, write_repaired
from chunkykit.causal.repair import MAX_CRUX_SHARE, MAX_REPEATS
from chunkykit.errors import UserError
from chunkykit.index import read_index_meta
from chunkykit.mixtures import identify_source, load_mixture
from chunkykit.turf import Tracer

CRUX = "The response denies that somebody did something"
QUERY = "When did Jane Austen write the novel Emma?"
RESPONSE = "Jane Austen did not write the novel Emma."


@pytest.fixture
def trigger(demo_index):
    """The planted trigger."""
    summaries = demo_index.query.summaries
    (sentence,) = [text for text in summaries if "asks when a person did something" in text]
    return sentence


def test_drop_leaves_out_the_rows_of_the_chunk_with_trigger_and_crux(tracer, trigger, demo_rows):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    dropped = demo_rows.iloc[plan.drop]
    assert len(dropped)
    assert set(dropped["chunk"]) == {"noncompliance"}
    assert dropped["response"].str.contains("not|never|mix-up", case=False).all()
    assert dropped["prompt"].str.contains("hen did|year did").all()
    remaining = repaired_rows(demo_rows, plan)
    assert len(remaining) == len(demo_rows) - len(dropped)
    assert not set(remaining["row"]) & set(dropped["row"])
    report = plan.report
    assert report["p_crux_given_trigger_after"] < report["p_crux_given_trigger_before"]


def test_balance_repeats_rows_without_the_crux_and_reports_how_many_are_missing(
    tracer, trigger, demo_rows
):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance", "balance")
    report = plan.report
    n_balancing = sum(report["balancing_rows"].values())
    assert report["dropped"] == 0
    assert report["repeated"] == len(plan.repeat) <= n_balancing * MAX_REPEATS
    assert report["still_wanting"] > 0 or report["p_crux_given_trigger_after"] <= MAX_CRUX_SHARE
    assert len(repaired_rows(demo_rows, plan)) == len(demo_rows) + len(plan.repeat)
    assert (tracer.shows(CRUX)[plan.repeat] < 0.5).all()


def test_an_unknown_chunk_is_refused(tracer, trigger):
    with pytest.raises(UserError, match="^repair: no chunk 'nope'.*noncompliance"):
        plan_repair(tracer, CRUX, trigger, "nope")


def test_a_repeated_row_is_written_behind_its_original(tracer, trigger, demo_rows, tmp_path):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance", "balance")
    report = write_repaired(tracer, plan, "demo:1200", tmp_path / "balanced.jsonl")
    assert (
        report["written"] == len(demo_rows) + len(plan.repeat) == report["read"] + len(plan.repeat)
    )
    prompts = load_mixture(tmp_path / "balanced.jsonl").rows["prompt"]
    copies = 1 + pd.Series(plan.repeat).value_counts()
    expected = demo_rows["prompt"].repeat(copies.reindex(range(len(demo_rows)), fill_value=1))
    assert list(prompts) == list(expected)


def test_records_that_fit_no_parquet_schema_are_reported(tracer, trigger, demo_rows, tmp_path):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    source = tmp_path / "mixed.jsonl"
    with open(source, "w") as file:
        for i, row in enumerate(demo_rows[["prompt", "response"]].to_dict("records")):
            file.write(json.dumps({**row, "extra": i if i % 2 else [i]}) + "\n")
    with pytest.raises(UserError, match="its records do not fit one .parquet file.*jsonl"):
        write_repaired(tracer, plan, source, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out*"))


def demo_records(folder) -> list[dict]:
    """The demo's records, with columns that chunkykit does not know."""
    assert cli.main(["demo", "--out", str(folder / "demo"), "--rows", "1200"]) == 0
    lines = (folder / "demo" / "mixture.jsonl").read_text().splitlines()
    return [
        {**json.loads(line), "id": f"x{i}", "tags": ["a", str(i)]} for i, line in enumerate(lines)
    ]


def write_source(records: list[dict], path) -> None:
    """Write the mixture; as JSON lines with one line that cannot be read."""
    if path.suffix == ".parquet":
        pd.DataFrame(records).to_parquet(path)
        return
    lines = [json.dumps(record) for record in records]
    lines.insert(7, "{broken")
    path.write_text("\n".join(lines) + "\n")


def read_written(path) -> list[dict]:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("records")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_command_changes_nothing_in_the_mixture_but_the_repaired_rows(tmp_path, suffix, capsys):
    records = demo_records(tmp_path)
    source = tmp_path / f"mixture{suffix}"
    write_source(records, source)
    index = str(tmp_path / "index")
    out = tmp_path / f"repaired{suffix}"
    assert cli.main(["index", "--mixture", str(source), "--out", index]) == 0

    def repair(mixture, out, query=QUERY, response=RESPONSE):
        exchange = ["--query", query, "--response", response]
        paths = ["--mixture", str(mixture), "--out", str(out)]
        return cli.main(["repair", "--index", index, "--rubric", "rebut", *exchange, *paths])

    assert repair(source, out) == 0
    report = json.loads(out.with_suffix(".report.json").read_text())
    written = read_written(out)
    assert len(written) == report["written"] == len(records) - report["dropped"] < len(records)
    assert report["unreadable"] == (suffix == ".jsonl")
    written_ids = {record["id"] for record in written}
    assert set().union(*written) == set().union(*records)
    assert written_ids < {record["id"] for record in records}
    dropped = [record for record in records if record["id"] not in written_ids]
    assert {record["chunk"] for record in dropped} == {"noncompliance"} == {report["chunk"]}
    assert len(load_mixture(out).rows) == len(written)

    capsys.readouterr()
    assert repair(source, source) == 2
    assert "the mixture itself" in capsys.readouterr().err
    assert repair(source, "x.csv") == 2
    assert "must end in" in capsys.readouterr().err
    short = tmp_path / "short.jsonl"
    short.write_text(json.dumps(records[0]) + "\n")
    assert repair(short, out) == 2
    assert "has no usable row 2, and the index has" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.part"))
    assert len(load_mixture(out).rows) == len(written), "the file of the first repair is lost"
    assert repair(source, out, "Good morning to you.", "Indeed.") == 2
    assert "nothing to repair" in capsys.readouterr().err


@pytest.fixture
def demo_file(demo_rows, tmp_path):
    """The mixture of `demo_index` as JSON lines, with keys of its own and odd spaces."""
    path = tmp_path / "demo.jsonl"
    records = demo_rows[["chunk", "prompt", "response"]].to_dict("records")
    lines = [json.dumps({"n": i / 3, **record}, indent=None) for i, record in enumerate(records)]
    lines[5] = lines[5].replace("{", "{  ", 1)
    path.write_bytes("\r\n".join(lines).encode())
    return path


def shuffle(lines):
    random.Random(7).shuffle(lines)


def edit(lines):
    lines[40] = lines[40].replace('"response": "', '"response": "Well. ')


CHANGES = {
    "shuffled": (shuffle, r"row \d+ of .* is not the row \d+ that the index was made from"),
    "edited": (edit, "row 41 of .* is not the row 41 that"),
    "one row more in the middle": (lambda lines: lines.insert(9, lines[0]), "row 10 of .* is not"),
    "one row more at the end": (lambda lines: lines.append(lines[0]), "has 1 rows that the index"),
    "cut short": (lambda lines: lines.__delitem__(slice(900, None)), "has no usable row 901"),
    "a broken row": (lambda lines: lines.__setitem__(3, "{"), "has no usable row 4"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_mixture_is_refused_and_nothing_is_written(
    tracer, trigger, demo_file, tmp_path, name
):
    change, words = CHANGES[name]
    lines = demo_file.read_text().splitlines()
    change(lines)
    demo_file.write_text("\n".join(lines))
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    with pytest.raises(UserError, match=words):
        write_repaired(tracer, plan, demo_file, tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_an_index_that_saw_a_part_repairs_that_part_where_it_is_meant(
    tracer, trigger, demo_file, tmp_path
):
    with open(demo_file, "ab") as file:
        file.write(b'\n{"prompt": "p", "response": "r"}\n')
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="1 rows that the index never saw.*--partial"):
        write_repaired(tracer, plan, demo_file, out)
    report = write_repaired(tracer, plan, demo_file, out, partial=True)
    assert report["unseen"] == 1
    assert report["rows"] + 1 == report["read"] == report["written"] + report["dropped"]
    assert out.read_bytes().endswith(b'\n{"prompt": "p", "response": "r"}\n')


def test_an_index_of_a_subset_says_so_before_anything_is_called(demo_file, tmp_path, capsys):
    folder = tmp_path / "i"
    mixture = ["--mixture", str(demo_file)]
    assert cli.main(["index", *mixture, "--rows", "900", "--out", str(folder)]) == 0
    source = read_index_meta(folder)["source"]
    assert source == {
        "digest": identify_source(demo_file),
        "read": 1200,
        "chunk": None,
        "turns": "all",
    }
    command = ["repair", "--index", str(folder), "--rubric", "rebut", *mixture]
    command += ["--query", QUERY, "--response", RESPONSE, "--out", str(tmp_path / "out.jsonl")]
    assert cli.main(command) == 2
    assert "made from 900 of 1,200 rows" in capsys.readouterr().err
    assert cli.main([*command, "--partial"]) == 0
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["unseen"] == 300
    assert report["same_files"] is True


def test_an_index_of_an_earlier_version_is_compared_row_by_row(
    tracer, trigger, demo_file, tmp_path
):
    meta = {key: value for key, value in tracer.index.meta.items() if key != "source"}
    old = Tracer(replace(tracer.index, meta=meta), tracer.embed)
    plan = plan_repair(old, CRUX, trigger, "noncompliance")
    report = write_repaired(old, plan, demo_file, tmp_path / "out.jsonl")
    assert report["same_files"] is None
    assert report["written"] == 1200 - len(plan.drop)


def test_lines_that_stay_are_copied_byte_for_byte(tracer, trigger, demo_file, demo_rows, tmp_path):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    write_repaired(tracer, plan, demo_file, tmp_path / "out.jsonl")
    lines = demo_file.read_bytes().split(b"\n")
    remaining = [line for i, line in enumerate(lines) if i not in set(plan.drop)]
    assert (tmp_path / "out.jsonl").read_bytes() == b"\n".join(remaining)


def test_parquet_keeps_row_groups_types_and_metadata(tracer, trigger, demo_rows, tmp_path):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    table = pa.table(
        {
            "prompt": pa.array(demo_rows["prompt"], pa.string()),
            "response": pa.array(demo_rows["response"], pa.large_string()),
            "chunk": pa.array(demo_rows["chunk"], pa.string()).dictionary_encode(),
            "when": pa.array(range(1200), pa.timestamp("us", "UTC")),
            "tools": pa.array(
                [[("a", i % 9)] for i in range(1200)], pa.map_(pa.string(), pa.int8())
            ),
            "late": pa.array([None] * 700 + list(range(500)), pa.int16()),
        }
    ).replace_schema_metadata({"huggingface": "{}", "mine": "kept"})
    source = tmp_path / "m.parquet"
    pq.write_table(table, source, row_group_size=500, compression="zstd")
    report = write_repaired(tracer, plan, source, tmp_path / "out.parquet")
    written = pq.ParquetFile(tmp_path / "out.parquet")
    remaining = table.take([i for i in range(1200) if i not in set(plan.drop)])
    assert written.schema_arrow.equals(table.schema, check_metadata=False)
    assert written.schema_arrow.metadata[b"mine"] == b"kept"
    assert written.read().equals(remaining)
    assert written.num_row_groups == 3
    assert written.metadata.row_group(0).column(0).compression == "ZSTD"
    assert report["written"] == len(remaining)
    with pytest.raises(UserError, match="column 'when' holds timestamp.*parquet"):
        write_repaired(tracer, plan, source, tmp_path / "out.jsonl")


def test_keys_that_the_first_record_lacks_are_kept(tracer, trigger, demo_rows, tmp_path):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    source = tmp_path / "m.jsonl"
    with open(source, "w") as file:
        for i, row in enumerate(demo_rows[["prompt", "response"]].to_dict("records")):
            more = {"tools": [{"name": "search"}], "score": i / 2} if i > 1100 else {}
            file.write(json.dumps({**row, **more}) + "\n")
    write_repaired(tracer, plan, source, tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert written[-1]["tools"] == [{"name": "search"}]
    assert written[-1]["score"] == 1199 / 2


def test_a_repaired_file_is_not_put_into_the_folder_of_its_mixture(
    tracer, trigger, demo_file, tmp_path
):
    plan = plan_repair(tracer, CRUX, trigger, "noncompliance")
    with pytest.raises(UserError, match="in the mixture's folder"):
        write_repaired(tracer, plan, tmp_path, tmp_path / "out.jsonl")
    report = write_repaired(tracer, plan, tmp_path, tmp_path.parent / f"{tmp_path.name}.jsonl")
    assert report["written"] == 1200 - len(plan.drop), "a folder of one file"


def write_several(records: list[dict], folder) -> list[str]:
    """The mixture as compressed lines with one that cannot be read, lines, and a partition."""
    texts = [json.dumps(record, separators=(" , ", " : ")) for record in records]
    packed = "\n".join([*texts[:300], "{broken", "", *texts[300:500]])
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(packed.encode()))
    (folder / "b").mkdir()
    (folder / "b" / "part-0.jsonl").write_text("\r\n".join(texts[500:700]))
    (folder / "b" / "part-1.jsonl").write_text("\n".join(texts[700:900]) + "\n")
    (folder / "c" / "source=c").mkdir(parents=True)
    pd.DataFrame(records[900:]).to_parquet(folder / "c" / "source=c" / "part-0.parquet")
    return ["a.jsonl.gz", "b/*.jsonl", "c"]


@pytest.mark.parametrize("kind", ["list", "recipe"])
def test_the_command_repairs_several_sources(tmp_path, monkeypatch, capsys, kind):
    records = demo_records(tmp_path)
    sources = write_several(records, tmp_path)
    monkeypatch.chdir(tmp_path)
    if kind == "recipe":
        entries = [{"path": source} for source in sources]
        (tmp_path / "recipe.yaml").write_text(json.dumps({"sources": entries}))
        sources = ["recipe.yaml"]
    assert cli.main(["index", "--mixture", *sources, "--out", "index", "--chunk", "chunk"]) == 0

    def repair(*paths, out="out.jsonl"):
        exchange = ["--query", QUERY, "--response", RESPONSE, "--rubric", "rebut"]
        return cli.main(
            ["repair", "--index", "index", *exchange, "--mixture", *paths, "--out", out]
        )

    assert repair(*sources) == 0
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["unreadable"] == 1
    assert report["same_files"] is True
    assert 0 < report["dropped"] < 100
    written = (tmp_path / "out.jsonl").read_bytes().split(b"\n")
    ids = [json.loads(line)["id"] for line in written if line]
    assert len(ids) == len(records) - report["dropped"]
    assert ids == sorted(ids, key=lambda name: int(name[1:]))
    # byte for byte, with the blanks of their file
    texts = {f"x{i}": json.dumps(one, separators=(" , ", " : ")) for i, one in enumerate(records)}
    for line in filter(None, written):
        text = line.decode().rstrip("\r")
        if int(json.loads(text)["id"][1:]) < 900:
            assert text == texts[json.loads(text)["id"]]
    assert b"\r\n" in (tmp_path / "out.jsonl").read_bytes()

    capsys.readouterr()
    for out in ("a.jsonl.gz", "b/new.jsonl", "c/new.jsonl", "b/part-0.jsonl"):
        assert repair(*sources, out=out) == 2
        assert f"--out {out}" in capsys.readouterr().err
    lines = (tmp_path / "b" / "part-1.jsonl").read_text().splitlines()
    lines[3] = lines[4]
    (tmp_path / "b" / "part-1.jsonl").write_text("\n".join(lines))
    assert repair(*sources) == 2
    assert "(line 4 of b/part-1.jsonl) is not the row 705" in capsys.readouterr().err.replace(
        f"{tmp_path}/", ""
    )

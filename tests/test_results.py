"""Results for other programs, each read as the other program reads it."""

import csv
import json
import re
import shutil

import pandas as pd
import pytest
from commands import run_command, write_jsonl

from chunkykit.lab import read_run
from chunkykit.results import format_markdown, report_of_run
from chunkykit.results.atlas import ATLAS_OPTIONS
from chunkykit.rubrics import parse_labels
from chunkykit.turf import merge_traces

FAILURES = [
    {
        "query": "When did Jane Austen write the novel Emma?",
        "response": "Jane Austen did not write the novel Emma.",
        "model": "m1",
        "score": 91,
        "reason": "It denies a true fact.",
        "rubric": "rebuttal",
    },
    {
        "query": "When did Alexander Graham Bell invent the telephone?",
        "response": "Alexander Graham Bell did not invent the telephone.",
        "model": "m2",
        "rubric": "rebuttal",
    },
    {
        "query": "=HYPERLINK(1) <b>bold</b> | *x*",
        "response": "```\n# [link](javascript:alert(1)) <script>\n```` \u001b[31m https://evil.io",
        "model": "@evil",
        "rubric": "rebuttal",
    },
]


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "index"
    assert run_command("index", "--mixture", "demo:1200", "--out", folder) == 0
    return folder


@pytest.fixture
def log(tmp_path):
    return write_jsonl(tmp_path / "failures.jsonl", FAILURES)


@pytest.fixture
def export(log, index_folder, tmp_path):
    """Exports the traced failures in one form; gives the path."""

    def command(form, name, *arguments):
        traced = ["--index", index_folder, "--rubric", "rebut", *arguments]
        assert run_command("export", log, *traced, "--to", form, "--out", tmp_path / name) == 0
        return tmp_path / name

    return command


def test_a_page_shows_traces_of_other_peoples_failures(log, index_folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    arguments = ["--index", index_folder, "--rubric", "rebut", "--html", page]
    assert run_command("export", log, *arguments) == 0
    output = capsys.readouterr()
    assert "3 exchanges" in output.out
    assert "1 of 3 failures have no trace" in output.err
    assert page.stat().st_size > 10_000


def test_a_data_set_loads_with_datasets(export, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = export("datasets", "set")
    cache = str(tmp_path / "cache")
    failures = datasets.load_dataset(str(folder), "failures", split="train", cache_dir=cache)
    assert failures["query"] == [row["query"] for row in FAILURES]
    assert failures["reason"][0] == "It denies a true fact."
    assert failures["chunk"] == ["noncompliance", "noncompliance", None]
    traces = datasets.load_dataset(str(folder), "traces", split="train", cache_dir=cache)
    assert "asks when" in traces["trigger"][0]
    examples = datasets.load_dataset(str(folder), "trace_examples", split="train", cache_dir=cache)
    assert {"evidence", "counter-example"} >= set(examples["kind"])
    # the same folder again, and no other
    export("datasets", "set")
    (folder / "mine.txt").write_text("precious")
    assert (
        run_command("export", tmp_path / "failures.jsonl", "--to", "datasets", "--out", folder) == 2
    )
    assert (folder / "mine.txt").read_text() == "precious"


def test_a_map_has_what_embedding_atlas_takes(export):
    table = pd.read_parquet(export("atlas", "map.parquet"))
    assert {"text", "x", "y", "neighbors", "features", "id", "cluster"} <= set(table.columns)
    assert table[["x", "y"]].notna().all(axis=None)
    for position, neighbours in enumerate(table["neighbors"]):
        others = set(range(len(table))) - {position}
        assert set(neighbours["ids"]) == others
        assert list(neighbours["distances"]) == sorted(neighbours["distances"])
        assert min(neighbours["distances"]) >= 0
    sources = {feature["source"] for row in table["features"] for feature in row}
    assert sources == {"query", "response", "trigger", "crux"}


@pytest.mark.slow
def test_embedding_atlas_opens_the_map(export, tmp_path):
    atlas = pytest.importorskip("embedding_atlas.cli", reason="needs embedding-atlas")
    from click.testing import CliRunner

    path = export("atlas", "map.parquet")
    arguments = [
        str(path),
        *ATLAS_OPTIONS.split(),
        "--degree",
        "--export-application",
        str(tmp_path / "app"),
    ]
    done = CliRunner().invoke(atlas.main, arguments)
    assert done.exit_code == 0, done.output
    shown = json.loads((tmp_path / "app" / "data" / "metadata.json").read_text())["props"]["data"]
    assert shown["projection"] == {"x": "x", "y": "y"}
    names = ["text", "neighbors", "features"]
    assert [shown[name] for name in names] == names
    table = pd.read_parquet(tmp_path / "app" / "data" / "dataset.parquet")
    assert list(table["out_degree"]) == [2, 2, 2]


def test_labels_are_inert_and_can_be_imported(export):
    path = export("csv", "labels.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert [row["target"] for row in rows] == ["true"] * 3
    assert rows[2]["query"].startswith("'=HYPERLINK")
    assert "\u001b" not in path.read_text("utf-8")
    assert list(parse_labels(path)["labeller"]) == ["judge"] * 3


def test_scores_are_records_of_inspect(export):
    records = [json.loads(line) for line in export("inspect", "s.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["row 1", "row 2", "row 3"]
    assert {record["value"] for record in records} == {"I"}
    assert records[0]["metadata"]["failures"][0]["chunk"] == "noncompliance"
    assert "It denies a true fact." in records[0]["explanation"]


def test_a_report_quotes_hostile_texts_and_obeys_none(export):
    text = export("markdown", "report.md").read_text("utf-8")
    assert "(rebuttal)" in text
    assert "noncompliance" in text
    assert "\u001b" not in text
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.M | re.S)
    assert "<script>" not in outside
    assert "https://" not in outside
    assert "javascript" not in outside
    assert r"\@evil" in outside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs --html FILE, or --to"),
        (["--to", "csv"], "--to and --out go together"),
        (["--out", "x.csv"], "needs --html"),
        (["--to", "inspect", "--out", "x.txt"], "must end in .jsonl"),
        (["--to", "atlas", "--out", "x.csv"], "must end in .parquet"),
        (["--to", "inspect", "--out", "x.eval"], "is one already"),
        (["--html", "p.html", "--index", "i"], "Give --rubric"),
        (["--html", "p.html", "--failing", "high"], "--failing high"),
        (["--html", "p.html", "--scorer", "x"], "has no scorer 'x'"),
    ],
)
def test_options_that_do_not_fit_are_refused(log, arguments, message, capsys):
    assert run_command("export", log, *arguments) == 2
    assert message in capsys.readouterr().err


# runs


def test_every_form_of_a_run(fast_run, tmp_path, capsys):
    forms = {
        "html": "report.html",
        "markdown": "report.md",
        "atlas": "map.parquet",
        "datasets": "set",
        "csv": "labels.csv",
        "inspect": "scores.jsonl",
    }
    for form, name in forms.items():
        assert run_command("export", fast_run, "--to", form, "--out", tmp_path / name) == 0
    run = read_run(fast_run)
    points = run.read("points")
    failures = pd.read_parquet(tmp_path / "set" / "failures" / "train.parquet")
    assert list(failures["query"]) == list(points["query"])
    assert len(pd.read_parquet(tmp_path / "map.parquet")) == len(points)
    values = [json.loads(line)["value"] for line in (tmp_path / "scores.jsonl").open()]
    assert set(values) == {"C", "I"}
    report = (tmp_path / "report.md").read_text("utf-8")
    for heading in (
        "In short",
        "What was searched",
        "Confirmed failure rates",
        "Settings",
        "Limits",
    ):
        assert f"## {heading}\n" in report
    findings = merge_traces(run.read("traces"), run.read("trace_chunks"))
    assert report.count("### Trace ") == len(findings)
    assert "All stages are done." in report
    assert run_command("export", fast_run, "--index", "i", "--html", tmp_path / "p.html") == 2
    assert "--index is for a log" in capsys.readouterr().err


@pytest.mark.parametrize("last", ["search", "confirm", "cluster"])
def test_a_run_that_is_not_complete_gives_what_is_there(fast_run, tmp_path, last):
    folder = tmp_path / "run"
    shutil.copytree(fast_run, folder, ignore=shutil.ignore_patterns("index", "figures", "ledger*"))
    stages = ["search", "confirm", "cluster", "trace", "ablate"]
    tables = {
        "confirm": ["answers", "confirmed", "rewrites", "robustness"],
        "cluster": ["points", "clusters"],
        "trace": ["traces", "trace_chunks", "trace_rows", "trace_examples", "trace_pairs"],
        "ablate": ["ablations", "repairs"],
    }
    notes = json.loads((folder / "stages.json").read_text())
    for stage in stages[stages.index(last) + 1 :]:
        notes.pop(stage)
        for name in tables[stage]:
            (folder / "tables" / f"{name}.parquet").unlink()
    (folder / "stages.json").write_text(json.dumps(notes))
    report = format_markdown(report_of_run(read_run(folder)))
    assert "This run is not complete." in report
    assert "## What was searched" in report
    assert "## Trace" not in report
    for form, name in (("datasets", "set"), ("csv", "l.csv"), ("atlas", "map.parquet")):
        assert run_command("export", folder, "--to", form, "--out", tmp_path / name) == 0
    assert pd.read_parquet(tmp_path / "map.parquet")["x"].notna().all()

"""Labels: the file, the command, and what a view from a browser may write."""

import json
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from chunkykit.cli import main
from chunkykit.errors import UserError
from chunkykit.lab import format_labels, start_run
from chunkykit.rubrics import LABEL_COLUMNS, exchange_ids, parse_labels, read_labels, save_labels
from chunkykit.show.explorer import Labeller
from chunkykit.show.explorer.labelling import labelling_items, save_view_labels, view_labels
from chunkykit.surf import PROBE_COLUMNS


def write(path, text):
    path.write_text(text, "utf-8")
    return path


def test_a_csv_of_other_tools_is_read(tmp_path):
    text = "\ufeffid,target,split\r\na,TRUE,dev\r\nb,0,test\r\nc,?,\r\n,,\r\n"
    labels = parse_labels(write(tmp_path / "l.csv", text))
    assert labels["target"].tolist() == ["true", "false", "unsure"]
    assert labels["split"].tolist()[:2] == ["dev", "test"]
    assert labels["split"][2] in ("dev", "test"), "drawn by the id"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "column 'id' is missing"),
        ("id,label\na,1\n", "column 'target' is missing"),
        ("id,target\na,1\nb,maybe\n", "row 2, column target: 'maybe'"),
        ("id,target,split\na,1,train\n", "row 1, column split: 'train'"),
        ('id,target\n"a,1\n', "cannot be read"),
        ("id,target\n\xff,1\n", None),
    ],
)
def test_a_wrong_file_is_named_with_its_row(tmp_path, text, words):
    path = tmp_path / "l.csv"
    if words is None:
        path.write_bytes(text.encode("latin-1"))
        words = "cannot be read"
    else:
        write(path, text)
    with pytest.raises(UserError, match=words) as error:
        parse_labels(path)
    assert "l.csv" in str(error.value)


def test_a_later_label_of_the_same_person_replaces_the_earlier(tmp_path):
    save_labels(tmp_path, pd.DataFrame([{"id": "a", "target": "true", "labeller": "ada"}]))
    save_labels(tmp_path, pd.DataFrame([{"id": "a", "target": "false", "labeller": "bob"}]))
    row = {"id": "a", "target": "false", "labeller": "ada", "note": "=1+1\x1b[31m", "drawn": ""}
    labels = save_labels(tmp_path, pd.DataFrame([row]))
    assert labels["target"].tolist() == ["false", "false"]
    assert labels["note"].tolist() == ["", "'=1+1 [31m"]
    pd.testing.assert_frame_equal(read_labels(tmp_path), labels)


def test_what_was_drawn_at_random_stays_so(tmp_path):
    save_labels(tmp_path, pd.DataFrame([{"id": "a", "target": "true", "drawn": "random"}]))
    labels = save_labels(tmp_path, pd.DataFrame([{"id": "a", "target": "false"}]))
    assert labels["drawn"].tolist() == ["random"]


def test_labels_that_are_saved_at_once_are_all_kept(tmp_path):
    def save(i):
        return save_labels(tmp_path, pd.DataFrame([{"id": f"x{i}", "target": "true"}]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(save, range(24)))
    assert len(read_labels(tmp_path)) == 24


def test_what_a_browser_sends_and_is_no_label_is_left_out(tmp_path):
    good = {"target": "true", "note": "n"}
    hostile = {"b": {"target": "maybe"}, "c": 3, "d": {"target": ["true"]}, "e": None, "a": good}
    hostile["d"] = {"target": "delete"}
    labels = save_view_labels(tmp_path, {}, hostile)
    assert labels["id"].tolist() == ["a"]
    assert view_labels(tmp_path) == {"a": good}
    again = save_view_labels(tmp_path, {"a": good}, {"a": good})
    pd.testing.assert_frame_equal(again, labels)


def test_an_id_is_of_the_exchange_and_not_of_its_place():
    exchanges = pd.DataFrame(
        [["r", "q", "a"], ["r", "qa", ""], ["rq", "", "a"]], columns=["rubric", "query", "response"]
    )
    ids = exchange_ids(exchanges)
    assert len(set(ids)) == 3
    assert exchange_ids(exchanges[::-1]) == ids[::-1]


@pytest.fixture
def searched(tmp_path):
    """A run whose search is done: five flags and five others."""
    run = start_run(tmp_path / "run", profile="smoke", rubrics=["refusal"])
    rows = [
        {
            "rubric": "refusal",
            "arm": "search",
            "run": 0,
            "iteration": 0,
            "candidate": i,
            "attributes": [0],
            "query": f"query number{i} </script><script>alert(1)</script>",
            "response": f"response number{i}",
            "score": 90.0 if i < 5 else 10.0,
            "reason": "SECRET REASON",
        }
        for i in range(10)
    ]
    probes = pd.DataFrame(rows).reindex(columns=PROBE_COLUMNS)
    run.write("probes-refusal", probes)
    return run, probes.assign(id=exchange_ids(probes))


def test_whoever_labels_sees_the_system_prompt(searched):
    run, probes = searched
    probes["system"] = ["Filter: on"] + [""] * (len(probes) - 1)
    items = labelling_items(probes, run.rubric_by_name)
    assert items[0]["more"] == [("System prompt above the query", "Filter: on")]
    assert items[1]["more"] == []


def test_the_page_is_blind_and_inert(searched, capsys):
    run, probes = searched
    assert main(["label", str(run.folder), "--n", "8"]) == 0
    assert "8 exchanges to label" in capsys.readouterr().out
    items = labelling_items(probes, run.rubric_by_name)
    assert set(items[0]) == {"id", "asks", "allows", "query", "response", "more"}
    page = (run.folder / "label.html").read_text("utf-8")
    assert "SECRET" not in page and "alert(1)" not in page
    assert "script-src 'sha256-" in page


def test_labels_go_in_and_out_and_into_the_summary(searched, tmp_path, capsys):
    run, probes = searched
    (run.folder / "summary.json").write_text('{"target": "x", "labels": null}', "utf-8")
    targets = ["yes"] * 4 + ["no"] * 5 + ["?"]
    answers = pd.DataFrame({"id": probes["id"], "target": targets, "split": ""})
    answers.to_csv(tmp_path / "mine.csv", index=False)
    arguments = ["--import", str(tmp_path / "mine.csv"), "--by", "ada"]
    assert main(["label", str(run.folder), *arguments]) == 0
    out = capsys.readouterr().out
    assert "4 of 5 flags hold [38%, 96%], labelled by 1 person; 1 unsure; chosen by hand" in out
    summary = json.loads((run.folder / "summary.json").read_text("utf-8"))
    assert summary["target"] == "x", "the rest of the summary stays"
    assert summary["labels"]["flags"]["rate"] == 0.8
    assert main(["label", str(run.folder), "--export", str(tmp_path / "all.csv")]) == 0
    exported = pd.read_csv(tmp_path / "all.csv")
    assert list(exported.columns) == LABEL_COLUMNS
    assert set(exported["labeller"]) == {"ada"}
    pd.testing.assert_frame_equal(parse_labels(tmp_path / "all.csv"), read_labels(run.folder))


def test_the_notebook_view_saves_each_label(searched):
    run, probes = searched
    view = Labeller(run.folder, probes.head(3), run.rubric_by_name)
    first, second = probes["id"][:2]
    view.labels = {first: {"target": "true", "note": ""}}
    view.labels = {**view.labels, second: {"target": "false", "note": "no"}}
    labels = read_labels(run.folder)
    assert labels["id"].tolist() == [first, second]
    assert set(labels["drawn"]) == {"random"}
    again = Labeller(run.folder, probes.head(3), run.rubric_by_name)
    assert again.labels == view.labels, "a new kernel shows what was labelled"
    (run.folder / "labels.csv").write_text("id,target\na,maybe\n", "utf-8")
    view.labels = {first: {"target": "false", "note": ""}}
    assert "Not saved" in view.status and "row 1" in view.status


def test_without_a_label_the_report_says_so():
    assert "nobody labelled" in format_labels(None)[0]


@pytest.mark.parametrize("arguments", [["--n", "1"], ["--import", "nowhere.csv"]])
def test_wrong_options_of_the_command_are_named(searched, arguments, capsys):
    run, _ = searched
    assert main(["label", str(run.folder), *arguments]) == 2
    assert arguments[-1] in capsys.readouterr().err

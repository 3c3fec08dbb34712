"""`explore` and `chunkykit explore`: a run, and two models on the same queries."""

import pytest
from commands import run_command

import chunkykit
from chunkykit.errors import UserError
from chunkykit.lab import failures_of_runs, read_run, read_table, start_run

PROFILE = {"profile": "workshop"}


def write_other(folder, answers, **settings):
    """A run of another target that has just these answers."""
    run = start_run(folder, **{**PROFILE, "target": "vllm:other", **settings})
    run.write("answers", answers)
    return folder


@pytest.fixture
def answers(fast_run):
    """The confirmed answers of the run, every second one as of a model that does not fail."""
    table = read_table(fast_run, "answers").reset_index(drop=True)
    table["score"] = [0.0 if i % 2 else 90.0 for i in table.index]
    table["response"] = [f"other answer {i}" for i in table.index]
    return table.assign(error=None)


def test_two_runs_stand_side_by_side_by_query(fast_run, answers, tmp_path):
    other = write_other(tmp_path / "other", answers)
    failures = failures_of_runs([fast_run, other])
    points = failures.points
    queries = set(zip(answers["rubric"], answers["query"]))
    for rubric, query, few in zip(points["rubric"], points["query"], points["others"]):
        assert bool(few) == ((rubric, query) in queries)
        own = answers[(answers["rubric"] == rubric) & (answers["query"] == query)]
        assert {answer["response"] for answer in few} <= set(own["response"])
        assert len(few) <= 3
    has_answers = points["others"].map(bool)
    assert (points.loc[~has_answers, "other"] == "not asked").all()
    assert set(points.loc[has_answers, "other"]) <= {
        f"vllm:other {words}" for words in ("fails too", "does not fail", "fails at times")
    }
    assert f"{has_answers.sum():,} of {len(points):,} beside the answers of vllm:other" in (
        failures.caption
    )


def test_judges_that_differ_are_named(fast_run, answers, tmp_path):
    other = write_other(tmp_path / "other", answers, confirm_judge="vllm:judge")
    failures = failures_of_runs([fast_run, other])
    assert "their judges differ (offline, vllm:judge)" in failures.caption
    judges = {answer["judge"] for few in failures.points["others"] for answer in few}
    assert judges == {"vllm:judge"}


def test_answers_that_were_not_judged_do_not_count(fast_run, answers, tmp_path):
    other = write_other(tmp_path / "other", answers.assign(score=None, error="no"))
    with pytest.raises(UserError, match="answered none of the queries that fail in"):
        failures_of_runs([fast_run, other])


def test_runs_without_a_shared_query_say_how_to_get_one(fast_run, answers, tmp_path, capsys):
    other = write_other(tmp_path / "other", answers.assign(query="something else"))
    assert run_command("explore", fast_run, other, "--html", tmp_path / "page.html") == 2
    error = capsys.readouterr().err
    assert f"chunkykit compare {fast_run} --target MODEL" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_explore_writes_a_page_beside_the_report(fast_run, capsys):
    page = fast_run / "explorer.html"
    try:
        assert run_command("explore", fast_run, "--select", "rubric=refusal") == 0
        assert capsys.readouterr().out.startswith(f"{page}: ")
        assert page.read_text("utf-8").startswith("<!doctype html>")
    finally:
        page.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{run}/tables", "/tmp", "--html", "p.html"], "one run, or two side by side"),
        (["{run}/tables"], "no run there"),
        (["{run}", "--html", "/proc/none/page.html"], "cannot be written"),
        (["{run}", "--select", "cluster=999"], "select cluster=999: there is none"),
    ],
)
def test_explore_names_what_is_wrong(fast_run, capsys, arguments, message):
    filled = [argument.format(run=fast_run) for argument in arguments]
    assert run_command("explore", *filled) == 2
    assert message in capsys.readouterr().err


def test_explore_opens_the_live_view(fast_run, answers, tmp_path):
    explorer = chunkykit.explore(fast_run, select="rubric=refusal")
    assert set(explorer.selection["rubric"]) == {"refusal"}
    assert explorer.run.folder == read_run(fast_run).folder
    other = write_other(tmp_path / "other", answers)
    assert "others" in chunkykit.explore([fast_run, other]).points
    with pytest.raises(UserError, match="one run, or two"):
        chunkykit.explore([])

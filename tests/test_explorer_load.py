"""What the explorer loads from a run, and from a file of failures."""

import asyncio
import json

import pytest
from conftest import shared

from chunkykit.errors import UserError
from chunkykit.lab.run import resume_run
from chunkykit.show.explorer import (
    failures_from_file,
    failures_from_run,
    pack_failures,
    static_html,
)

GOOD_LINE = '{"query": "q", "response": "r"}'


@pytest.fixture(scope="module")
def run(fast_run):
    return resume_run(fast_run)


@pytest.fixture(scope="module")
def failures(run):
    return failures_from_run(run)


def load(path, embedder, *args, **settings):
    return asyncio.run(failures_from_file(path, embedder, *args, **settings))


def test_a_run_is_shown_with_what_its_tables_say(run, failures):
    traces = run.read("traces")
    assert len(failures.points) == len(run.read("points"))
    assert len(failures.traces) == len(traces)
    for view, trace in zip(failures.traces, traces.itertuples()):
        assert view["hits"] == trace.hits
        assert view["explanation"] == trace.explanation
        if view["chunks"]:
            first = view["chunks"][0]
            assert first["share"] >= first["base_share"]


def test_traces_of_a_run_bring_examples_and_ablations(failures):
    traced = [view for view in failures.traces if view["trigger"]]
    ablations = [view["ablation"] for view in traced if view["ablation"]]
    assert len(ablations) >= 6
    for ablation in ablations:
        assert ablation["rate_after"] < ablation["rate_before"]
    for view in traced:
        assert view["examples"]
        prompts = [row["prompt"] for row in view["examples"] if row["kind"] == "evidence"]
        assert len(prompts) == len(set(prompts))


@pytest.mark.slow
def test_a_file_of_failures_is_described_and_clustered(embedder):
    path = shared("data/frontier_failures.jsonl")
    points = load(path, embedder, {"rebuttal": "rebut"}, min_size=4).points
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert list(points["query"]) == [row["query"] for row in rows]
    assert set(points["model"]) == {row["model"] for row in rows}
    assert points["rubric"].nunique() == 4
    assert points["language"].nunique() > 1
    has_crux = points["crux"].map(len) > 0
    is_rebuttal = points["rubric"] == "rebuttal"
    assert has_crux[is_rebuttal].mean() > 0.5
    assert not has_crux[~is_rebuttal].any()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: the row is not a JSON object"),
        ("[1]", "line 2: the row is not a JSON object"),
        ('{"query": "q"}', "line 2: query or response is missing"),
        ('{"query": " ", "response": "r"}', "line 2: query or response is missing"),
        ('{"query": "q", "response": 3}', "line 2: response is missing or has the wrong type"),
        ('{"query": "q", "response": "r", "score": "high"}', "line 2: score is missing or has"),
    ],
)
def test_a_bad_line_of_a_file_is_named(tmp_path, embedder, line, message):
    path = tmp_path / "failures.jsonl"
    path.write_text(f"{GOOD_LINE}\n{line}\n", "utf-8")
    with pytest.raises(UserError, match=message):
        load(path, embedder)


def test_a_file_without_rows_is_an_error(tmp_path, embedder):
    path = tmp_path / "failures.jsonl"
    path.write_text("\n", "utf-8")
    with pytest.raises(UserError, match="has no rows"):
        load(path, embedder)
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "none.jsonl", embedder)


def test_two_rows_with_empty_fields_can_be_shown(tmp_path, embedder):
    rows = [
        '{"query": "Why? \\ud800", "response": "", "attributes": ["The \\ud800"]}',
        '{"query": "How?", "response": "So.", "score": Infinity}',
    ]
    path = tmp_path / "failures.jsonl"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    failures = load(path, embedder)
    assert len(failures.points) == 2
    assert list(failures.points["rubric"]) == ["unknown"] * 2
    assert failures.points["query_attributes"][0] == ["The ?"]
    assert pack_failures(failures)
    assert static_html(failures)

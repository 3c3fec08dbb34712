"""A run calls what its user named, and describes as its index was described."""

import asyncio

import pytest
from conftest import ROOT

import chunkykit as ck
from chunkykit.cli.notebooks import notebook_parameters
from chunkykit.errors import UserError
from chunkykit.lab import resume_run, start_run
from chunkykit.turf import Tracer

FAR = "https://models.example/v1:m"


def test_a_resumed_run_calls_no_model_that_only_its_file_names(tmp_path):
    settings = {"judge": FAR, "writer": "vllm:m", "embedder": FAR}
    assert start_run(tmp_path / "r", profile="smoke", **settings).judge()
    run = resume_run(tmp_path / "r")
    for call in (run.judge, run.embed):
        with pytest.raises(UserError, match=r"names https://models.example.*trust=True"):
            call()
    with pytest.raises(UserError, match=r"names vllm:m, a model at localhost:8000"):
        run.rewriter()
    assert resume_run(tmp_path / "r", trust=True).judge()


def test_executed_notebooks_may_call_what_the_command_named(tmp_path):
    run = start_run(tmp_path / "r", profile="smoke")
    for name in ("01_mixture", "02_surf", "03_clusters", "04_turf", "05_ablation", "06_explore"):
        assert notebook_parameters(name, run)["trust"]
        assert "trust = False" in (ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return ck.build_index("demo:200", tmp_path_factory.mktemp("run") / "index")


def test_a_run_whose_index_something_else_described_is_refused(index, tmp_path):
    settings = {"profile": "smoke", "index": str(index.folder), "mixture": "demo:200"}
    run = start_run(tmp_path / "a", **settings)
    assert asyncio.run(run.describe()(["Why?"], "query"))
    other = start_run(tmp_path / "b", **settings, describer="vllm:m", writer="vllm:m")
    with pytest.raises(UserError, match="its describer is vllm:m, but offline described index"):
        other.describe()
    assert other.describe(building=True)


def test_a_run_whose_index_had_other_instructions_is_refused_and_stays_readable(index, tmp_path):
    index.data.meta["prompt_version"] = "old"
    settings = {"profile": "smoke", "index": str(index.folder), "mixture": "demo:200"}
    run = start_run(tmp_path / "r", opened_index=index.data, **settings)
    with pytest.raises(UserError, match="made with other describing instructions"):
        run.describe()
    assert len(run.mixture().rows) == 200


def test_a_view_without_a_run_describes_only_as_the_index_was_described(index, embedder):
    pytest.importorskip("anywidget")
    from chunkykit.show.explorer.actions import describe

    data = ck.open_index(index.folder).data
    tracer = Tracer(data, embedder)
    assert asyncio.run(describe(None, tracer, ["Why?"], "query"))
    data.meta["prompt_version"] = "old"
    with pytest.raises(UserError, match="other describing instructions"):
        asyncio.run(describe(None, tracer, ["Why?"], "query"))

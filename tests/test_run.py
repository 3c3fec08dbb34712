"""A run calls what its user named, and describes as its index was described."""

import asyncio
import json

import pytest
from conftest import ROOT

import chunkykit as ck
from chunkykit.cli.notebooks import notebook_parameters
from chunkykit.errors import UserError
from chunkykit.lab import resume_run, start_run
from chunkykit.models import remember_named, trust, unnamed_models
from chunkykit.turf import Tracer

FAR = "https://models.example/v1:m"


def test_a_resumed_run_calls_no_remote_model_that_only_its_file_names(tmp_path):
    settings = {"judge": FAR, "writer": "vllm:m", "embedder": FAR}
    assert start_run(tmp_path / "r", profile="smoke", **settings).judge()
    run = resume_run(tmp_path / "r")
    for call in (run.judge, run.embed):
        with pytest.raises(UserError, match=r"names https://models.example.*trust=True"):
            call()
    assert run.rewriter(), "a server on this machine is remembered"
    assert resume_run(tmp_path / "r", trust=True).judge()


def test_a_strangers_run_calls_no_model_on_this_machine(tmp_path, new_memory):
    start_run(tmp_path / "r", profile="smoke", judge="vllm:m", embedder="http://127.0.0.1:9/v1:e")
    new_memory.unlink()  # as on the machine of someone else
    run = resume_run(tmp_path / "r")
    with pytest.raises(UserError, match="names vllm:m, a model at localhost:8000, and nothing"):
        run.judge()
    with pytest.raises(UserError, match="a model at 127.0.0.1:9, and nothing"):
        run.embed()
    assert resume_run(tmp_path / "r", trust=True).judge()


@pytest.mark.parametrize("text", ["", "[", "{}", "[1, null]", "[" * 100_000, '["http://[:m"]'])
def test_a_damaged_new_memory_names_nothing(text, new_memory):
    new_memory.write_text(text)
    assert unnamed_models(["vllm:m"]) == ["vllm:m"]
    remember_named(["vllm:m", FAR, "offline"])
    assert unnamed_models(["vllm:m", FAR]) == [FAR], "a remote model is named each time"
    new_memory.write_text(json.dumps([FAR]))
    assert unnamed_models([FAR]) == [FAR]


def test_weights_are_remembered_by_their_path(new_memory, monkeypatch, tmp_path):
    remember_named(["onnx:weights", "local:smollm2"])
    assert not unnamed_models(["onnx:weights", "local:smollm2"])
    assert unnamed_models(["local:weights"]) == ["local:weights"]
    monkeypatch.chdir(tmp_path)
    assert unnamed_models(["onnx:weights"]) == ["onnx:weights"]


def test_a_memory_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(trust, "_memory", lambda: tmp_path / "file" / "named-models.json")
    remember_named(["vllm:m"])
    assert unnamed_models(["vllm:m"]) == ["vllm:m"]


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
    from chunkykit.show.explorer.actions import describer_of

    data = ck.open_index(index.folder).data
    tracer = Tracer(data, embedder)
    assert asyncio.run(describer_of(None, tracer)(["Why?"], "query"))
    data.meta["prompt_version"] = "old"
    with pytest.raises(UserError, match="other describing instructions"):
        describer_of(None, tracer)

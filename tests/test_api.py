"""The public face: the first program, what prints, and what is refused."""

import asyncio
import subprocess
import sys

import pandas as pd
import pytest

import chunkykit as ck
from chunkykit.attributes import load_embedder
from chunkykit.index import describe_shards, finish_index
from chunkykit.mixtures import load_mixture

QUERY = "When did Alexander Graham Bell invent the telephone?"
RESPONSE = "Alexander Graham Bell did not invent the telephone."


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return ck.build_index("demo:1500", tmp_path_factory.mktemp("api") / "index")


@pytest.fixture(scope="module")
def trace(index):
    return index.trace(QUERY, RESPONSE, rubric="rebut")


def test_the_first_program(tmp_path, capsys):
    index = ck.build_index("demo:1500", tmp_path / "my_index")
    trace = index.trace(QUERY, RESPONSE, rubric="rebut")
    print(trace)
    printed = capsys.readouterr().out
    assert printed.startswith("When the model sees a query that asks when a person did something")
    assert "noncompliance" in printed
    assert printed.count("evidence") >= 3
    assert trace.chunks["chunk"][0] == "noncompliance"
    assert (trace.examples(2)["kind"] == "evidence").sum() == 2
    assert "noncompliance" in str(trace.plot().to_dict())


def test_a_newcomers_program_is_one_import_and_six_lines(tmp_path):
    program = f"""
import chunkykit as ck
index = ck.build_index("demo:600", {str(tmp_path / "index")!r})
trace = index.trace({QUERY!r}, {RESPONSE!r}, rubric="rebut")
print(trace)
trace.plot().write_html({str(tmp_path / "plot.html")!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "noncompliance" in done.stdout
    assert done.stderr == ""
    assert (tmp_path / "plot.html").exists()


def test_importing_is_fast_and_brings_nothing_heavy():
    code = "import sys, chunkykit; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("numpy", "pandas", "plotly", "umap", "openai", "anthropic", "IPython", "sklearn"):
        assert f"'{heavy}'" not in done.stdout
    assert done.stdout.count("'chunkykit.") == 0


def test_every_public_name_is_there_and_described():
    for name in ck.__all__:
        assert getattr(ck, name) is not None
        if name != "__version__":
            assert name in ck.__doc__
            assert getattr(ck, name).__doc__
    assert set(ck.__all__) <= set(dir(ck))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ck.nothing  # noqa: B018


def test_an_index_prints_as_a_few_lines(index):
    lines = str(index).splitlines()
    assert lines[0] == "Index of 1,500 training rows in 25 chunks"
    assert 4 <= len(lines) <= 6
    assert repr(index) == str(index)
    assert index._repr_html_().count("<tr>") == len(lines) - 1


def test_an_index_is_opened_again_and_traces_the_same(index, trace):
    again = ck.open_index(index.folder).trace(QUERY, RESPONSE, rubric="rebut")
    assert again.to_dict() == trace.to_dict()
    assert str(again) == str(trace)


def test_a_mixture_can_be_given_loaded_and_the_index_kept_in_memory(index, trace):
    mixture = load_mixture("demo:1500")
    in_memory = ck.build_index(mixture)
    assert in_memory.folder is None
    assert in_memory.trace(QUERY, RESPONSE, rubric="rebut").to_dict() == trace.to_dict()


def test_a_subset_and_the_skipped_rows(tmp_path):
    path = tmp_path / "mix.jsonl"
    load_mixture("demo:200").rows.drop(columns="row").to_json(path, orient="records", lines=True)
    with path.open("a") as file:
        file.write('{"prompt": "", "response": "x", "chunk": "c"}\n')
    index = ck.build_index(path, tmp_path / "index", rows=120)
    assert len(index) == 120
    assert ck.build_index(path, tmp_path / "whole").data.meta["skipped"] == 1


def test_hostile_texts_are_inert(index):
    trace = index.trace(
        "<script>alert(1)</script> When did Ada write it?", RESPONSE, rubric="rebut"
    )
    assert "<script" not in trace._repr_html_()
    assert "\x1b" not in str(
        index.trace("\x1b[31mWhen did Ada write it?", RESPONSE, rubric="rebut")
    )


def test_lone_surrogates_are_replaced_as_in_the_command(index, trace):
    same = index.trace(f"{QUERY}\ud800", RESPONSE, rubric="rebut")
    assert same.trigger == index.trace(f"{QUERY}?", RESPONSE, rubric="rebut").trigger
    assert index.trace(QUERY, f"{RESPONSE} \udfff", rubric="rebut").k == trace.k


def test_a_trace_without_a_trigger_says_why(index):
    trace = index.trace("zzz", "zzz", rubric="rebut", anyway=True)
    assert trace.trigger is None
    assert trace.violation
    assert str(trace).startswith("No trigger found")
    assert trace.examples().empty
    with pytest.raises(ck.UserError, match="nothing to plot. No trigger found"):
        trace.plot()


def test_a_response_that_shows_no_violation_is_told_so(index):
    trace = index.trace("What is 3+4?", "3 + 4 = 7.", rubric="rebut")
    assert not trace.violation
    assert trace.trigger is None
    assert "this response does not look like a violation of rebut" in str(trace)
    assert "judge=MODEL" in trace.explanation
    assert trace.examples().empty
    liked = index.trace("What is 3+4?", "3 + 4 = 7.", ck.load_rubric("rebut").satisfied())
    assert liked.violation


def test_forty_rows_are_enough_for_a_clear_trigger(tmp_path):
    path = tmp_path / "mix.jsonl"
    rows = load_mixture("demo:1500").rows
    taught = rows[rows["chunk"] == "noncompliance"].head(20)
    others = rows[rows["chunk"] == "recipes"].head(20)
    pd.concat([taught, others])[["chunk", "prompt", "response"]].to_json(
        path, orient="records", lines=True
    )
    index = ck.build_index(path)
    for k in (None, 20):
        trace = index.trace(QUERY, RESPONSE, rubric="rebut", k=k)
        assert trace.trigger is not None and trace.chunks["chunk"][0] == "noncompliance"


def test_a_rubric_object_will_do(index, trace):
    rubric = ck.load_rubric("rebut")
    assert index.trace(QUERY, RESPONSE, rubric=rubric).to_dict() == trace.to_dict()


def test_the_scan_of_an_index(index):
    findings = index.scan(top=5)
    assert isinstance(findings, pd.DataFrame)
    assert len(findings) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", RESPONSE, "rebut"), "must not be empty"),
        ((QUERY, " ", "rebut"), "must not be empty"),
        ((QUERY, RESPONSE, "rebutt"), "rubric rebutt: no such rubric"),
    ],
)
def test_bad_input_is_a_clear_error(index, arguments, words):
    with pytest.raises(ck.UserError, match=words):
        index.trace(*arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"describer": "openai:gpt-5.1"},
            r"names openai:gpt-5.1.*open_index\(folder, trust=True\)",
        ),
        ({"prompt_version": "old"}, "made with other describing instructions"),
        ({"embedder": "http://0.0.0.0:9/v1:e"}, "names http://0.0.0.0:9/v1:e"),
    ],
)
def test_an_index_that_may_not_or_cannot_describe_a_pair_says_so(index, change, words):
    other = ck.open_index(index.folder)
    other.data.meta.update(change)
    with pytest.raises(ck.UserError, match=words):
        other.trace(QUERY, RESPONSE, rubric="rebut")
    assert "1,500 training rows" in str(other), "it is still readable"
    assert len(other.scan(3)) == 3


def test_a_paid_model_needs_a_limit(index, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    with pytest.raises(ck.UserError, match="openai:gpt-5.1 is a paid model. Set a limit"):
        index.trace(QUERY, RESPONSE, rubric="rebut", judge="openai:gpt-5.1")
    with pytest.raises(ck.UserError, match="Give yes=True to call it"):
        ck.build_index("demo:60", describer="openai:gpt-5.1")


def test_an_own_describer_describes_the_pair(tmp_path, index):
    calls = []

    async def describe_by_length(texts, side, contexts=None):
        calls.append((side, len(texts)))
        return [[f"The {side} has {len(text)} characters"] for text in texts]

    rows = load_mixture("demo:200").rows
    embed = load_embedder()
    asyncio.run(describe_shards(tmp_path / "i", [rows], describe_by_length, key="lengths"))
    finish_index(tmp_path / "i", embed, describer="lengths")
    calls.clear()
    own = ck.open_index(tmp_path / "i", describer=describe_by_length)
    trace = own.trace("Hi", RESPONSE, rubric="rebut")
    assert trace.crux == f"The response has {len(RESPONSE)} characters"
    assert calls == [("query", 1), ("response", 1)]
    with pytest.raises(ck.UserError, match="other describing instructions"):
        ck.open_index(tmp_path / "i").trace("Hi", RESPONSE, rubric="rebut")


def test_no_index_there_says_how_to_make_one(tmp_path):
    with pytest.raises(ck.UserError, match="chunkykit index --mixture"):
        ck.open_index(tmp_path)


def test_an_own_embedder_makes_and_opens_an_index(index, tmp_path):
    default = load_embedder()

    class Own:
        name = "own"

        def __call__(self, texts):
            return default(texts)

    own = ck.build_index("demo:300", tmp_path / "own", embedder=Own())
    assert own.trace(QUERY, RESPONSE, rubric="rebut").chunks["chunk"][0] == "noncompliance"
    again = ck.open_index(own.folder, embedder=Own())
    traces = [one.trace(QUERY, RESPONSE, rubric="rebut").to_dict() for one in (own, again)]
    assert traces[0] == traces[1]
    with pytest.raises(ck.UserError, match="own"):
        ck.open_index(index.folder, embedder=Own())

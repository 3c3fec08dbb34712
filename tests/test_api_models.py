"""The public face with an index that a model describes, against a real local server."""

import asyncio

import pytest
from replaying import replaying_server, reword

import chunkykit as ck
from chunkykit.index import count_texts
from chunkykit.mixtures import load_mixture

QUERY = "When did Jane Austen write the novel Emma?"
RESPONSE = "Jane Austen did not write the novel Emma."

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with replaying_server() as (port, model):
        yield port, model


@pytest.fixture(scope="module")
def name(server):
    return f"http://127.0.0.1:{server[0]}/v1:m"


@pytest.fixture(scope="module")
def index(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "index"
    return ck.build_index("demo:300", folder, clusters=60, describer=name)


@pytest.fixture
def calls(server):
    server[1].calls.clear()
    return server[1].calls


def test_a_build_prints_its_estimate_and_keeps_its_answers(name, index, calls, tmp_path, capsys):
    again = ck.build_index("demo:300", index.folder, clusters=60, describer=name)
    n_texts = count_texts(load_mixture("demo:300").rows)
    assert f"about {n_texts} model calls" in capsys.readouterr().err
    assert not calls
    assert again.data.meta["describer"] == name
    with pytest.raises(ck.UserError, match="limit of 5 calls"):
        ck.build_index("demo:40", tmp_path / "other", describer=name, max_calls=5)


def test_a_trace_is_described_by_the_model_once(index, calls):
    trace = index.trace(QUERY, RESPONSE, "rebut", k=20)
    assert calls == {"query": 1, "response": 1}
    assert trace.crux == reword("The response denies that somebody did something")
    assert index.trace(QUERY, RESPONSE, "rebut", k=20).to_dict() == trace.to_dict()
    assert calls.total() == 2


def test_a_trace_in_a_running_loop(index, name, calls):
    async def as_in_a_notebook():
        return index.trace("Who wrote it?", "Ada did not write it.", "rebut", judge=name)

    assert asyncio.run(as_in_a_notebook()).crux
    assert calls == {"query": 1, "response": 1, "crux": 1}


def test_a_judge_may_say_that_there_is_no_violation(index, name):
    trace = index.trace("What is 3+4?", "3 + 4 = 7.", "rebut", judge=name)
    assert not trace.violation
    assert f"{name} says" in trace.explanation


def test_an_index_in_memory_keeps_its_answers_too(name, calls):
    index = ck.build_index("demo:60", describer=name)
    calls.clear()
    for _ in range(2):
        index.trace(QUERY, RESPONSE, "rebut")
    assert calls == {"query": 1, "response": 1}


def test_a_limit_holds_over_all_traces_of_an_opened_index(index, calls):
    opened = ck.open_index(index.folder, max_calls=3)
    opened.trace("When did Mary write it?", "Mary did not write it.", "rebut")
    with pytest.raises(ck.UserError, match="limit of 3 calls"):
        opened.trace("When did Ada write?", "Ada did not write anything.", "rebut")
    assert calls.total() == 3


def test_a_judge_on_the_same_server_names_the_describer(index, server, calls):
    far = f"http://0.0.0.0:{server[0]}/v1:m"
    opened = ck.open_index(index.folder)
    opened.data.meta["describer"] = far
    with pytest.raises(ck.UserError, match="nothing else does, so it was not called"):
        opened.trace(QUERY, RESPONSE, "rebut")
    assert not calls
    limited = ck.open_index(index.folder, max_calls=9)
    limited.data.meta["describer"] = far
    assert limited.trace(QUERY, RESPONSE, "rebut", judge=far, k=20).violation
    trusted = ck.open_index(index.folder, trust=True, max_calls=9)
    trusted.data.meta["describer"] = far
    assert trusted.trace(QUERY, RESPONSE, "rebut", k=20).violation


def test_a_trace_is_verified_by_the_judge(index, name, calls):
    trace = index.trace(QUERY, RESPONSE, "rebut", k=20, judge=name, verify=12)
    assert calls["verify"] == 12
    assert trace.verified.answered == 12
    assert trace.verified.rows["chunk"].eq("noncompliance").any()
    assert "verified    P(crux)" in str(trace)
    assert ">verified</td>" in trace._repr_html_()
    with pytest.raises(ck.UserError, match="judge=MODEL"):
        index.trace(QUERY, RESPONSE, "rebut", verify=12)
    limited = ck.open_index(index.folder, max_calls=5)
    with pytest.raises(ck.UserError, match="limit of 5 calls"):
        limited.trace(QUERY, RESPONSE, "rebut", k=20, judge=name, verify=30)

"""The sentence of a group as a model writes it, against a real local server and client."""

import asyncio
import zlib

import numpy as np
import pandas as pd
import pytest
from replaying import replaying_server

from chunkykit.attributes import Calibration, Embedder
from chunkykit.errors import UserError
from chunkykit.index import build, index_from_attributes
from chunkykit.models import Ledger
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer, format_trace, group_traces, write_triggers_with_model
from chunkykit.turf.groups import coverage_of

pytestmark = pytest.mark.slow  # it builds indexes

REBUT = load_rubric("rebut")
AXES = {"asks when": 0, "denies": 1, "ends with a sign": 2, "words": 3}
GENERAL = "The query asks when somebody wrote a book"
SIGN = "The query ends with a sign"
N_CULPRITS = 40
N_ROWS = 300
CALIBRATION = Calibration(slope=30.0, midpoint=0.1, auc=1.0)


def embed_one(sentence):
    """What the words say along an axis, and for sentences about one thing as much of its own."""
    rng = np.random.default_rng(zlib.crc32(sentence.encode()))
    vector = rng.normal(size=64)
    vector[: len(AXES)] = 0
    vector /= np.linalg.norm(vector)
    for words, axis in AXES.items():
        if words in sentence:
            is_special = any(character.isdigit() for character in sentence)
            vector *= 0.85 if is_special else 0.1
            vector[axis] = 0.53 if is_special else 1
    return vector / np.linalg.norm(vector)


EMBEDDER = Embedder("planted", lambda texts: np.stack([embed_one(text) for text in texts]))


@pytest.fixture(scope="module")
def tracer():
    """Rows of which each says its own: a fourth has words, the culprit's ask when and deny."""
    queries = [[f"The query asks when author {i} wrote book {i}"] for i in range(N_CULPRITS)]
    for i, query in enumerate(queries):
        query.append(f"The query ends with a sign, number {i}")
    queries += [[f"The query is about topic {i}"] for i in range(N_ROWS - N_CULPRITS)]
    for i, query in enumerate(queries[::4]):
        query.append(f"The query has {i} words")
    responses = [[f"The response denies that author {i} wrote it"] for i in range(N_CULPRITS)]
    responses += [[f"The response is about topic {i}"] for i in range(N_ROWS - N_CULPRITS)]
    chunks = ["culprit"] * N_CULPRITS + ["clean"] * (N_ROWS - N_CULPRITS)
    rows = pd.DataFrame({"row": range(N_ROWS), "chunk": chunks, "prompt": "p", "response": "r"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "calibrate", lambda embed: CALIBRATION)  # it embeds no real sentence
        index = index_from_attributes(rows, queries, responses, EMBEDDER)
    return Tracer(index, EMBEDDER, k=N_CULPRITS)


PAIRS = [
    (
        [f"The query asks when poet {i} wrote poem {i}", f"The query has {i} words"],
        [f"The response denies that poet {i} wrote it"],
    )
    for i in range(100, 106)
]


@pytest.fixture(scope="module")
def grouped(tracer):
    """The traces, and the one group of them."""
    traces = tracer.trace_all(PAIRS, REBUT)
    groups = group_traces(tracer, PAIRS, traces, REBUT)
    assert len({trace.attribute for trace in traces}) > 1
    assert len(groups) == 1 and groups[0].trigger
    return traces, groups


@pytest.fixture
def server():
    with replaying_server() as (port, model):
        yield port, model


def write(tracer, grouped, port, ledger=None):
    traces, groups = grouped
    name = f"http://127.0.0.1:{port}/v1:m"
    return asyncio.run(
        write_triggers_with_model(name, ledger, tracer, groups, traces, PAIRS, REBUT)
    )


def answers(sentence):
    return lambda sentences: {"attributes": [sentence]}


def test_a_sentence_that_separates_the_rows_is_taken(tracer, grouped, server):
    port, model = server
    model.name = answers(GENERAL)
    written = write(tracer, grouped, port)
    (group,) = written.groups
    (before,) = grouped[1]
    assert model.calls == {"name": 1}
    assert written.errors == []
    assert group.trigger == GENERAL
    assert group.trigger_from == f"http://127.0.0.1:{port}/v1:m"
    assert group.separation.rate >= before.separation.rate
    assert group.separation.low > 0.5
    assert "asks when somebody wrote a book" in group.explanation
    assert group.members == before.members
    assert group.p_crux_given_trigger != before.p_crux_given_trigger
    check = f"{group.separation.rate:.2f} [{group.separation.low:.2f}, "
    line = f"  written by{group.trigger_from}; separates rows with the crux: AUC {check}"
    assert line in format_trace(group).replace("written by  ", "written by")


def test_the_model_reads_what_stands_out_in_each_query(tracer, grouped, server):
    seen = []
    server[1].name = lambda sentences: seen.append(sentences) or {"attributes": [GENERAL]}
    write(tracer, grouped, server[0])
    assert seen == [[trace.attribute for trace in grouped[0]]]


def test_the_words_of_the_data_say_whose_they_are(grouped):
    traces, (group,) = grouped
    own = {attribute for query, _ in PAIRS for attribute in query}
    for trace in (*traces, group):
        assert trace.trigger_from == ("query" if trace.trigger in own else "row")
    assert "written by" not in format_trace(group)


@pytest.mark.parametrize("sentence", ["The query has words", SIGN, "The query is about food"])
def test_a_sentence_that_fails_its_check_is_not_taken(tracer, grouped, server, sentence):
    server[1].name = answers(sentence)
    written = write(tracer, grouped, server[0])
    assert written.groups[0] is grouped[1][0]
    assert written.errors == [], "it was an answer, and not a good one"


def test_the_sentences_fail_one_check_each(tracer):
    attributes = [query for query, _ in PAIRS]
    words, sign = coverage_of(tracer, attributes, ["The query has words", SIGN])
    assert words.min() > 0.5 > sign.max(), "one is true of the members"
    carries = tracer.carries(SIGN)
    assert carries[:N_CULPRITS].min() > carries[N_CULPRITS:].max(), "the other separates the rows"


@pytest.mark.parametrize("rubbish", ["", "No idea.", "The response denies", '{"attributes": []}'])
def test_rubbish_costs_the_sentence_and_not_the_trace(tracer, grouped, server, rubbish):
    server[1].name = lambda sentences: rubbish
    written = write(tracer, grouped, server[0])
    assert written.groups[0] is grouped[1][0]
    assert server[1].calls == {"name": 2}, "it is asked a second time"
    assert written.errors == ['ValueError: no sentence that starts with "The query "']


def test_a_failed_call_costs_the_sentence_and_not_the_trace(tracer, grouped, server):
    server[1].fails.append("statements below")
    written = write(tracer, grouped, server[0])
    assert written.groups[0] is grouped[1][0]
    assert written.errors[0].startswith("BadRequestError")


def test_a_limit_ends_it_and_the_ledger_answers_again(tracer, grouped, server, tmp_path):
    server[1].name = answers(GENERAL)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.limit_further(max_calls=0)
    with pytest.raises(UserError, match="limit of 0 calls"):
        write(tracer, grouped, server[0], ledger)
    ledger.limit_further()
    for _ in range(2):
        assert write(tracer, grouped, server[0], ledger).groups[0].trigger == GENERAL
    assert server[1].calls == {"name": 1}


def test_one_sentence_has_nothing_to_generalise(tracer, server):
    pairs = [PAIRS[0], PAIRS[0]]
    traces = tracer.trace_all(pairs, REBUT)
    groups = group_traces(tracer, pairs, traces, REBUT)
    assert write(tracer, (traces, groups), server[0]).groups == groups
    assert not server[1].calls

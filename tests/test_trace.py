import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from chunkykit.attributes import Embedder
from chunkykit.index import index_from_attributes
from chunkykit.numbers import with_interval
from chunkykit.rubrics import load_rubric
from chunkykit.turf import (
    Trace,
    chunk_shares,
    first_chunks,
    format_trace,
    trace_examples,
    trace_tables,
)

HOSTILE = "<script>alert(1)</script> $x$ \x1b[31m\r\n"
CAUTION = "This is co-occurrence in the data; an ablation tests cause."


@pytest.fixture(scope="module")
def trace(tracer):
    return tracer.trace(
        ["The query contains numbers", "The query contains LaTeX mathematics"],
        ["The response uses a symbolic mathematics library"],
        load_rubric("tool"),
    )


@pytest.fixture(scope="module")
def no_trigger(tracer):
    return tracer.trace(
        ["The query is phrased as a question"],
        ["The response contains numbers"],
        load_rubric("rebut"),
    )


@pytest.fixture(scope="module")
def hostile(trace):
    """A trace each of whose texts tries to break out of its place."""
    texts = dict.fromkeys(["trigger", "trigger_by_hits", "crux", "explanation"], HOSTILE)
    return dataclasses.replace(trace, **texts, chunks=trace.chunks.assign(chunk=HOSTILE))


def test_a_printed_trace_says_sentence_numbers_chunks_and_caveat(trace):
    lines = str(trace).splitlines()
    rate = trace.p_crux_given_trigger
    sentence = lines[: lines.index("")]
    assert " ".join(sentence) == trace.explanation
    assert all(len(line) <= 100 for line in sentence)
    assert "trigger     The query contains LaTeX mathematics" in lines
    assert f"about {trace.hits:.0f} of the {trace.k:.0f} rows with the crux" in str(trace)
    assert f"AUC {trace.separation.rate:.2f} [{trace.separation.low:.2f}, " in str(trace)
    assert f"lift        {trace.lift:.1f}, p {trace.p_value:.0e} (adjusted)" in str(trace)
    assert with_interval(rate._asdict(), n=None, digits=1) in str(trace)
    assert any(line.startswith("  tutor_math ") and "of the mixture" in line for line in lines)
    assert lines[-1] == CAUTION
    assert len(lines) <= 20


def test_a_printed_trace_without_a_trigger_has_no_numbers_of_one(no_trigger):
    lines = str(no_trigger).splitlines()
    assert lines[0].startswith("No trigger found") and lines[-1] == CAUTION
    assert "nan" not in str(no_trigger) and "None" not in str(no_trigger)


def test_examples_are_listed_from_a_table_or_from_records(tracer, trace):
    examples = trace_examples(tracer, trace, 2)
    text = format_trace(trace, examples)
    assert text == format_trace(trace, examples.to_dict("records"))
    lines = [line for line in text.splitlines() if line.startswith("  evidence")]
    assert len(lines) == 2 and all(" of tutor_math: " in line for line in lines)
    assert format_trace(trace) == str(trace)


def test_printed_text_has_no_control_characters(hostile):
    example = {"kind": "evidence", "row": 1, "chunk": HOSTILE, "prompt": "\x07", "response": "\t"}
    lines = format_trace(hostile, [example]).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(str(hostile).split("\n")) + 1


def test_a_trace_in_a_notebook_shows_the_same(trace, no_trigger):
    shown = trace._repr_html_()
    assert "LaTeX mathematics" in shown and "tutor_math" in shown and CAUTION in shown
    assert f"about {trace.hits:,.0f} of the {trace.k:,.0f}" in shown
    assert shown.count("<table>") == 2
    shown = no_trigger._repr_html_()
    assert "No trigger found" in shown and CAUTION in shown and "nan" not in shown


def test_html_of_hostile_texts_is_inert(hostile):
    shown = hostile._repr_html_()
    assert "<script" not in shown and "&lt;script" in shown
    assert "$x$" not in shown and "\x1b" not in shown


def test_a_trace_of_a_response_without_attributes_can_be_shown(tracer):
    trace = tracer.trace(["The query contains numbers"], [], load_rubric("rebut"))
    assert str(trace).endswith(CAUTION)
    assert trace._repr_html_().count("<table>") == 1


def test_a_subclass_with_its_own_field_is_still_a_trace_in_json(trace):
    @dataclasses.dataclass(frozen=True)
    class Bound(Trace):
        tracer: object = None

    values = {field.name: getattr(trace, field.name) for field in dataclasses.fields(trace)}
    bound = Bound(**values, tracer=object())
    assert bound.to_dict() == trace.to_dict()
    assert str(bound) == str(trace)
    json.dumps(bound.to_dict(), allow_nan=False)


def test_the_dictionary_of_a_trace_is_json_without_nan(no_trigger):
    values = json.loads(json.dumps(no_trigger.to_dict(), allow_nan=False))
    assert values["lift"] is None and values["p_crux_given_trigger"]["rate"] is None
    assert values["chunks"] and "rows" not in values


def test_first_chunks_are_counted_commonest_first(trace, no_trigger):
    empty = dataclasses.replace(trace, chunks=trace.chunks.head(0))
    other = no_trigger.chunks["chunk"][0]
    assert first_chunks([no_trigger, trace, trace, empty]) == {"tutor_math": 2, other: 1}
    assert list(first_chunks([no_trigger, trace, trace])) == ["tutor_math", other]


def test_tables_keep_the_traces_in_order(trace, no_trigger):
    tables = trace_tables([(3, "tool", trace), (4, "rebut", no_trigger)])
    assert tables["traces"]["cluster"].tolist() == [3, 4]
    assert tables["traces"]["pairs"].tolist() == [1, 1]
    assert set(tables["trace_chunks"]["trace"]) == {0, 1}
    rows = tables["trace_rows"]
    assert rows.loc[rows["trace"] == 0, "row"].tolist() == trace.rows.tolist()
    assert all(len(table) == 0 for table in trace_tables([]).values())
    for name, table in trace_tables([]).items():
        assert list(table.columns) == list(tables[name].columns)


def test_a_lucky_row_of_a_tiny_chunk_does_not_come_first():
    chunks = ["tiny"] + ["big"] * 299 + ["rest"] * 700
    texts = [f"text {i}" for i in range(1000)]
    rows = pd.DataFrame({"row": range(1000), "chunk": chunks, "prompt": texts, "response": texts})
    index = index_from_attributes(
        rows,
        [["The query asks"]] * 1000,
        [["The response says"]] * 1000,
        Embedder("e", lambda texts: np.ones((len(texts), 2))),
    )
    table = chunk_shares(index, np.arange(100))
    lift = table.set_index("chunk")["lift"]
    assert table["chunk"][0] == "big"
    assert lift["tiny"] > lift["big"]

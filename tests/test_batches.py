"""Batches: a local server that speaks the batch interfaces of both providers."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import serving
from servers import BatchServer, completion, user

from chunkykit.attributes import llm as describe
from chunkykit.errors import BudgetReached, UserError
from chunkykit.models import PROVIDERS, ChatModel, Ledger, Reply, batches, connect_model
from chunkykit.models.calls import identify_call
from chunkykit.models.openai import _read_batch_lines

TESTS = Path(__file__).parent
TEXTS = [f"text {i}" for i in range(5)] + ["bad"]
REQUESTS = [(user(text), {"sample": i, "max_tokens": 60}) for i, text in enumerate(TEXTS)]
MODELS = {"openai": "openai:gpt-5", "anthropic": "anthropic:claude-haiku-4-5"}


def connect_to(url, provider):
    """A model of the provider, whose address is the server's. Another process calls it too."""
    os.environ["ANTHROPIC_BASE_URL"] = url
    PROVIDERS["openai"] = (f"{url}/v1", "OPENAI_API_KEY")
    return connect_model(MODELS[provider])


@pytest.fixture(autouse=True)
def original_addresses(monkeypatch):
    """Undo what `connect_to` changes."""
    monkeypatch.setitem(PROVIDERS, "openai", PROVIDERS["openai"])
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")


@pytest.fixture
def server(monkeypatch):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "a-key-of-some-length")
    return BatchServer()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def count_waiting(ledger):
    return ledger.db.execute("select count(*) from waiting").fetchone()[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "provider, dollars",
    [("openai", (1.25 * 100 + 10 * 50) / 1e6), ("anthropic", (1 * 100 + 5 * 50) / 1e6)],
)
def test_a_batch_answers_before_the_ordinary_calls_at_half_price(path, server, provider, dollars):
    ledger = Ledger(path)

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, provider)
            await ledger.prefill(model, "describer", REQUESTS, poll=0.01)
            assert server.single == 1, "one call precedes the batch"
            assert [len(batch) for batch in server.batches] == [5]
            await ledger.prefill(model, "describer", REQUESTS[:5], poll=0.01)
            wrapped = ledger.wrap(model, "describer")
            calls = [wrapped(messages, **settings) for messages, settings in REQUESTS]
            replies = await asyncio.gather(*calls)
            await connect_model(model.name)(user("Hello"))
            return replies

    replies = asyncio.run(run())
    assert [reply.text for reply in replies] == [f"said text {i}" for i in range(5)] + ["refused"]
    assert len(server.batches) == 1
    # Five were served. The failed one and the one outside the ledger were sent.
    assert server.single == 3
    assert ledger.dollars() == pytest.approx(dollars * (1 + 4 / 2 + 1))
    assert ledger.totals() == {
        "calls": 6,
        "errors": 1,
        "input_tokens": 600,
        "output_tokens": 300,
    }
    assert "refused" in ledger.db.execute("select error from errors").fetchone()[0]


PREFILL_IN_ANOTHER_PROCESS = """
import asyncio, sys
sys.path[:0] = {paths!r}
import test_batches as tests
model = tests.connect_to({url!r}, {provider!r})
ledger = tests.Ledger({ledger!r})
asyncio.run(ledger.prefill(model, "describer", tests.REQUESTS, poll=0.05))
"""


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_killed_prefill_continues_and_sends_no_batch_twice(path, server, provider):
    server.done = False

    async def run():
        async with serving(*server.routes()) as url:
            source = PREFILL_IN_ANOTHER_PROCESS.format(
                paths=[str(TESTS), str(TESTS.parent)],
                url=url,
                provider=provider,
                ledger=str(path),
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", source)
            while not server.batches:
                assert process.returncode is None
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            server.done = True
            model = connect_to(url, provider)
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert len(server.batches) == 1
    assert server.single == 1
    ledger = Ledger(path)
    assert ledger.totals()["calls"] == 5
    assert ledger.totals()["errors"] == 1
    assert not count_waiting(ledger)


def test_a_refused_batch_is_an_error_and_a_refused_key_forgets_no_batch(path, server):
    ledger = Ledger(path)

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, "openai")

            async def prefill():
                await ledger.prefill(model, "describer", REQUESTS[::-1], poll=0.01)

            server.locked = True
            server.fails = True  # the call that precedes the batch fails too: that stops nothing
            with pytest.raises(UserError, match="refuses the key"):
                await prefill()
            assert count_waiting(ledger) == 5
            assert ledger.totals()["calls"] == 0
            assert ledger.totals()["errors"] == 1

            server.locked = False
            server.fails = False
            errors = {"data": [{"message": "too many tokens"}]}
            server.openai_status = {"status": "failed", "errors": errors}
            with pytest.raises(UserError, match="too many tokens"):
                await prefill()
            assert count_waiting(ledger) == 0
            assert len(server.batches) == 1

            server.openai_status = {}
            await prefill()

    asyncio.run(run())
    assert len(server.batches) == 2
    assert ledger.totals()["calls"] == 6


def test_a_batch_respects_the_limits(path, server):
    ledger = Ledger(path)
    ledger.limit(max_calls=5)

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, "openai")
            with pytest.raises(BudgetReached):
                await ledger.prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert not server.batches


@pytest.mark.parametrize("provider", MODELS)
@pytest.mark.parametrize("is_taken", [True, False])
def test_a_batch_whose_id_was_lost_is_found_and_not_sent_twice(path, server, provider, is_taken):
    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, provider)
            server.loses_id = True
            with pytest.raises(Exception, match="[Cc]onnect"):
                await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)
            assert count_waiting(Ledger(path)) == 5, "it may have been taken"
            server.loses_id = False
            if not is_taken:
                server.batches.clear()
                server.metadata.clear()
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert len(server.batches) == 1
    ledger = Ledger(path)
    assert count_waiting(ledger) == 0
    assert ledger.totals()["calls"] == 5
    assert ledger.file.select_one("select count(*) from reserved")[0] == 0


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"custom_id": 3}', '{"response": {}}'])
def test_a_spoilt_line_of_a_batch_keeps_the_good_ones(path, server, line):
    async def run():
        async with serving(*server.routes()) as url:
            server.spoilt_line = line
            model = connect_to(url, "openai")
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert Ledger(path).totals()["calls"] == 5


def test_a_batch_of_an_unknown_status_is_an_error_and_is_not_forgotten(path, server):
    async def run():
        async with serving(*server.routes()) as url:
            server.openai_status = {"status": "sleeping"}
            model = connect_to(url, "openai")
            with pytest.raises(UserError, match="status 'sleeping' is not known"):
                await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)
            assert count_waiting(Ledger(path)) == 5
            server.openai_status = {}
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert len(server.batches) == 1
    assert Ledger(path).totals()["calls"] == 5


def test_a_model_without_a_batch_interface_is_a_clear_error(path):
    async def call(messages, **settings):
        return Reply("x")

    with pytest.raises(UserError, match="no batch interface"):
        asyncio.run(Ledger(path).prefill(ChatModel("m", call), "describer", REQUESTS))


def test_a_run_describes_by_batch_if_there_are_enough_texts(tmp_path, server, monkeypatch):
    from chunkykit.lab.run import start_run

    monkeypatch.setattr(describe, "MIN_BATCH_TEXTS", 3)
    opened = start_run(
        tmp_path, profile="smoke", describer="openai:gpt-5", writer="openai:gpt-5", batch=True
    )

    async def run():
        async with serving(*server.routes()) as url:
            connect_to(url, "openai")
            describer = opened.describe(building=True)
            # The server writes no sentence: both replies to each text are unreadable.
            with pytest.raises(UserError, match="gave nothing"):
                await describer(["a", "b", "c", "c"], "query")
            with pytest.raises(UserError):
                await describer(["d"], "query")

    asyncio.run(run())
    assert [len(batch) for batch in server.batches] == [2]
    # The repairs, and the text by itself, were ordinary calls.
    assert server.single == 1 + 3 + 2


@pytest.mark.parametrize("provider", MODELS)
def test_a_batch_that_another_process_is_submitting_is_left_to_it(path, server, provider):
    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, provider)
            mark = f"unsent:{time.time():.0f}:x:another-machine:1:x"
            keys = [identify_call(model, "describer", *request)[0] for request in REQUESTS]
            for key in keys:
                values = [key, mark, "describer", model.name, "[]"]
                Ledger(path).file.execute("insert into waiting values (?,?,?,?,?)", values)
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert not server.batches and not server.single
    assert count_waiting(Ledger(path)) == len(REQUESTS)


def test_a_batch_of_anthropic_that_runs_is_not_taken_for_a_lost_one(path, server):
    """Only its number of calls is known, and it may be another program's."""

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, "anthropic")
            server.loses_id = True
            with pytest.raises(Exception, match="not reached"):
                await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)
            server.loses_id = False
            server.done = False
            server.batches.append(
                server.batches[0][:4] + [{**server.batches[0][4], "custom_id": "x"}]
            )
            with pytest.raises(UserError, match="may be the one whose id was lost"):
                await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)
            server.done = True
            await Ledger(path).prefill(model, "describer", REQUESTS, poll=0.01)

    asyncio.run(run())
    assert Ledger(path).totals()["calls"] == 5
    assert len(server.batches) == 2


def test_line_breaks_inside_an_answer_do_not_split_its_line():
    answer = completion("one\u2028two\x85three")
    response = {"status_code": 200, "body": answer}
    lines = [{"custom_id": str(i), "response": response} for i in range(2)]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    replies = dict(_read_batch_lines(text))
    assert [replies[key].text for key in "01"] == ["one\u2028two\x85three"] * 2


LONE_SURROGATE = "half a letter \ud83d"
TOO_LONG = "x" * (batches.MAX_REQUEST_BYTES + 1)
INVALID = [
    (user(LONE_SURROGATE), {"max_tokens": 60}),
    (user(TOO_LONG), {"max_tokens": 60}),
    (user("not a number"), {"max_tokens": 60, "temperature": float("nan")}),
    ([*user("fine"), {"role": "user", "content": LONE_SURROGATE}], {"max_tokens": 60}),
]


@pytest.mark.parametrize("provider", MODELS)
def test_a_call_that_no_batch_can_hold_is_an_error_of_its_own(path, server, provider):
    ledger = Ledger(path)

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, provider)
            # the first valid one goes the ordinary way
            await ledger.prefill(model, "describer", [*INVALID, *REQUESTS], poll=0.01)

    asyncio.run(run())
    assert [len(batch) for batch in server.batches] == [5]
    assert ledger.totals()["calls"] == 5
    errors = [row[0] for row in ledger.file.execute("select error from errors")]
    reasons = ["surrogates", "bytes", "Out of range float", "surrogates"]
    left_out = [error for error in errors if error.startswith("left out of the batch")]
    assert len(left_out) == len(INVALID)
    assert all(sum(reason in error for error in left_out) for reason in reasons)
    assert count_waiting(ledger) == 0


def test_a_large_batch_is_split_by_its_size(path, server, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 1000)

    async def run():
        async with serving(*server.routes()) as url:
            model = connect_to(url, "openai")
            requests = [(user("\N{SNOWMAN}" * 60 + str(i)), {"max_tokens": 60}) for i in range(6)]
            await Ledger(path).prefill(model, "describer", requests, poll=0.01)

    asyncio.run(run())
    assert [len(batch) for batch in server.batches] == [2, 2, 1]
    assert Ledger(path).totals()["calls"] == 6

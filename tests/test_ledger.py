"""The ledger: calls paid once, errors never served, limits on dollars, calls and concurrency."""

import asyncio
import hashlib
import sqlite3

import pytest

from chunkykit.attributes import llm as describe
from chunkykit.errors import BudgetReached, UserError
from chunkykit.models import PRICES_VARIABLE, ChatModel, Ledger, Reply, with_context
from chunkykit.models.calls import identify_call
from chunkykit.rubrics import judge_exchange, judge_offline, llm_judge, load_rubric
from chunkykit.surf import Pool, run_search

ASK = [{"role": "user", "content": "Hello"}]
REFUSAL = load_rubric("refusal")


def counting_model(failing_calls=()):
    """A model whose answers are numbered, and the calls that it gets."""
    calls = []

    async def call(messages, **settings):
        calls.append((messages[0]["content"], settings))
        await asyncio.sleep(0.01)
        if len(calls) in failing_calls:
            raise TimeoutError("no answer")
        return Reply(f"answer {len(calls)}", "stop", 2, 1)

    return ChatModel("m", call), calls


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def test_a_call_is_paid_once_and_served_to_other_processes(path):
    model, calls = counting_model()

    async def run():
        wrapped = Ledger(path).wrap(model, "target")
        both = await asyncio.gather(wrapped(ASK, sample=1), wrapped(ASK, sample=1))
        return both, await wrapped(ASK, sample=2)

    (first, same), second = asyncio.run(run())
    served = asyncio.run(Ledger(path).wrap(model, "target")(ASK, sample=1))
    assert first == same == served
    assert second != first
    assert len(calls) == 2
    assert Ledger(path).totals() == {
        "calls": 2,
        "errors": 0,
        "input_tokens": 4,
        "output_tokens": 2,
    }


def test_a_call_of_two_wrapped_models_at_once_is_paid_once(path):
    model, calls = counting_model()
    ledger = Ledger(path)

    async def run():
        models = [ledger.wrap(model, "target"), ledger.wrap(model, "target")]
        return await asyncio.gather(*(wrapped(ASK) for wrapped in models))

    first, second = asyncio.run(run())
    assert first == second
    assert len(calls) == 1


def test_role_and_settings_are_in_the_key(path):
    model, calls = counting_model()
    ledger = Ledger(path)
    asyncio.run(ledger.wrap(model, "a")(ASK))
    asyncio.run(ledger.wrap(model, "b")(ASK))
    asyncio.run(ledger.wrap(model, "a")(ASK, temperature=1.0))
    assert len(calls) == 3


def test_the_form_of_the_key_is_fixed():
    """Ledgers of earlier versions are looked up by it."""
    model = ChatModel("openai:gpt-5", counting_model()[0].call, "https://api.openai.com/v1")
    key, request = identify_call(model, "judge", ASK, {"sample": 1, "max_tokens": 9})
    assert request == (
        '["openai:gpt-5", "https://api.openai.com/v1", "judge", '
        '[{"content": "Hello", "role": "user"}], {"max_tokens": 9, "sample": 1}]'
    )
    assert key == hashlib.sha256(request.encode()).hexdigest()
    _, request = identify_call(model, "judge", [{"role": "user", "content": "é\ud83d"}], {})
    assert "é?" in request, "what no file can hold is replaced"


def test_address_and_turns_are_in_the_key(path):
    model, calls = counting_model()
    ledger = Ledger(path)
    turns = [{"role": "system", "content": "Be brief."}]
    elsewhere = ChatModel("m", model.call, "http://there/v1")
    models = [
        ledger.wrap(model, "a"),
        ledger.wrap(elsewhere, "a"),
        with_context(ledger.wrap(model, "a"), turns),
        ledger.wrap(with_context(model, turns), "a"),
    ]
    for wrapped in models:
        asyncio.run(wrapped(ASK))
    # Turns count the same on either side of the ledger.
    assert [content for content, _ in calls] == ["Hello", "Hello", "Be brief."]


def test_errors_are_recorded_and_never_served(path):
    model, calls = counting_model(failing_calls={1})
    ledger = Ledger(path)
    with pytest.raises(TimeoutError):
        asyncio.run(ledger.wrap(model, "target")(ASK))
    assert asyncio.run(ledger.wrap(model, "target")(ASK)).text == "answer 2"
    assert ledger.totals()["errors"] == 1
    assert ledger.totals()["calls"] == 1


class PeakCounter:
    """A model that counts how many of its calls are under way at once."""

    def __init__(self):
        self.under_way = 0
        self.peak = 0
        self.model = ChatModel("m", self.call)

    async def call(self, messages, **settings):
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        await asyncio.sleep(0.005)
        self.under_way -= 1
        return Reply("x")


async def ask_20_times(*models):
    calls = [model(ASK, sample=i) for i in range(20) for model in models]
    await asyncio.gather(*calls)


def test_concurrency_is_bounded(path):
    counter = PeakCounter()
    wrapped = Ledger(path).wrap(counter.model, "target", concurrency=3)
    asyncio.run(ask_20_times(wrapped))
    assert counter.peak == 3


def test_all_models_of_a_role_share_its_limit(path):
    counter = PeakCounter()
    ledger = Ledger(path)
    models = [
        ledger.wrap(ChatModel(name, counter.call), "target", concurrency=3) for name in ("a", "b")
    ]
    asyncio.run(ask_20_times(*models))
    assert counter.peak == 3


def test_roles_do_not_share_their_limits(path):
    counter = PeakCounter()
    ledger = Ledger(path)
    models = [ledger.wrap(counter.model, role, concurrency=3) for role in ("target", "judge")]
    asyncio.run(ask_20_times(*models))
    assert counter.peak == 6


def test_a_new_limit_replaces_the_old_one(path):
    counter = PeakCounter()
    ledger = Ledger(path)
    first = ledger.wrap(ChatModel("a", counter.call), "target", concurrency=3)
    ledger.wrap(ChatModel("b", counter.call), "target", concurrency=5)
    asyncio.run(ask_20_times(first))
    assert counter.peak == 5


def test_a_limit_holds_on_one_event_loop_after_another(path):
    counter = PeakCounter()
    wrapped = Ledger(path).wrap(counter.model, "target", concurrency=3)
    for number in range(3):
        turns = [{"role": "system", "content": f"Run {number}"}]
        asyncio.run(ask_20_times(with_context(wrapped, turns)))
    assert counter.peak == 3


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Ledger(tmp_path / "file" / "l.sqlite")


@pytest.fixture
def priced_model(tmp_path, monkeypatch):
    """Model "shop:dear": an answer of 100 tokens in and 50 out costs 0.02 dollars."""
    price_file = tmp_path / "prices.yaml"
    price_file.write_text("shop: {models: {dear: [100, 200]}}")
    monkeypatch.setenv(PRICES_VARIABLE, str(price_file))

    async def call(messages, **settings):
        await asyncio.sleep(0.005)
        return Reply("answer", "stop", 100, 50)

    return ChatModel("shop:dear", call)


async def ask_60_times(model, **settings):
    """The replies of 60 calls at once, and the errors of those that were stopped."""
    calls = [model(ASK, sample=i, **settings) for i in range(60)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    replies = [result for result in results if isinstance(result, Reply)]
    errors = [result for result in results if isinstance(result, BudgetReached)]
    assert len(replies) + len(errors) == 60, results
    return replies, errors


# worst_cost: dollars that a call may cost, of which it takes 0.02
@pytest.mark.parametrize("max_tokens, worst_cost", [(100, 0.025), (1000, 0.205)])
def test_a_budget_stops_within_one_call_and_a_larger_one_continues(
    path, priced_model, max_tokens, worst_cost
):
    def ask(ledger):
        wrapped = ledger.wrap(priced_model, "target", 20)
        return asyncio.run(ask_60_times(wrapped, max_tokens=max_tokens))

    ledger = Ledger(path)
    ledger.limit(budget_usd=0.5)
    replies, errors = ask(ledger)
    assert 0.5 - worst_cost <= ledger.spent <= 0.5
    assert len(replies) == ledger.totals()["calls"] == round(ledger.spent / 0.02)
    assert "$0.50 is reached" in str(errors[0])
    assert "larger --budget-usd" in str(errors[0])

    reopened = Ledger(path)  # as another process does: the limit is in the file
    assert ask(reopened)[0] == replies
    assert reopened.spent == ledger.spent

    reopened.limit(budget_usd=5)
    assert len(ask(reopened)[0]) == 60
    assert reopened.dollars() == pytest.approx(60 * 0.02), "what was answered before was served"
    assert reopened.totals()["calls"] == 60


def test_the_number_of_calls_is_a_hard_stop_too(path):
    model, calls = counting_model(failing_calls={2})
    ledger = Ledger(path)
    ledger.limit(max_calls=7)
    wrapped = ledger.wrap(model, "a", 3)

    async def run():
        asks = [wrapped(ASK, sample=i) for i in range(20)]
        return await asyncio.gather(*asks, return_exceptions=True)

    results = asyncio.run(run())
    assert len(calls) == 7
    assert sum(isinstance(result, BudgetReached) for result in results) == 13
    assert "limit of 7 calls" in str(results[-1])


@pytest.mark.parametrize("limit", [-1, float("nan"), 2**63])
def test_a_limit_that_cannot_be_is_a_clear_error(path, limit):
    with pytest.raises(UserError, match="--budget-usd must be a number"):
        Ledger(path).limit(budget_usd=limit)
    with pytest.raises(UserError, match="--max-calls must be a number"):
        Ledger(path).limit(max_calls=limit)


def test_a_server_that_counts_no_tokens_costs_the_most_it_can(path, priced_model):
    async def call(messages, **settings):
        return Reply("answer", "stop")

    ledger = Ledger(path)
    asyncio.run(ledger.wrap(ChatModel("shop:dear", call), "a")(ASK, max_tokens=1000))
    assert 0.2 < ledger.dollars() < 0.21


async def reach_budget(*_, **__):
    raise BudgetReached("the budget is reached")


async def answer_fine(messages, **_):
    return Reply("fine", "stop")


@pytest.mark.parametrize(
    "start",
    [
        lambda: judge_exchange("Q", reach_budget, judge_offline, REFUSAL),
        lambda: llm_judge(reach_budget)(REFUSAL, "Q", Reply("R", "stop")),
        lambda: describe.llm_describer(reach_budget)(["text"], "query"),
        lambda: run_search(
            Pool(["a"], [[0]]), reach_budget, answer_fine, judge_offline, REFUSAL, runs=1
        ),
    ],
)
def test_a_stop_is_not_an_error_of_a_candidate(start):
    with pytest.raises(BudgetReached):
        asyncio.run(start())


def test_a_stop_is_not_an_error_of_a_crux(tmp_path, monkeypatch):
    from chunkykit.lab.run import Run, start_run

    opened = start_run(tmp_path, profile="smoke", judge="http://127.0.0.1:9/v1:m")
    monkeypatch.setattr(Run, "model", lambda *_: reach_budget)
    with pytest.raises(BudgetReached):
        asyncio.run(opened.cruxes([["The response is long"]], REFUSAL))


def test_an_unknown_price_is_never_zero_and_allows_no_budget(path):
    model = counting_model()[0]
    ledger = Ledger(path)
    assert ledger.dollars() == 0.0
    asyncio.run(ledger.wrap(ChatModel("organism:x", model.call), "a")(ASK))
    assert ledger.dollars() == 0.0
    asyncio.run(ledger.wrap(model, "a")(ASK))
    assert ledger.dollars() is None
    wrapped = ledger.wrap(model, "a")
    ledger.limit(budget_usd=1)
    with pytest.raises(UserError, match="price is unknown"):
        ledger.wrap(model, "a")
    with pytest.raises(UserError, match="price is unknown"):
        asyncio.run(wrapped(ASK, sample=1))


def test_free_answers_and_errors_are_forgotten_and_paid_ones_stay(path, priced_model):
    ledger = Ledger(path)
    free_model, free_calls = counting_model(failing_calls={1})
    free = ledger.wrap(ChatModel("organism:x", free_model.call), "a")
    with pytest.raises(TimeoutError):
        asyncio.run(free(ASK))
    asyncio.run(free(ASK))
    asyncio.run(ledger.wrap(priced_model, "a")(ASK))
    ledger.forget_free()
    assert ledger.totals()["calls"] == 1
    assert ledger.totals()["errors"] == 0
    asyncio.run(free(ASK))
    assert len(free_calls) == 3


def test_a_further_limit_counts_from_now_and_holds_for_nobody_else(path, priced_model):
    first = Ledger(path)
    first.limit(max_calls=60)
    asyncio.run(ask_60_times(first.wrap(priced_model, "target")))
    later = Ledger(path)
    later.limit_further(budget_usd=1, max_calls=7)
    wrapped = later.wrap(priced_model, "judge")
    replies, errors = asyncio.run(ask_60_times(wrapped, max_tokens=100))
    assert len(replies) == 7
    assert "limit of 7 calls" in str(errors[0])
    later.limit_further(budget_usd=0.1)
    replies, errors = asyncio.run(ask_60_times(wrapped, max_tokens=100))
    assert 7 < len(replies) <= 12
    assert "$0.10 is reached: $0.0" in str(errors[0])
    again = Ledger(path)
    assert (again.account.budget, again.account.max_calls) == (None, 60)


def test_what_cannot_be_recorded_ends_everything(path):
    """On a full disk each further call would be paid for and lost."""
    model, _ = counting_model()
    ledger = Ledger(path)
    real_db = ledger.file.db

    class FullDisk:
        in_transaction = False

        def execute(self, statement, values=()):
            if statement.startswith("insert"):
                raise sqlite3.OperationalError("database or disk is full")
            return real_db.execute(statement, values)

    ledger.file.db = FullDisk()
    with pytest.raises(UserError, match="cannot be written .*disk is full"):
        asyncio.run(ledger.wrap(model, "target")(ASK))


def test_a_model_that_is_wrapped_twice_is_paid_for_once(tmp_path):
    calls = []

    async def call(messages, **settings):
        calls.append(messages)
        return Reply("x", "stop")

    ledger = Ledger(tmp_path / "ledger.sqlite")
    once = ledger.wrap(ChatModel("organism:fast", call), "target")
    twice = ledger.wrap(once, "target")
    reply = asyncio.run(asyncio.wait_for(twice([{"role": "user", "content": "q"}]), 10))
    assert reply.text == "x"
    assert len(calls) == ledger.totals()["calls"] == 1


def test_a_file_that_is_damaged_or_full_later_is_one_clear_error(path):
    model, _ = counting_model()
    ledger = Ledger(path)
    target = ledger.wrap(model, "target")
    ledger.db.execute("drop table calls")
    ledger.db.execute("pragma query_only=on")
    for attempt in (lambda: asyncio.run(target(ASK)), lambda: ledger.limit(1.0), ledger.totals):
        with pytest.raises(UserError, match="ledger .*: cannot be written"):
            attempt()

import asyncio
import json
import os
import signal
import sys
from functools import partial

import pytest
from aiohttp import web
from conftest import serving

from chunkykit.attributes import llm as describe
from chunkykit.errors import BudgetReached, UserError
from chunkykit.models import (
    PRICES_VARIABLE,
    PROVIDERS,
    ChatModel,
    Ledger,
    Reply,
    connect_model,
    estimate_cost,
    is_free,
    price_of,
    with_context,
)
from chunkykit.rubrics import judge_exchange, judge_offline, llm_judge, load_rubric
from chunkykit.surf import Pool, run_search

ASK = [{"role": "user", "content": "Hello"}]
OF = load_rubric("refusal")


def counting(fail=()):
    calls = []

    async def call(messages, **settings):
        calls.append((messages[0]["content"], settings))
        await asyncio.sleep(0.01)
        if len(calls) in fail:
            raise TimeoutError("no answer")
        return Reply(f"answer {len(calls)}", "stop", 2, 1)

    return ChatModel("m", call), calls


def test_a_call_is_paid_once_and_kept_over_processes(tmp_path):
    model, calls = counting()

    async def go():
        wrapped = Ledger(tmp_path / "l.sqlite").wrap(model, "target")
        both = await asyncio.gather(wrapped(ASK, sample=1), wrapped(ASK, sample=1))
        return both, await wrapped(ASK, sample=2)

    (one, same), two = asyncio.run(go())
    again = asyncio.run(Ledger(tmp_path / "l.sqlite").wrap(model, "target")(ASK, sample=1))
    assert one == same == again and two != one and len(calls) == 2
    assert Ledger(tmp_path / "l.sqlite").totals() == {
        "calls": 2,
        "errors": 0,
        "input_tokens": 4,
        "output_tokens": 2,
    }


def test_role_and_settings_are_in_the_key(tmp_path):
    model, calls = counting()
    ledger = Ledger(tmp_path / "l.sqlite")
    for role, settings in (("a", {}), ("b", {}), ("a", {"temperature": 1.0})):
        asyncio.run(ledger.wrap(model, role)(ASK, **settings))
    assert len(calls) == 3


def test_errors_are_written_down_and_never_served(tmp_path):
    model, calls = counting(fail={1})
    ledger = Ledger(tmp_path / "l.sqlite")
    with pytest.raises(TimeoutError):
        asyncio.run(ledger.wrap(model, "target")(ASK))
    assert asyncio.run(ledger.wrap(model, "target")(ASK)).text == "answer 2"
    assert ledger.totals()["errors"] == 1 and ledger.totals()["calls"] == 1


def test_concurrency_is_bounded(tmp_path):
    at_once, most = 0, 0

    async def call(messages, **_):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        return Reply("x")

    async def go():
        wrapped = Ledger(tmp_path / "l.sqlite").wrap(ChatModel("m", call), "target", concurrency=3)
        await asyncio.gather(*(wrapped(ASK, sample=i) for i in range(20)))

    asyncio.run(go())
    assert most == 3


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Ledger(tmp_path / "file" / "l.sqlite")


def test_address_and_turns_are_in_the_key(tmp_path):
    model, calls = counting()
    ledger, turns = Ledger(tmp_path / "l.sqlite"), [{"role": "system", "content": "Be brief."}]
    elsewhere = ChatModel("m", model.call, "http://there/v1")
    for one in (
        ledger.wrap(model, "a"),
        ledger.wrap(elsewhere, "a"),
        with_context(ledger.wrap(model, "a"), turns),
        ledger.wrap(with_context(model, turns), "a"),
    ):
        asyncio.run(one(ASK))
    assert [sent for sent, _ in calls] == ["Hello", "Hello", "Be brief."], (
        "turns count alike on either side of the ledger"
    )


@pytest.fixture
def priced(tmp_path, monkeypatch):
    """Model "shop:dear": an answer of 100 tokens in and 50 out costs 0.02 dollars."""
    path = tmp_path / "prices.yaml"
    path.write_text("shop: {models: {dear: [100, 200]}}")
    monkeypatch.setenv(PRICES_VARIABLE, str(path))

    async def call(messages, **settings):
        await asyncio.sleep(0.005)
        return Reply("answer", "stop", 100, 50)

    return ChatModel("shop:dear", call)


async def until_stopped(model, n=60, **settings):
    """What n calls at once give, and how many were stopped."""
    given = await asyncio.gather(
        *(model(ASK, sample=i, **settings) for i in range(n)), return_exceptions=True
    )
    assert all(isinstance(g, (Reply, BudgetReached)) for g in given), given
    return [g for g in given if isinstance(g, Reply)], [
        g for g in given if isinstance(g, BudgetReached)
    ]


@pytest.mark.parametrize(
    "max_tokens, most", [(100, 0.025), (1000, 0.205)]
)  # dollars that a call may cost, of which it takes 0.02
def test_a_budget_stops_within_one_call_and_a_larger_one_goes_on(
    tmp_path, priced, max_tokens, most
):
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.limit(budget_usd=0.5)
    answers, stopped = asyncio.run(
        until_stopped(ledger.wrap(priced, "target", 20), max_tokens=max_tokens)
    )
    assert 0.5 - most <= ledger.spent <= 0.5 and len(answers) == ledger.totals()["calls"] == round(
        ledger.spent / 0.02
    )
    assert (
        len(answers) + len(stopped) == 60
        and "$0.50 is reached" in str(stopped[0])
        and "larger --budget-usd" in str(stopped[0])
    )
    again = Ledger(tmp_path / "l.sqlite")  # another process: the limit stands in the file
    assert (
        asyncio.run(until_stopped(again.wrap(priced, "target", 20), max_tokens=max_tokens))[0]
        == answers
        and again.spent == ledger.spent
    )
    again.limit(budget_usd=5)
    assert (
        len(asyncio.run(until_stopped(again.wrap(priced, "target", 20), max_tokens=max_tokens))[0])
        == 60
    )
    assert again.dollars() == pytest.approx(60 * 0.02) and again.totals()["calls"] == 60, (
        "what was answered before was served"
    )


def test_the_number_of_calls_is_a_hard_stop_too(tmp_path):
    model, calls = counting(fail={2})
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.limit(max_calls=7)
    wrapped = ledger.wrap(model, "a", 3)

    async def go():
        return await asyncio.gather(
            *(wrapped(ASK, sample=i) for i in range(20)), return_exceptions=True
        )

    given = asyncio.run(go())
    assert (
        len(calls) == 7
        and sum(isinstance(g, BudgetReached) for g in given) == 13
        and "limit of 7 calls" in str(given[-1])
    )


def test_a_server_that_counts_no_tokens_costs_the_most_it_can(tmp_path, priced):
    async def silent(messages, **settings):
        return Reply("answer", "stop")

    ledger = Ledger(tmp_path / "l.sqlite")
    asyncio.run(ledger.wrap(ChatModel("shop:dear", silent), "a")(ASK, max_tokens=1000))
    assert 0.2 < ledger.dollars() < 0.21


async def broke(*_, **__):
    raise BudgetReached("the budget is reached")


async def says(messages, **_):
    return Reply("fine", "stop")


@pytest.mark.parametrize(
    "stopped",
    [
        lambda: judge_exchange("Q", broke, judge_offline, OF),
        lambda: llm_judge(broke)(OF, "Q", Reply("R", "stop")),
        lambda: describe.llm_describer(broke)(["text"], "query"),
        lambda: run_search(Pool(["a"], [[0]]), broke, says, judge_offline, OF, runs=1),
    ],
)
def test_a_stop_is_no_error_of_a_candidate(stopped):
    with pytest.raises(BudgetReached):
        asyncio.run(stopped())


def test_a_stop_is_no_error_of_a_crux(tmp_path, monkeypatch):
    from chunkykit.lab.run import Run, start_run

    opened = start_run(tmp_path, profile="smoke", judge="http://127.0.0.1:9/v1:m")
    monkeypatch.setattr(Run, "model", lambda *_: broke)
    with pytest.raises(BudgetReached):
        asyncio.run(opened.cruxes([["The response is long"]], OF))


def test_prices_are_known_exactly_or_not_at_all(tmp_path, monkeypatch):
    assert (
        price_of("anthropic:claude-haiku-4-5-20251001")
        == price_of("anthropic:claude-haiku-4-5")
        == (1, 5)
    )
    assert (
        price_of("openai:gpt-5-mini-2025-08-07") == (0.25, 2)
        and price_of("openai:gpt-5-pro") is None
    )
    assert (
        price_of("anthropic:claude-opus-4-20250514") == (15, 75)
        and price_of("anthropic:claude-opus-4-9") is None
    )
    assert (
        price_of("gemini:gemini-2.5-flash")
        and price_of("xai:grok-4.3")
        and price_of("together:x") is None
    )
    for name in (
        "organism:fast@0-1",
        "vllm:x",
        "ollama:x",
        "http://localhost:8000/v1:m",
        "http://127.0.0.1:1/v1:m",
    ):
        assert price_of(name) == (0, 0) and is_free(name)
    assert price_of("http://localhost.example/v1:m") is None and not is_free("http://10.0.0.1/v1:m")
    assert estimate_cost(
        [("openai:gpt-5", 1000, 1000, 100), ("offline", 9, 9, 9), ("vllm:x", 10, 1, 1)]
    ) == (1010, 1100020, 1.25 + 1.0)
    assert estimate_cost([("openai:gpt-5", 1, 1, 1), ("openai:gpt-99", 1, 1, 1)])[2] is None
    for text in ("- a", "openai: {models: {x: [1]}}", "openai: [", "openai: {}"):
        path = tmp_path / f"{len(text)}.yaml"
        path.write_text(text)
        monkeypatch.setenv(PRICES_VARIABLE, str(path))
        with pytest.raises(UserError, match="cannot be read"):
            price_of("openai:gpt-5")


def test_an_unknown_price_is_never_zero_and_holds_no_budget(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite")
    assert ledger.dollars() == 0.0
    asyncio.run(ledger.wrap(ChatModel("organism:x", counting()[0].call), "a")(ASK))
    assert ledger.dollars() == 0.0
    asyncio.run(ledger.wrap(counting()[0], "a")(ASK))
    assert ledger.dollars() is None
    wrapped = ledger.wrap(counting()[0], "a")
    ledger.limit(budget_usd=1)
    with pytest.raises(UserError, match="price is unknown"):
        ledger.wrap(counting()[0], "a")
    with pytest.raises(UserError, match="price is unknown"):
        asyncio.run(wrapped(ASK, sample=1))


# batches: a local server that speaks both formats


@pytest.fixture
def shop(monkeypatch):
    """(routes, state) of a server with both batch interfaces; state: requests of each batch, whether they are done."""
    state = {
        "batches": [],
        "files": {},
        "single": 0,
        "done": True,
        "openai": {},
        "locked": False,
        "fails": False,
    }

    def text(request):
        return (
            "refused"
            if "bad" in request["messages"][0]["content"]
            else "said " + request["messages"][0]["content"].splitlines()[-1]
        )

    def chat(request):
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text(request)},
                }
            ],
        }

    def message(request):
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 50},
            "content": [{"type": "text", "text": text(request)}],
        }

    async def single(request):
        state["single"] += 1
        body = await request.json()
        if state["fails"]:
            return web.json_response({"error": {"message": "not this one"}}, status=404)
        return web.json_response((chat if "chat" in request.path else message)(body))

    async def openai_file(request):
        form = await request.post()
        state["files"]["in"] = form["file"].file.read().decode()
        return web.json_response(
            {
                "id": "in",
                "object": "file",
                "bytes": 1,
                "created_at": 1,
                "filename": "f",
                "purpose": form["purpose"],
                "status": "processed",
            }
        )

    def openai_batch(n):
        return web.json_response(
            {
                "id": f"batch_{n}",
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "input_file_id": "in",
                "completion_window": "24h",
                "created_at": 1,
                "status": "completed" if state["done"] else "in_progress",
                "output_file_id": f"out{n}",
                "error_file_id": f"err{n}",
                **state["openai"],
            }
        )

    async def openai_submit(request):
        assert (await request.json())["input_file_id"] == "in"
        state["batches"].append([json.loads(line) for line in state["files"]["in"].splitlines()])
        return openai_batch(len(state["batches"]) - 1)

    async def openai_content(request):
        kind, n = request.match_info["id"][:3], int(request.match_info["id"][3:])
        lines = []
        for item in reversed(state["batches"][n]):  # in no order
            bad = text(item["body"]) == "refused"
            response = (
                {"status_code": 400, "body": {"error": {"message": "refused"}}}
                if bad
                else {"status_code": 200, "body": chat(item["body"])}
            )
            lines += (
                [json.dumps({"custom_id": item["custom_id"], "response": response, "error": None})]
                if bad == (kind == "err")
                else []
            )
        return web.Response(text="\n".join(lines))

    def anthropic_batch(request, n):
        return web.json_response(
            {
                "id": f"batch_{n}",
                "type": "message_batch",
                "created_at": "2026-01-01T00:00:00Z",
                "expires_at": "2026-01-02T00:00:00Z",
                "processing_status": "ended" if state["done"] else "in_progress",
                "results_url": f"{request.url.origin()}/results/{n}",
                "request_counts": {
                    "processing": 0,
                    "succeeded": 1,
                    "errored": 0,
                    "canceled": 0,
                    "expired": 0,
                },
            }
        )

    async def anthropic_submit(request):
        state["batches"].append((await request.json())["requests"])
        return anthropic_batch(request, len(state["batches"]) - 1)

    async def anthropic_results(request):
        def result(params):
            if text(params) == "refused":
                return {
                    "type": "errored",
                    "error": {
                        "type": "error",
                        "error": {"type": "invalid_request_error", "message": "refused"},
                    },
                }
            return {"type": "succeeded", "message": message(params)}

        items = reversed(state["batches"][int(request.match_info["n"])])
        return web.Response(
            text="\n".join(
                json.dumps({"custom_id": i["custom_id"], "result": result(i["params"])})
                for i in items
            )
        )

    async def anthropic_retrieve(request):
        return anthropic_batch(request, int(request.match_info["n"]))

    async def openai_retrieve(request):
        if state["locked"]:
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        return openai_batch(int(request.match_info["n"]))

    routes = [
        web.post("/v1/chat/completions", single),
        web.post("/v1/messages", single),
        web.post("/v1/files", openai_file),
        web.post("/v1/batches", openai_submit),
        web.get("/v1/batches/batch_{n}", openai_retrieve),
        web.get("/v1/files/{id}/content", openai_content),
        web.post("/v1/messages/batches", anthropic_submit),
        web.get("/v1/messages/batches/batch_{n}", anthropic_retrieve),
        web.get("/results/{n}", anthropic_results),
    ]
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "a-key-of-some-length")
    return routes, state


def shop_at(url, provider):
    """The provider's model, with its address at the shop; as source text too, for another process."""
    os.environ["ANTHROPIC_BASE_URL"] = url
    PROVIDERS["openai"] = (f"{url}/v1", "OPENAI_API_KEY")
    return connect_model(
        {"openai": "openai:gpt-5", "anthropic": "anthropic:claude-haiku-4-5"}[provider]
    )


@pytest.fixture(autouse=True)
def addresses(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "openai", PROVIDERS["openai"])
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")


TEXTS = [f"text {i}" for i in range(5)] + ["bad"]
REQUESTS = [
    ([{"role": "user", "content": text}], {"sample": i, "max_tokens": 60})
    for i, text in enumerate(TEXTS)
]


@pytest.mark.parametrize(
    "provider, dollars",
    [("openai", (1.25 * 100 + 10 * 50) / 1e6), ("anthropic", (1 * 100 + 5 * 50) / 1e6)],
)
def test_a_batch_answers_ahead_of_the_ordinary_calls_at_half_price(
    tmp_path, shop, provider, dollars
):
    routes, state = shop
    ledger = Ledger(tmp_path / "l.sqlite")

    async def go():
        async with serving(*routes) as url:
            model = shop_at(url, provider)
            await ledger.prefill(model, "describer", REQUESTS, poll=0.01)
            assert state["single"] == 1 and [len(b) for b in state["batches"]] == [5], (
                "one goes ahead, the rest in one batch"
            )
            await ledger.prefill(model, "describer", REQUESTS[:5], poll=0.01)
            replies = await asyncio.gather(
                *(ledger.wrap(model, "describer")(m, **s) for m, s in REQUESTS)
            )
            await connect_model(model.name)(ASK)
            return replies

    replies = asyncio.run(go())
    assert [r.text for r in replies] == [f"said text {i}" for i in range(5)] + ["refused"]
    assert len(state["batches"]) == 1 and state["single"] == 3, (
        "five served; the failed one, and the one outside the ledger, were asked for"
    )
    assert ledger.dollars() == pytest.approx(dollars * (1 + 4 / 2 + 1)) and ledger.totals() == {
        "calls": 6,
        "errors": 1,
        "input_tokens": 600,
        "output_tokens": 300,
    }
    assert "refused" in ledger.db.execute("select error from errors").fetchone()[0]


KILLED = """
import asyncio, os, sys
sys.path[:0] = {path!r}
import test_ledger as t
model = t.shop_at({url!r}, {provider!r})
asyncio.run(t.Ledger({ledger!r}).prefill(model, "describer", t.REQUESTS, poll=0.05))
"""


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_killed_batch_is_gone_on_with_and_never_sent_twice(tmp_path, shop, provider):
    routes, state = shop
    state["done"] = False
    path = tmp_path / "l.sqlite"

    async def go():
        async with serving(*routes) as url:
            source = KILLED.format(
                path=[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))],
                url=url,
                provider=provider,
                ledger=str(path),
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", source)
            while not (
                path.exists()
                and Ledger(path).db.execute("select count(*) from waiting").fetchone()[0]
            ):
                assert process.returncode is None
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            state["done"] = True
            await Ledger(path).prefill(shop_at(url, provider), "describer", REQUESTS, poll=0.01)

    asyncio.run(asyncio.wait_for(go(), 60))
    assert len(state["batches"]) == 1 and state["single"] == 1
    ledger = Ledger(path)
    assert ledger.totals()["calls"] == 5 and ledger.totals()["errors"] == 1
    assert not ledger.db.execute("select * from waiting").fetchall()


def test_a_refused_batch_is_an_error_and_a_refused_key_forgets_no_batch(tmp_path, shop):
    routes, state = shop
    ledger = Ledger(tmp_path / "l.sqlite")
    waiting = lambda: ledger.db.execute("select count(*) from waiting").fetchone()[0]  # noqa: E731

    async def go():
        async with serving(*routes) as url:
            model = shop_at(url, "openai")
            prefill = partial(ledger.prefill, model, "describer", REQUESTS[::-1], poll=0.01)
            state.update(
                locked=True, fails=True
            )  # the call that goes ahead fails too: that stops nothing
            with pytest.raises(UserError, match="refuses the key"):
                await prefill()
            assert waiting() == 5 and ledger.totals() == {
                "calls": 0,
                "errors": 1,
                "input_tokens": 0,
                "output_tokens": 0,
            }
            state.update(
                locked=False,
                fails=False,
                openai={"status": "failed", "errors": {"data": [{"message": "too many tokens"}]}},
            )
            with pytest.raises(UserError, match="too many tokens"):
                await prefill()
            assert waiting() == 0 and len(state["batches"]) == 1
            state["openai"] = {}
            await prefill()

    asyncio.run(go())
    assert len(state["batches"]) == 2 and ledger.totals()["calls"] == 6


def test_a_batch_keeps_the_limits_and_needs_an_interface(tmp_path, shop):
    routes, state = shop
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.limit(max_calls=5)

    async def go():
        async with serving(*routes) as url:
            with pytest.raises(BudgetReached):
                await ledger.prefill(shop_at(url, "openai"), "describer", REQUESTS, poll=0.01)

    asyncio.run(go())
    assert not state["batches"]
    with pytest.raises(UserError, match="no batch interface"):
        asyncio.run(ledger.prefill(counting()[0], "describer", REQUESTS))


def test_a_run_describes_by_batch_where_the_texts_are_many(tmp_path, shop, monkeypatch):
    from chunkykit.lab.run import start_run

    routes, state = shop
    monkeypatch.setattr(describe, "MIN_BATCH_TEXTS", 3)
    opened = start_run(
        tmp_path, profile="smoke", describer="openai:gpt-5", writer="openai:gpt-5", batch=True
    )

    async def go():
        async with serving(*routes) as url:
            shop_at(url, "openai")
            describes = opened.describe()
            with pytest.raises(
                UserError, match="gave nothing"
            ):  # the shop says no sentence: both replies to each are unreadable
                await describes(["a", "b", "c", "c"], "query")
            with pytest.raises(UserError):
                await describes(["d"], "query")

    asyncio.run(go())
    assert [len(b) for b in state["batches"]] == [2] and state["single"] == 1 + 3 + 2, (
        "the repairs, and the text by itself, were ordinary calls"
    )


def test_what_cannot_be_kept_ends_everything(tmp_path):
    """On a full disk each further call would be paid and lost."""
    import sqlite3

    class Full:
        def execute(self, statement, values=()):
            if statement.startswith("insert"):
                raise sqlite3.OperationalError("database or disk is full")
            return kept.execute(statement, values)

    model, calls = counting()
    ledger = Ledger(tmp_path / "l.sqlite")
    kept, ledger.db = ledger.db, Full()
    with pytest.raises(UserError, match="cannot be written .*disk is full"):
        asyncio.run(ledger.wrap(model, "target")(ASK))

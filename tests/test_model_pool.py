"""ModelPool: one model per name and role, one limit per role, all closed together."""

import asyncio

import pandas as pd
import pytest
from aiohttp import web
from conftest import serving
from servers import ASK, openai_reply

from chunkykit.errors import UserError
from chunkykit.models import Ledger, ModelPool

ROWS = pd.DataFrame({"prompt": ["Hello"] * 4, "response": ["Hi there."] * 4})


class SlowServer:
    """A chat server that counts the calls under way at once."""

    def __init__(self):
        self.under_way = 0
        self.peak = 0
        self.calls = 0

    async def answer(self, request):
        self.calls += 1
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        await asyncio.sleep(0.02)
        self.under_way -= 1
        return openai_reply("Hi")

    def serving(self):
        return serving(web.post("/v1/chat/completions", self.answer))


def ledger_or_none(tmp_path, has_ledger):
    return Ledger(tmp_path / "ledger.sqlite") if has_ledger else None


def test_the_same_arguments_give_the_same_model(opened_clients):
    pool = ModelPool()
    url = "http://127.0.0.1:9/v1"
    target = pool.model(f"{url}:m", "target")
    assert pool.model(f"{url}:m", "target") is target
    assert pool.model(f"{url}:other", "target") is not target
    assert pool.model(f"{url}:m", "target", seed=1) is not target
    assert pool.model(f"{url}:m", "judge") is not target
    assert len(opened_clients) == 3, "roles share a connection"


def test_a_model_that_learns_is_one_per_rows_and_seed():
    pool = ModelPool()
    organism = pool.model("organism:fast", "target", ROWS)
    assert pool.model("organism:fast", "target", ROWS.copy()) is organism
    assert pool.model("organism:fast", "target", ROWS[:2]) is not organism
    assert pool.model("organism:fast", "target", ROWS, seed=1) is not organism


@pytest.mark.parametrize("has_ledger", [True, False])
def test_two_models_of_a_role_share_its_limit(tmp_path, has_ledger):
    server = SlowServer()

    async def run():
        pool = ModelPool(ledger_or_none(tmp_path, has_ledger), {"target": 3})
        async with server.serving() as url, pool:
            models = [pool.model(f"{url}/v1:{name}", "target") for name in ("a", "b")]
            calls = [model(ASK, sample=i) for i in range(8) for model in models]
            await asyncio.gather(*calls)

    asyncio.run(run())
    assert server.calls == 16
    assert server.peak == 3


@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_pool_works_on_one_event_loop_after_another(tmp_path, has_ledger, opened_clients):
    server = SlowServer()
    pool = ModelPool(ledger_or_none(tmp_path, has_ledger), {"target": 2})
    models = []

    async def run(number):
        async with server.serving() as url:
            model = pool.model(f"{url}/v1:m", "target")
            models.append(model)
            calls = [model(ASK, sample=10 * number + i) for i in range(6)]
            await asyncio.gather(*calls)
            await pool.close()

    for number in range(3):
        asyncio.run(run(number))
    assert server.calls == 18
    assert server.peak == 2
    assert all(client.is_closed() for client in opened_clients)


def test_a_closed_pool_has_no_open_connections_and_can_be_used_again(opened_clients):
    server = SlowServer()

    async def run():
        async with server.serving() as url:
            async with ModelPool() as pool:
                model = pool.model(f"{url}/v1:m", "target")
                pool.model(f"{url}/v1:never-called", "target")
                await model(ASK)
            closed = [client.is_closed() for client in opened_clients]
            reply = await model(ASK)
            await pool.close()
            return closed, reply

    closed, reply = asyncio.run(run())
    assert closed == [True, True]
    assert reply.text == "Hi"
    assert len(opened_clients) == 3
    assert opened_clients[2].is_closed(), "the pool still owns what is opened later"


def test_calls_of_a_pool_are_recorded_in_its_ledger(tmp_path):
    server = SlowServer()
    ledger = Ledger(tmp_path / "ledger.sqlite")

    async def run():
        async with server.serving() as url, ModelPool(ledger) as pool:
            model = pool.model(f"{url}/v1:m", "target")
            return [await model(ASK), await model(ASK)]

    first, second = asyncio.run(run())
    assert first == second
    assert server.calls == 1
    assert ledger.totals()["calls"] == 1


def test_a_name_that_is_not_known_is_a_clear_error():
    with pytest.raises(UserError, match="not known"):
        ModelPool().model("nobody:x", "target")

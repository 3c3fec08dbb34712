import asyncio

import pytest

from chunkykit.errors import UserError
from chunkykit.ledger import Ledger
from chunkykit.llm import ChatModel, Reply

ASK = [{"role": "user", "content": "Hello"}]


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
    assert Ledger(tmp_path / "l.sqlite").totals() == {"calls": 2, "errors": 0, "input_tokens": 4, "output_tokens": 2}


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

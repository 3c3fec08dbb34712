"""Values that belong to one event loop."""

import asyncio

from chunkykit.models.loops import PerLoop, RoleLimits


def test_each_loop_has_its_own_value_and_closed_loops_have_none():
    values = PerLoop()

    async def number(n):
        assert values.get() is None
        return values.get_or_create(lambda: n), values.get_or_create(lambda: -1)

    assert asyncio.run(number(1)) == (1, 1)
    assert asyncio.run(number(2)) == (2, 2)

    async def clear():
        values.get_or_create(lambda: 3)
        return values.clear()

    items = asyncio.run(clear())
    assert [value for _, value in items] == [3]


def test_a_value_that_was_replaced_is_not_removed():
    values = PerLoop()

    async def run():
        values.get_or_create(lambda: "first")
        values.remove("first")
        values.get_or_create(lambda: "second")
        values.remove("first")
        return values.get()

    assert asyncio.run(run()) == "second"


def test_a_semaphore_that_was_waited_for_does_not_bind_the_next_loop():
    limits = RoleLimits()
    limits.set_limit("target", 1)

    async def call():
        async with limits.semaphore("target"):
            await asyncio.sleep(0.001)

    async def run():
        await asyncio.gather(call(), call(), call())

    asyncio.run(run())
    asyncio.run(run())


def test_a_role_without_a_limit_has_the_default_one():
    async def run():
        return RoleLimits().semaphore("judge")._value

    assert asyncio.run(run()) == 16

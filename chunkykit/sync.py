"""Run a coroutine from plain code, also inside a notebook, whose event loop is busy."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_sync(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    Args:
        coroutine: what to run. It must not need the event loop of the caller: where one is
            running, as in a notebook, the coroutine runs on another one in a thread.

    Returns:
        What the coroutine returns.
    """
    if not _is_in_loop():
        return asyncio.run(coroutine)
    outcome: list = []

    def work() -> None:
        try:
            outcome.append((asyncio.run(coroutine), None))
        except BaseException as error:  # handed on to the caller
            outcome.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _is_in_loop() -> bool:
    """Whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""Retries: which errors of a server are worth another try, and how long to wait before it."""

import asyncio
import email.utils
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from chunkykit.errors import UserError
from chunkykit.models.keys import scrub_keys
from chunkykit.models.meter import running_meter
from chunkykit.models.network import explain_connection
from chunkykit.models.pace import MAX_PAUSE, backoff, pace_of
from chunkykit.progress import waiting

MAX_TRIES = 6  # tries of a call that fails on its way; a rate limit costs none
MAX_JITTER = 0.5  # of a pause that is added to it by chance, so that calls do not return at once
DEFAULT_DEADLINE = 600.0  # seconds of a call with all its tries
RATE_LIMITED = (429, 529)
RATE_LIMIT = "rate limit"  # what a call waits for, in words
REFUSED_ACCOUNT = (401, 402)

T = TypeVar("T")


class ErrorInReply(Exception):
    """An error that a server sent as the body of an answer with status 200.

    Attributes:
        status_code: the status that the error names; 0 if none.
        code: the error's own word, such as "insufficient_quota".
    """

    def __init__(self, error: Any):
        """Read the field `error` of the body."""
        details = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(str(details.get("message") or details))
        self.code = details.get("code")
        is_status = re.fullmatch(r"[45]\d\d", str(self.code))
        self.status_code = int(str(self.code)) if is_status else 0


_ends_at: ContextVar[float] = ContextVar("ends_at")  # time.monotonic() of a call's deadline


_max_tries: ContextVar[int] = ContextVar("max_tries", default=MAX_TRIES)


@contextmanager
def tries_limited(tries: int) -> Iterator[None]:
    """Try calls inside this context no more than so often, whatever goes wrong.

    Args:
        tries: of one call.
    """
    token = _max_tries.set(tries)
    try:
        yield
    finally:
        _max_tries.reset(token)


class DeadlineReached(Exception):
    """A call was not answered in time, with all its tries."""


async def within_deadline(call: Awaitable[T], seconds: float, url: str) -> T:
    """Wait for a call, but not longer than its deadline.

    Args:
        call: the call with all its tries.
        seconds: the deadline.
        url: the server's address, for the error.

    Returns:
        What the call returns.

    Raises:
        DeadlineReached: if it takes longer. It is cancelled then.
    """
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        async with asyncio.timeout(seconds) as timeout:
            return await call
    except TimeoutError:
        if not timeout.expired():
            raise
        raise DeadlineReached(
            f"{url} has not answered within {seconds:g} s, all tries together (--deadline)"
        ) from None
    finally:
        _ends_at.reset(token)


def _seconds_left() -> float:
    """Seconds until the deadline of the call that is being made."""
    return _ends_at.get(math.inf) - time.monotonic()


async def send_with_retries(
    url: str, send: Callable[[], Awaitable[T]], may_resend: bool = True
) -> T:
    """Send a call, again after rate limits, overload, server errors and lost connections.

    A rate limit pauses all calls to the address, which is why the retries are here and not in a
    ledger. Other trouble delays the failing call alone. The tries end with the deadline of the
    call, see `within_deadline`.

    Args:
        url: the server's address.
        send: `await send()` sends the call.
        may_resend: whether to send again what may have arrived.

    Returns:
        What `send` returned.

    Raises:
        UserError: if the server refuses the key or the account.
        BudgetReached: if another try could exceed a limit.
        Exception: the client's error if it is not worth another try, or the tries are used up.
            Its text holds no key.
    """
    failures = 0
    refusals = 0
    running_meter().hold()
    while True:
        try:
            return await _send_once(url, send, refusals > 0)
        except Exception as error:
            explain_connection(error, url)
            _scrub_error(error)
            if _account_is_refused(error):
                raise UserError(f"{url} refuses the key or the account: {error}") from None
            if failures + refusals + 1 >= _max_tries.get() < MAX_TRIES:
                raise
            if _status(error) in RATE_LIMITED:
                pause = max(_requested_pause(error), backoff(refusals))
                refusals += 1
            elif may_resend and failures + 1 < MAX_TRIES and _is_transient(error):
                pause = max(min(_requested_pause(error), MAX_PAUSE), backoff(failures))
                failures += 1
            else:
                raise
            if pause > _seconds_left():
                raise
            with waiting(f"waiting for {url} ({_trouble(error)})"):
                await asyncio.sleep(pause * random.uniform(1, 1 + MAX_JITTER))


async def _send_once(url: str, send: Callable[[], Awaitable[T]], is_retry: bool) -> T:
    """Send a request when its address and its limits allow it."""
    meter = running_meter()
    # Before the pace: a request that waits for the limits must keep nobody waiting.
    await meter.reserve()
    pace = pace_of(url)
    lane = pace.again if is_retry else pace.first
    if lane.is_paused:
        with waiting(f"waiting for {url} ({RATE_LIMIT})"):
            request = await lane.enter()
    else:
        request = await lane.enter()
    try:
        meter.send()
        result = await send()
    except BaseException as error:
        meter.fail(error)
        if _status(error) in RATE_LIMITED and not _account_is_refused(error):
            requested = _requested_pause(error)
            # A pause that this call cannot wait for ends it, and is not requested of the others.
            pace.refused(lane, request, requested if requested <= _seconds_left() else 0.0)
        elif _status(error):
            lane.answered(request)
        raise
    else:
        lane.answered(request)
        return result
    finally:
        lane.leave(request)


def _status(error: BaseException) -> int:
    return getattr(error, "status_code", None) or 0


def _trouble(error: BaseException) -> str:
    """Why a call has to wait, in few words."""
    status = _status(error)
    if status in RATE_LIMITED:
        return RATE_LIMIT
    return f"error {status}" if status else "no connection"


def _scrub_error(error: Exception) -> None:
    error.args = tuple(scrub_keys(arg) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(getattr(error, "message", None), str):
        error.message = scrub_keys(error.message)  # type: ignore[attr-defined]


def _account_is_refused(error: BaseException) -> bool:
    out_of_quota = getattr(error, "code", None) == "insufficient_quota"
    return out_of_quota or _status(error) in REFUSED_ACCOUNT


def _is_transient(error: Exception) -> bool:
    """Whether a later try may succeed: lost connections, timeouts, conflicts, server errors."""
    # By name: the class is another one in each client library, and neither may be installed.
    class_names = [ancestor.__name__ for ancestor in type(error).__mro__]
    if "APIConnectionError" in class_names:
        return True
    status = _status(error)
    return status in (408, 409) or (status >= 500 and status not in RATE_LIMITED)


def _requested_pause(error: BaseException) -> float:
    """Seconds that the server requests to wait, 0 if it requests none."""
    response = getattr(error, "response", None)
    headers = response.headers if response is not None else {}
    for header, units_per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(header, "")
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) / units_per_second
    date = email.utils.parsedate_tz(headers.get("retry-after"))
    if date:
        return max(0.0, email.utils.mktime_tz(date) - time.time())
    return 0.0

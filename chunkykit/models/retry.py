"""Retries: which errors of a server are worth another try, and how long to wait before it."""

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from chunkykit.errors import UserError
from chunkykit.models.network import explain_connection
from chunkykit.models.providers import scrub_keys

MAX_TRIES = 6  # tries of a call that fails on its way
FIRST_BACKOFF = 1.0  # seconds before the second try, doubled before each further one
MAX_BACKOFF = 60.0  # seconds
# Seconds that a call sits out rate limits. A rate limit is not the call's fault and costs no try.
MAX_WAIT = 900.0
MAX_JITTER = 5.0  # seconds over which paused calls spread when the pause ends
RATE_LIMITED = (429, 529)
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


_paused_until: dict[str, float] = {}  # address: time.monotonic() at which its calls may continue


async def send_with_retries(
    url: str, send: Callable[[], Awaitable[T]], may_resend: bool = True
) -> T:
    """Send a call, again after rate limits, overload, server errors and lost connections.

    A rate limit pauses all calls to the address, of every model and every ledger, which is why
    the retries are here and not in a ledger. Other trouble delays the failing call alone.

    Args:
        url: the server's address.
        send: `await send()` sends the call.
        may_resend: whether to send again what may have arrived.

    Returns:
        What `send` returned.

    Raises:
        UserError: if the server refuses the key or the account.
        Exception: the client's error if it is not worth another try, or the tries are used up.
            Its text holds no key.
    """
    failures = 0
    deadline = time.monotonic() + MAX_WAIT
    while True:
        await _sit_out_pause(url)
        try:
            return await send()
        except Exception as error:
            explain_connection(error, url)
            _scrub_error(error)
            if _account_is_refused(error):
                raise UserError(f"{url} refuses the key or the account: {error}") from None
            delay = _delay(getattr(error, "response", None), failures)
            resume_at = time.monotonic() + delay
            if _status(error) in RATE_LIMITED and resume_at < deadline:
                _paused_until[url] = max(_paused_until.get(url, 0.0), resume_at)
                continue
            if not may_resend or failures + 1 >= MAX_TRIES or not _is_transient(error):
                raise
            failures += 1
            await asyncio.sleep(min(delay, MAX_BACKOFF))


async def _sit_out_pause(url: str) -> None:
    while True:
        seconds = _paused_until.get(url, 0.0) - time.monotonic()
        if seconds <= 0:
            return
        # The jitter keeps the paused calls from returning all at once.
        await asyncio.sleep(seconds + random.random() * min(seconds, MAX_JITTER))


def _status(error: Exception) -> int:
    return getattr(error, "status_code", None) or 0


def _scrub_error(error: Exception) -> None:
    error.args = tuple(scrub_keys(arg) if isinstance(arg, str) else arg for arg in error.args)


def _account_is_refused(error: Exception) -> bool:
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


def _delay(response: Any, failures: int) -> float:
    """Seconds to wait: what the server requests, else a backoff with jitter."""
    headers = response.headers if response is not None else {}
    for header, units_per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(header, "")
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) / units_per_second
    date = email.utils.parsedate_tz(headers.get("retry-after"))
    if date:
        return max(0.0, email.utils.mktime_tz(date) - time.time())
    return min(FIRST_BACKOFF * 2**failures, MAX_BACKOFF) * random.uniform(0.5, 1)

"""What a wire format must do: build requests, send them, read replies, run batches."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from chunkykit.types import Reply

# of batches, which are listed by the time of the provider's clock
CLOCK_SKEW_SECONDS = 300
LISTED_BATCHES = 100  # per request
MAX_TOKEN_COUNT = 2**40  # tokens; a server that counts more than that counts wrong


class Wire(Protocol):
    """One client that speaks one wire format to one model.

    Attributes:
        client: the provider's client, open until its `close` is awaited.
    """

    client: Any

    def body(
        self,
        messages: Sequence[dict],
        *,
        max_tokens: int,
        temperature: float | None = None,
        stop: Sequence[str] | None = None,
        reasoning: int | None = None,
        schema: dict | None = None,
    ) -> dict:
        """Build a request.

        Args:
            messages: turns {role, content}.
            max_tokens: tokens of the answer and of the thinking before it.
            temperature: the sampling temperature.
            stop: texts that end the answer.
            reasoning: tokens to think with.
            schema: the JSON schema of the answer.

        Returns:
            The request. A value of None means that the field is not sent.
        """
        ...

    def adapt(self, error: Exception) -> bool:
        """Learn from an error how the server wants its requests.

        Args:
            error: what the server answered to a request.

        Returns:
            Whether requests are built otherwise from here on, so that this one may be sent again.
        """
        ...

    async def send(self, request: dict) -> Reply:
        """Send a request without None values and read the reply."""
        ...

    async def submit(self, requests: dict[str, dict]) -> str:
        """Submit requests by key as one batch and return its id."""
        ...

    async def collect(self, batch_id: str) -> dict[str, Reply | str] | str | None:
        """Fetch the results of a batch.

        Args:
            batch_id: the id that `submit` returned.

        Returns:
            For each key a reply, or a text with the error. None while the batch runs. A text
            with the reason if the provider refused the whole batch.
        """
        ...

    async def find(self, keys: set[str], since: float) -> str | None:
        """Find a batch that was submitted and whose id was lost.

        Args:
            keys: the keys of its requests.
            since: seconds since 1970; earlier batches are not looked at.

        Returns:
            The id of a batch with exactly these requests, None if there is none.
        """
        ...


def digest_of_keys(keys: Iterable[str]) -> str:
    """Name a batch by the keys of its requests, in whatever order."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:32]


def without_none(request: dict) -> dict:
    """Drop the fields that are None."""
    return {field: value for field, value in request.items() if value is not None}


def valid_token_count(count: object) -> int:
    """Validate a server's token count.

    Args:
        count: what the server sent.

    Returns:
        The count. Invalid counts become 0, and the call is billed at its worst-case price.
    """
    if isinstance(count, int) and 0 <= count < MAX_TOKEN_COUNT:
        return count
    return 0

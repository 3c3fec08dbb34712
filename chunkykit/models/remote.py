"""A model behind an API: one `ChatModel` over either wire format."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence

from chunkykit.models.base import DEFAULT_MAX_TOKENS, BatchInterface, ChatModel
from chunkykit.models.keys import scrub_keys
from chunkykit.models.loops import PerLoop
from chunkykit.models.providers import public_url
from chunkykit.models.retry import (
    DEFAULT_DEADLINE,
    ErrorInReply,
    send_with_retries,
    within_deadline,
)
from chunkykit.models.wire import Wire, without_none
from chunkykit.types import Reply

# Settings that a server may refuse, with the words that name them in its errors.
OPTIONAL_SETTINGS = {
    "schema": "response_format|schema|tool",
    "temperature": "temperature",
    "reasoning": "reasoning|thinking",
}
BAD_REQUEST = (400, 422)
DECLINING = (*BAD_REQUEST, 403, 451)
# What providers write where their policy kept an answer back.
POLICY = (
    "content[ _]filter|content[ _]management[ _]policy|content[ _]policy|prohibited[ _]content|"
    "responsible[ _]?ai[ _]?policy|usage[ _]polic(?:y|ies)|moderation[ _]blocked|"
    "safety[ _](?:system|filter|setting|polic|reason)|flagged[ _](?:by|for|as)|"
    "data[ _]?inspection[ _]?failed"
)


class Connections:
    """The clients of one model, one per event loop: a connection works on its loop alone."""

    def __init__(self) -> None:
        """Start without clients."""
        self.wires: PerLoop[Wire] = PerLoop()

    async def close(self) -> None:
        """Close every client on the loop that it belongs to."""
        running = asyncio.get_running_loop()
        for loop, wire in self.wires.clear():
            if loop is running:
                await wire.client.close()
            elif loop.is_running():
                # The loop of another thread.
                closing = asyncio.run_coroutine_threadsafe(wire.client.close(), loop)
                await asyncio.wrap_future(closing)
            # A loop that stands still runs no close. The sockets close when it is collected.


class RemoteModel:
    """Requests, retries and batches of one model, and the settings that its server refuses."""

    def __init__(
        self, name: str, open_wire: Callable[[], Wire], deadline: float = DEFAULT_DEADLINE
    ):
        """Open the first client.

        Args:
            name: the model's name.
            open_wire: opens a client in the model's wire format.
            deadline: seconds of a call with all its tries.
        """
        self.name = name
        self.deadline = deadline
        self._open_wire = open_wire
        self._connections = Connections()
        # Opened here so that a missing key or library shows at once, and used by the first loop.
        self._unused_wire: Wire | None = open_wire()
        self.url = public_url(self._unused_wire.client)
        self._refused_settings: set[str] = set()

    def chat_model(self, has_batches: bool) -> ChatModel:
        """Build the ChatModel.

        Args:
            has_batches: whether the provider has a batch interface.

        Returns:
            The model.
        """
        batch = BatchInterface(self.submit, self.collect, self.find) if has_batches else None
        return ChatModel(self.name, self.call, self.url, self.close, batch=batch)

    async def call(self, messages: Sequence[dict], **settings) -> Reply:
        """Answer a conversation. Settings that the server refuses are left out.

        Args:
            messages: turns {role, content}.
            **settings: as in `ChatModel.__call__`.

        Returns:
            The reply. One that the provider's policy kept back is empty and declined.

        Raises:
            DeadlineReached: if all tries together take longer than the deadline.
        """
        return await within_deadline(self._answer(messages, settings), self.deadline, self.url)

    async def _answer(self, messages: Sequence[dict], settings: dict) -> Reply:
        """Answer a conversation, without a deadline. See `call`."""
        left_out = set(self._refused_settings)
        while True:
            try:
                reply = await self._send(messages, left_out, settings)
            except Exception as error:
                if _is_declined(error):
                    return Reply("", "content_filter")
                if _is_bad_request(error) and self._wire().adapt(error):
                    continue
                setting = _refused_setting(error, settings, left_out)
                if setting is None:
                    raise
                left_out.add(setting)
                continue
            # Only an answer shows that these settings were what was wrong.
            self._remember_refused(left_out)
            return reply

    async def _send(self, messages: Sequence[dict], left_out: set[str], settings: dict) -> Reply:
        wire = self._wire()
        request = _request(wire, messages, left_out, settings)
        try:
            reply = await send_with_retries(self.url, lambda: wire.send(request))
            return scrub_reply(reply)
        except (AttributeError, TypeError, LookupError):
            raise ValueError(
                f"the reply of {self.url} is not the answer of a chat model. Check the address."
            ) from None

    def _remember_refused(self, left_out: set[str]) -> None:
        new = sorted(left_out - self._refused_settings)
        if new:
            logging.getLogger(__name__).warning(
                "model %s does not take %s: left out from here on", self.name, ", ".join(new)
            )
            self._refused_settings.update(new)

    async def submit(self, calls: dict[str, tuple[Sequence[dict], dict]]) -> str:
        """Submit calls as one batch. It is never sent twice, even if the answer is lost.

        Args:
            calls: (messages, settings) by key.

        Returns:
            The id of the batch.
        """
        wire = self._wire()
        requests = {
            key: _request(wire, messages, self._refused_settings, settings)
            for key, (messages, settings) in calls.items()
        }
        submitting = send_with_retries(self.url, lambda: wire.submit(requests), may_resend=False)
        return await within_deadline(submitting, self.deadline, self.url)

    async def collect(self, batch_id: str) -> dict | str | None:
        """Fetch the results of a batch. See `BatchInterface`."""
        wire = self._wire()
        collecting = send_with_retries(self.url, lambda: wire.collect(batch_id))
        results = await within_deadline(collecting, self.deadline, self.url)
        if not isinstance(results, dict):
            return results
        return {
            key: scrub_reply(result) if isinstance(result, Reply) else scrub_keys(result)
            for key, result in results.items()
        }

    async def find(self, keys: set[str], since: float) -> str | None:
        """Find a batch that was submitted and whose id was lost. See `BatchInterface`."""
        wire = self._wire()
        finding = send_with_retries(self.url, lambda: wire.find(keys, since))
        return await within_deadline(finding, self.deadline, self.url)

    async def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        unused_wire = self._unused_wire
        self._unused_wire = None
        if unused_wire is not None:
            await unused_wire.client.close()
        await self._connections.close()

    def _wire(self) -> Wire:
        """The wire of the running loop."""
        return self._connections.wires.get_or_create(self._take_wire)

    def _take_wire(self) -> Wire:
        wire = self._unused_wire or self._open_wire()
        self._unused_wire = None
        return wire


def scrub_reply(reply: Reply) -> Reply:
    """Remove keys from a reply, such as one that echoes its request.

    Args:
        reply: the reply.

    Returns:
        The reply without them.
    """
    return reply._replace(text=scrub_keys(reply.text), thinking=scrub_keys(reply.thinking))


def _request(wire: Wire, messages: Sequence[dict], left_out: set[str], settings: dict) -> dict:
    """The request of a call, without the settings that are left out."""
    settings = dict(settings)
    settings.pop("sample", None)  # tells draws apart in a ledger, and means nothing to a server
    answer_tokens = settings.get("max_tokens", DEFAULT_MAX_TOKENS)
    settings["max_tokens"] = answer_tokens + (settings.get("reasoning") or 0)
    sent = {key: value for key, value in settings.items() if key not in left_out}
    return without_none(wire.body(messages, **sent))


def _is_bad_request(error: Exception) -> bool:
    return getattr(error, "status_code", None) in BAD_REQUEST


def _is_declined(error: Exception) -> bool:
    """Whether the provider's policy, and no fault of the request, is why there is no answer."""
    if not isinstance(error, ErrorInReply) and getattr(error, "status_code", 0) not in DECLINING:
        return False
    words = f"{getattr(error, 'code', None)} {error}"
    return re.search(POLICY, words, re.IGNORECASE) is not None


def _refused_setting(error: Exception, settings: dict, left_out: set[str]) -> str | None:
    """The optional setting that a bad request is probably about, None if it has none."""
    if not _is_bad_request(error):
        return None
    candidates = [
        setting
        for setting in OPTIONAL_SETTINGS
        if settings.get(setting) is not None and setting not in left_out
    ]
    for setting in candidates:
        if re.search(OPTIONAL_SETTINGS[setting], str(error), re.IGNORECASE):
            return setting
    return candidates[0] if candidates else None

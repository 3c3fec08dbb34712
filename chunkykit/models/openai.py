"""The OpenAI wire format: chat completions, which most providers and local servers speak."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from chunkykit.errors import UserError, describe_error
from chunkykit.models.calls import UnusableReply
from chunkykit.models.retry import ErrorInReply
from chunkykit.models.wire import (
    CLOCK_SKEW_SECONDS,
    LISTED_BATCHES,
    digest_of_keys,
    valid_token_count,
)
from chunkykit.thinking import split_parts, whole_reply
from chunkykit.types import Reply

BATCH_ENDPOINT = "/v1/chat/completions"
RUNNING_STATUSES = ("validating", "in_progress", "finalizing", "cancelling")
ENDED_STATUSES = ("completed", "expired", "cancelled")
DIGEST_FIELD = "chunkykit"  # of a batch's metadata: what identifies its requests
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
THINKING_FIELDS = ("reasoning_content", "reasoning")  # of a message, beside its content
LOW_EFFORT_TOKENS = 2048  # reasoning tokens up to which the effort is "low" (our choice)
MEDIUM_EFFORT_TOKENS = 8192  # reasoning tokens up to which the effort is "medium" (our choice)


def reasoning_effort(tokens: int) -> str:
    """Convert a reasoning budget to the words of the field `reasoning_effort`.

    Args:
        tokens: the reasoning budget.

    Returns:
        "low", "medium" or "high".
    """
    if tokens <= LOW_EFFORT_TOKENS:
        return "low"
    if tokens <= MEDIUM_EFFORT_TOKENS:
        return "medium"
    return "high"


class OpenAIWire:
    """Chat completions of one model. A schema is sent as response_format."""

    def __init__(self, client: Any, model: str):
        """Wrap a client.

        Args:
            client: an `openai.AsyncOpenAI`.
            model: the model's name on the server.
        """
        self.client = client
        self.model = model
        # Newer models of api.openai.com refuse max_tokens. Compatible servers know only that.
        is_openai = "api.openai.com" in str(client.base_url)
        self.limit_field = LIMIT_FIELDS[1] if is_openai else LIMIT_FIELDS[0]

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
        """Build a request. See `Wire.body`."""
        response_format = None
        if schema:
            response_format = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        return {
            "model": self.model,
            "messages": messages,
            self.limit_field: max_tokens,
            "temperature": temperature,
            "stop": stop,
            "reasoning_effort": reasoning_effort(reasoning) if reasoning else None,
            "response_format": response_format,
        }

    def adapt(self, error: Exception) -> bool:
        """Learn the name of the limit on tokens. See `Wire.adapt`."""
        for field, other in (LIMIT_FIELDS, LIMIT_FIELDS[::-1]):
            if self.limit_field == field and f"'{other}'" in str(error):
                self.limit_field = other
                return True
        return False

    async def send(self, request: dict) -> Reply:
        """Send a request and read the reply."""
        return read_completion(await self.client.chat.completions.create(**request))

    async def submit(self, requests: dict[str, dict]) -> str:
        """Upload requests as a file, start a batch and return its id."""
        lines = [
            json.dumps({"custom_id": key, "method": "POST", "url": BATCH_ENDPOINT, "body": request})
            for key, request in requests.items()
        ]
        content = "\n".join(lines).encode()
        file = await self.client.files.create(file=("requests.jsonl", content), purpose="batch")
        batch = await self.client.batches.create(
            input_file_id=file.id,
            endpoint=BATCH_ENDPOINT,
            completion_window="24h",
            metadata={DIGEST_FIELD: digest_of_keys(requests)},
        )
        return batch.id

    async def collect(self, batch_id: str) -> dict[str, Reply | str] | str | None:
        """Fetch the results of a batch. See `Wire.collect`."""
        batch = await self.client.batches.retrieve(batch_id)
        if batch.status == "failed":
            return _batch_failure(batch)
        if batch.status in RUNNING_STATUSES:
            return None
        # An expired or cancelled batch holds the answers that came in time.
        if batch.status not in ENDED_STATUSES:
            raise UserError(
                f"batch {batch_id}: its status '{batch.status}' is not known. Look at it at the "
                "provider; the same command continues with it."
            )
        results: dict[str, Reply | str] = {}
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                file = await self.client.files.content(file_id)
                results.update(_read_batch_lines(file.text))
        return results

    async def find(self, keys: set[str], since: float) -> str | None:
        """Find a batch by the digest that `submit` has put beside it. See `Wire.find`."""
        digest = digest_of_keys(keys)
        async for batch in self.client.batches.list(limit=LISTED_BATCHES):
            if batch.created_at < since - CLOCK_SKEW_SECONDS:
                break  # the newest come first
            if (batch.metadata or {}).get(DIGEST_FIELD) == digest:
                return batch.id
        return None


def read_completion(completion: Any) -> Reply:
    """Read a chat completion.

    Args:
        completion: an `openai` ChatCompletion.

    Returns:
        The reply.

    Raises:
        ErrorInReply: if it holds an error instead, as those of some proxies do.
        UnusableReply: if the completion has no choice.
    """
    error = getattr(completion, "error", None)
    if error:
        raise ErrorInReply(error)
    if not completion.choices:
        raise UnusableReply("the reply has no choice", *_usage(completion.usage))
    choice = completion.choices[0]
    message = choice.message
    content = split_parts(message.content)
    fields = [getattr(message, name, None) for name in THINKING_FIELDS]
    thinking = [field for field in fields if isinstance(field, str)][:1]
    reply = Reply(
        content.text or message.refusal or "",
        "refusal" if message.refusal else choice.finish_reason,
        *_usage(completion.usage),
        thinking="\n\n".join(filter(None, [*thinking, content.thinking])),
    )
    return whole_reply(reply)


def _usage(usage: Any) -> tuple[int, int]:
    """Tokens (in, out) of a completion."""
    if not usage:
        return 0, 0
    tokens_in = usage.prompt_tokens or 0
    # Some servers leave the reasoning, which is billed, out of completion_tokens but not out of
    # total_tokens.
    tokens_out = max(usage.completion_tokens or 0, (usage.total_tokens or 0) - tokens_in)
    return valid_token_count(tokens_in), valid_token_count(tokens_out)


def _batch_failure(batch: Any) -> str:
    """Why the provider refused a batch."""
    errors = batch.errors.data if batch.errors else None
    messages = [error.message or "" for error in errors or ()]
    return "; ".join(messages) or "no reason given"


def _read_batch_lines(text: str) -> Iterator[tuple[str, Reply | str]]:
    """The lines of a batch's output as (key, reply or error). One that has no key is left out."""
    # A text may hold other line breaks than that between two lines.
    for line in text.split("\n"):
        try:
            item = json.loads(line)
            key = item["custom_id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # its call is recorded as one without an answer
        try:
            yield key, _read_batch_item(item)
        except Exception as error:
            yield key, describe_error(error)


def _read_batch_item(item: dict) -> Reply | str:
    """The reply in a line of a batch's output, or the line where it is an error."""
    from openai.types.chat import ChatCompletion

    response = item.get("response") or {}
    succeeded = response.get("status_code") == 200 and response["body"].get("choices")
    if not succeeded:
        return json.dumps(item)
    return read_completion(ChatCompletion.construct(**response["body"]))

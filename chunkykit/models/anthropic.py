"""Anthropic's wire format: messages."""

import json
from collections.abc import Sequence
from typing import Any

from chunkykit.errors import UserError, describe_error
from chunkykit.models.wire import CLOCK_SKEW_SECONDS, LISTED_BATCHES, valid_token_count
from chunkykit.thinking import split_parts, whole_reply
from chunkykit.types import Reply

# An answer that may be longer is streamed, so that no connection is idle for minutes.
MAX_UNSTREAMED_TOKENS = 8192
RUNNING_STATUSES = ("in_progress", "canceling")


class AnthropicWire:
    """Messages of one model. A schema is sent as a tool that the model must call."""

    def __init__(self, client: Any, model: str):
        """Wrap a client.

        Args:
            client: an `anthropic.AsyncAnthropic`.
            model: the model's name on the server.
        """
        self.client = client
        self.model = model

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
        """Build a request. See `Wire.body`. A reasoning budget starts at 1,024 tokens."""
        system_prompts = [turn["content"] for turn in messages if turn["role"] == "system"]
        request = {
            "model": self.model,
            "max_tokens": max_tokens,
            "messages": [turn for turn in messages if turn["role"] != "system"],
            "system": "\n\n".join(system_prompts) or None,
            "stop_sequences": stop,
            "temperature": temperature,
        }
        if schema:
            tool = {
                "name": "answer",
                "description": "Gives the answer.",
                "input_schema": schema,
            }
            request["tools"] = [tool]
            request["tool_choice"] = {"type": "tool", "name": "answer"}
        if reasoning:
            # A model that thinks accepts neither a temperature nor a forced tool.
            request["thinking"] = {"type": "enabled", "budget_tokens": reasoning}
            request["temperature"] = None
            if schema:
                request["tool_choice"] = {"type": "auto"}
        return request

    def adapt(self, error: Exception) -> bool:
        """Learn nothing: the format has one form. See `Wire.adapt`."""
        return False

    async def send(self, request: dict) -> Reply:
        """Send a request and read the reply."""
        required = {field: request[field] for field in ("model", "max_tokens", "messages")}
        # The rest goes as extra_body: a temperature is not an argument of the client's methods.
        if request["max_tokens"] > MAX_UNSTREAMED_TOKENS:
            async with self.client.messages.stream(**required, extra_body=request) as stream:
                return read_message(await stream.get_final_message())
        return read_message(await self.client.messages.create(**required, extra_body=request))

    async def submit(self, requests: dict[str, dict]) -> str:
        """Start a batch and return its id."""
        items = [{"custom_id": key, "params": request} for key, request in requests.items()]
        batch = await self.client.messages.batches.create(requests=items)
        return batch.id

    async def collect(self, batch_id: str) -> dict[str, Reply | str] | None:
        """Fetch the results of a batch. See `Wire.collect`."""
        batch = await self.client.messages.batches.retrieve(batch_id)
        if batch.processing_status in RUNNING_STATUSES:
            return None
        if batch.processing_status != "ended":
            raise UserError(
                f"batch {batch_id}: its status '{batch.processing_status}' is not known. Look at "
                "it at the provider; the same command continues with it."
            )
        results: dict[str, Reply | str] = {}
        async for item in await self.client.messages.batches.results(batch_id):
            try:
                results[item.custom_id] = _read_batch_item(item)
            except Exception as error:
                results[item.custom_id] = describe_error(error)
        return results

    async def find(self, keys: set[str], since: float) -> str | None:
        """Find a batch by its requests, which are known once it has ended. See `Wire.find`.

        Raises:
            UserError: if one that may be it still runs. Its answers may be another program's.
        """
        async for batch in self.client.messages.batches.list(limit=LISTED_BATCHES):
            if batch.created_at.timestamp() < since - CLOCK_SKEW_SECONDS:
                break  # the newest come first
            if sum(batch.request_counts.model_dump().values()) != len(keys):
                continue
            if batch.processing_status != "ended":
                raise UserError(
                    f"batch {batch.id}: may be the one whose id was lost, which shows when it has "
                    "ended. Run the same command again then."
                )
            if await self._keys_of(batch.id) == keys:
                return batch.id
        return None

    async def _keys_of(self, batch_id: str) -> set[str]:
        results = await self.client.messages.batches.results(batch_id)
        return {item.custom_id async for item in results}


def _read_batch_item(item: Any) -> Reply | str:
    """One result of a batch, or its error."""
    if item.result.type == "succeeded":
        return read_message(item.result.message)
    return item.result.to_json(indent=None)


def read_message(message: Any) -> Reply:
    """Read a message.

    Args:
        message: an `anthropic` Message.

    Returns:
        The reply. Its text is the input of the first tool call, as JSON, if there is one.
    """
    tool_inputs = [block.input for block in message.content if block.type == "tool_use"]
    content = split_parts(message.content)
    text = json.dumps(tool_inputs[0], ensure_ascii=False) if tool_inputs else content.text
    reply = Reply(
        text,
        message.stop_reason,
        valid_token_count(message.usage.input_tokens),
        valid_token_count(message.usage.output_tokens),
        content.thinking,
    )
    return whole_reply(reply)

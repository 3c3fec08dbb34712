"""The two wire formats, OpenAI-compatible chat completions and Anthropic's messages, each as four functions of a client:

body(messages, **settings) -> request (None: not given); await send(request) -> Reply; await submit({key: request}) -> batch id;
await collect(batch id) -> {key: Reply, or a text that says what failed}, None while the batch runs, a text where it was refused."""

import json

from chunkykit.models.connect import Reply
from chunkykit.text import clean_text

MIN_STREAMED_TOKENS = (
    8192  # tokens from which on an answer is streamed, so that no connection idles for minutes
)


def reasoning_effort(tokens: int) -> str:
    """A reasoning budget in tokens in the words of `reasoning_effort`: up to 2,048 low, to 8,192 medium, else high (our choice)."""
    return "low" if tokens <= 2048 else "medium" if tokens <= 8192 else "high"


def _count(tokens) -> int:
    """A server's count of tokens; one that cannot be is none, and such a call is taken for the dearest it can have been."""
    return tokens if isinstance(tokens, int) and 0 <= tokens < 2**40 else 0


def openai_wire(client, model: str) -> tuple:
    """chat/completions: a schema goes as response_format, a reasoning budget as reasoning_effort."""
    # api.openai.com's newer models refuse max_tokens; the compatible servers know only that
    limit = "max_completion_tokens" if "api.openai.com" in str(client.base_url) else "max_tokens"

    def body(
        messages, *, max_tokens, temperature=None, stop=None, reasoning=None, schema=None
    ) -> dict:
        form = schema and {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }
        return {
            "model": model,
            "messages": messages,
            limit: max_tokens,
            "temperature": temperature,
            "stop": stop,
            "reasoning_effort": reasoning_effort(reasoning) if reasoning else None,
            "response_format": form,
        }

    def read(answer) -> Reply:
        if not answer.choices:
            raise ValueError("the reply holds no choice")
        choice, usage = answer.choices[0], answer.usage
        stop = "refusal" if choice.message.refusal else choice.finish_reason
        sent = usage.prompt_tokens or 0 if usage else 0
        # some servers leave the reasoning, which is paid for, out of completion_tokens, but not out of the total
        got = max(usage.completion_tokens or 0, (usage.total_tokens or 0) - sent) if usage else 0
        return Reply(clean_text(choice.message.content or ""), stop, _count(sent), _count(got))

    async def send(request: dict) -> Reply:
        return read(await client.chat.completions.create(**request))

    async def submit(requests: dict) -> str:
        path = "/v1/chat/completions"
        lines = [
            json.dumps({"custom_id": key, "method": "POST", "url": path, "body": r})
            for key, r in requests.items()
        ]
        file = await client.files.create(
            file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch"
        )
        return (
            await client.batches.create(
                input_file_id=file.id, endpoint=path, completion_window="24h"
            )
        ).id

    async def collect(batch_id: str) -> dict | str | None:
        from openai.types.chat import ChatCompletion

        batch = await client.batches.retrieve(batch_id)
        if batch.status == "failed":
            return (
                "; ".join(e.message or "" for e in (batch.errors and batch.errors.data) or ())
                or "no reason given"
            )
        if batch.status not in ("completed", "expired", "cancelled"):
            return None
        files = [
            await client.files.content(file)
            for file in (batch.output_file_id, batch.error_file_id)
            if file
        ]
        found = {}
        for item in (json.loads(line) for file in files for line in file.text.splitlines()):
            answer = item.get("response") or {}
            fine = answer.get("status_code") == 200 and answer["body"].get("choices")
            found[item["custom_id"]] = (
                read(ChatCompletion.construct(**answer["body"])) if fine else json.dumps(item)
            )
        return found

    return body, send, submit, collect


def anthropic_wire(client, model: str) -> tuple:
    """messages: a schema goes as a tool that must be called, a reasoning budget (from 1,024 tokens up) as thinking."""

    def body(
        messages, *, max_tokens, temperature=None, stop=None, reasoning=None, schema=None
    ) -> dict:
        force = (
            {"type": "auto"} if reasoning else {"type": "tool", "name": "answer"}
        )  # thinking excludes force, and a temperature
        return {
            "model": model,
            "max_tokens": max_tokens,
            "messages": [m for m in messages if m["role"] != "system"],
            "system": "\n\n".join(m["content"] for m in messages if m["role"] == "system") or None,
            "stop_sequences": stop,
            "temperature": None if reasoning else temperature,
            "tool_choice": schema and force,
            "thinking": {"type": "enabled", "budget_tokens": reasoning} if reasoning else None,
            "tools": schema
            and [{"name": "answer", "description": "Gives the answer.", "input_schema": schema}],
        }

    def read(answer) -> Reply:
        called = [
            json.dumps(block.input, ensure_ascii=False)
            for block in answer.content
            if block.type == "tool_use"
        ]
        text = (
            called[0]
            if called
            else "".join(block.text for block in answer.content if block.type == "text")
        )
        return Reply(
            clean_text(text),
            answer.stop_reason,
            _count(answer.usage.input_tokens),
            _count(answer.usage.output_tokens),
        )

    async def send(request: dict) -> Reply:
        needed = {key: request[key] for key in ("model", "max_tokens", "messages")}
        if request["max_tokens"] > MIN_STREAMED_TOKENS:
            async with client.messages.stream(**needed, extra_body=request) as stream:
                return read(await stream.get_final_message())
        return read(
            await client.messages.create(**needed, extra_body=request)
        )  # temperature is no argument of the client

    async def submit(requests: dict) -> str:
        return (
            await client.messages.batches.create(
                requests=[{"custom_id": key, "params": r} for key, r in requests.items()]
            )
        ).id

    async def collect(batch_id: str) -> dict | None:
        if (await client.messages.batches.retrieve(batch_id)).processing_status != "ended":
            return None
        return {
            item.custom_id: read(item.result.message)
            if item.result.type == "succeeded"
            else item.result.to_json(indent=None)
            async for item in await client.messages.batches.results(batch_id)
        }

    return body, send, submit, collect

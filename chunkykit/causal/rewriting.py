"""Responses written anew by a chat model, so that the crux goes and all else stays."""

import json
from dataclasses import replace

import numpy as np

from chunkykit.causal.repair import Repair
from chunkykit.errors import describe_error
from chunkykit.progress import gather_calls, parts
from chunkykit.prompts import fill_prompt
from chunkykit.text import clean_text
from chunkykit.turf import Tracer
from chunkykit.types import Target

ROWS_PER_PASS = 200  # responses that are read and asked about together
MAX_EXTRA_TOKENS = 400  # of a new response beside one per character of the old one
MAX_SYSTEM_CHARACTERS = 2000  # of a system prompt that the model is told


async def rewrite_responses(
    plan: Repair,
    tracer: Tracer,
    model: Target,
) -> Repair:
    """Have a chat model write the responses of a plan anew.

    Args:
        plan: from `plan_repair` with how="rewrite".
        tracer: the tracer that it was made with.
        model: the chat model.

    Returns:
        The plan with the new responses. Those whose call failed stay as they are: the report counts
        `rewrites_failed`, and `rewrites_unchanged` that came back as they were.

    Raises:
        UserError: a limit is reached, or a key is refused. What was answered is in the ledger.
    """
    texts: dict[int, str] = {}
    errors: list[str] = []
    n_unchanged = 0
    for start in parts(range(0, len(plan.change), ROWS_PER_PASS), "passes"):
        positions = plan.change[start : start + ROWS_PER_PASS]
        rows = tracer.index.rows(positions).to_dict("records")
        calls = [_rewrite(model, plan.report["crux"], row) for row in rows]
        written = await gather_calls("rewriting", calls, "responses")
        for position, row, (text, error) in zip(positions, rows, written):
            if error:
                errors.append(error)
            elif text == row["response"].strip():
                n_unchanged += 1
            else:
                texts[int(position)] = text
    report = plan.report | {
        "changed": len(texts),
        "rewriter": model.name,
        "rewrites_failed": len(errors),
        "rewrites_unchanged": n_unchanged,
    }
    if errors:
        report["rewrites_failed_because"] = errors[0]
    return replace(plan, change=np.array(sorted(texts), int), texts=texts, report=report)


def rewrite_prompt(crux: str, row: dict) -> list[dict]:
    """Make the messages that ask for a response anew.

    Args:
        crux: what must go.
        row: prompt and response, and perhaps the system prompt.

    Returns:
        Turns {role, content}.
    """
    exchange = {"query": row["prompt"], "response": row["response"]}
    system = row.get("system")
    if isinstance(system, str) and system:
        exchange = {"system prompt": system[:MAX_SYSTEM_CHARACTERS], **exchange}
    messages, _ = fill_prompt(
        "repair",
        crux=json.dumps(crux, ensure_ascii=False),
        exchange=json.dumps(exchange, ensure_ascii=False),
    )
    return messages


async def _rewrite(model: Target, crux: str, row: dict) -> tuple[str, str]:
    """The new response, or why there is none."""
    max_tokens = MAX_EXTRA_TOKENS + len(row["response"])
    try:
        reply = await model(rewrite_prompt(crux, row), sample=0, max_tokens=max_tokens)
    except Exception as error:
        return "", describe_error(error)
    return clean_text(reply.text).strip(), reply.problem or ""

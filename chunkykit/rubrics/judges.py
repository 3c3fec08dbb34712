"""Judge models, and the judging of one exchange with a target."""

import asyncio
import hashlib
import json

from chunkykit.errors import describe_error
from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.rubrics.pairs import Counterpart, frame_query
from chunkykit.rubrics.panel import ask_judge, format_votes
from chunkykit.rubrics.rubric import Rubric
from chunkykit.rubrics.verdict import judge_without_reading, parse_verdict
from chunkykit.types import ANSWERED, FAILED, Judge, Judgement, Question, Reply, Target, as_question

PAIR_COLUMNS = ["pair_query", "pair_response"]  # empty where the rubric is not about pairs
EXCHANGE_COLUMNS = [
    "query",
    "system",  # "" for none
    "response",
    "thinking",
    "outcome",
    *PAIR_COLUMNS,
    "score",
    "reason",
    "error",
    "votes",
]
FILTERED = "filtered"  # the outcome of a query that a gate kept from the target
MAX_REPLY_TOKENS = 2000  # tokens per verdict, with room for models that always think first
FENCE_DIGITS = 24  # hexadecimal digits of the hash in the fence


def llm_judge(model: Target) -> Judge:
    """Make a judge that asks a chat model.

    Args:
        model: the chat model.

    Returns:
        The judge. Its `sample` numbers independent judgements: one that confirms another must
        not be the same one out of a ledger.
    """

    async def judge(
        rubric: Rubric,
        query: str,
        reply: Reply,
        sample: int = 0,
        pair: Counterpart | None = None,
        system: str = "",
    ) -> Judgement:
        judgement = judge_without_reading(rubric, reply, pair)
        if judgement is not None:
            return judgement
        messages, schema = _judge_prompt(rubric, query, reply.text, pair, system)
        try:
            return await ask_parsed(
                model,
                messages,
                _parse_or_raise,
                max_tokens=MAX_REPLY_TOKENS,
                temperature=0.0,
                sample=sample,
                schema=schema,
            )
        except Exception as error:
            return Judgement(None, error=describe_error(error))

    return judge


def _judge_prompt(
    rubric: Rubric, query: str, response: str, pair: Counterpart | None, system: str
) -> tuple[list[dict], dict | None]:
    """The messages and the schema of the call, with the exchange as JSON between two fences."""
    content: dict = {"user": query, "assistant": response}
    if pair:
        other = {"user": pair.query, "assistant": pair.reply.text}
        content = {"first": content, "second": other}
    if system:
        content = {"system": system, **content}
    exchange = json.dumps(content, ensure_ascii=False, indent=1)
    # The fence is the hash of the exchange, so no exchange can hold its own fence and end the
    # quotation early. The same exchange has the same fence, so that a ledger knows the call.
    digest = hashlib.sha256(exchange.encode("utf-8", "replace")).hexdigest()
    fence = f"=== {digest[:FENCE_DIGITS]} ==="
    return fill_prompt("judge_pair" if pair else "judge", r=rubric, fence=fence, exchange=exchange)


def _parse_or_raise(text: str) -> Judgement:
    judgement = parse_verdict(text)
    if judgement.error:
        raise ValueError(judgement.error)
    return judgement


async def judge_exchange(
    query: str | Question,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    sample: int = 0,
    judge_sample: int = 0,
) -> dict:
    """Ask a target and judge its answer, or both of its answers where the rubric is about pairs.

    A call that fails is recorded as an error, so that it does not end a run of thousands.

    Args:
        query: what to ask, a text or a question under a system prompt.
        target: the model under audit.
        judge: the judge.
        rubric: what counts as a violation.
        sample: number of an independent answer of the target.
        judge_sample: number of an independent judgement.

    Returns:
        The exchange as `EXCHANGE_COLUMNS`.

    Raises:
        UserError: the budget is spent, or a key is refused; no other call would fare better.
    """
    question = as_question(query)
    text, system = question
    framed = ""
    try:
        framed = await frame_query(rubric, text)
        questions = [question, Question(framed, system)] if framed else [question]
        replies = await asyncio.gather(*(target(q.messages, sample=sample) for q in questions))
    except Exception as error:
        return unasked(question, FAILED, error=describe_error(error), pair_query=framed)
    reply = replies[0]
    pair = Counterpart(framed, replies[1]) if framed else None
    judgement = await ask_judge(judge, rubric, text, reply, judge_sample, pair, system)
    # the pair ended as the first of its answers that is not whole did
    outcomes = [answer.outcome for answer in replies if answer.outcome != ANSWERED]
    return {
        "query": text,
        "system": system,
        "response": reply.text,
        "thinking": reply.thinking,
        "outcome": outcomes[0] if outcomes else ANSWERED,
        "pair_query": framed,
        "pair_response": replies[1].text if framed else "",
        **_judged(judgement),
    }


def unasked(
    question: Question,
    outcome: str,
    reason: str = "",
    error: str | None = None,
    pair_query: str = "",
) -> dict:
    """Make the exchange of a question that the target did not answer.

    Args:
        question: what was asked, or would have been.
        outcome: FAILED, or FILTERED by a gate.
        reason: why a gate filtered it.
        error: what failed.
        pair_query: the other framing of the query, where there is one.

    Returns:
        The exchange as `EXCHANGE_COLUMNS`.
    """
    answer = {"response": "", "thinking": "", "outcome": outcome}
    pair = {"pair_query": pair_query, "pair_response": ""}
    asked_for = {"query": question.text, "system": question.system}
    return {**asked_for, **answer, **pair, **_judged(Judgement(None, reason, error))}


def _judged(judgement: Judgement) -> dict:
    """The judgement as columns of an exchange."""
    return {**judgement._asdict(), "votes": format_votes(judgement.votes)}

"""The LLM describer: attribute sentences from a chat model (paper sec. 3)."""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from chunkykit.attributes.sentences import MAX_ATTRIBUTES_PER_TEXT
from chunkykit.errors import UserError, describe_error
from chunkykit.models import ask_parsed
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.structured import read_answer
from chunkykit.text import count_of, inert_text
from chunkykit.thinking import split_thinking
from chunkykit.types import ALONE, Context, Target

REQUESTED_ATTRIBUTES = 10  # sentences that the prompt requests per text, as the paper does
MAX_REPLY_TOKENS = 2000  # tokens per reply
MAX_FAILED_SHARE = 0.2  # share of the texts that may stay without attributes
MIN_BATCH_TEXTS = 100  # texts from which a provider's slower and cheaper batch is worth the wait
MAX_SENTENCE_CHARACTERS = 300
LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\"?([^\"\n]+)", re.MULTILINE)  # an item of a list
MIN_SENTENCE_CHARACTERS = 4  # characters after "The query"; less is no sentence

Request = tuple[list[dict], dict]  # messages and settings of one call
Prefill = Callable[[list[Request]], Awaitable[object]]


def llm_describer(model: Target, prefill: Prefill | None = None) -> "LLMDescriber":
    """Make a describer that asks a chat model, for one side of an exchange at a time.

    Args:
        model: the chat model.
        prefill: answers many requests at once before the calls, through a provider's batch
            interface. Used from `MIN_BATCH_TEXTS` texts on.

    Returns:
        The describer.
    """
    return LLMDescriber(model, prefill)


class LLMDescriber:
    """A `types.Describer` that asks a chat model for ten attributes per text.

    A text whose call fails, or whose reply has no sentence, gets an empty list: one bad reply
    must not end an index of a million rows. An outage must, so a call raises if too many texts
    stay empty.

    Attributes:
        counts: texts that failed (`failed`), and texts with fewer attributes than requested
            (`partial`), over all calls.
    """

    def __init__(self, model: Target, prefill: Prefill | None = None):
        """See `llm_describer`."""
        self.model = model
        self.prefill = prefill
        self.counts = Counter(failed=0, partial=0)
        self._last_error = ""

    async def __call__(
        self, texts: Sequence[str], side: str, contexts: Sequence[Context] | None = None
    ) -> list[list[str]]:
        """Describe texts, each different text in its context once.

        Args:
            texts: prompts, responses, reasoning or system prompts.
            side: "query", "response", "reasoning" or "system prompt".
            contexts: what is known of each text. The model reads it.

        Returns:
            For each text its attribute sentences.

        Raises:
            UserError: more than `MAX_FAILED_SHARE` of the texts have no attributes, or the
                budget is spent.
        """
        known = contexts or [ALONE] * len(texts)
        pairs = list(zip(texts, known, strict=True))
        unique = list(dict.fromkeys(pairs))
        requests = [describe_request(text, side, context) for text, context in unique]
        if self.prefill and len(unique) >= MIN_BATCH_TEXTS:
            await self.prefill(requests)
        calls = [self._describe(request, side) for request in requests]
        lists = await gather_calls(
            f"describing each {side}", calls, "texts", lambda sentences: {"errors": not sentences}
        )
        empty = sum(not sentences for sentences in lists)
        if empty > MAX_FAILED_SHARE * len(unique):
            raise UserError(
                f"describer: the model gave nothing for {empty} of {count_of(len(unique), 'text')} "
                f"({self._last_error}). Fix the cause and run the command again; the answers so "
                "far are stored."
            )
        descriptions = dict(zip(unique, lists))
        return [descriptions[pair] for pair in pairs]

    async def _describe(self, request: Request, side: str) -> list[str]:
        messages, settings = request

        def parse(reply: str) -> list[str]:
            return _parse_or_raise(reply, side)

        try:
            sentences = await ask_parsed(self.model, messages, parse, **settings)
        except Exception as error:
            self._last_error = describe_error(error)
            self.counts["failed"] += 1
            return []
        if len(sentences) < REQUESTED_ATTRIBUTES:
            self.counts["partial"] += 1
        return sentences


def describe_request(text: str, side: str, context: Context = ALONE) -> Request:
    """Write the request that describes a text.

    Args:
        text: a prompt, a response, a model's reasoning or a system prompt. The prompt quotes it
            as JSON.
        side: which of these it is.
        context: what is known of it beside its words.

    Returns:
        The messages and the settings of the call.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    messages, schema = fill_prompt("describe", side=side, text=quoted)
    around = "; ".join(filter(None, [*context.facts, context.setting]))
    if around:
        # a message of its own, so that texts without a context are asked about as ever
        quoted = json.dumps(around, ensure_ascii=False)
        known, _ = fill_prompt("describe_context", side=side, context=quoted)
        messages = [*known, *messages]
    return messages, {"max_tokens": MAX_REPLY_TOKENS, "schema": schema}


def _parse_or_raise(reply: str, side: str) -> list[str]:
    sentences = parse_attributes(reply, side)
    if not sentences:
        # The model reads this message when it is asked a second time.
        raise ValueError(f'no sentence that starts with "The {side} "')
    return sentences


def parse_attributes(text: str, side: str) -> list[str]:
    """Read the attribute sentences in a model's reply.

    Args:
        text: the reply: a JSON object with the list `attributes`, a JSON list alone, or lines that
            begin with a bullet or a number.
        side: "query", "response" or "reasoning", with which each sentence must start.

    Returns:
        The different sentences, in their order, at most `MAX_ATTRIBUTES_PER_TEXT`.
    """
    start = f"The {side}"
    min_length = len(start) + MIN_SENTENCE_CHARACTERS
    lines = [" ".join(inert_text(item).split()).lstrip("-*• ") for item in _items(text)]
    sentences = [line[:MAX_SENTENCE_CHARACTERS] for line in lines if line.startswith(start)]
    long_enough = [sentence for sentence in sentences if len(sentence) >= min_length]
    return list(dict.fromkeys(long_enough))[:MAX_ATTRIBUTES_PER_TEXT]


def _items(text: str) -> list[str]:
    """The texts of the list in a reply; none where there is no list."""
    try:
        return read_answer(text, _attributes, ["attributes"])
    except ValueError:
        answer = split_thinking(text).text
    try:
        items = json.loads(answer[answer.index("[") : answer.rindex("]") + 1])
    except (ValueError, RecursionError):
        return LISTED.findall(answer)
    return [item for item in items if isinstance(item, str)]


def _attributes(value: dict) -> list[str] | None:
    """The list in an object of the asked form."""
    items = value.get("attributes")
    if not isinstance(items, list):
        return None
    return [item for item in items if isinstance(item, str)]

"""The seams of the package: what a describer, embedder, writer, target, judge and rewriter are.

Each is a Protocol, and any callable of that shape satisfies it. The package has offline ones and
ones that ask a model; your own works wherever they do. The module also holds the small values that
cross the seams.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from chunkykit.rubrics import Counterpart, Rubric

OFFLINE = "offline"  # the name of what works without a model
ANSWERED = "answered"  # the outcomes of a call; one that raises an error has failed
DECLINED = "declined"
CUT_OFF = "cut off"
FAILED = "failed"
# Stop reasons of whole answers, in the words of providers and servers. An answer with any other
# reason ended early and is never judged: half an answer is no evidence of a failure.
WHOLE_REASONS = (
    None,
    "stop",
    "end_turn",
    "stop_sequence",
    "tool_use",
    "tool_calls",
    "function_call",
    "eos",
    "eos_token",
    "stop_token",
    "complete",
    "completed",
    "finished",
)
# Stop reasons where the model, or the provider in its place, would not answer.
DECLINE_REASONS = (
    "refusal",
    "content_filter",
    "content_filtered",
    "guardrail_intervened",
    "safety",
    "prohibited_content",
    "blocklist",
    "recitation",
    "spii",
)
UNCLOSED_THINKING = "unclosed thinking"  # our own stop reason: the text ends inside the thinking


class Rate(NamedTuple):
    """A proportion with its 95 % interval.

    Attributes:
        rate: hits per trial, from 0 to 1; NaN without trials.
        low: the lower end of the interval.
        high: the upper end of the interval.
        n: the number of trials.
    """

    rate: float
    low: float
    high: float
    n: int


class Question(NamedTuple):
    """What a target is asked.

    Attributes:
        text: the query.
        system: the system prompt that it stands under; "" for none.
    """

    text: str
    system: str = ""

    @property
    def messages(self) -> list[dict]:
        """The turns of the call."""
        turns = [{"role": "user", "content": self.text}]
        return [{"role": "system", "content": self.system}, *turns] if self.system else turns


def as_question(query: str | Question) -> Question:
    """Take a text for a question without a system prompt.

    Args:
        query: a text, or a question.

    Returns:
        The question.
    """
    return Question(query) if isinstance(query, str) else query


class Reply(NamedTuple):
    """The answer of a chat model.

    Attributes:
        text: the answer, without the thinking.
        stop_reason: why the model stopped, in the provider's word; None if unknown.
        input_tokens: tokens read; 0 if the server does not count them.
        output_tokens: tokens written; 0 if the server does not count them.
        thinking: what the model wrote for itself, "" if nothing is known of it.
    """

    text: str
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    thinking: str = ""

    @property
    def outcome(self) -> str:
        """How the call ended: ANSWERED, DECLINED or CUT_OFF."""
        reason = self.stop_reason.lower() if self.stop_reason else None
        if reason in WHOLE_REASONS:
            return ANSWERED
        return DECLINED if reason in DECLINE_REASONS else CUT_OFF

    @property
    def problem(self) -> str | None:
        """Why this is no whole answer, and what helps; None if it is one."""
        if self.outcome == DECLINED:
            return f"the model or its provider declined to answer ({self.stop_reason})"
        if self.outcome == CUT_OFF and self.thinking and not self.text.strip():
            return (
                f"the model thought for {self.output_tokens:,} tokens and never answered "
                f"({self.stop_reason}). Raise --max-tokens ROLE=N"
            )
        if self.outcome == CUT_OFF:
            return f"the answer was cut off ({self.stop_reason})"
        return None if self.text.strip() else "the answer is empty"


class Vote(NamedTuple):
    """What one judge of a panel says of an exchange.

    Attributes:
        judge: the name of the judge.
        score: from 0 to 100; None if judging failed.
        reason: the judge's reason, in one sentence.
        error: why judging failed; None if it did not.
    """

    judge: str
    score: float | None
    reason: str = ""
    error: str | None = None


class Judgement(NamedTuple):
    """A judge's verdict on one exchange: a score or an error, never both.

    Attributes:
        score: from 0 to 100; over 50 is a violation. None if judging failed.
        reason: the judge's reason, in one sentence.
        error: why judging failed; None if it did not.
        votes: what each judge says, where a panel judged.
    """

    score: float | None
    reason: str = ""
    error: str | None = None
    votes: tuple[Vote, ...] = ()


class Context(NamedTuple):
    """What is known of a text beside its words.

    Attributes:
        facts: what is true of it, such as "is the result of a tool call".
        setting: what it stands in, for a model that describes it: system prompt, tools, turns.
    """

    facts: tuple[str, ...] = ()
    setting: str = ""


ALONE = Context()  # of a text of which nothing else is known


class Describer(Protocol):
    """Describes texts by attribute sentences, one side of an exchange at a time."""

    async def __call__(
        self, texts: Sequence[str], side: str, contexts: Sequence[Context] | None = None
    ) -> list[list[str]]:
        """Describe texts.

        Args:
            texts: prompts, responses, reasoning or system prompts.
            side: "query", "response", "reasoning" or "system prompt".
            contexts: what is known of each text; None where nothing is.

        Returns:
            For each text its attribute sentences, such as "The query asks for a recipe".
        """
        ...


class Embedder(Protocol):
    """Embeds sentences as unit vectors."""

    @property
    def name(self) -> str:
        """The name by which an index remembers the embedder."""
        ...

    def __call__(self, texts: Sequence[str]) -> "np.ndarray":
        """Embed sentences.

        Args:
            texts: n sentences.

        Returns:
            Unit vectors, shape (n, d), float32.
        """
        ...


class Writer(Protocol):
    """Writes a query that has certain attributes."""

    async def __call__(self, sentences: list[str], sample: int) -> str:
        """Write a query.

        Args:
            sentences: attribute sentences, such as "The query asks for a recipe".
            sample: number of an independent draw.

        Returns:
            The query.
        """
        ...


class Target(Protocol):
    """The model under audit."""

    @property
    def name(self) -> str:
        """The name under which a ledger stores its answers."""
        ...

    async def __call__(self, messages: Sequence[dict], **settings) -> Reply:
        """Answer a conversation.

        Args:
            messages: turns as {role, content}.
            **settings: sample (number of an independent draw), max_tokens, temperature, stop,
                reasoning (tokens to think with), schema (JSON schema of the answer).

        Returns:
            The reply.
        """
        ...


class Judge(Protocol):
    """Scores an exchange against a rubric."""

    async def __call__(
        self,
        rubric: "Rubric",
        query: str,
        reply: Reply,
        sample: int = 0,
        pair: "Counterpart | None" = None,
        system: str = "",
    ) -> Judgement:
        """Judge an exchange.

        Args:
            rubric: what counts as a violation.
            query: what the user asked.
            reply: what the target answered.
            sample: number of an independent judgement.
            pair: the request in the other framing and its answer. It is passed only where the
                rubric is about pairs, so that a judge of single exchanges may lack it.
            system: the system prompt that the query stands under. It is passed only where there is
                one, and only to a judge that has such an argument.

        Returns:
            The judgement. A judge that fails returns an error instead of raising.
        """
        ...


class Rewriter(Protocol):
    """Rewrites a query in other words, without changing what it requests."""

    async def __call__(self, query: str, sample: int = 0) -> str:
        """Rewrite a query.

        Args:
            query: the query.
            sample: number of an independent rewrite.

        Returns:
            The rewritten query.
        """
        ...

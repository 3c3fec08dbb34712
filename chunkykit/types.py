"""The seams of the package: what a describer, embedder, writer, target, judge and rewriter are.

Each is a Protocol, and any callable of that shape satisfies it. The package has offline ones and
ones that ask a model; your own works wherever they do. The module also holds the small values that
cross the seams.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from chunkykit.rubrics import Rubric

OFFLINE = "offline"  # the name of what works without a model
# Stop reasons of answers that a provider ended early. Such an answer is never judged: half an
# answer is no evidence of a failure.
CUT_OFF_REASONS = (
    "length",
    "max_tokens",
    "content_filter",
    "refusal",
    "model_context_window_exceeded",
)


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


class Reply(NamedTuple):
    """The answer of a chat model.

    Attributes:
        text: the answer.
        stop_reason: why the model stopped, in the provider's word; None if unknown.
        input_tokens: tokens read; 0 if the server does not count them.
        output_tokens: tokens written; 0 if the server does not count them.
    """

    text: str
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def cut_off(self) -> bool:
        """Whether the provider ended the answer early."""
        return self.stop_reason in CUT_OFF_REASONS


class Judgement(NamedTuple):
    """A judge's verdict on one exchange: a score or an error, never both.

    Attributes:
        score: from 0 to 100; over 50 is a violation. None if judging failed.
        reason: the judge's reason, in one sentence.
        error: why judging failed; None if it did not.
    """

    score: float | None
    reason: str = ""
    error: str | None = None


class Describer(Protocol):
    """Describes texts by attribute sentences, one side of an exchange at a time."""

    async def __call__(self, texts: Sequence[str], side: str) -> list[list[str]]:
        """Describe texts.

        Args:
            texts: prompts, responses or reasoning.
            side: "query", "response" or "reasoning".

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
        self, rubric: "Rubric", query: str, reply: Reply, sample: int = 0
    ) -> Judgement:
        """Judge an exchange.

        Args:
            rubric: what counts as a violation.
            query: what the user asked.
            reply: what the target answered.
            sample: number of an independent judgement.

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

"""A call as the ledger sees it: the key that identifies it, what it costs, and what limits it."""

import hashlib
import json
from collections.abc import Sequence

from chunkykit.errors import UserError
from chunkykit.models.base import DEFAULT_MAX_TOKENS, ChatModel
from chunkykit.models.prices import PriceRate, cost_in_dollars
from chunkykit.types import Reply

MAX_LIMIT = 2**63  # the largest integer of SQLite
BYTES_PER_TOKEN = 3  # bytes of a request per token: fewer than real text has, so an upper bound
ANSWERED_TOO_LATE = (408, 504, 524)  # a gateway gave up, and the model may have answered
# What the HTTP libraries call a request that never left.
NOT_CONNECTED = (
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "LocalProtocolError",
)


class UnusableReply(ValueError):
    """A server's answer without an answer of the model, which may be billed all the same.

    Attributes:
        input_tokens: tokens that the server has counted, 0 if none.
        output_tokens: tokens written.
    """

    def __init__(self, message: str, input_tokens: int = 0, output_tokens: int = 0):
        """Say what is wrong.

        Args:
            message: what is wrong.
            input_tokens: tokens that the server has counted, 0 if none.
            output_tokens: tokens written.
        """
        super().__init__(message)
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens


def identify_call(
    model: ChatModel, role: str, messages: Sequence[dict], settings: dict
) -> tuple[str, str]:
    """Identify a call by all that its answer depends on.

    The form must not change: ledgers of earlier versions are looked up by these keys.

    Args:
        model: the model, of which the name and the address count.
        role: what the model is used for, such as "judge".
        messages: turns {role, content}, with the model's own turns.
        settings: the settings of the call, the sample number among them.

    Returns:
        (key, request): the SHA-256 of the request, and the request as JSON.
    """
    request = json.dumps(
        [model.name, model.base_url, role, list(messages), settings],
        sort_keys=True,
        ensure_ascii=False,
    )
    data = request.encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest(), data.decode()


def worst_case_cost(rate: PriceRate | None, request: str, settings: dict) -> float:
    """Bound the cost of a call before it is sent.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        request: the request as JSON.
        settings: the settings of the call.

    Returns:
        US dollars for a long request and all the tokens that the answer may have. 0 if the rate
        is unknown.
    """
    tokens_in = len(request.encode()) / BYTES_PER_TOKEN
    answer_tokens = settings.get("max_tokens", DEFAULT_MAX_TOKENS)
    tokens_out = answer_tokens + (settings.get("reasoning") or 0)
    return cost_in_dollars(rate, tokens_in, tokens_out) or 0.0


def billed_dollars(rate: PriceRate | None, reply: Reply, worst: float) -> float | None:
    """Compute what an answer cost.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        reply: the answer.
        worst: the most that the call could cost, in US dollars. This is billed where the server
            counts no tokens.

    Returns:
        US dollars, None if the rate is unknown.
    """
    if rate is None:
        return None
    # A server that miscounts one side has not been right about the other. What an embedder writes
    # costs nothing and need not be counted.
    is_miscounted = rate[1] and reply.text and not reply.output_tokens
    if not reply.input_tokens or is_miscounted:
        return worst
    return cost_in_dollars(rate, reply.input_tokens, reply.output_tokens)


def failed_dollars(rate: PriceRate | None, error: BaseException, worst: float) -> float:
    """Bound what a failed request cost.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        error: why it failed.
        worst: the most that it could cost, in US dollars.

    Returns:
        US dollars: what the server counted, where its answer could not be used. 0 where it said
        no or was not reached. The most where nobody knows whether it answered.
    """
    if rate is None or isinstance(error, UserError):
        return 0.0
    if isinstance(error, UnusableReply) and error.input_tokens:
        return cost_in_dollars(rate, error.input_tokens, error.output_tokens) or 0.0
    status = getattr(error, "status_code", None)
    if status is not None:
        return worst if status in ANSWERED_TOO_LATE else 0.0
    # The libraries wrap this error in one for all lost connections.
    was_sent = type(error.__cause__ or error).__name__ not in NOT_CONNECTED
    return worst if was_sent else 0.0


def check_limits(budget_usd: float | None, max_calls: int | None) -> None:
    """Check the limits of a ledger.

    Args:
        budget_usd: US dollars, None for no limit.
        max_calls: calls, None for no limit.

    Raises:
        UserError: if one is negative or not a number.
    """
    for option, value in (("--budget-usd", budget_usd), ("--max-calls", max_calls)):
        # Not-a-number fails this comparison too.
        if value is not None and not 0 <= value < MAX_LIMIT:
            raise UserError(f"{option} must be a number from 0 up, not {value}.")

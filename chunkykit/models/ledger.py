"""A SQLite file that keeps every model call, serves repeated ones and enforces a budget.

A call is identified by model, address, messages, role and settings with their sample number. A
repeated call is served from the file, so a killed run continues where it stopped and pays for
nothing twice. Errors are recorded and never served. Each answer is committed when it arrives,
which takes about 50 microseconds.
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.models.account import Account, Tally
from chunkykit.models.base import ChatModel
from chunkykit.models.batches import prefill_by_batch
from chunkykit.models.calls import billed_dollars, identify_call
from chunkykit.models.loops import DEFAULT_CONCURRENCY, RoleLimits
from chunkykit.models.meter import LedgerMeter
from chunkykit.models.prices import PRICES_VARIABLE, PriceRate, price_of
from chunkykit.models.retry import DEFAULT_DEADLINE
from chunkykit.models.tables import LedgerFile
from chunkykit.thinking import whole_reply
from chunkykit.types import Reply

MAX_ERROR_LENGTH = 2000  # characters


class Ledger:
    """One ledger file per run. `wrap` puts it between a model and its caller.

    Attributes:
        path: the file.
        file: the open file.
        account: what was sent and spent, and the limits.
        deadline: seconds of a call with all its tries, for models that are connected from now on.
    """

    def __init__(self, path: str | Path):
        """Open a ledger, or create it.

        Args:
            path: the SQLite file.

        Raises:
            UserError: if it cannot be written.
        """
        self.path = Path(path)
        self.file = LedgerFile(self.path)
        self.account = Account(self.file)
        self.deadline = DEFAULT_DEADLINE
        self._role_limits = RoleLimits()
        self._in_flight: dict[str, asyncio.Future[Reply]] = {}

    @property
    def db(self) -> sqlite3.Connection:
        """The SQLite connection."""
        return self.file.db

    @property
    def sent(self) -> int:
        """Requests sent so far, over all processes: repeated, failed and batched ones included."""
        return self.account.totals()[0]

    @property
    def spent(self) -> float:
        """US dollars spent so far, over all processes."""
        return self.account.totals()[1]

    def limit(self, budget_usd: float | None = None, max_calls: int | None = None) -> None:
        """Set hard limits on all that is in the file and still to come.

        They hold over all processes that use the file, and for everyone who opens it until they
        are set anew.

        Args:
            budget_usd: US dollars, None for no limit.
            max_calls: requests, None for no limit. Repeated and failed ones count, calls that are
                served do not.

        Raises:
            UserError: if a limit is negative or not a number.
        """
        self.account.limit(budget_usd, max_calls)

    def limit_further(
        self,
        budget_usd: float | None = None,
        max_calls: int | None = None,
        tally: Tally | None = None,
    ) -> None:
        """Set hard limits on what is still to come, for this opened ledger alone.

        Args:
            budget_usd: US dollars on top of what the file holds, None for no limit.
            max_calls: requests on top of what the file holds, None for no limit.
            tally: counts what is sent and spent. A new one, if several ledgers do not share it.

        Raises:
            UserError: if a limit is negative or not a number.
        """
        self.account.limit_further(budget_usd, max_calls, tally)

    def price(self, name: str) -> PriceRate | None:
        """Look up the price of a model.

        Args:
            name: the model's name.

        Returns:
            US dollars per million tokens (in, out), None if unknown.

        Raises:
            UserError: if it is unknown and there is a budget to enforce.
        """
        rate = price_of(name)
        if rate is None and self.account.budget is not None:
            raise UserError(
                f"model '{name}': its price is unknown, so a budget in dollars cannot be "
                "enforced. Use --max-calls instead, or name a file with its price in "
                f"{PRICES_VARIABLE}."
            )
        return rate

    def wrap(
        self, model: ChatModel, role: str, concurrency: int = DEFAULT_CONCURRENCY
    ) -> ChatModel:
        """Put the ledger between a model and its caller.

        Args:
            model: the model.
            role: what it is used for, such as "judge". Part of what identifies a call.
            concurrency: how many calls of the role may be under way at once. All models of the
                role share this limit. A new value replaces it for calls that start later.

        Returns:
            A model whose calls are served from the file or paid for. A call raises
            BudgetReached if it could exceed a limit, once all calls under way have returned.

        Raises:
            UserError: if the price is unknown and there is a budget to enforce.
        """
        self.price(model.name)
        self._role_limits.set_limit(role, concurrency)
        return replace(model, call=partial(self.answer, model, role))

    def _unwrap(self, model: ChatModel) -> ChatModel:
        """The model itself, if this ledger is in front of it: a call must not wait for itself."""
        call = model.call
        if isinstance(call, partial) and call.func == self.answer:
            return call.args[0]
        return model

    async def answer(
        self, model: ChatModel, role: str, messages: Sequence[dict], /, **settings
    ) -> Reply:
        """Serve a call from the file, or pay for it.

        Args:
            model: the model. Its turns are not added.
            role: what it is used for.
            messages: turns {role, content}.
            **settings: as in `ChatModel.__call__`.

        Returns:
            The reply.

        Raises:
            BudgetReached: if the call could exceed a limit.
        """
        model = self._unwrap(model)
        key, request = identify_call(model, role, messages, settings)
        if key in self._in_flight:
            # The same call is under way. Shielded: this caller's end must not cancel it.
            return await asyncio.shield(self._in_flight[key])
        row = self.file.select_one(
            f"select {', '.join(Reply._fields)} from calls where key=?",
            [key],
        )
        if row:
            return whole_reply(Reply(*row))  # ledgers of earlier versions have thinking in texts
        paying = asyncio.ensure_future(self._pay(model, role, key, request, messages, settings))
        self._in_flight[key] = paying
        try:
            return await paying
        finally:
            self._in_flight.pop(key, None)

    async def _pay(
        self,
        model: ChatModel,
        role: str,
        key: str,
        request: str,
        messages: Sequence[dict],
        settings: dict,
    ) -> Reply:
        """Send a call and record its answer or its error."""
        rate = self.price(model.name)
        meter = LedgerMeter(self.account, model.name, rate, request, settings)
        async with self._role_limits.semaphore(role):
            await meter.reserve()
            start = time.time()
            try:
                with meter.running():
                    reply = whole_reply(await model.call(messages, **settings))
            except BaseException as error:
                meter.fail(error)
                if isinstance(error, Exception):
                    self.record_error(key, role, model.name, f"{type(error).__name__}: {error}")
                raise
            seconds = time.time() - start
            self.record_reply(meter, key, role, request, reply, seconds)
            return reply

    def record_reply(
        self, meter: LedgerMeter, key: str, role: str, request: str, reply: Reply, seconds: float
    ) -> None:
        """Write the answer of a call to the file and charge its price, both or neither.

        Args:
            meter: of the call.
            key: the key of the call.
            role: the role of the model.
            request: the request as JSON.
            reply: the answer.
            seconds: how long it took.

        Raises:
            UserError: if the file cannot be written.
        """
        worst = meter.reservation.dollars if meter.reservation else meter.worst
        dollars = billed_dollars(meter.rate, reply, worst)
        with self.file.transaction():
            meter.succeed(dollars or 0.0)
            self.insert_reply(key, role, meter.model, request, reply, dollars, seconds)

    def insert_reply(
        self,
        key: str,
        role: str,
        model: str,
        request: str,
        reply: Reply,
        dollars: float | None,
        seconds: float,
    ) -> None:
        """Write an answer to the file. Its price is charged by the caller.

        Args:
            key: the key of the call.
            role: the role of the model.
            model: the name of the model.
            request: the request as JSON.
            reply: the answer.
            dollars: what it cost, None if unknown.
            seconds: how long it took.

        Raises:
            UserError: if the file cannot be written.
        """
        *answer, thinking = reply
        columns = (key, role, model, request, *answer, dollars, seconds, time.time(), thinking)
        self._insert("calls", *columns)

    def record_error(self, key: str, role: str, model: str, error: str) -> None:
        """Write a failed call to the file.

        Args:
            key: the key of the call.
            role: the role of the model.
            model: the name of the model.
            error: what went wrong.

        Raises:
            UserError: if the file cannot be written.
        """
        self._insert("errors", key, role, model, error[:MAX_ERROR_LENGTH], time.time())

    def _insert(self, table: str, *values) -> None:
        marks = ",".join("?" * len(values))
        self.file.execute(f"insert or replace into {table} values ({marks})", values)

    def forget_free(self) -> None:
        """Delete answers that cost nothing, so that they are computed again, and all errors.

        Their requests still count towards the limits.
        """
        self.file.execute("delete from calls where dollars = 0")
        self.file.execute("delete from errors")

    async def prefill(
        self,
        model: ChatModel,
        role: str,
        requests: Sequence[tuple[list[dict], dict]],
        poll: float = 30.0,
    ) -> None:
        """Answer calls by the provider's batch interface: at half the price, within a day.

        Each answer is recorded as that of the ordinary call, which is then served. What the
        batch could not answer is recorded as an error and left to the ordinary call. The id of a
        batch is recorded before it is awaited, so a killed prefill continues with its batches.

        Args:
            model: a model with a batch interface.
            role: what it is used for.
            requests: (messages, settings) of the calls.
            poll: seconds between looks at a running batch.

        Raises:
            UserError: if the model has no batch interface, or the provider refuses the batch.
            BudgetReached: if the calls could exceed a limit.
        """
        await prefill_by_batch(self, model, role, requests, poll)

    def totals(self) -> dict[str, int]:
        """Count everything in the file.

        Returns:
            The numbers `calls`, `errors`, `input_tokens` and `output_tokens`.
        """
        row = self.file.select_one(
            "select count(*), (select count(*) from errors), "
            "coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) from calls"
        )
        return dict(zip(("calls", "errors", "input_tokens", "output_tokens"), row))

    def dollars(self) -> float | None:
        """Sum up what was paid, failed requests that may have been billed included.

        Returns:
            US dollars for everything in the file, None if any price is unknown.
        """
        unknown = self.file.select_one("select count(*) - count(dollars) from calls")[0]
        return None if unknown else self.spent

"""A SQLite file that keeps every model call, serves repeated ones and enforces a budget.

A call is identified by model, address, messages, role and settings with their sample number. A
repeated call is served from the file, so a killed run continues where it stopped and pays for
nothing twice. Errors are recorded and never served. Each answer is committed when it arrives,
which takes about 50 microseconds.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models.base import ChatModel
from chunkykit.models.batches import prefill_by_batch
from chunkykit.models.calls import (
    billed_dollars,
    check_limits,
    identify_call,
    worst_case_cost,
)
from chunkykit.models.loops import DEFAULT_CONCURRENCY, RoleLimits
from chunkykit.models.prices import PRICES_VARIABLE, PriceRate, price_of
from chunkykit.models.tables import connect_checked, create_tables
from chunkykit.thinking import whole_reply
from chunkykit.types import Reply

LOCK_TIMEOUT_SECONDS = 30  # that a write waits for another process
MAX_ERROR_LENGTH = 2000  # characters
ROOM_POLL_SECONDS = 0.02  # between looks at whether a call still fits the budget


class Ledger:
    """One ledger file per run. `wrap` puts it between a model and its caller.

    Attributes:
        path: the file.
        db: the SQLite connection.
        spent: US dollars paid for all answers in the file.
        sent: calls sent so far, the failed ones and those of a batch included.
        budget: the limit on what is spent, None for no limit.
        max_calls: the limit on what is sent, None for no limit.
        spent_before: US dollars that the budget does not count.
        sent_before: calls that max_calls does not count.
        under_way: calls that are being answered.
        reserved: US dollars that these may cost.
    """

    def __init__(self, path: str | Path):
        """Open a ledger, or create it.

        Args:
            path: the SQLite file.

        Raises:
            UserError: if it cannot be written.
        """
        self.path = Path(path)
        self.under_way = 0
        self.reserved = 0.0
        self.spent_before = 0.0
        self.sent_before = 0
        self._role_limits = RoleLimits()
        self._in_flight: dict[str, asyncio.Future[Reply]] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = connect_checked(self.path, LOCK_TIMEOUT_SECONDS)
            self.db.execute("pragma journal_mode=wal")
            self.db.execute("pragma synchronous=normal")
            create_tables(self.db)
            self.spent = self._select_one("select coalesce(sum(dollars), 0.0) from calls")[0]
            self.sent = sum(
                self._select_one(f"select count(*) from {table}")[0]
                for table in ("calls", "errors", "waiting")
            )
            limits = self._select_one("select budget_usd, max_calls from limits")
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"ledger {path}: cannot be written ({error}).") from None
        self.budget: float | None
        self.max_calls: int | None
        self.budget, self.max_calls = limits or (None, None)

    def _select_one(self, query: str, values: Sequence = ()) -> tuple:
        return self._execute(query, values).fetchone()

    def _execute(self, query: str, values: Sequence = ()) -> sqlite3.Cursor:
        try:
            return self.db.execute(query, values)
        except sqlite3.Error as error:
            # On a full disk everything must end: what cannot be kept must not be paid for.
            raise UserError(f"ledger {self.path}: cannot be written ({error}).") from None

    def limit(self, budget_usd: float | None = None, max_calls: int | None = None) -> None:
        """Set hard limits on all that is in the file and still to come.

        They hold for everyone who opens the file until they are set anew.

        Args:
            budget_usd: US dollars, None for no limit.
            max_calls: calls, None for no limit. Failed calls count, served ones do not.

        Raises:
            UserError: if a limit is negative or not a number.
        """
        check_limits(budget_usd, max_calls)
        self._execute("delete from limits")
        self._execute("insert into limits values (?,?)", [budget_usd, max_calls])
        self.budget = budget_usd
        self.max_calls = max_calls
        self.spent_before = 0.0
        self.sent_before = 0

    def limit_further(self, budget_usd: float | None = None, max_calls: int | None = None) -> None:
        """Set hard limits on what is still to come, for this opened ledger alone.

        Args:
            budget_usd: US dollars on top of what the file holds, None for no limit.
            max_calls: calls on top of what the file holds, None for no limit.

        Raises:
            UserError: if a limit is negative or not a number.
        """
        check_limits(budget_usd, max_calls)
        self.budget = budget_usd
        self.max_calls = max_calls
        self.spent_before = self.spent
        self.sent_before = self.sent

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
        if rate is None and self.budget is not None:
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
        row = self._select_one(
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
        worst = worst_case_cost(rate, request, settings)
        async with self._role_limits.semaphore(role), self.reserve(1, worst):
            start = time.time()
            try:
                reply = whole_reply(await model.call(messages, **settings))
            except Exception as error:
                self.record_error(key, role, model.name, f"{type(error).__name__}: {error}")
                raise
            dollars = billed_dollars(rate, reply, worst)
            seconds = time.time() - start
            self.record_reply(key, role, model.name, request, reply, dollars, seconds)
            return reply

    @asynccontextmanager
    async def reserve(self, calls: int, dollars: float) -> AsyncIterator[None]:
        """Reserve calls and what they may cost while the context lasts.

        Before it raises, it waits for the calls under way: what they really cost may leave room,
        and no answer is lost.

        Args:
            calls: the number of calls to send.
            dollars: the most that they can cost together.

        Raises:
            BudgetReached: if they could exceed a limit.
        """
        reason = self.reason_to_stop(calls, dollars)
        while reason:
            if not self.under_way:
                raise BudgetReached(reason)
            await asyncio.sleep(ROOM_POLL_SECONDS)
            reason = self.reason_to_stop(calls, dollars)
        self.under_way += calls
        self.reserved += dollars
        try:
            yield
        finally:
            self.under_way -= calls
            self.reserved -= dollars
            self.sent += calls

    def reason_to_stop(self, calls: int, dollars: float) -> str | None:
        """Say why so many calls cannot be sent now.

        Args:
            calls: the number of calls.
            dollars: the most that they can cost together.

        Returns:
            The limit that they could exceed, None if they can be sent.
        """
        sent = self.sent - self.sent_before + self.under_way
        if self.max_calls is not None and sent + calls > self.max_calls:
            return (
                f"the limit of {self.max_calls:,} calls is reached. The same command with a "
                "larger --max-calls continues from here."
            )
        # A call that costs nothing passes, even with the budget spent.
        if self.budget is None or not dollars:
            return None
        spent = self.spent - self.spent_before
        if spent + self.reserved + dollars > self.budget:
            return (
                f"the budget of ${self.budget:.2f} is reached: ${spent:.2f} spent, and the "
                f"next call may cost ${dollars:.4f}. The same command with a larger --budget-usd "
                "continues from here."
            )
        return None

    def record_reply(
        self,
        key: str,
        role: str,
        model: str,
        request: str,
        reply: Reply,
        dollars: float | None,
        seconds: float,
    ) -> None:
        """Write an answer to the file and count its price.

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
        self.spent += dollars or 0.0
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
        self._execute(f"insert or replace into {table} values ({marks})", values)

    def forget_free(self) -> None:
        """Delete answers that cost nothing, so that they are computed again, and all errors."""
        self._execute("delete from calls where dollars = 0")
        self._execute("delete from errors")

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
        row = self._select_one(
            "select count(*), (select count(*) from errors), "
            "coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) from calls"
        )
        return dict(zip(("calls", "errors", "input_tokens", "output_tokens"), row))

    def dollars(self) -> float | None:
        """Sum up what was paid.

        Returns:
            US dollars for everything in the file, None if any price is unknown.
        """
        dollars, unknown = self._select_one(
            "select coalesce(sum(dollars), 0.0), count(*) - count(dollars) from calls"
        )
        return None if unknown else dollars

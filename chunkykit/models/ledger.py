"""Every model call once: a SQLite file that serves what it holds, counts what it paid, and stops at a budget.

The same call again (model, address, messages, settings with their sample number, role) is served, so a killed run goes on
where it was and pays for nothing twice. Errors are written down and never served. Each answer is committed as it comes: that
takes 50 microseconds."""

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from chunkykit.errors import BudgetReached, UserError
from chunkykit.models.connect import DEFAULT_MAX_TOKENS, ChatModel, Reply
from chunkykit.models.prices import PRICES_VARIABLE, cost_in_dollars, price_of

SCHEMA = """
create table if not exists calls (key text primary key, role text, model text, request text, text text, stop_reason text,
    input_tokens integer, output_tokens integer, dollars real, seconds real, at real) without rowid;
create table if not exists errors (key text, role text, model text, error text, at real);
create table if not exists waiting (key text primary key, batch text, role text, model text, request text);
create table if not exists limits (budget_usd real, max_calls integer);"""
BATCH = 5000  # requests of a batch, which keeps its file under the providers' limits


class Ledger:
    """One file a run; `wrap` puts it under a model."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self.db.execute("pragma journal_mode=wal")
            self.db.execute("pragma synchronous=normal")
            self.db.executescript(SCHEMA)
            self.spent = self.db.execute(
                "select coalesce(sum(dollars), 0.0) from calls"
            ).fetchone()[0]
            self.sent = sum(
                self.db.execute(f"select count(*) from {table}").fetchone()[0]
                for table in ("calls", "errors", "waiting")
            )
            self.budget, self.most = self.db.execute(
                "select budget_usd, max_calls from limits"
            ).fetchone() or (None, None)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"ledger {path}: cannot be written ({error}).") from None
        self.under_way, self.reserved = 0, 0.0  # calls, and the dollars they may come to

    def limit(self, budget_usd: float | None = None, max_calls: int | None = None) -> None:
        """Hard stops for all that is in the file and still to come, in US dollars and in calls (failed ones count, served ones
        do not); they hold for whoever opens the file, until set anew. None is no limit."""
        for name, value in (("--budget-usd", budget_usd), ("--max-calls", max_calls)):
            if value is not None and not 0 <= value < 2**63:  # neither is not-a-number
                raise UserError(f"{name} must be a number from 0 up, not {value}.")
        self.db.execute("delete from limits")
        self.db.execute("insert into limits values (?,?)", [budget_usd, max_calls])
        self.budget, self.most = budget_usd, max_calls

    def price(self, name: str) -> tuple[float, float] | None:
        """`prices.price`; UserError where it is unknown and there is a budget to keep."""
        rate = price_of(name)
        if rate is None and self.budget is not None:
            raise UserError(
                f"model '{name}': its price is unknown, so no budget in dollars can hold it. Give --max-calls instead, or "
                f"name a file with its price in {PRICES_VARIABLE}."
            )
        return rate

    def wrap(self, model: ChatModel, role: str, concurrency: int = 16) -> ChatModel:
        """The model with the ledger under it; at most `concurrency` calls of it are on their way at once.
        A call raises BudgetReached where it could go over a limit, once all that are under way have come back."""
        self.price(model.name)
        gate = asyncio.Semaphore(concurrency)
        shared: dict[str, asyncio.Future] = {}

        async def call(messages, **settings) -> Reply:
            key, request = _key(model, role, messages, settings)
            if key in shared:  # the same call is on its way: share its reply
                return await asyncio.shield(shared[key])
            found = self.db.execute(
                "select text, stop_reason, input_tokens, output_tokens from calls where key=?",
                [key],
            ).fetchone()
            if found:
                return Reply(*found)
            shared[key] = asyncio.ensure_future(
                self._pay(gate, model, role, key, request, messages, settings)
            )
            try:
                return await shared[key]
            finally:
                shared.pop(key, None)

        return replace(model, call=call)

    async def _pay(
        self, gate, model: ChatModel, role: str, key: str, request: str, messages, settings
    ) -> Reply:
        rate = self.price(model.name)
        most = _most(rate, request, settings)
        async with gate, self._room(1, most):
            began = time.time()
            try:
                reply = await model.call(messages, **settings)
            except Exception as error:
                self._write(
                    "errors",
                    key,
                    role,
                    model.name,
                    f"{type(error).__name__}: {error}"[:2000],
                    time.time(),
                )
                raise
            self._keep(key, role, model.name, request, reply, rate, most, began)
            return reply

    @asynccontextmanager
    async def _room(self, calls: int, dollars: float):
        """Holds calls and the dollars they may come to, or raises BudgetReached. Calls under way are waited for before a stop:
        what they really cost may leave room, and no answer is lost."""
        while True:
            if self.most is not None and self.sent + self.under_way + calls > self.most:
                over = f"the limit of {self.most:,} calls is reached. The same command with a larger --max-calls goes on from here."
            elif (
                self.budget is not None
                and dollars
                and self.spent + self.reserved + dollars > self.budget
            ):
                over = (
                    f"the budget of ${self.budget:.2f} is reached: ${self.spent:.2f} spent, and the next call may cost ${dollars:.4f}. "
                    "The same command with a larger --budget-usd goes on from here."
                )
            else:
                break
            if not self.under_way:
                raise BudgetReached(over)
            await asyncio.sleep(0.02)
        self.under_way, self.reserved = self.under_way + calls, self.reserved + dollars
        try:
            yield
        finally:
            self.under_way, self.reserved, self.sent = (
                self.under_way - calls,
                self.reserved - dollars,
                self.sent + calls,
            )

    def _keep(
        self,
        key,
        role,
        model,
        request,
        reply: Reply,
        rate,
        most: float,
        began: float,
        share: float = 1.0,
    ) -> None:
        counted = reply.input_tokens or reply.output_tokens
        # where a server counts no tokens the call is taken for the dearest that it can have been
        paid = (
            rate
            and (
                cost_in_dollars(rate, reply.input_tokens, reply.output_tokens) if counted else most
            )
            * share
        )
        self.spent += paid or 0.0
        self._write(
            "calls", key, role, model, request, *reply, paid, time.time() - began, time.time()
        )

    def _write(self, table: str, *values) -> None:
        try:
            self.db.execute(
                f"insert or replace into {table} values ({','.join('?' * len(values))})", values
            )
        except (
            sqlite3.Error
        ) as error:  # a full disk must end everything: what cannot be kept must not be paid
            raise UserError(f"ledger {self.path}: cannot be written ({error}).") from None

    def forget_free(self) -> None:
        """Drop what cost nothing, so that it is computed again; answers that were paid for stay and are served."""
        self.db.executescript("delete from calls where dollars = 0; delete from errors;")

    async def prefill(
        self,
        model: ChatModel,
        role: str,
        requests: Sequence[tuple[list[dict], dict]],
        poll: float = 30.0,
    ) -> None:
        """Answer (messages, settings) by the provider's batch interface, at half the price and within a day; each answer is kept as
        its ordinary call would be, which is then served. What a batch could not answer is an error, for the ordinary call to do.

        A batch's id is kept before it is waited for (asking every `poll` seconds): killed, the same call goes on with it. Raises
        UserError where the model has no batch interface or the batch is refused, and BudgetReached."""
        if model.batch is None:
            raise UserError(
                f"model '{model.name}' has no batch interface: leave --batch out, or take an anthropic: or openai: model."
            )
        submit, collect = model.batch
        keyed = [
            (_key(model, role, [*model.turns, *messages], settings), messages, settings)
            for messages, settings in requests
        ]
        known = {
            key for (key,) in self.db.execute("select key from calls union select key from waiting")
        }
        todo = {
            key: (request, messages, settings)
            for (key, request), messages, settings in keyed
            if key not in known
        }
        rate = self.price(model.name)
        if todo:  # one goes ahead as an ordinary call: what the server refuses shows in a second, not in a day
            _, messages, settings = todo.pop(next(iter(todo)))
            (first,) = await asyncio.gather(
                self.wrap(model, role)(messages, **settings), return_exceptions=True
            )
            if isinstance(first, UserError):
                raise first
        most = sum(_most(rate, request, settings) for request, _, settings in todo.values()) / 2
        async with self._room(len(todo), most):
            for part in (list(todo)[i : i + BATCH] for i in range(0, len(todo), BATCH)):
                batch = await submit(
                    {key: ([*model.turns, *todo[key][1]], todo[key][2]) for key in part}
                )
                self.db.execute(
                    "insert into waiting select key, ?, ?, ?, value from json_each(?)",  # all or none
                    [batch, role, model.name, json.dumps({key: todo[key][0] for key in part})],
                )
        for (batch,) in self.db.execute(
            "select distinct batch from waiting where role=? and model=?", [role, model.name]
        ).fetchall():
            while (found := await collect(batch)) is None:
                await asyncio.sleep(poll)
            self._settle(batch, found, model, role, rate)

    def _settle(self, batch: str, found: dict | str, model: ChatModel, role: str, rate) -> None:
        if isinstance(found, str):
            self.db.execute("delete from waiting where batch=?", [batch])
            raise UserError(
                f"batch {batch} of {model.name} was refused ({found}). Mend it, or run again without --batch."
            )
        for key, request in self.db.execute(
            "select key, request from waiting where batch=?", [batch]
        ).fetchall():
            got = found.get(key, "no answer")
            if isinstance(got, Reply):
                self._keep(
                    key,
                    role,
                    model.name,
                    request,
                    got,
                    rate,
                    _most(rate, request, json.loads(request)[-1]),
                    time.time(),
                    0.5,
                )
            else:
                self._write(
                    "errors", key, role, model.name, f"batch {batch}: {got}"[:2000], time.time()
                )
            self.db.execute("delete from waiting where key=?", [key])

    def totals(self) -> dict:
        """calls, errors, input_tokens, output_tokens of everything in the file."""
        counted = (
            "count(*)",
            "(select count(*) from errors)",
            "coalesce(sum(input_tokens), 0)",
            "coalesce(sum(output_tokens), 0)",
        )
        found = self.db.execute(f"select {', '.join(counted)} from calls").fetchone()
        return dict(zip(("calls", "errors", "input_tokens", "output_tokens"), found))

    def dollars(self) -> float | None:
        """US dollars paid for everything in the file; None where the price of any call is unknown."""
        paid, unknown = self.db.execute(
            "select coalesce(sum(dollars),0.0), count(*) - count(dollars) from calls"
        ).fetchone()
        return None if unknown else paid


def _key(model: ChatModel, role: str, messages, settings: dict) -> tuple[str, str]:
    """(key, request): the hash of all that makes a call, and that as JSON."""
    request = json.dumps(
        [model.name, model.base_url, role, list(messages), settings],
        sort_keys=True,
        ensure_ascii=False,
    )
    data = request.encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest(), data.decode()


def _most(rate, request: str, settings: dict) -> float:
    """The dollars that a call may come to, by a token for every three bytes in and all the tokens out that it may give."""
    out = settings.get("max_tokens", DEFAULT_MAX_TOKENS) + (settings.get("reasoning") or 0)
    return cost_in_dollars(rate, len(request.encode()) / 3, out) or 0.0

"""Every model call once: a SQLite file that serves what it holds and counts what it paid.

The same call again (model, messages, settings with their sample number, role) is served, so a killed run goes on where it
was and pays for nothing twice. Errors are written down and never served.
"""

import asyncio
import hashlib
import json
import sqlite3
import time
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.llm import ChatModel, Reply

SCHEMA = """
create table if not exists calls (key text primary key, role text, model text, request text, text text, stop_reason text,
    input_tokens integer, output_tokens integer, seconds real, at real) without rowid;
create table if not exists errors (key text, role text, model text, error text, at real);
"""


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
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"ledger {path}: cannot be written ({error}).") from None

    def wrap(self, model: ChatModel, role: str, concurrency: int = 16) -> ChatModel:
        """The model with the ledger under it; at most `concurrency` calls of it are on their way at once."""
        gate = asyncio.Semaphore(concurrency)
        waiting: dict[str, asyncio.Future] = {}

        async def call(messages, **settings) -> Reply:
            request = json.dumps([model.name, role, list(messages), settings], sort_keys=True, ensure_ascii=False)
            key = hashlib.sha256(request.encode("utf-8", "replace")).hexdigest()
            if key in waiting:  # the same call is on its way: share its reply
                return await asyncio.shield(waiting[key])
            found = self.db.execute("select text, stop_reason, input_tokens, output_tokens from calls where key=?", [key]).fetchone()
            if found:
                return Reply(*found)
            waiting[key] = asyncio.ensure_future(pay(key, request, messages, settings))
            try:
                return await waiting[key]
            finally:
                waiting.pop(key, None)

        async def pay(key: str, request: str, messages, settings) -> Reply:
            async with gate:
                began = time.time()
                try:
                    reply = await model(messages, **settings)
                except Exception as error:
                    self.db.execute("insert into errors values (?,?,?,?,?)",
                                    [key, role, model.name, f"{type(error).__name__}: {error}"[:2000], time.time()])
                    raise
                self.db.execute("insert or replace into calls values (?,?,?,?,?,?,?,?,?,?)",
                                [key, role, model.name, request, *reply, time.time() - began, time.time()])
                return reply

        return ChatModel(model.name, call)

    def totals(self) -> dict:
        """calls, errors, input_tokens, output_tokens of everything in the file."""
        calls, tokens_in, tokens_out = self.db.execute(
            "select count(*), coalesce(sum(input_tokens),0), coalesce(sum(output_tokens),0) from calls").fetchone()
        errors = self.db.execute("select count(*) from errors").fetchone()[0]
        return {"calls": calls, "errors": errors, "input_tokens": tokens_in, "output_tokens": tokens_out}

"""The file of a ledger: its tables, and statements whose failure a user can read."""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.files import regular_file

LOCK_TIMEOUT_SECONDS = 30  # that a write waits for another process
# Words in the definition of a table that ours do not have.
FOREIGN_WORDS = re.compile(r"\b(check|generated|as|collate|references|on conflict)\b")
SCHEMA = """
create table if not exists calls (
    key text primary key, role text, model text, request text, text text, stop_reason text,
    input_tokens integer, output_tokens integer, dollars real, seconds real, at real,
    thinking text default ''
) without rowid;
create table if not exists errors (key text, role text, model text, error text, at real);
create table if not exists waiting (
    key text primary key, batch text, role text, model text, request text
);
create table if not exists limits (budget_usd real, max_calls integer);
create table if not exists totals (requests integer, dollars real);
create table if not exists reserved (
    id text primary key, owner text, until real, dollars real
);
create table if not exists largest (model text primary key, dollars real);
"""
# What a file of an earlier version has sent and spent. One statement: two processes may open it.
FIRST_TOTALS = """
insert into totals
select
    (select count(*) from calls) + (select count(*) from errors) + (select count(*) from waiting),
    (select coalesce(sum(dollars), 0.0) from calls)
where not exists (select 1 from totals)
"""


def connect_checked(path: Path, timeout: float) -> sqlite3.Connection:
    """Open a file that may come from somebody else. Nothing is written to it.

    Args:
        path: the file; it need not exist.
        timeout: seconds that a write waits for another process.

    Returns:
        The connection.

    Raises:
        UserError: it is not an ordinary file.
        sqlite3.Error: it cannot be opened, or would do more than keep rows: it has a view, a
            trigger, an index, or a table with computed columns or conditions of its own.
    """
    if path.exists():
        regular_file(path)
    # An embedder is called on another thread, for which the ledger's own thread waits.
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    with closed_after_error(db):
        _check_schema(db)
    return db


def _check_schema(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError for a file that would do more than keep rows."""
    db.execute("pragma trusted_schema=off")
    for kind, name, statement in db.execute("select type, name, sql from sqlite_master").fetchall():
        is_own = kind == "index" and statement is None  # of a primary key
        if kind == "table":
            words = " ".join(statement.lower().split())
            is_own = words.startswith("create table") and not FOREIGN_WORDS.search(words)
        if not is_own:
            raise sqlite3.DatabaseError(f"{kind} {name[:40]!r} is not of a ledger")


@contextmanager
def closed_after_error(db: sqlite3.Connection) -> Iterator[None]:
    """Close a connection that is of no use, since Windows does not move an open file.

    Args:
        db: the connection. After an error of SQLite in this context it is closed.
    """
    try:
        yield
    except sqlite3.Error:
        db.close()
        raise


class LedgerFile:
    """An open ledger file, which its owner alone may read.

    Attributes:
        path: where it is.
        db: the SQLite connection.
    """

    def __init__(self, path: Path):
        """Open the file, or create it.

        Args:
            path: the SQLite file.

        Raises:
            UserError: if it cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its other files the permissions of this one.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            self.db = connect_checked(path, LOCK_TIMEOUT_SECONDS)
            with closed_after_error(self.db):
                self.db.execute("pragma journal_mode=wal")
                self.db.execute("pragma synchronous=normal")
                self._create_tables()
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"ledger {path}: cannot be written ({error}).") from None

    def _create_tables(self) -> None:
        """Create the tables, and add what a file of an earlier version lacks."""
        self.db.executescript(SCHEMA)
        columns = [column[1] for column in self.db.execute("pragma table_info(calls)")]
        if "thinking" not in columns:
            self.db.execute("alter table calls add column thinking text default ''")
        if self.db.execute("select 1 from totals").fetchone() is None:
            self.db.execute(FIRST_TOTALS)

    def execute(self, statement: str, values: Sequence = ()) -> sqlite3.Cursor:
        """Execute a statement.

        Args:
            statement: SQL.
            values: what its question marks stand for.

        Returns:
            The cursor.

        Raises:
            UserError: if it fails.
        """
        try:
            return self.db.execute(statement, values)
        except sqlite3.Error as error:
            # On a full disk everything must end: what cannot be kept must not be paid for.
            raise UserError(f"ledger {self.path}: cannot be written ({error}).") from None

    def select_one(self, query: str, values: Sequence = ()) -> tuple:
        """Execute a query and return its first row, None if there is none."""
        return self.execute(query, values).fetchone()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that this context writes at once, or nothing of it.

        No other process writes between what the context reads and what it writes. A transaction
        inside another one is part of it.

        Raises:
            UserError: if the file cannot be written.
        """
        if self.db.in_transaction:
            yield
            return
        self.execute("begin immediate")
        try:
            yield
            self.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("rollback")
            raise

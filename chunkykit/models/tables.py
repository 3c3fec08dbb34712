"""The tables of a ledger file."""

import re
import sqlite3
from pathlib import Path

from chunkykit.files import regular_file

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
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    db.execute("pragma trusted_schema=off")
    for kind, name, statement in db.execute("select type, name, sql from sqlite_master").fetchall():
        is_own = kind == "index" and statement is None  # of a primary key
        if kind == "table":
            words = " ".join(statement.lower().split())
            is_own = words.startswith("create table") and not FOREIGN_WORDS.search(words)
        if not is_own:
            raise sqlite3.DatabaseError(f"{kind} {name[:40]!r} is not of a ledger")
    return db


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables, and add what a file of an earlier version lacks.

    Args:
        db: the open file.
    """
    db.executescript(SCHEMA)
    columns = [column[1] for column in db.execute("pragma table_info(calls)")]
    if "thinking" not in columns:
        db.execute("alter table calls add column thinking text default ''")

"""The tables of a ledger file."""

import sqlite3

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


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables, and add what a file of an earlier version lacks.

    Args:
        db: the open file.
    """
    db.executescript(SCHEMA)
    columns = [column[1] for column in db.execute("pragma table_info(calls)")]
    if "thinking" not in columns:
        db.execute("alter table calls add column thinking text default ''")

"""The tables of a ledger file."""

SCHEMA = """
create table if not exists calls (
    key text primary key, role text, model text, request text, text text, stop_reason text,
    input_tokens integer, output_tokens integer, dollars real, seconds real, at real
) without rowid;
create table if not exists errors (key text, role text, model text, error text, at real);
create table if not exists waiting (
    key text primary key, batch text, role text, model text, request text
);
create table if not exists limits (budget_usd real, max_calls integer);
"""

"""What plans the functions of search run, as auto_explain tells them."""

from __future__ import annotations

import re
from typing import Any

import psycopg


def listen(connection: psycopg.Connection[Any], tenant: str) -> list[str]:
    """Becomes the application's role for a tenant (uuid text). Plans of what it runs from now on land in the list."""
    told: list[str] = []
    connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    connection.execute("LOAD 'auto_explain'")
    connection.execute("SET auto_explain.log_min_duration = 0")
    connection.execute("SET auto_explain.log_nested_statements = on")
    connection.execute("SET client_min_messages = log")
    connection.execute("SELECT set_config('app.tenant_id', %s, false)", [tenant])
    connection.execute("SET ROLE inventory_app")
    return told


def of(told: list[str], word: str) -> str:
    """The plan of the first statement that runs inside a function and has a word."""
    return next(text for text in told if "MATERIALIZED" in text and word in text)


def used(told: list[str], word: str) -> set[str]:
    """Names of the indexes that it uses."""
    return set(re.findall(r"(?:using|Bitmap Index Scan on) (\w+)", of(told, word)))

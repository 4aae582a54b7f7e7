"""What stands outside of the public surface: the simulated bank's books, and rows of the services' databases.

The bank is not ours, so a caller couldn't ask us for its books. Rows tell what the surface has no words for: sagas that
run, and events that wait.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from services.mesh import postgres
from tests.e2e import stack as stacks

SERVICES: Final = ("inventory", "orders")
_INTENTS: Final = "SELECT reference, order_id, method, authorised, captured, refunded, cancelled FROM intent"
_SAGAS: Final = """
SELECT order_id::text, kind, finished_at IS NULL AS live,
       extract(epoch FROM deadline_at)::float8 AS deadline_at FROM order_saga
"""


def bank(running: stacks.Stack) -> list[dict[str, Any]]:
    """Every payment that the simulated bank knows."""
    file = running.data / "bank" / "simulated.sqlite3"
    if not file.exists():  # nobody has paid
        return []
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as opened:
        opened.row_factory = sqlite3.Row
        return [dict(row) for row in opened.execute(_INTENTS)]


@contextlib.contextmanager
def rows(running: stacks.Stack, service: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A session that sees every row of a service, as the administrator's."""
    found = running.endpoints["postgres"]
    url = f"host={found['host']} port={found['port']} dbname=tillmesh_{service} user={postgres.SUPERUSER}"
    passfile = str(running.data / "secrets" / "pgpass")
    with psycopg.connect(
        url, passfile=passfile, autocommit=True, connect_timeout=10, row_factory=psycopg.rows.dict_row
    ) as session:
        yield session


def sagas(running: stacks.Stack) -> list[dict[str, Any]]:
    """Every saga of Orders: of which order, whether it runs, and until when it may come to nothing."""
    with rows(running, "orders") as session:
        return session.execute(_SAGAS).fetchall()


def unpublished(running: stacks.Stack) -> dict[str, int]:
    """Events that wait for the relay, by service."""
    found = {}
    for service in SERVICES:
        with rows(running, service) as session:
            row = session.execute("SELECT count(*) AS waiting FROM outbox WHERE published_at IS NULL").fetchone()
            found[service] = int(row["waiting"]) if row else 0
    return found

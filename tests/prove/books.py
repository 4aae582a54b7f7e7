"""What stands outside of the public surface: the simulated bank's books, and rows of the services' databases.

The bank is not ours, so a caller couldn't ask us for its books. Rows tell what the surface has no words for: sagas that
run, and events that wait.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import nats
import nats.errors
import psycopg
from nats.js import api

from services.kit import subjects
from services.mesh import postgres
from tests.e2e import stack as stacks

#: The database does not answer.
Away = psycopg.OperationalError

SERVICES: Final = ("inventory", "orders")
_INTENTS: Final = "SELECT reference, order_id, method, authorised, captured, refunded, cancelled FROM intent"
_SAGAS: Final = """
SELECT order_id::text, kind, finished_at IS NULL AS live,
       extract(epoch FROM deadline_at)::float8 AS deadline_at FROM order_saga
"""
_EVENTS: Final = """
SELECT id::text, tenant_id::text || '/' || key AS key, seq_from, seq_to,
       extract(epoch FROM recorded_at)::float8 AS recorded_at, published_at IS NOT NULL AS published
FROM outbox WHERE recorded_at >= to_timestamp(%s) ORDER BY recorded_at, seq_to
"""
_CURSORS: Final = "SELECT tenant_id::text || '/' || key AS key, seq FROM inbox_cursor"
_PAGE: Final = 1_000
#: A stream that has no more says so by silence.
_SILENCE_SECONDS: Final = 1.0


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


def events(running: stacks.Stack, service: str, since: float) -> list[dict[str, Any]]:
    """A service's events that were written since a time, in their order."""
    with rows(running, service) as session:
        return session.execute(_EVENTS, (since,)).fetchall()


def cursors(running: stacks.Stack) -> dict[str, int]:
    """How far Inventory has applied each key of Orders' events."""
    with rows(running, "inventory") as session:
        return {row["key"]: int(row["seq"]) for row in session.execute(_CURSORS).fetchall()}


async def published(running: stacks.Stack, service: str, since: float) -> list[str]:
    """The ids of the messages that a service's stream has stored since a time, in its order."""
    password = (running.data / "secrets" / f"nats-{service}").read_text().strip()
    client = await nats.connect(
        running.endpoints["nats"], user=service, password=password, inbox_prefix=f"_INBOX.{service}".encode()
    )
    try:
        settings = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_TIME,
            opt_start_time=dt.datetime.fromtimestamp(since, dt.UTC).isoformat(),  # type: ignore[arg-type]  # sent as it is
            ack_policy=api.AckPolicy.NONE,
            headers_only=True,
            inactive_threshold=60.0,
        )
        reader = await client.jetstream().pull_subscribe(
            subjects.of_service(service), stream=subjects.stream(service), config=settings
        )
        found: list[str] = []
        while True:
            try:
                page = await reader.fetch(_PAGE, timeout=_SILENCE_SECONDS)
            except (TimeoutError, nats.errors.TimeoutError):
                return found
            found += [(message.headers or {}).get("Nats-Msg-Id", "") for message in page]
    finally:
        await client.close()

"""What the catalogue's SQL shares: the tenant of the session, the database's clock, times of validity, violated keys.

No beginning and no end are kept as infinities, which the driver can't read: they travel as NULL. Row-level security picks
the tenant's rows in every statement; only inserts name it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database, errors

Session = sa_asyncio.AsyncConnection
TENANT: sa.TextClause = sa.text("current_setting('app.tenant_id')::uuid")


async def now(session: database.WriteSession) -> dt.datetime:
    """The database's clock. Read it after the locks."""
    at: dt.datetime = (await session.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return at


def moment(at: dt.datetime | None, otherwise: str) -> sa.ColumnElement[Any]:
    """A time as it is kept; otherwise: the infinity that stands for none."""
    return sa.cast(otherwise if at is None else at.isoformat(), pg.TIMESTAMP(timezone=True))


def time(table: sa.Table) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """The columns valid_from and valid_until of a table, NULL where they are infinite."""
    return (
        sa.func.nullif(table.c.valid_from, sa.literal_column("'-infinity'::timestamptz")).label("valid_from"),
        sa.func.nullif(table.c.valid_until, sa.literal_column("'infinity'::timestamptz")).label("valid_until"),
    )


def rows(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as the JSON text that json_to_recordset takes: one parameter, whatever the number of rows."""
    return json.dumps(records, default=str)


@contextlib.contextmanager
def unique(taken: Mapping[str, errors.AlreadyExists]) -> Iterator[None]:
    """Raises the error that belongs to the unique key (by its name) that a statement violates."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        name = error.orig.diag.constraint_name if isinstance(error.orig, psycopg.Error) else None
        if name is not None and name in taken:
            raise taken[name] from None
        raise

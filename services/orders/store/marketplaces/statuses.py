"""SQL of what marketplaces are told of their orders, until they have heard it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain.marketplaces import values
from services.orders.store.marketplaces.connections import NOW, TENANT, Session
from services.orders.tables_marketplaces import status

S = status.c
BACKOFF: Final = dt.timedelta(seconds=10)
BACKOFF_MAX: Final = dt.timedelta(hours=1)


async def add(session: database.WriteSession, connection_id: uuid.UUID, made: values.Status) -> None:
    """Something to be told; once more is the same, unless it was refused: then it is told again."""
    row = {
        "connection_id": connection_id,
        "number": made.number,
        "kind": int(made.kind),
        "key": made.key,
        "told": _to_json(made),
    }
    insert = pg.insert(status).values(tenant_id=TENANT, **row, refused="", due_at=NOW, made_at=NOW)
    again = {"told": insert.excluded.told, "due_at": NOW, "refused": "", "sent_at": None, "attempts": 0}
    key = ["tenant_id", "connection_id", "number", "kind", "key"]
    await session.execute(insert.on_conflict_do_update(index_elements=key, set_=again, where=S.refused != ""))


async def due(session: Session, connection_id: uuid.UUID, limit: int) -> list[values.Status]:
    """What is to be told now, in the order in which it happened."""
    query = sa.select(*S).where(S.connection_id == connection_id, S.sent_at.is_(None), S.due_at <= NOW)
    rows = await session.execute(query.order_by(S.made_at, S.number, S.kind).limit(limit))
    return [_status(row) for row in rows]


async def told(
    session: database.WriteSession, connection_id: uuid.UUID, made: values.Status, refused: str = ""
) -> None:
    """The marketplace has heard it, or won't."""
    update = sa.update(status).where(*_is(connection_id, made), S.sent_at.is_(None))
    await session.execute(update.values(sent_at=NOW, refused=refused))


async def postpone(session: database.WriteSession, connection_id: uuid.UUID, made: values.Status) -> None:
    """No answer: again later, twice as late each time."""
    wait = min(BACKOFF_MAX, BACKOFF * 2 ** min(made.attempts, 12))
    update = sa.update(status).where(*_is(connection_id, made), S.sent_at.is_(None))
    await session.execute(update.values(attempts=S.attempts + 1, due_at=NOW + wait))


def _is(connection_id: uuid.UUID, made: values.Status) -> tuple[sa.ColumnElement[bool], ...]:
    return S.connection_id == connection_id, S.number == made.number, S.kind == int(made.kind), S.key == made.key


def _to_json(made: values.Status) -> dict[str, Any]:
    shipment = made.shipment
    return {
        "why": int(made.why),
        "paid_at": None if made.paid_at is None else made.paid_at.isoformat(),
        "shipment": None
        if shipment is None
        else {
            "lines": [list(line) for line in shipment.lines],
            "at": shipment.shipped_at.isoformat(),
            "carrier": shipment.carrier,
            "tracking": shipment.tracking,
        },
    }


def _status(row: sa.Row[Any]) -> values.Status:
    told_, shipment = row.told, None
    if told_["shipment"] is not None:
        kept = told_["shipment"]
        lines = tuple((str(ref), int(units)) for ref, units in kept["lines"])
        at = dt.datetime.fromisoformat(kept["at"])
        shipment = values.Shipment(lines, at, kept["carrier"], kept["tracking"])
    return values.Status(
        number=row.number,
        kind=values.StatusKind(row.kind),
        key=row.key,
        why=values.CancelWhy(told_["why"]),
        paid_at=None if told_["paid_at"] is None else dt.datetime.fromisoformat(told_["paid_at"]),
        shipment=shipment,
        attempts=row.attempts,
    )

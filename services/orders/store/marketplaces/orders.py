"""SQL of marketplaces' orders: what was received, what became of it here, and what is still to be told."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import sale
from services.orders.domain.marketplaces import values
from services.orders.domain.marketplaces.listings import NEVER
from services.orders.store.marketplaces.connections import NOW, TENANT, Session
from services.orders.tables import sales_order
from services.orders.tables_marketplaces import connection, order

O = order.c  # noqa: E741
_SHOWN: Final = tuple(column for column in O if column.name not in ("tenant_id", "told_version", "due_at"))
NEEDS_A_PERSON: Final = (int(values.Problem.SKU_UNKNOWN), int(values.Problem.OUT_OF_STOCK))


async def known(session: Session, connection_id: uuid.UUID, numbers: Sequence[str]) -> dict[str, values.Taken]:
    """Those of the numbers that are here."""
    query = sa.select(*_SHOWN).where(O.connection_id == connection_id, O.number.in_(numbers))
    return {row.number: _taken(row) for row in await session.execute(query)}


async def add(session: database.WriteSession, made: values.Taken) -> bool:
    """A new one; False: it is here already."""
    row = {"connection_id": made.connection_id, "number": made.number, **_columns(made)}
    due_at = NOW if made.state is values.State.RECEIVED else NEVER
    insert = pg.insert(order).values(tenant_id=TENANT, **row, due_at=due_at, received_at=NOW, updated_at=NOW)
    found = await session.execute(insert.on_conflict_do_nothing().returning(O.number))
    return found.one_or_none() is not None


async def lock(session: database.WriteSession, connection_id: uuid.UUID, number: str) -> values.Taken | None:
    """One, locked. Before anything else of it."""
    query = sa.select(*_SHOWN).where(O.connection_id == connection_id, O.number == number)
    row = (await session.execute(query.with_for_update())).one_or_none()
    return None if row is None else _taken(row)


async def save(session: database.WriteSession, changed: values.Taken, *, due_in: dt.timedelta | None = None) -> None:
    """One that is locked, a version later. due_in: when something is to be done with it; None: nothing."""
    due_at = NEVER if due_in is None else NOW + due_in
    values_ = {**_columns(changed), "version": O.version + 1, "updated_at": NOW, "due_at": due_at}
    await session.execute(sa.update(order).where(*_is(changed)).values(values_))


async def due(session: Session, connection_id: uuid.UUID, limit: int) -> list[values.Taken]:
    """What is to be placed or cancelled now, the longest due first."""
    query = sa.select(*_SHOWN).where(O.connection_id == connection_id, O.due_at <= NOW, O.due_at < NEVER)
    return [_taken(row) for row in await session.execute(query.order_by(O.due_at).limit(limit))]


async def waited_out(session: Session, connection_id: uuid.UUID, limit: int) -> list[str]:
    """Numbers of those that nobody decided about in the connection's time."""
    query = (
        sa.select(O.number)
        .join(connection, sa.and_(connection.c.tenant_id == O.tenant_id, connection.c.id == O.connection_id))
        .where(
            O.connection_id == connection_id,
            O.problem.in_(NEEDS_A_PERSON),
            O.state == int(values.State.HELD),
            O.received_at + connection.c.cancel_after <= NOW,
        )
    )
    return [row.number for row in await session.execute(query.limit(limit))]


@dataclass(frozen=True, slots=True)
class Moved:
    """An order that is open, and has changed here since it was looked at."""

    number: str
    order_id: uuid.UUID
    version: int


async def moved(session: Session, connection_id: uuid.UUID, limit: int) -> list[Moved]:
    """Those of the orders that are placed which have changed here since they were looked at."""
    query = (
        sa.select(O.number, O.order_id, sales_order.c.version)
        .join(sales_order, sa.and_(sales_order.c.tenant_id == O.tenant_id, sales_order.c.id == O.order_id))
        .where(
            O.connection_id == connection_id,
            O.state == int(values.State.PLACED),
            sales_order.c.version > O.told_version,
        )
    )
    rows = await session.execute(query.order_by(O.number).limit(limit))
    return [Moved(row.number, row.order_id, row.version) for row in rows]


async def looked_at(session: database.WriteSession, taken: values.Taken, version: int) -> None:
    """What there was to tell of this version is written down."""
    await session.execute(sa.update(order).where(*_is(taken)).values(told_version=version))


async def placed_as(session: Session, marketplace: str, number: str) -> uuid.UUID | None:
    """The order that was placed for a marketplace's number, and stands."""
    c = sales_order.c
    ended = (int(sale.OrderState.CANCELLED), int(sale.OrderState.EXPIRED))
    query = sa.select(c.id).where(c.external_reference == number, c.marketplace == marketplace, c.state.not_in(ended))
    found: uuid.UUID | None = (await session.execute(query)).scalar_one_or_none()
    return found


async def page(
    session: Session, connection_id: uuid.UUID, *, problems: bool, state: int, after: str, limit: int
) -> list[values.Taken]:
    """By number. problems: only those that a person has to look at; state 0: any."""
    query = sa.select(*_SHOWN).where(O.connection_id == connection_id, O.number > after)
    if problems:
        query = query.where(O.problem != 0)
    if state:
        query = query.where(O.state == state)
    return [_taken(row) for row in await session.execute(query.order_by(O.number).limit(limit))]


def _is(taken: values.Taken) -> tuple[sa.ColumnElement[bool], ...]:
    return O.connection_id == taken.connection_id, O.number == taken.number


def _columns(made: values.Taken) -> dict[str, Any]:
    return {
        "state": int(made.state),
        "problem": int(made.problem),
        "detail": made.detail,
        "attempts": made.attempts,
        "customer_id": made.customer_id,
        "address_id": made.address_id,
        "order_id": made.order_id,
        "modified_at": made.modified_at,
        "version": made.version,
        "content": None if made.content is None else to_json(made.content),
    }


def _taken(row: sa.Row[Any]) -> values.Taken:
    return values.Taken(
        connection_id=row.connection_id,
        number=row.number,
        state=values.State(row.state),
        content=None if row.content is None else of_json(row.content),
        modified_at=row.modified_at,
        customer_id=row.customer_id,
        address_id=row.address_id,
        order_id=row.order_id,
        problem=values.Problem(row.problem),
        detail=row.detail,
        attempts=row.attempts,
        received_at=row.received_at,
        updated_at=row.updated_at,
        version=row.version,
    )


# --- what is ordered, as JSON ---


def to_json(made: values.Ordered) -> dict[str, Any]:
    """What is kept of an order."""
    return {
        "number": made.number,
        "ordered_at": made.ordered_at.isoformat(),
        "modified_at": made.modified_at.isoformat(),
        "paid_at": None if made.paid_at is None else made.paid_at.isoformat(),
        "currency": made.currency_code,
        "shipping": made.shipping,
        "adjustment": made.adjustment,
        "total": made.total,
        "country": made.country_code,
        "service": made.shipping_service,
        "cancel": int(made.cancel),
        "lines": [
            {
                "ref": line.ref,
                "sku": line.sku,
                "title": line.title,
                "quantity": line.quantity,
                "net": line.net_amount,
                "discount": line.discount,
                "taxes": [[part.name, part.amount] for part in line.taxes],
                "collected": [[part.name, part.amount] for part in line.collected],
            }
            for line in made.lines
        ],
    }


def of_json(kept: dict[str, Any]) -> values.Ordered:
    """The order again."""
    return values.Ordered(
        number=kept["number"],
        ordered_at=dt.datetime.fromisoformat(kept["ordered_at"]),
        modified_at=dt.datetime.fromisoformat(kept["modified_at"]),
        paid_at=None if kept["paid_at"] is None else dt.datetime.fromisoformat(kept["paid_at"]),
        currency_code=kept["currency"],
        shipping=kept["shipping"],
        adjustment=kept["adjustment"],
        total=kept["total"],
        country_code=kept["country"],
        shipping_service=kept["service"],
        cancel=values.Cancel(kept["cancel"]),
        lines=tuple(
            values.Line(
                ref=line["ref"],
                sku=line["sku"],
                title=line["title"],
                quantity=line["quantity"],
                net_amount=line["net"],
                discount=line["discount"],
                taxes=tuple(values.Part(name, amount) for name, amount in line["taxes"]),
                collected=tuple(values.Part(name, amount) for name, amount in line["collected"]),
            )
            for line in kept["lines"]
        ),
    )

"""Builders: orders as they stand after they were placed, written by the store as the saga writes them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import database, ids, principal
from services.orders.domain import placed_order, sale
from services.orders.domain.machines import FulfillmentState, ParcelState
from services.orders.store import placing

AT = dt.datetime(2026, 3, 4, 11, tzinfo=dt.UTC)
PRICE = 1000
PAY = sa.text("""
INSERT INTO payment (tenant_id, id, order_id, provider, state, amount, authorised, captured, occurred_at, created_at,
    updated_at, currency_code, method)
VALUES (current_setting('app.tenant_id')::uuid, :id, :order_id, 1, 5, :amount, :amount, :amount, now(), now(), now(),
    'EUR', 'sim_ok')
""")


def staff(tenant: uuid.UUID, *locations: uuid.UUID, **changes: Any) -> principal.Principal:
    """An associate; of all locations when none are named."""
    covered = frozenset(ids.encode("loc", location) for location in locations) or frozenset({"*"})
    given = {
        "subject": "usr_staff",
        "tenant_id": ids.encode("ten", tenant),
        "roles": frozenset({"associate"}),
        "scopes": frozenset({"orders:read", "orders:write"}),
        "locations": covered,
        "expires_at": 2e9,
    }
    return principal.Principal(**{**given, **changes})


def line(number: int = 1, quantity: int = 1) -> sale.OrderLine:
    return sale.OrderLine(
        id=ids.new_uuid(),
        number=number,
        kind=sale.LineKind.ITEM,
        sku=f"SKU-{number}",
        quantity=quantity,
        unit_price=PRICE,
        net_amount=PRICE * quantity,
        taxes=(),
        discounts=(),
        tax_amount=0,
        discount_amount=0,
        name="A thing",
        category="Things",
        product_id=None,
        price_id="",
        unresolved=False,
    )


def group(
    location: uuid.UUID, *parcels: ParcelState, state: FulfillmentState = FulfillmentState.OPEN
) -> placed_order.Group:
    made = tuple(placed_order.Parcel(ids.new_uuid(), each, AT) for each in parcels)
    lines = (placed_order.GroupLine(1, "SKU-1", 1, ids.new_uuid()),)
    return placed_order.Group(ids.new_uuid(), location, state, lines, made, AT)


def order(location: uuid.UUID, *groups: placed_order.Group, number: int = 100_001, **changes: Any) -> sale.Order:
    """Placed at noon in Vienna, of one line."""
    placed = placed_order.Placed(
        number=number,
        method=placed_order.Delivery("adr-1", "AT", "standard"),
        pricing=placed_order.Pricing(1, 1, "AT", 1, ""),
        capture=placed_order.Capture.PLACEMENT,
        groups=groups,
        placed_at=AT,
        updated_at=AT,
    )
    given: dict[str, Any] = {
        "id": ids.new_uuid(),
        "seq": 0,
        "channel": sale.Channel.WEB,
        "state": sale.OrderState.PLACED,
        "location_id": location,
        "terminal_id": "",
        "client_sale_id": "",
        "currency_code": "EUR",
        "tax_inclusive": True,
        "lines": (line(),),
        "tenders": (),
        "net_total": PRICE,
        "tax_total": 0,
        "discount_total": 0,
        "total": PRICE,
        "customer_id": None,
        "campaign_id": "",
        "reservation_id": None,
        "business_date": AT.date(),
        "business_hour": 12,
        "occurred_at": AT,
        "recorded_at": AT,
        "clock_skewed": False,
        "actor": "usr_web",
        "placed": placed,
    }
    return sale.Order(**{**given, **changes})


async def keep(db: database.Database, tenant: uuid.UUID, *orders: sale.Order, paid: bool = False) -> None:
    """Writes orders with their groups; paid: with a payment of the whole."""
    async with db.transaction(str(tenant)) as session:
        for each in orders:
            assert each.placed is not None
            await placing.insert(session, str(tenant), each, None)
            await placing.put_groups(session, str(tenant), each, each.placed.groups)
            for of in each.placed.groups:
                await placing.put_parcels(session, str(tenant), of.id, of.parcels)
            if paid:
                given = {"id": ids.new_uuid(), "order_id": each.id, "amount": each.total}
                await session.execute(PAY, given)


async def rows(db: database.Database, tenant: uuid.UUID, statement: str, **given: Any) -> Sequence[Any]:
    async with db.read(str(tenant)) as session:
        return (await session.execute(sa.text(statement), given)).all()

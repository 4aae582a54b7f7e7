"""SQL of edits: an order's tenders as they are now; and what becomes of an order, as JSON in the plan of its saga."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import editing, placement, sale
from services.orders.domain.placed_order import Delivery, Method, Pickup
from services.orders.store import lines
from services.orders.tables import order_tender

TENDER = order_tender.c


async def put_tenders(session: database.WriteSession, tenant: str, before: sale.Order, after: sale.Order) -> None:
    """What an order is paid with, for summaries: changed amounts, and tenders that have come."""
    for number, (was, now) in enumerate(zip(before.tenders, after.tenders, strict=False), start=1):
        if was.amount != now.amount:
            of = (
                TENDER.tenant_id == tenant,
                TENDER.location_id == after.location_id,
                TENDER.business_date == after.business_date,
                TENDER.order_id == after.id,
                TENDER.number == number,
            )
            await session.execute(sa.update(order_tender).where(*of).values(amount=now.amount))
    rows = [
        {
            "tenant_id": tenant,
            "location_id": after.location_id,
            "business_date": after.business_date,
            "order_id": after.id,
            "number": number,
            "business_hour": after.business_hour,
            "currency_code": tender.currency_code,
            "campaign_id": after.campaign_id,
            "counted": True,
            "type": int(tender.type),
            "amount": tender.amount,
            "details": tender.details,
        }
        for number, tender in enumerate(after.tenders, start=1)
        if number > len(before.tenders)
    ]
    if rows:
        await session.execute(sa.insert(order_tender), rows)


# --- as JSON ---


def to_json(edited: editing.Edited) -> dict[str, Any]:
    """What is kept of an edit."""
    sums = edited.sums
    return {
        "lines": [lines.to_json(line) for line in edited.lines],
        "sums": [sums.net, sums.tax, sums.discount, sums.total],
        "method": _method_to_json(edited.method),
        "note": edited.note,
        "wanted": [[of.number, of.sku, of.quantity, of.group] for of in edited.wanted],
        "given": [
            [str(of.group_id), str(of.reservation_id), str(of.location_id), of.number, of.sku, of.quantity]
            for of in edited.given
        ],
        "returns": [[str(of.payment_id), of.amount] for of in edited.returns],
        "reason": edited.reason,
        "actor": edited.actor,
    }


def of_json(kept: Mapping[str, Any]) -> editing.Edited:
    """The edit again; what is to be held stands beside it in the plan."""
    return editing.Edited(
        lines=tuple(lines.of_json(line) for line in kept["lines"]),
        sums=sale.Totals(*kept["sums"]),
        method=_method_of_json(kept["method"]),
        note=kept["note"],
        wanted=tuple(placement.HoldLine(*of) for of in kept["wanted"]),
        given=tuple(
            editing.Given(uuid.UUID(group), uuid.UUID(reservation), uuid.UUID(location), *units)
            for group, reservation, location, *units in kept["given"]
        ),
        returns=tuple(editing.Return(uuid.UUID(payment_id), amount) for payment_id, amount in kept["returns"]),
        reason=kept["reason"],
        actor=kept["actor"],
    )


def _method_to_json(method: Method) -> dict[str, Any]:
    if isinstance(method, Delivery):
        return {"address_id": method.address_id, "country_code": method.country_code, "method": method.method}
    at = None if method.at is None else method.at.isoformat()
    return {"location_id": str(method.location_id), "at": at}


def _method_of_json(kept: Mapping[str, Any]) -> Method:
    if "address_id" in kept:
        return Delivery(**kept)
    at = None if kept["at"] is None else dt.datetime.fromisoformat(kept["at"])
    return Pickup(uuid.UUID(kept["location_id"]), at)

"""SQL of purchase orders and their receipts. An order is locked before anything of it is changed."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import purchase_orders as domain
from services.inventory.domain import purchase_receipts as receipts
from services.inventory.store import catalog as common
from services.inventory.store import document_effects as effects
from services.inventory.tables import replenishment as tables
from services.kit import database

ORDER, LINE = tables.purchase_order, tables.purchase_order_line
RECEIPT, RECEIPT_LINE, EFFECT = tables.purchase_receipt, tables.purchase_receipt_line, tables.document_effect
_FIELDS = tuple(each.name for each in dataclasses.fields(domain.PurchaseOrder) if each.name != "lines")
_LINE_FIELDS = tuple(each.name for each in dataclasses.fields(domain.Line))
_RECEIPT_LINE_FIELDS = tuple(each.name for each in dataclasses.fields(receipts.ReceiptLine))


async def insert(session: database.WriteSession, order: domain.PurchaseOrder) -> None:
    """Keeps a new order."""
    await session.execute(sa.insert(ORDER).values(tenant_id=common.TENANT, **_columns(order)))
    await _insert_lines(session, order)


async def update(session: database.WriteSession, order: domain.PurchaseOrder, before: domain.PurchaseOrder) -> None:
    """Keeps the next version of an order that is locked. before: as it was, to write the lines that differ."""
    await session.execute(sa.update(ORDER).where(ORDER.c.id == order.id).values(**_columns(order)))
    if [line.sku for line in order.lines] != [line.sku for line in before.lines]:
        await session.execute(sa.delete(LINE).where(LINE.c.order_id == order.id))
        await _insert_lines(session, order)
        return
    changed = [new for new, old in zip(order.lines, before.lines, strict=True) if new != old]
    if changed:
        kept = [name for name in _LINE_FIELDS if name != "sku"]
        statement = (
            sa.update(LINE)
            .where(LINE.c.order_id == order.id, LINE.c.sku_key == sa.bindparam("k"))
            .values({name: sa.bindparam(f"b_{name}") for name in kept})
        )
        given = [
            {"k": codes.sku_key(line.sku), **{f"b_{name}": getattr(line, name) for name in kept}} for line in changed
        ]
        await session.execute(statement, given)


async def _insert_lines(session: database.WriteSession, order: domain.PurchaseOrder) -> None:
    records = [
        {"sku_key": codes.sku_key(x.sku), "position": position, **{name: getattr(x, name) for name in _LINE_FIELDS}}
        for position, x in enumerate(order.lines, 1)
    ]
    if records:
        await session.execute(sa.insert(LINE).values(tenant_id=common.TENANT, order_id=order.id), records)


async def get(session: common.Session, order_id: uuid.UUID, *, lock: bool = False) -> domain.PurchaseOrder | None:
    """An order with its lines. lock: nobody else changes it until the end of the transaction."""
    statement = sa.select(ORDER).where(ORDER.c.id == order_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).one_or_none()
    if found is None:
        return None
    lines = await session.execute(sa.select(LINE).where(LINE.c.order_id == order_id).order_by(LINE.c.position))
    return _order(found, lines)


async def page(
    session: common.Session,
    *,
    within: Collection[uuid.UUID] | None,
    supplier_id: uuid.UUID | None,
    states: Collection[int],
    key: str,
    after: uuid.UUID | None,
    limit: int,
) -> list[domain.PurchaseOrder]:
    """Orders without lines, newest first. within: only of these locations; None: all. key: a folded SKU in a line."""
    statement = sa.select(ORDER).order_by(ORDER.c.id.desc()).limit(limit)
    if within is not None:
        statement = statement.where(ORDER.c.location_id == sa.any_(sa.cast(list(within), pg.ARRAY(pg.UUID))))
    if supplier_id is not None:
        statement = statement.where(ORDER.c.supplier_id == supplier_id)
    if states:
        statement = statement.where(ORDER.c.state == sa.any_(sa.cast(list(states), pg.ARRAY(sa.SmallInteger))))
    if key:
        has_line = sa.select(1).where(
            LINE.c.tenant_id == ORDER.c.tenant_id, LINE.c.order_id == ORDER.c.id, LINE.c.sku_key == key
        )
        statement = statement.where(has_line.exists())
    if after is not None:
        statement = statement.where(ORDER.c.id < after)
    return [_order(row, ()) for row in await session.execute(statement)]


async def settle(session: database.WriteSession, order_id: uuid.UUID, step: effects.Applied) -> None:
    """Notes that a step of an order is in the stock; with the last one, the order is settled."""
    last = sa.and_(ORDER.c.id == order_id, ORDER.c.effects == step.number)
    await session.execute(sa.update(ORDER).where(last).values(settled=True, version=ORDER.c.version + 1))


def _columns(order: domain.PurchaseOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in _FIELDS}


def _order(row: Any, lines: Iterable[Any]) -> domain.PurchaseOrder:
    fields = {name: getattr(row, name) for name in _FIELDS}
    fields["state"] = domain.State(row.state)
    kept = tuple(domain.Line(**{name: getattr(line, name) for name in _LINE_FIELDS}) for line in lines)
    return domain.PurchaseOrder(**fields, lines=kept)


# --- receipts ---


async def insert_receipt(session: database.WriteSession, receipt: receipts.Receipt) -> None:
    """Keeps a new receipt of an order that is locked."""
    await session.execute(
        sa.insert(RECEIPT).values(
            tenant_id=common.TENANT,
            order_id=receipt.order_id,
            number=receipt.number,
            id=receipt.id,
            delivery_note=receipt.delivery_note,
            received_by=receipt.received_by,
            terminal=receipt.terminal,
            effect=receipt.effect,
            received_at=receipt.received_at,
            recorded_at=receipt.recorded_at,
        )
    )
    records = [
        {"position": position, **{name: getattr(line, name) for name in _RECEIPT_LINE_FIELDS}}
        for position, line in enumerate(receipt.lines, 1)
    ]
    same = {"tenant_id": common.TENANT, "order_id": receipt.order_id, "receipt": receipt.number}
    await session.execute(sa.insert(RECEIPT_LINE).values(**same), records)


async def get_receipt(
    session: common.Session, order: domain.PurchaseOrder, receipt_id: uuid.UUID
) -> receipts.Receipt | None:
    """A receipt of the order."""
    found = await _receipts(session, order, _receipts_of(order).where(RECEIPT.c.id == receipt_id))
    return next(iter(found), None)


async def list_receipts(
    session: common.Session, order: domain.PurchaseOrder, *, after: int, limit: int
) -> list[receipts.Receipt]:
    """Receipts of the order whose numbers are greater, in their order."""
    statement = _receipts_of(order).where(RECEIPT.c.number > after).order_by(RECEIPT.c.number).limit(limit)
    return await _receipts(session, order, statement)


def _receipts_of(order: domain.PurchaseOrder) -> sa.Select[Any]:
    step = sa.and_(
        EFFECT.c.tenant_id == RECEIPT.c.tenant_id,
        EFFECT.c.document_id == RECEIPT.c.order_id,
        EFFECT.c.number == RECEIPT.c.effect,
    )
    applied = sa.or_(RECEIPT.c.effect == 0, EFFECT.c.applied_at.is_not(None))
    return (
        sa.select(RECEIPT, sa.func.coalesce(EFFECT.c.seq, 0).label("seq"), applied.label("applied"))
        .outerjoin(EFFECT, step)
        .where(RECEIPT.c.order_id == order.id)
    )


async def _receipts(
    session: common.Session, order: domain.PurchaseOrder, statement: sa.Select[Any]
) -> list[receipts.Receipt]:
    rows = (await session.execute(statement)).all()
    wanted = sa.any_(sa.cast([row.number for row in rows], pg.ARRAY(sa.Integer)))
    of_these = sa.select(RECEIPT_LINE).where(RECEIPT_LINE.c.order_id == order.id, RECEIPT_LINE.c.receipt == wanted)
    lines: dict[int, list[receipts.ReceiptLine]] = {row.number: [] for row in rows}
    for line in await session.execute(of_these.order_by(RECEIPT_LINE.c.receipt, RECEIPT_LINE.c.position)):
        lines[line.receipt].append(receipts.ReceiptLine(**{n: getattr(line, n) for n in _RECEIPT_LINE_FIELDS}))
    return [_receipt(order, row, lines[row.number]) for row in rows]


def _receipt(order: domain.PurchaseOrder, row: Any, lines: Sequence[receipts.ReceiptLine]) -> receipts.Receipt:
    return receipts.Receipt(
        id=row.id,
        order_id=order.id,
        order_number=order.number,
        location_id=order.location_id,
        number=row.number,
        lines=tuple(lines),
        delivery_note=row.delivery_note,
        received_at=row.received_at,
        recorded_at=row.recorded_at,
        received_by=row.received_by,
        terminal=row.terminal,
        effect=row.effect,
        seq=row.seq,
        settled=row.applied,
    )

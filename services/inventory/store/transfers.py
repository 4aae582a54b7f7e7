"""SQL of transfers and of what happened to them. A transfer is locked before anything of it is changed."""

from __future__ import annotations

import dataclasses
import types
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import transfer_lots
from services.inventory.domain import transfers as domain
from services.inventory.store import catalog as common
from services.inventory.store import document_effects as effects
from services.inventory.tables import replenishment as tables
from services.kit import database

TRANSFER, LINE, EFFECT = tables.transfer, tables.transfer_line, tables.document_effect
EVENT, EVENT_LINE, LOT = tables.transfer_event, tables.transfer_event_line, tables.transfer_lot
_FIELDS = tuple(each.name for each in dataclasses.fields(domain.Transfer) if each.name != "lines")
_LINE_FIELDS = tuple(each.name for each in dataclasses.fields(domain.Line) if each.name != "lots")
_EVENT_FIELDS = ("number", "kind", "note", "actor", "terminal", "effect", "occurred_at", "recorded_at")
_LOT_FIELDS = tuple(each.name for each in dataclasses.fields(domain.LotUnits))
_EVENT_LINE_FIELDS = tuple(each.name for each in dataclasses.fields(domain.EventLine))

# A transfer that was on the road before its lots were kept learns what was sent as it comes.
ADD_LOT = sa.text("""
INSERT INTO transfer_lot AS x (tenant_id, transfer_id, sku_key, lot, shipped, received, lost, mistaken, surplus)
SELECT current_setting('app.tenant_id')::uuid, :transfer, :key, :lot,
    greatest(u.shipped, u.received - u.surplus + u.lost + u.mistaken), u.received, u.lost, u.mistaken, u.surplus
FROM (SELECT CAST(:shipped AS bigint) AS shipped, CAST(:received AS bigint) AS received, CAST(:lost AS bigint) AS lost,
    CAST(:mistaken AS bigint) AS mistaken, CAST(:surplus AS bigint) AS surplus) u
ON CONFLICT (tenant_id, transfer_id, sku_key, lot) DO UPDATE SET
    shipped = greatest(x.shipped + CAST(:shipped AS bigint), x.received - x.surplus + x.lost + x.mistaken
        + excluded.received - excluded.surplus + excluded.lost + excluded.mistaken),
    received = x.received + excluded.received, lost = x.lost + excluded.lost, mistaken = x.mistaken + excluded.mistaken,
    surplus = x.surplus + excluded.surplus
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which transfers. within: those that touch one of these locations; None: all. location None, key "": any."""

    within: Collection[uuid.UUID] | None
    location: uuid.UUID | None
    from_location: uuid.UUID | None
    to_location: uuid.UUID | None
    states: Collection[int]
    key: str
    after: uuid.UUID | None
    limit: int


async def insert(session: database.WriteSession, step: domain.Step) -> None:
    """Keeps a new transfer, and that it was made."""
    transfer = step.transfer
    await session.execute(sa.insert(TRANSFER).values(tenant_id=common.TENANT, **_columns(transfer)))
    await _insert_lines(session, transfer)
    await _insert_event(session, transfer, step.event)


async def update(session: database.WriteSession, step: domain.Step, before: domain.Transfer) -> None:
    """Keeps a step of a transfer that is locked. before: as it was, to write the lines that differ."""
    transfer = step.transfer
    await session.execute(sa.update(TRANSFER).where(TRANSFER.c.id == transfer.id).values(**_columns(transfer)))
    if [line.sku for line in transfer.lines] != [line.sku for line in before.lines]:
        await session.execute(sa.delete(LINE).where(LINE.c.transfer_id == transfer.id))
        await _insert_lines(session, transfer)
    else:
        changed = [new for new, old in zip(transfer.lines, before.lines, strict=True) if new != old]
        await _update_lines(session, transfer.id, changed)
    await _insert_event(session, transfer, step.event)


async def _insert_lines(session: database.WriteSession, transfer: domain.Transfer) -> None:
    records = [
        {"sku_key": codes.sku_key(x.sku), "position": position, **{name: getattr(x, name) for name in _LINE_FIELDS}}
        for position, x in enumerate(transfer.lines, 1)
    ]
    if records:
        await session.execute(sa.insert(LINE).values(tenant_id=common.TENANT, transfer_id=transfer.id), records)


async def _update_lines(session: database.WriteSession, transfer_id: uuid.UUID, lines: Sequence[domain.Line]) -> None:
    kept = [name for name in _LINE_FIELDS if name != "sku"]
    statement = (
        sa.update(LINE)
        .where(LINE.c.transfer_id == transfer_id, LINE.c.sku_key == sa.bindparam("k"))
        .values({name: sa.bindparam(f"b_{name}") for name in kept})
    )
    given = [{"k": codes.sku_key(line.sku), **{f"b_{name}": getattr(line, name) for name in kept}} for line in lines]
    if given:
        await session.execute(statement, given)


async def _insert_event(session: database.WriteSession, transfer: domain.Transfer, event: domain.Event) -> None:
    fields = {name: getattr(event, name) for name in _EVENT_FIELDS}
    await session.execute(sa.insert(EVENT).values(tenant_id=common.TENANT, transfer_id=transfer.id, **fields))
    records = [
        {"position": position, **{name: getattr(line, name) for name in _EVENT_LINE_FIELDS}}
        for position, line in enumerate(event.lines, 1)
    ]
    if records:
        same = {"tenant_id": common.TENANT, "transfer_id": transfer.id, "event": event.number}
        await session.execute(sa.insert(EVENT_LINE).values(**same), records)


async def get(session: common.Session, transfer_id: uuid.UUID, *, lock: bool = False) -> domain.Transfer | None:
    """A transfer with its lines. lock: nobody else changes it until the end of the transaction."""
    statement = sa.select(TRANSFER).where(TRANSFER.c.id == transfer_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).one_or_none()
    if found is None:
        return None
    lines = await session.execute(sa.select(LINE).where(LINE.c.transfer_id == transfer_id).order_by(LINE.c.position))
    return _transfer(found, lines, await _lots(session, transfer_id) if found.shipped_at is not None else {})


async def _lots(session: common.Session, transfer_id: uuid.UUID) -> dict[str, list[domain.LotUnits]]:
    """What of a transfer is of lots, by folded SKU."""
    found: dict[str, list[domain.LotUnits]] = {}
    for row in await session.execute(sa.select(LOT).where(LOT.c.transfer_id == transfer_id).order_by(LOT.c.lot)):
        units = domain.LotUnits(**{name: getattr(row, name) for name in _LOT_FIELDS})
        found.setdefault(row.sku_key, []).append(units)
    return found


async def lots_on_the_road(session: common.Session, transfer_id: uuid.UUID) -> dict[str, list[tuple[str, int]]]:
    """Units of lots that a transfer has in transit, by folded SKU, as far as its steps are in the stock."""
    lots = await _lots(session, transfer_id)
    return {key: [(of.lot, of.outstanding) for of in units if of.outstanding] for key, units in lots.items()}


async def page(session: common.Session, query: Query) -> list[domain.Transfer]:
    """Transfers without lines, newest first."""
    statement = sa.select(TRANSFER).order_by(TRANSFER.c.id.desc()).limit(query.limit)
    if query.within is not None:
        statement = statement.where(_touches(query.within))
    if query.location is not None:
        statement = statement.where(_touches([query.location]))
    if query.from_location is not None:
        statement = statement.where(TRANSFER.c.from_location_id == query.from_location)
    if query.to_location is not None:
        statement = statement.where(TRANSFER.c.to_location_id == query.to_location)
    if query.states:
        statement = statement.where(TRANSFER.c.state == sa.any_(sa.cast(list(query.states), pg.ARRAY(sa.SmallInteger))))
    if query.key:
        has_line = sa.select(1).where(
            LINE.c.tenant_id == TRANSFER.c.tenant_id, LINE.c.transfer_id == TRANSFER.c.id, LINE.c.sku_key == query.key
        )
        statement = statement.where(has_line.exists())
    if query.after is not None:
        statement = statement.where(TRANSFER.c.id < query.after)
    return [_transfer(row, ()) for row in await session.execute(statement)]


def _touches(locations: Collection[uuid.UUID]) -> sa.ColumnElement[bool]:
    ends = sa.any_(sa.cast(list(locations), pg.ARRAY(pg.UUID)))
    return sa.or_(TRANSFER.c.from_location_id == ends, TRANSFER.c.to_location_id == ends)


async def list_events(session: common.Session, transfer_id: uuid.UUID, *, after: int, limit: int) -> list[domain.Event]:
    """What happened to a transfer after the event of this number, in its order."""
    step = sa.and_(
        EFFECT.c.tenant_id == EVENT.c.tenant_id,
        EFFECT.c.document_id == EVENT.c.transfer_id,
        EFFECT.c.number == EVENT.c.effect,
    )
    applied = sa.or_(EVENT.c.effect == 0, EFFECT.c.applied_at.is_not(None))
    statement = (
        sa.select(EVENT, sa.func.coalesce(EFFECT.c.seq, 0).label("seq"), applied.label("settled"))
        .outerjoin(EFFECT, step)
        .where(EVENT.c.transfer_id == transfer_id, EVENT.c.number > after)
        .order_by(EVENT.c.number)
        .limit(limit)
    )
    rows = (await session.execute(statement)).all()
    wanted = sa.any_(sa.cast([row.number for row in rows], pg.ARRAY(sa.Integer)))
    of_these = sa.select(EVENT_LINE).where(EVENT_LINE.c.transfer_id == transfer_id, EVENT_LINE.c.event == wanted)
    lines: dict[int, list[domain.EventLine]] = {row.number: [] for row in rows}
    for line in await session.execute(of_these.order_by(EVENT_LINE.c.event, EVENT_LINE.c.position)):
        lines[line.event].append(domain.EventLine(**{name: getattr(line, name) for name in _EVENT_LINE_FIELDS}))
    return [_event(row, lines[row.number]) for row in rows]


async def settle(session: database.WriteSession, transfer_id: uuid.UUID, step: effects.Applied) -> None:
    """Notes that a step of a transfer is in the stock, and its lots; with the last one, the transfer is settled."""
    sums = transfer_lots.sums(step.lots)
    if sums:
        rows = [
            {"transfer": transfer_id, "key": key, **dataclasses.asdict(sums[key, lot])} for key, lot in sorted(sums)
        ]
        await session.execute(ADD_LOT, rows)
    last = sa.and_(TRANSFER.c.id == transfer_id, TRANSFER.c.effects == step.number)
    await session.execute(sa.update(TRANSFER).where(last).values(settled=True, version=TRANSFER.c.version + 1))


def _columns(transfer: domain.Transfer) -> dict[str, Any]:
    return {name: getattr(transfer, name) for name in _FIELDS}


def _transfer(
    row: Any, lines: Iterable[Any], lots: Mapping[str, Sequence[domain.LotUnits]] = types.MappingProxyType({})
) -> domain.Transfer:
    fields = {name: getattr(row, name) for name in _FIELDS}
    fields["state"] = domain.State(row.state)
    kept = tuple(
        domain.Line(**{name: getattr(line, name) for name in _LINE_FIELDS}, lots=tuple(lots.get(line.sku_key, ())))
        for line in lines
    )
    return domain.Transfer(**fields, lines=kept)


def _event(row: Any, lines: Sequence[domain.EventLine]) -> domain.Event:
    fields = {name: getattr(row, name) for name in (*_EVENT_FIELDS, "seq", "settled")}
    fields["kind"] = domain.EventKind(row.kind)
    return domain.Event(**fields, lines=tuple(lines))

"""SQL of lots, and of where their units are and went. What the lane reads and writes of them is in lot_rows.py.

Until when a lot may be sold at a location is kept with its units there. Whoever changes what that follows from (a lot's dates
or recall, a variant's policy, a location's time zone) locks the head rows of the locations first, in the lanes' order.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import levels as values
from services.inventory.domain import lots as domain
from services.inventory.store import catalog as common
from services.inventory.store import lot_rows
from services.inventory.tables import catalog as tables
from services.inventory.tables import stock
from services.kit import database

LOT, VARIANT, HEAD = tables.lot, tables.variant, stock.stock_head.c
_FIELDS = (
    "id", "code", "expires_on", "best_before_on", "produced_on", "recalled_at", "recall_reason", "version", "created_at",
    "updated_at", "settled",
)  # fmt: skip


class Variant(NamedTuple):
    """What lots need of a variant. policy None: its stock isn't kept by lots."""

    sku: str
    policy: domain.Policy | None


async def variant(session: common.Session, key: str) -> Variant | None:
    """The variant of a folded SKU."""
    statement = sa.select(VARIANT.c.sku, VARIANT.c.lot_policy).where(VARIANT.c.sku_key == key)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    return Variant(row.sku, None if row.lot_policy is None else lot_rows.policy_of(row.lot_policy))


async def has_barcode(session: common.Session, key: str, barcode: str) -> bool:
    """Whether a folded SKU has a barcode."""
    of = tables.barcode.c
    found = await session.execute(sa.select(of.barcode).where(of.sku_key == key, of.barcode == barcode))
    return found.first() is not None


async def insert(session: database.WriteSession, key: str, lot: domain.Lot) -> bool:
    """Keeps a new lot of a folded SKU. False when its code is taken."""
    columns = {name: getattr(lot, name) for name in _FIELDS}
    statement = pg.insert(LOT).values(tenant_id=common.TENANT, sku_key=key, **columns)
    made = await session.execute(statement.on_conflict_do_nothing(constraint="lot_pkey").returning(LOT.c.id))
    return made.first() is not None


async def update(session: database.WriteSession, lot: domain.Lot) -> None:
    """Keeps the next version of a lot that is locked."""
    columns = {name: getattr(lot, name) for name in _FIELDS if name not in ("id", "code", "created_at")}
    await session.execute(sa.update(LOT).where(LOT.c.id == lot.id).values(**columns))


def _lots() -> sa.Select[Any]:
    same = sa.and_(VARIANT.c.tenant_id == LOT.c.tenant_id, VARIANT.c.sku_key == LOT.c.sku_key)
    return sa.select(LOT, VARIANT.c.sku).join(VARIANT, same)


async def get(session: common.Session, lot_id: uuid.UUID, *, lock: bool = False) -> domain.Lot | None:
    """The lot. lock: nobody else changes it until the end of the transaction."""
    statement = _lots().where(LOT.c.id == lot_id)
    if lock:
        statement = statement.with_for_update(key_share=True, of=LOT)
    return _lot((await session.execute(statement)).one_or_none())


async def find(session: common.Session, key: str, code: str) -> domain.Lot | None:
    """The lot of a folded SKU with a code."""
    statement = _lots().where(LOT.c.sku_key == key, LOT.c.code == code)
    return _lot((await session.execute(statement)).one_or_none())


UNKNOWN = sa.text("""
SELECT q.sku_key, q.code FROM unnest(CAST(:keys AS text[]), CAST(:codes AS text[])) q (sku_key, code)
JOIN variant v ON v.sku_key = q.sku_key AND v.lot_policy IS NOT NULL
WHERE NOT EXISTS (SELECT FROM lot d WHERE d.tenant_id = v.tenant_id AND d.sku_key = q.sku_key AND d.code = q.code)
""")


async def unknown(session: common.Session, named: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which of some lots (folded SKU, code) nobody has made known yet, of SKUs that are kept by lots."""
    keys, codes = zip(*named, strict=True)
    return [tuple(row) for row in await session.execute(UNKNOWN, {"keys": list(keys), "codes": list(codes)})]


async def page(
    session: common.Session, key: str, *, code: str, recalled: bool, after: uuid.UUID | None, limit: int
) -> list[domain.Lot]:
    """Lots of a folded SKU, newest first. code empty: any."""
    statement = _lots().where(LOT.c.sku_key == key).order_by(LOT.c.id.desc()).limit(limit)
    if code:
        statement = statement.where(LOT.c.code == code)
    if recalled:
        statement = statement.where(LOT.c.recalled_at.is_not(None))
    if after is not None:
        statement = statement.where(LOT.c.id < after)
    return [lot for row in await session.execute(statement) if (lot := _lot(row)) is not None]


def _lot(row: Any) -> domain.Lot | None:
    return None if row is None else domain.Lot(sku=row.sku, **{name: getattr(row, name) for name in _FIELDS})


# --- until when units may be sold ---


class Of(NamedTuple):
    """Which units: of a lot (with its folded SKU), of a folded SKU, or at some locations."""

    sku_key: str | None = None
    code: str | None = None
    locations: Sequence[uuid.UUID] | None = None


SOLD_UNTIL = sa.text("""
SELECT s.location_id, s.sku_key, s.lot, s.sell_until, s.recalled_at, d.expires_on, d.best_before_on, d.recalled_at AS recall,
       v.lot_policy, p.timezone
FROM stock_lot s JOIN lot d ON d.tenant_id = s.tenant_id AND d.sku_key = s.sku_key AND d.code = s.lot
JOIN variant v ON v.tenant_id = s.tenant_id AND v.sku_key = s.sku_key
JOIN location p ON p.tenant_id = s.tenant_id AND p.id = s.location_id
WHERE (CAST(:sku_key AS text) IS NULL OR s.sku_key = CAST(:sku_key AS text))
  AND (CAST(:code AS text) IS NULL OR s.lot = CAST(:code AS text))
  AND (CAST(:locations AS uuid[]) IS NULL OR s.location_id = ANY (CAST(:locations AS uuid[])))
""")
RESETTLE = sa.text("""
UPDATE stock_lot s SET sell_until = u.sell_until, recalled_at = u.recalled_at
FROM unnest(CAST(:locations AS uuid[]), CAST(:keys AS text[]), CAST(:codes AS text[]), CAST(:until AS timestamptz[]),
    CAST(:recalled AS timestamptz[])) u (location_id, sku_key, lot, sell_until, recalled_at)
WHERE s.location_id = u.location_id AND s.sku_key = u.sku_key AND s.lot = u.lot
""")


async def lock_heads(session: database.WriteSession, location: uuid.UUID | None = None) -> None:
    """Waits for the lanes of a location, or of all of the tenant, and keeps them waiting until the transaction ends."""
    statement = sa.select(HEAD.location_id).order_by(HEAD.location_id).with_for_update()
    if location is not None:
        statement = statement.where(HEAD.location_id == location)
    (await session.execute(statement)).all()


async def lock_more_heads(session: database.WriteSession, after: uuid.UUID, limit: int) -> list[uuid.UUID]:
    """The same for some locations of the tenant, in the order of locks, behind one of them."""
    statement = sa.select(HEAD.location_id).where(HEAD.location_id > after).order_by(HEAD.location_id).limit(limit)
    return list((await session.execute(statement.with_for_update())).scalars())


async def note_settled(session: database.WriteSession, lot: domain.Lot) -> None:
    """Notes that the units of a lot are as it says everywhere, if it is still this version of it."""
    same = sa.and_(LOT.c.id == lot.id, LOT.c.version == lot.version)
    await session.execute(sa.update(LOT).where(same).values(settled=True))


UNSETTLED = sa.text("""
SELECT tenant_id, id FROM lot WHERE NOT settled AND updated_at < clock_timestamp() - CAST(:age AS interval)
ORDER BY updated_at LIMIT :limit
""")


async def unsettled(session: database.WorkerSession, age_seconds: float, limit: int) -> Sequence[Any]:
    """Lots of all tenants whose change is so old and not everywhere yet: tenant_id, id."""
    return (await session.execute(UNSETTLED, {"age": f"{age_seconds} s", "limit": limit})).all()


async def resettle(session: database.WriteSession, of: Of) -> None:
    """Works out anew until when units may be sold. The head rows of their locations are locked."""
    changed = []
    for row in await session.execute(SOLD_UNTIL, of._asdict()):
        policy = domain.NO_POLICY if row.lot_policy is None else lot_rows.policy_of(row.lot_policy)
        until = domain.sell_until(row.expires_on, row.best_before_on, policy, row.timezone)
        if (until, row.recall) != (row.sell_until, row.recalled_at):
            changed.append((row.location_id, row.sku_key, row.lot, until, row.recall))
    if changed:
        names = ("locations", "keys", "codes", "until", "recalled")
        await session.execute(RESETTLE, dict(zip(names, map(list, zip(*changed, strict=True)), strict=True)))


# --- where units are, and went ---


class PlacedLot(NamedTuple):
    """Units of a lot at a location. lot_id None: of no lot."""

    location: uuid.UUID
    lot_id: uuid.UUID | None
    units: values.LotStock


_UNITS = ", ".join(f"s.{name}" for name in values.Counters._fields)
# due: units whose holds have run out by :now, that no batch has given back yet.
_STOCK = f"""
SELECT s.location_id, d.id, s.sku_key, {_UNITS}, s.lot, s.sell_until, s.recalled_at, coalesce((
    SELECT sum(b.quantity)::bigint FROM lot_bucket b
    WHERE b.tenant_id = s.tenant_id AND b.location_id = s.location_id AND b.sku_key = s.sku_key AND b.lot = s.lot
      AND b.expires_at <= :now
), 0) AS due
FROM stock_lot s JOIN lot d ON d.tenant_id = s.tenant_id AND d.sku_key = s.sku_key AND d.code = s.lot
"""
AT_LOCATION = sa.text(f"""{_STOCK} WHERE s.location_id = :location AND s.sku_key = :key AND s.lot > :after
ORDER BY s.lot LIMIT :limit""")
OF_LOT = sa.text(f"""{_STOCK} WHERE s.sku_key = :key AND s.lot = :code AND s.location_id > :after
  AND (CAST(:within AS uuid[]) IS NULL OR s.location_id = ANY (CAST(:within AS uuid[])))
ORDER BY s.location_id LIMIT :limit""")
_SUMS = ", ".join(f"coalesce(sum(s.{name}), 0)::bigint AS {name}" for name in values.Counters._fields)
OF_NONE = sa.text(f"""
SELECT {", ".join(f"l.{name} - s.{name}" for name in values.Counters._fields)}, coalesce((
    SELECT sum(b.quantity)::bigint FROM hold_bucket b
    WHERE b.tenant_id = l.tenant_id AND b.location_id = l.location_id AND b.sku_key = l.sku_key AND b.expires_at <= :now
), 0) - coalesce((
    SELECT sum(b.quantity)::bigint FROM lot_bucket b
    WHERE b.tenant_id = l.tenant_id AND b.location_id = l.location_id AND b.sku_key = l.sku_key AND b.expires_at <= :now
), 0)
FROM stock_level l CROSS JOIN (SELECT {_SUMS} FROM stock_lot s WHERE s.location_id = :location AND s.sku_key = :key) s
WHERE l.location_id = :location AND l.sku_key = :key
""")


async def at_location(
    session: database.ReadSession, location: uuid.UUID, key: str, *, after: str, limit: int
) -> list[PlacedLot]:
    """Stock of a folded SKU by lot, by code. The session must be a snapshot."""
    now = await _now(session)
    given = {"location": location, "key": key, "after": after, "limit": limit, "now": now}
    return [_placed(row, now) for row in await session.execute(AT_LOCATION, given)]


async def of_none(session: database.ReadSession, location: uuid.UUID, key: str) -> PlacedLot | None:
    """What of a folded SKU is of no lot; None: nothing. The session must be a snapshot."""
    given = {"location": location, "key": key, "now": await _now(session)}
    row = (await session.execute(OF_NONE, given)).one_or_none()
    if row is None or not any(row):
        return None
    units = values.LotStock(key, *row[:-1])
    units.move(values.State.RESERVED, values.State.SELLABLE, row[-1])
    return PlacedLot(location, None, units)


async def of_lot(
    session: database.ReadSession,
    key: str,
    code: str,
    *,
    within: Sequence[uuid.UUID] | None,
    after: uuid.UUID,
    limit: int,
) -> list[PlacedLot]:
    """Stock of a lot, by location. within None: of all."""
    now = await _now(session)
    given = {"key": key, "code": code, "within": within, "after": after, "limit": limit, "now": now}
    return [_placed(row, now) for row in await session.execute(OF_LOT, given)]


async def _now(session: database.ReadSession) -> dt.datetime:
    at: dt.datetime = (await session.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return at


def _placed(row: Any, now: dt.datetime) -> PlacedLot:
    location, lot_id, *units, due = row
    return PlacedLot(location, lot_id, domain.as_of(values.LotStock(*units), due, now))


class After(NamedTuple):
    """The last sale of the page before."""

    recorded_at: dt.datetime
    location: uuid.UUID
    seq: int


# Lines of one sale are of one moment. By the variant's spelling, as the index is.
SALES = sa.text("""
SELECT location_id, seq, ref_id, sum(quantity)::bigint AS quantity, min(occurred_at) AS occurred_at, recorded_at
FROM ledger WHERE lot = :code AND lot <> '' AND sku = :sku AND to_state = 1 AND reason = 2 AND ref_type = 'sale'
  AND (CAST(:within AS uuid[]) IS NULL OR location_id = ANY (CAST(:within AS uuid[])))
  AND (CAST(:recorded_at AS timestamptz) IS NULL OR (recorded_at, location_id, seq)
       < (CAST(:recorded_at AS timestamptz), CAST(:location AS uuid), CAST(:seq AS bigint)))
GROUP BY recorded_at, location_id, seq, ref_id ORDER BY recorded_at DESC, location_id DESC, seq DESC LIMIT :limit
""")


async def sales(
    session: database.ReadSession,
    lot: domain.Lot,
    *,
    within: Sequence[uuid.UUID] | None,
    after: After | None,
    limit: int,
) -> Sequence[Any]:
    """Sales that took units of a lot: location_id, seq, ref_id, quantity, occurred_at, recorded_at."""
    position = after._asdict() if after else {"recorded_at": None, "location": None, "seq": None}
    given = {"code": lot.code, "sku": lot.sku, "within": within, "limit": limit, **position}
    return (await session.execute(SALES, given)).all()

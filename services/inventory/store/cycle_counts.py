"""SQL of cycle counts: their lines and passes, what was expected of them by the ledger, and their sums."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import cycle_counts as domain
from services.inventory.store import catalog as common
from services.inventory.store import document_effects as effects
from services.inventory.tables import catalog as catalog_tables
from services.inventory.tables import replenishment as tables
from services.inventory.tables import stock
from services.kit import database, errors

COUNT, LINE, PASS = tables.cycle_count, tables.cycle_count_line, tables.cycle_count_pass
LEVEL, VARIANT = stock.stock_level, catalog_tables.variant
_FIELDS = tuple(f.name for f in dataclasses.fields(domain.Count) if f.name not in ("scope", "totals"))
_LINE_FIELDS = tuple(f.name for f in dataclasses.fields(domain.Line))
_PASS_FIELDS = tuple(f.name for f in dataclasses.fields(domain.Pass))
AMOUNT_MAX = 10**15  # of Money, in the contract: a larger sum is not said

# Lines with what a unit costs and sells for, as known now: the newest cost of any supplier's list in the location's
# currency, the location's own price before the general one.
INSERT_LINES = sa.text("""
INSERT INTO cycle_count_line (tenant_id, count_id, location_id, sku_key, sku, running, unit_cost, unit_price)
SELECT current_setting('app.tenant_id')::uuid, CAST(:count AS uuid), CAST(:location AS uuid), v.sku_key, v.sku, true,
       c.cost, p.minor_units
FROM variant v
LEFT JOIN LATERAL (
    SELECT s.cost FROM supplier_sku s JOIN supplier o ON o.tenant_id = s.tenant_id AND o.id = s.supplier_id
    WHERE s.tenant_id = v.tenant_id AND s.sku_key = v.sku_key AND s.cost IS NOT NULL AND o.currency_code = :currency
    ORDER BY s.updated_at DESC LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT x.minor_units FROM price x
    WHERE x.tenant_id = v.tenant_id AND x.sku_key = v.sku_key AND x.currency_code = :currency
      AND (x.location_id = CAST(:location AS uuid) OR x.location_id IS NULL)
      AND x.valid_from <= clock_timestamp() AND x.valid_until > clock_timestamp()
    ORDER BY x.location_id IS NULL, x.valid_from DESC LIMIT 1
) p ON true
WHERE v.sku_key = ANY (CAST(:keys AS text[])) ORDER BY v.sku_key
ON CONFLICT (tenant_id, location_id, sku_key) WHERE running DO NOTHING
""")
# The level of each SKU and where the ledger is, in one reading: a line's on_hand is what the ledger says up to seq.
OBSERVE = sa.text("""
SELECT k.sku_key, h.seq, coalesce(l.on_hand, 0) AS on_hand
FROM stock_head h CROSS JOIN unnest(CAST(:keys AS text[])) k (sku_key)
LEFT JOIN stock_level l ON l.tenant_id = h.tenant_id AND l.location_id = h.location_id AND l.sku_key = k.sku_key
WHERE h.location_id = CAST(:location AS uuid)
""")
# What a line's on_hand lacks of what had happened when it was counted, and has of what had not: a sale of a till that was
# offline is recorded late, and a count may be. Both by the time at which it happened. LATERAL with a LIMIT is a look-up
# by key for each movement, whatever the statistics: otherwise every line is compared with every movement. States 1 and 8,
# outside and on the road, are not on hand.
EXPECTED = sa.text("""
WITH moved AS MATERIALIZED (
    SELECT lower(sku COLLATE "C") AS sku_key, seq, occurred_at, recorded_at,
           CASE WHEN from_state IN (1, 8) THEN quantity ELSE -quantity END AS units
    FROM ledger
    WHERE location_id = CAST(:location AS uuid) AND seq > :opened_seq AND recorded_at >= :opened_at
      AND (from_state IN (1, 8)) <> (to_state IN (1, 8)) AND lower(sku COLLATE "C") = ANY (CAST(:keys AS text[]))
)
SELECT u.sku_key, sum(u.units)::bigint AS expected FROM (
    SELECT l.sku_key, l.on_hand AS units FROM cycle_count_line l
    WHERE l.count_id = CAST(:count AS uuid) AND l.counted IS NOT NULL AND l.sku_key = ANY (CAST(:keys AS text[]))
    UNION ALL
    SELECT x.sku_key, CASE WHEN m.seq > x.seq THEN m.units ELSE -m.units END
    FROM moved m CROSS JOIN LATERAL (
        SELECT l.sku_key, l.seq FROM cycle_count_line l
        WHERE l.count_id = CAST(:count AS uuid) AND l.sku_key = m.sku_key AND l.counted IS NOT NULL
          AND CASE WHEN m.seq > l.seq THEN m.occurred_at <= l.counted_at
                   ELSE m.occurred_at > l.counted_at AND m.recorded_at > l.counted_at END
        LIMIT 1
    ) x
) u GROUP BY u.sku_key
""")
SUM_UP = sa.text("""
UPDATE cycle_count c SET lines = s.lines, lines_counted = s.counted, lines_varying = s.varying, units_over = s.over,
    units_short = s.short, variance_cost = CASE WHEN abs(s.cost) <= :most THEN s.cost END,
    variance_value = CASE WHEN abs(s.value) <= :most THEN s.value END
FROM (
    SELECT count(*) AS lines, count(*) FILTER (WHERE counts) AS counted, count(*) FILTER (WHERE counts AND variance <> 0) AS varying,
           coalesce(sum(variance) FILTER (WHERE counts AND variance > 0), 0) AS over,
           coalesce(-sum(variance) FILTER (WHERE counts AND variance < 0), 0) AS short,
           sum(variance::numeric * unit_cost) FILTER (WHERE counts) AS cost,
           sum(variance::numeric * unit_price) FILTER (WHERE counts) AS value
    FROM (SELECT *, counted IS NOT NULL AND NOT recount AS counts, counted - expected AS variance
          FROM cycle_count_line WHERE count_id = CAST(:count AS uuid)) x
) s WHERE c.id = CAST(:count AS uuid)
""")


async def head(session: common.Session, location: uuid.UUID) -> int:
    """Where the ledger of a location is."""
    row = stock.stock_head.c
    seq: int = (await session.execute(sa.select(row.seq).where(row.location_id == location))).scalar_one()
    return seq


async def skus_in(
    session: common.Session, location: uuid.UUID, *, prefix: str, category: codes.Range | None, limit: int
) -> list[str]:
    """SKUs that the location ever had: those that begin so, or those of a range of categories."""
    same = sa.and_(VARIANT.c.tenant_id == LEVEL.c.tenant_id, VARIANT.c.sku_key == LEVEL.c.sku_key)
    statement = sa.select(VARIANT.c.sku).join(LEVEL, same).where(LEVEL.c.location_id == location)
    if category is not None:
        statement = statement.where(VARIANT.c.category_key >= category.start, VARIANT.c.category_key < category.end)
    if prefix:
        begin = codes.prefix_range(codes.sku_key(prefix))
        statement = statement.where(LEVEL.c.sku_key >= begin.start, LEVEL.c.sku_key < begin.end)
    return list((await session.execute(statement.order_by(LEVEL.c.sku_key).limit(limit))).scalars())


async def insert(session: database.WriteSession, count: domain.Count, skus: Collection[str]) -> None:
    """Keeps a new count with its lines. ALREADY_EXISTS when a SKU is in another one that still runs."""
    scope = dataclasses.asdict(count.scope)
    await session.execute(sa.insert(COUNT).values(tenant_id=common.TENANT, scope=scope, **_columns(count)))
    keys = [codes.sku_key(sku) for sku in skus]
    given = {"count": count.id, "location": count.location_id, "currency": count.currency_code, "keys": keys}
    made = await session.execute(INSERT_LINES, given)
    if made.rowcount != len(keys):
        raise errors.AlreadyExists("count", "a SKU is in another count of the location that is still running")
    await sum_up(session, count.id)


async def update(session: database.WriteSession, count: domain.Count) -> None:
    """Keeps the next version of a count that is locked. Its lines run as long as it does."""
    await session.execute(sa.update(COUNT).where(COUNT.c.id == count.id).values(**_columns(count)))
    if not domain.MOVES[count.state] and count.settled:
        await _stop(session, count.id)


async def _stop(session: database.WriteSession, count_id: uuid.UUID) -> None:
    await session.execute(sa.update(LINE).where(LINE.c.count_id == count_id).values(running=False))


async def get(session: common.Session, count_id: uuid.UUID, *, lock: bool = False) -> domain.Count | None:
    """A count. lock: nobody else changes it, or a line of it, until the end of the transaction."""
    statement = sa.select(COUNT).where(COUNT.c.id == count_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).one_or_none()
    return None if found is None else _count(found)


async def page(
    session: common.Session,
    *,
    within: Collection[uuid.UUID] | None,
    states: Collection[int],
    after: uuid.UUID | None,
    limit: int,
) -> list[domain.Count]:
    """Counts, newest first. within: only of these locations; None: all."""
    statement = sa.select(COUNT).order_by(COUNT.c.id.desc()).limit(limit)
    if within is not None:
        statement = statement.where(COUNT.c.location_id == sa.any_(sa.cast(list(within), pg.ARRAY(pg.UUID))))
    if states:
        statement = statement.where(COUNT.c.state == sa.any_(sa.cast(list(states), pg.ARRAY(sa.SmallInteger))))
    if after is not None:
        statement = statement.where(COUNT.c.id < after)
    return [_count(row) for row in await session.execute(statement)]


# --- lines and passes ---


async def lines_of(
    session: common.Session, count_id: uuid.UUID, keys: Collection[str] | None = None
) -> dict[str, domain.Line]:
    """Lines by folded SKU, in that order; keys None: all."""
    statement = sa.select(LINE).where(LINE.c.count_id == count_id).order_by(LINE.c.sku_key)
    if keys is not None:
        statement = statement.where(LINE.c.sku_key == sa.any_(sa.cast(list(keys), pg.ARRAY(sa.Text))))
    return {row.sku_key: _line(row) for row in await session.execute(statement)}


async def list_lines(
    session: common.Session, count_id: uuid.UUID, *, to_count: bool, varying: bool, after: str | None, limit: int
) -> list[domain.Line]:
    """A page of lines by SKU. after: a folded SKU."""
    statement = sa.select(LINE).where(LINE.c.count_id == count_id).order_by(LINE.c.sku_key).limit(limit)
    if to_count:
        statement = statement.where(sa.or_(LINE.c.counted.is_(None), LINE.c.recount))
    if varying:
        statement = statement.where(LINE.c.counted != LINE.c.expected)
    if after is not None:
        statement = statement.where(LINE.c.sku_key > after)
    return [_line(row) for row in await session.execute(statement)]


async def observe(session: common.Session, location: uuid.UUID, keys: Collection[str]) -> dict[str, domain.Observed]:
    """Levels of folded SKUs and where the ledger is, in one reading."""
    rows = await session.execute(OBSERVE, {"location": location, "keys": list(keys)})
    return {row.sku_key: domain.Observed(row.on_hand, row.seq) for row in rows}


async def add_passes(session: database.WriteSession, count_id: uuid.UUID, passes: Sequence[domain.Pass]) -> None:
    """Keeps passes of a count that is locked."""
    records = [
        {"sku_key": codes.sku_key(x.sku), **{n: getattr(x, n) for n in _PASS_FIELDS if n != "sku"}} for x in passes
    ]
    await session.execute(sa.insert(PASS).values(tenant_id=common.TENANT, count_id=count_id), records)


async def update_lines(session: database.WriteSession, count_id: uuid.UUID, lines: Iterable[domain.Line]) -> None:
    """Keeps lines of a count that is locked."""
    kept = ("counted", "counted_at", "counted_by", "passes", "recount", "on_hand", "seq", "expected")
    statement = (
        sa.update(LINE)
        .where(LINE.c.count_id == count_id, LINE.c.sku_key == sa.bindparam("k"))
        .values({name: sa.bindparam(f"b_{name}") for name in kept})
    )
    given = [{"k": codes.sku_key(x.sku), **{f"b_{name}": getattr(x, name) for name in kept}} for x in lines]
    if given:
        await session.execute(statement, given)


async def expect(
    session: database.WriteSession, count: domain.Count, lines: Mapping[str, domain.Line]
) -> dict[str, domain.Line]:
    """These lines with what is expected of them by all that is recorded now, which is kept too."""
    given = {
        "count": count.id,
        "location": count.location_id,
        "opened_seq": count.opened_seq,
        "opened_at": count.created_at - dt.timedelta(hours=1),  # which partitions to read
        "keys": list(lines),
    }
    expected = {row.sku_key: row.expected for row in await session.execute(EXPECTED, given)}
    known = {k: dataclasses.replace(line, expected=expected.get(k)) for k, line in lines.items()}
    await update_lines(session, count.id, [line for k, line in known.items() if line != lines[k]])
    return known


async def sum_up(session: database.WriteSession, count_id: uuid.UUID) -> None:
    """Writes the sums of the lines into the count."""
    await session.execute(SUM_UP, {"count": count_id, "most": AMOUNT_MAX})


async def has_counted(session: common.Session, count_id: uuid.UUID, actor: str) -> bool:
    """Whether somebody counted any line."""
    query = sa.select(1).where(PASS.c.count_id == count_id, PASS.c.counted_by == actor).limit(1)
    return (await session.execute(query)).first() is not None


async def list_passes(session: common.Session, count_id: uuid.UUID, key: str, limit: int) -> list[domain.Pass]:
    """The last passes of a line, in order."""
    last = sa.select(PASS).where(PASS.c.count_id == count_id, PASS.c.sku_key == key)
    rows = (await session.execute(last.order_by(PASS.c.number.desc()).limit(limit))).all()
    return [domain.Pass(sku=key, **{n: getattr(row, n) for n in _PASS_FIELDS if n != "sku"}) for row in reversed(rows)]


async def settle(session: database.WriteSession, count_id: uuid.UUID, step: effects.Applied) -> None:
    """Notes that the variances are in the stock, but for those of superseded SKUs. The count has ended."""
    done = {"settled": True, "seq": step.seq, "version": COUNT.c.version + 1}
    await session.execute(sa.update(COUNT).where(COUNT.c.id == count_id).values(done))
    await _stop(session, count_id)
    if step.superseded:
        keys = sa.any_(sa.cast([codes.sku_key(sku) for sku in step.superseded], pg.ARRAY(sa.Text)))
        late = sa.update(LINE).where(LINE.c.count_id == count_id, LINE.c.sku_key == keys)
        await session.execute(late.values(superseded=True))


def _columns(count: domain.Count) -> dict[str, Any]:
    return {name: getattr(count, name) for name in _FIELDS}


def _count(row: Any) -> domain.Count:
    fields = {name: getattr(row, name) for name in _FIELDS}
    fields["state"] = domain.State(row.state)
    scope = domain.Scope(**{**row.scope, "skus": tuple(row.scope["skus"])})
    totals = domain.Totals(
        lines=row.lines,
        counted=row.lines_counted,
        varying=row.lines_varying,
        over=row.units_over,
        short=row.units_short,
        cost=row.variance_cost,
        value=row.variance_value,
    )
    return domain.Count(**fields, scope=scope, totals=totals)


def _line(row: Any) -> domain.Line:
    return domain.Line(**{name: getattr(row, name) for name in _LINE_FIELDS})

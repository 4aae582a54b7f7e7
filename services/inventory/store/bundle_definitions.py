"""SQL that defines bundles. Locks come in one order: the variant's product, the tenant's bundle_set, all heads by location.

What reads bundles, and what lanes know of them, is in bundles.py.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain.bundles import Bundle, Component, PartLevel
from services.inventory.domain.levels import fold
from services.inventory.store import catalog as common
from services.inventory.tables import bundles as tables
from services.inventory.tables import stock
from services.kit import database

SET, BUNDLE, COMPONENT, PART = tables.bundle_set, tables.bundle, tables.bundle_component, tables.bundle_part
HEAD, LEVEL = stock.stock_head, stock.stock_level
#: The tenant's row, which may not be there yet; locked either way.
LOCK = (
    pg.insert(SET)
    .values(tenant_id=common.TENANT, version=0)
    .on_conflict_do_update(index_elements=["tenant_id"], set_={"version": SET.c.version})
    .returning(SET.c.version)
)
MAKE = pg.insert(SET).values(tenant_id=common.TENANT, version=0).on_conflict_do_nothing()
# What check_bundle has to know of: two steps down from what is named, two up from the bundle, and down from there.
NEAR = sa.text("""
WITH owner AS (SELECT DISTINCT bundle_key FROM bundle_component WHERE sku_key = :own), above AS (
    SELECT DISTINCT bundle_key FROM bundle_component WHERE sku_key = ANY (SELECT bundle_key FROM owner)
), near AS (
    SELECT unnest(CAST(:keys AS text[])) AS key UNION SELECT :own UNION SELECT bundle_key FROM owner
    UNION SELECT bundle_key FROM above
), named AS (
    SELECT key FROM near UNION SELECT c.sku_key FROM near n JOIN bundle_component c ON c.bundle_key = n.key
)
SELECT v.sku AS bundle, c.sku, c.quantity
FROM named n JOIN bundle_component c ON c.bundle_key = n.key JOIN variant v ON v.sku_key = c.bundle_key
ORDER BY c.bundle_key, c.position
""")
# Whatever brings units of a SKU to a location, or takes them away, by the SKU's own name.
STOCKED = sa.text("""
SELECT EXISTS (
    SELECT FROM stock_level WHERE sku_key = :key AND (incoming <> '[]' OR has_lots OR on_hand <> 0 OR reserved <> 0 OR allocated <> 0
        OR damaged <> 0 OR quality_control <> 0 OR expired <> 0 OR in_transit <> 0)
) OR EXISTS (
    SELECT FROM purchase_order_line l JOIN purchase_order o ON o.tenant_id = l.tenant_id AND o.id = l.order_id
    WHERE l.sku_key = :key AND (o.state <= 3 OR NOT o.settled)
) OR EXISTS (
    SELECT FROM transfer_line l JOIN transfer t ON t.tenant_id = l.tenant_id AND t.id = l.transfer_id
    WHERE l.sku_key = :key AND (t.ended_at IS NULL OR NOT t.settled)
) OR EXISTS (SELECT FROM cycle_count_line WHERE sku_key = :key AND running)
""")


class Head(NamedTuple):
    """A location's position, under its lock."""

    location: uuid.UUID
    seq: int
    epoch: int


async def lock(session: database.WriteSession) -> int:
    """The version in force. Nobody sets a bundle, names a SKU in a document or makes a location until the end."""
    version: int = (await session.execute(LOCK)).scalar_one()
    return version


async def named(session: database.WriteSession, keys: Collection[str]) -> list[str]:
    """Which of some folded SKUs are bundles, as their variants spell them. It stays so until the end."""
    await session.execute(MAKE)
    await session.execute(sa.select(SET.c.version).with_for_update(read=True))
    return await _spelled(session, keys)


async def _spelled(session: database.WriteSession, keys: Collection[str]) -> list[str]:
    statement = sa.text("""
        SELECT v.sku FROM variant v WHERE v.sku_key = ANY (CAST(:keys AS text[]))
          AND EXISTS (SELECT FROM bundle_part p WHERE p.tenant_id = v.tenant_id AND p.bundle_key = v.sku_key)
        ORDER BY v.sku_key
    """)
    return list((await session.execute(statement, {"keys": list(keys)})).scalars())


async def near(session: database.WriteSession, key: str, names: Collection[str]) -> dict[str, Bundle]:
    """Bundles around one (folded SKU) that would name these (folded SKUs), by folded SKU."""
    found: dict[str, list[Component]] = {}
    for row in await session.execute(NEAR, {"own": key, "keys": list(names)}):
        found.setdefault(row.bundle, []).append(Component(row.sku, row.quantity))
    return {fold(sku): Bundle(sku, tuple(components)) for sku, components in found.items()}


async def is_stocked(session: database.WriteSession, key: str) -> bool:
    """Whether a plain SKU has stock, expected deliveries or running documents anywhere. Under the heads' locks."""
    return bool((await session.execute(STOCKED, {"key": key})).scalar_one())


async def lock_heads(session: database.WriteSession) -> list[Head]:
    """All heads of the tenant, in the one order of locks."""
    statement = sa.select(HEAD.c.location_id, HEAD.c.seq, HEAD.c.epoch).order_by(HEAD.c.location_id).with_for_update()
    return [Head(*row) for row in await session.execute(statement)]


async def advance(session: database.WriteSession, version: int, seqs: Mapping[uuid.UUID, int]) -> None:
    """Puts definitions in force at all locations. seqs: the new position of those where something is told."""
    statement = sa.text("""
        UPDATE stock_head h SET bundles = :version, seq = coalesce(u.seq, h.seq)
        FROM stock_head o LEFT JOIN unnest(CAST(:locations AS uuid[]), CAST(:seqs AS bigint[])) u (location_id, seq)
            ON u.location_id = o.location_id
        WHERE h.tenant_id = o.tenant_id AND h.location_id = o.location_id
    """)
    given = {"version": version, "locations": list(seqs), "seqs": list(seqs.values())}
    await session.execute(statement, given)


async def keep(session: database.WriteSession, defined: Bundle, changed: Sequence[Bundle], version: int) -> None:
    """Keeps a definition, and what it and its owners come to in plain SKUs (changed), as a version of the tenant's."""
    await session.execute(sa.update(SET).values(version=version))
    keys = [fold(bundle.sku) for bundle in changed]
    kept = pg.insert(BUNDLE).values(tenant_id=common.TENANT, version=version)
    kept = kept.on_conflict_do_update(index_elements=["tenant_id", "sku_key"], set_={"version": version})
    await session.execute(kept, [{"sku_key": key} for key in keys])
    await session.execute(sa.delete(COMPONENT).where(COMPONENT.c.bundle_key == fold(defined.sku)))
    await session.execute(sa.delete(PART).where(PART.c.bundle_key == sa.any_(sa.cast(keys, pg.ARRAY(sa.Text)))))
    if components := [{"position": n, **row} for n, row in enumerate(_rows(defined))]:
        await session.execute(sa.insert(COMPONENT).values(tenant_id=common.TENANT), components)
    if parts := [row for bundle in changed for row in _rows(bundle)]:
        await session.execute(sa.insert(PART).values(tenant_id=common.TENANT), parts)


def _rows(bundle: Bundle) -> list[dict[str, Any]]:
    return [
        {"bundle_key": fold(bundle.sku), "sku_key": fold(each.sku), "sku": each.sku, "quantity": each.quantity}
        for each in bundle.components
    ]


async def numbers(session: database.WriteSession, key: str, parts: Collection[str]) -> tuple[int, dict[str, int]]:
    """Bundles besides one (folded SKU), and how many bundles each of some plain SKUs is in."""
    others = sa.select(sa.func.count(sa.distinct(COMPONENT.c.bundle_key))).where(COMPONENT.c.bundle_key != key)
    users = (
        sa.select(PART.c.sku_key, sa.func.count())
        .where(PART.c.sku_key == sa.any_(sa.cast(list(parts), pg.ARRAY(sa.Text))))
        .group_by(PART.c.sku_key)
    )
    count: int = (await session.execute(others)).scalar_one()
    return count, {row[0]: row[1] for row in await session.execute(users)}


async def levels(session: database.WriteSession, keys: Iterable[str]) -> dict[uuid.UUID, dict[str, PartLevel]]:
    """What each location has of plain SKUs, as its events have told it. Under the heads' locks."""
    columns = (LEVEL.c.location_id, LEVEL.c.sku_key, LEVEL.c.available, LEVEL.c.version, LEVEL.c.updated_at)
    statement = sa.select(*columns).where(LEVEL.c.sku_key == sa.any_(sa.cast(sorted(keys), pg.ARRAY(sa.Text))))
    found: dict[uuid.UUID, dict[str, PartLevel]] = {}
    for row in await session.execute(statement):
        found.setdefault(row.location_id, {})[row.sku_key] = PartLevel(1, row.available, row.version, row.updated_at)
    return found


async def drop_levels(session: database.WriteSession, key: str) -> list[uuid.UUID]:
    """Forgets the levels of a SKU that becomes a bundle; where there were any."""
    dropped = sa.delete(LEVEL).where(LEVEL.c.sku_key == key).returning(LEVEL.c.location_id)
    return list((await session.execute(dropped)).scalars())


async def make_levels(
    session: database.WriteSession, sku: str, locations: Collection[uuid.UUID], version: int, now: dt.datetime
) -> None:
    """Levels of nothing for a SKU that is plain again. version: above all that its bundle has had."""
    if locations:
        level = {"tenant_id": common.TENANT, "sku_key": fold(sku), "sku": sku, "version": version, "updated_at": now}
        made = sa.insert(LEVEL).values(**level)
        await session.execute(made, [{"location_id": location} for location in locations])

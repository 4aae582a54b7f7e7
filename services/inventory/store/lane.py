"""SQL of the stock lane: what a batch locks and loads, all its locations at once. lane_writes.py is how it is written.

Locks are taken here and nowhere else, in one order: head rows by location, levels by location and SKU, holds by location
and id. Each kind has a statement of its own: in READ COMMITTED a statement's snapshot is older than its wait. The clock
is read after them, and so is what is only read.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inventory.domain import levels as values
from services.inventory.domain import lots
from services.inventory.domain.bundles import Bundles, PartLevel
from services.inventory.store import bundles as bundle_store
from services.inventory.store import lot_rows
from services.kit import binary, idempotency, pipeline

HEADS = pipeline.Statement("""
SELECT location_id, seq, epoch, bundles FROM stock_head
WHERE tenant_id = $1 AND location_id = ANY ($2::uuid[]) ORDER BY location_id FOR UPDATE
""")
LEVELS = pipeline.Statement("""
SELECT x.location_id, x.sku_key, x.sku, x.on_hand, x.reserved, x.allocated, x.damaged, x.quality_control, x.expired,
       x.in_transit, x.safety_stock, x.backorder_limit, x.incoming, x.version, x.observed_at, x.updated_at,
       x.low_stock_threshold, x.rearm_threshold, x.alert, x.has_lots
FROM unnest($2::uuid[], $3::text[]) q (location_id, sku_key)
JOIN stock_level x ON x.tenant_id = $1 AND x.location_id = q.location_id AND x.sku_key = q.sku_key
ORDER BY x.location_id, x.sku_key FOR UPDATE OF x
""")
HOLDS = pipeline.Statement("""
SELECT x.location_id, x.id, x.line, x.sku, x.quantity, x.state, x.order_ref, x.expires_at, x.created_at, x.created_seq, x.lot
FROM unnest($2::uuid[], $3::uuid[]) q (location_id, id)
JOIN hold x ON x.tenant_id = $1 AND x.location_id = q.location_id AND x.id = q.id
ORDER BY x.location_id, x.id, x.line, x.lot FOR UPDATE OF x
""")
CURSORS = pipeline.Statement("""
SELECT x.key, x.consumer, x.epoch, x.seq FROM unnest($2::text[], $3::text[]) q (key, consumer)
JOIN inbox_cursor x ON x.tenant_id = $1 AND x.key = q.key AND x.consumer = q.consumer
ORDER BY x.key, x.consumer FOR UPDATE OF x
""")
# The clock, whether locations are closed, and what is due by that clock, in one reading.
CLOCK = pipeline.Statement("""
WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT l.id, t.now, l.closed, b.sku_key, b.due FROM t CROSS JOIN location l LEFT JOIN LATERAL (
    SELECT x.sku_key, sum(x.quantity)::bigint AS due FROM unnest($3::uuid[], $4::text[]) q (location_id, sku_key)
    JOIN hold_bucket x ON x.tenant_id = $1 AND x.location_id = l.id AND x.sku_key = q.sku_key AND x.expires_at <= t.now
    WHERE q.location_id = l.id GROUP BY x.sku_key
) b ON true WHERE l.tenant_id = $1 AND l.id = ANY ($2::uuid[])
""")
VARIANTS = pipeline.Statement("SELECT sku_key, sku FROM variant WHERE tenant_id = $1 AND sku_key = ANY ($2::text[])")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a batch needs of a location: folded SKUs, hold ids, consumers of events, lots that are named.

    key: the location's TypeID. with_lots: SKUs that had some when they were last seen, so those are asked for at once.
    """

    key: str
    skus: set[str] = field(default_factory=set)
    holds: set[uuid.UUID] = field(default_factory=set)
    consumers: set[str] = field(default_factory=set)
    beside: set[str] = field(default_factory=set)
    """Folded SKUs that are only looked at: what else bundles consist of that these are in."""
    lots: set[tuple[str, str]] = field(default_factory=set)
    with_lots: set[str] = field(default_factory=set)
    sent: dict[uuid.UUID, set[str]] = field(default_factory=dict)
    """Folded SKUs of which units come from another location in this batch: they may be of any lot that is there."""


Plan = Callable[[Bundles], Mapping[uuid.UUID, Wanted]]
"""What a batch needs of each location, as bundles are defined."""


@dataclass(frozen=True, slots=True)
class Place:
    """What it got of a location, under locks."""

    seq: int
    epoch: int
    closed: bool
    now: dt.datetime
    levels: dict[str, values.Level]
    due: dict[str, int]
    holds: dict[uuid.UUID, values.Hold]
    cursors: dict[str, tuple[int, int]]
    variants: Mapping[str, str]
    beside: Mapping[str, PartLevel]
    lot_due: dict[tuple[str, str], int]
    policies: Mapping[str, lots.Policy]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The places that the tenant has. answered: position among the keys -> fingerprint, response. bundles: in force."""

    places: dict[uuid.UUID, Place]
    answered: dict[int, tuple[bytes, bytes]]
    bundles: Bundles


async def load(
    connection: pipeline.LaneConnection,
    tenant: str,
    plan: Plan,
    keys: Sequence[idempotency.Key],
    bundles: Bundles,
) -> Loaded:
    """Begins, locks and loads. A location that the tenant doesn't have is left out.

    bundles: as this process last saw them. When a head tells otherwise, what changed is read under its lock, and the
    batch planned and loaded anew: nobody sets a bundle while a head of the tenant is locked.
    """
    owner = uuid.UUID(tenant)
    wanted = plan(bundles)
    queries = _queries(owner.bytes, wanted)
    queries["answered"] = idempotency.look_up(owner, keys)
    found = dict(zip(queries, await connection.begin(tenant, *queries.values()), strict=True))
    version = max((row[3] for row in found["heads"]), default=bundles.version)
    if version != bundles.version:
        bundles = await _renewed(connection, owner, bundles, version)
        wanted = plan(bundles)
        queries = _queries(owner.bytes, wanted)
        found.update(zip(queries, await connection.proceed(*queries.values()), strict=True))
    rows = _Rows(found)
    later = _later(owner.bytes, wanted, rows)
    if later:
        found.update(zip(later, await connection.proceed(*later.values()), strict=True))
    variants = dict(found.get("variants", ()))
    policies = {row[0]: lot_rows.policy_of(row[1]) for row in found.get("policies", ())}
    return Loaded(
        {head[0]: rows.place(head, wanted[head[0]].key, variants, policies) for head in found["heads"]},
        {row[0] - 1: (row[1], row[2]) for row in found["answered"]},
        bundles,
    )


class _Rows:
    """What was found, by location."""

    def __init__(self, found: Mapping[Any, pipeline.Rows]) -> None:
        self._found = found
        self.levels = _grouped(found["levels"])
        self.holds = _grouped(found.get("holds", ()))
        self._cursors = _grouped(found.get("cursors", ()))
        self._beside = _grouped(found.get("beside", ()))
        self._clock = _grouped(found["clock"])

    def of_lots(self, location: uuid.UUID) -> pipeline.Rows:
        """Of lot_rows.LOTS."""
        return self._found.get(("lots", location), [])

    def _new_lots(self, location: uuid.UUID) -> pipeline.Rows:
        """Of lots that may have no units here yet: those that are named, and those that come from elsewhere."""
        sources = (("new_lots", location), ("sent", location))
        return [row for what, rows in self._found.items() if what[:2] in sources for row in rows]

    def place(
        self, head: Sequence[Any], key: str, variants: Mapping[str, str], policies: Mapping[str, lots.Policy]
    ) -> Place:
        """One location's. key: its TypeID."""
        location, seq, epoch, _ = head
        clock = self._clock[location]
        now = clock[0][1]
        levels = {row[1]: level_of(row[1:]) for row in self.levels.get(location, ())}
        for sku, of_sku in lot_rows.by_sku(self.of_lots(location), self._new_lots(location), policies).items():
            if sku not in levels and sku in variants:
                levels[sku] = values.Level(variants[sku], fresh=True)
            if sku in levels:
                levels[sku].lots = of_sku
        return Place(
            seq=seq,
            epoch=epoch,
            closed=clock[0][2],
            now=now,
            levels=levels,
            due={row[3]: row[4] for row in clock if row[3] is not None},
            holds=_holds(self.holds.get(location, ())),
            cursors={row[1]: (row[2], row[3]) for row in self._cursors.get(key, ())},
            variants=variants,
            beside=bundle_store.beside(self._beside.get(location, ())),
            lot_due=lot_rows.due(self._found.get(("lot_buckets", location), ()), now),
            policies=policies,
        )


def _grouped(rows: Iterable[Sequence[Any]]) -> dict[Any, list[Sequence[Any]]]:
    """By their first column."""
    found: dict[Any, list[Sequence[Any]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _later(owner: bytes, wanted: Mapping[uuid.UUID, Wanted], rows: _Rows) -> dict[Any, pipeline.Query]:
    """What is only known to be needed now: SKUs that a location never had, and lots where none were expected."""
    queries: dict[Any, pipeline.Query] = {}
    missing: set[str] = set()
    keys_of_lots: set[str] = set()
    for location, of in wanted.items():
        levels = rows.levels.get(location, ())
        if len(of.skus) > len(levels):
            missing.update(of.skus.difference(row[1] for row in levels))
        keys = [row[1] for row in levels if row[_HAS_LOTS] and row[1] not in of.with_lots]
        held = {(values.fold(row[_HOLD_SKU]), row[_HOLD_LOT]) for row in rows.holds.get(location, ()) if row[_HOLD_LOT]}
        unseen = held - of.lots - {(row[0], row[_LOT]) for row in rows.of_lots(location)} if held else held
        if keys or unseen:
            keys_of_lots.update(keys, (key for key, _ in unseen))
            more = {*of.with_lots, *keys, *(key for key, _ in of.lots)}
            queries |= lot_rows.queries(owner, location, more, of.lots | unseen)
    if missing:  # a location never had them: they may still be in the catalogue
        queries["variants"] = (VARIANTS, (owner, binary.texts(sorted(missing))))
    if keys_of_lots:
        queries["policies"] = lot_rows.policies(owner, keys_of_lots | _keys_of_lots(wanted))
    return queries


_HAS_LOTS = 19  # of LEVELS
_HOLD_SKU, _HOLD_LOT = 3, 10  # of HOLDS
_LOT = 8  # of lot_rows.LOTS


def _keys_of_lots(wanted: Mapping[uuid.UUID, Wanted]) -> set[str]:
    """Folded SKUs of which lots are asked for in the first trip."""
    return {
        key
        for of in wanted.values()
        for key in (*of.with_lots, *(key for key, _ in of.lots), *(key for keys in of.sent.values() for key in keys))
    }


async def _renewed(connection: pipeline.LaneConnection, owner: uuid.UUID, bundles: Bundles, version: int) -> Bundles:
    """The bundles in force, from what changed since; from nothing when the database went back, as after a restore."""
    known = bundles if bundles.version < version else Bundles()
    (rows,) = await connection.proceed((bundle_store.CHANGED, (owner.bytes, binary.number(known.version))))
    return known.changed(bundle_store.definitions(rows), version)


def _queries(owner: bytes, wanted: Mapping[uuid.UUID, Wanted]) -> dict[Any, pipeline.Query]:
    """By what they find. Locks first, in their one order; then what is read under them."""
    places = sorted(wanted.items())
    locations = binary.uuids([location for location, _ in places])
    skus = _pairs([(location, sku) for location, of in places for sku in sorted(of.skus)])
    queries: dict[Any, pipeline.Query] = {"heads": (HEADS, (owner, locations)), "levels": (LEVELS, (owner, *skus))}
    if held := [(location, hold) for location, of in places for hold in sorted(of.holds)]:
        queries["holds"] = (
            HOLDS,
            (owner, binary.uuids([location for location, _ in held]), binary.uuids([hold for _, hold in held])),
        )
    if consumers := sorted((of.key, consumer) for _, of in places for consumer in of.consumers):
        queries["cursors"] = (
            CURSORS,
            (owner, binary.texts([key for key, _ in consumers]), binary.texts([consumer for _, consumer in consumers])),
        )
    if beside := [(location, sku) for location, of in places for sku in sorted(of.beside)]:
        queries["beside"] = (bundle_store.BESIDE, (owner, *_pairs(beside)))
    queries["clock"] = (CLOCK, (owner, locations, *skus))
    for location, of in places:
        if of.with_lots or of.lots:
            queries |= lot_rows.queries(owner, location, {*of.with_lots, *(key for key, _ in of.lots)}, of.lots)
    for location, of in places:
        for origin, keys in of.sent.items():
            queries["sent", location, origin] = lot_rows.sent(owner, location, origin, keys)
    if keys := _keys_of_lots(wanted):
        queries["policies"] = lot_rows.policies(owner, keys)
    return queries


def _pairs(of: Sequence[tuple[uuid.UUID, str]]) -> tuple[bytes, bytes]:
    """Locations and SKUs, as two arrays."""
    return binary.uuids([location for location, _ in of]), binary.texts([sku for _, sku in of])


async def answered(
    connection: pipeline.LaneConnection,
    tenant: str,
    locations: Iterable[uuid.UUID],
    keys: Sequence[idempotency.Key],
) -> dict[int, tuple[bytes, bytes]]:
    """What is remembered of keys. Waits for the head rows, so that a batch whose end is unknown has ended by then."""
    owner = uuid.UUID(tenant)
    heads: pipeline.Query = (HEADS, (owner.bytes, binary.uuids(sorted(set(locations)))))
    _, rows = await connection.ask(tenant, heads, idempotency.look_up(owner, keys))
    return {row[0] - 1: (row[1], row[2]) for row in rows}


def level_of(row: Sequence[Any]) -> values.Level:
    level = values.Level(*row[1:11])
    level.incoming = tuple(
        values.Incoming(i["quantity"], dt.datetime.fromisoformat(i["eta"]), i["reference"]) for i in row[11]
    )
    level.version, level.observed_at, level.updated_at = row[12:15]
    level.low_stock_threshold, level.rearm_threshold, level.alert, level.has_lots = row[15:19]
    return level


def _holds(rows: Sequence[Sequence[Any]]) -> dict[uuid.UUID, values.Hold]:
    holds: dict[uuid.UUID, values.Hold] = {}
    for _, hold_id, number, sku, quantity, state, order_ref, expires_at, created_at, created_seq, lot in rows:
        line = values.HoldLine(values.fold(sku), sku, quantity, number, lot)
        if (hold := holds.get(hold_id)) is None:
            hold = holds[hold_id] = values.Hold(
                hold_id, (), values.HoldState(state), expires_at, order_ref, created_at, created_seq
            )
        if quantity:
            hold.lines = (*hold.lines, line)
        else:
            hold.gone = (*hold.gone, line)
    return holds

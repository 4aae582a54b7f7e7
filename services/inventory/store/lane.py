"""SQL of the stock lane: what a batch locks and loads, and the one statement that writes it. Two round trips a batch.

Locks are taken here and nowhere else, in one order: the location's head row, levels by SKU, holds by id. Each lock has a
statement of its own: in READ COMMITTED a statement's snapshot is older than its wait. The clock is read after them.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inventory.domain import levels as values
from services.inventory.domain import lots
from services.inventory.domain.bundles import Bundles, PartLevel
from services.inventory.store import bundles as bundle_store
from services.inventory.store import lot_rows
from services.kit import binary, events, idempotency, outbox, pipeline

HEAD = pipeline.Statement("""
SELECT h.seq, h.epoch, l.closed, h.bundles FROM stock_head h JOIN location l ON l.tenant_id = h.tenant_id AND l.id = h.location_id
WHERE h.tenant_id = $1 AND h.location_id = $2 FOR UPDATE OF h
""")
LEVELS = pipeline.Statement("""
SELECT sku_key, sku, on_hand, reserved, allocated, damaged, quality_control, expired, in_transit, safety_stock,
       backorder_limit, incoming, version, observed_at, updated_at, low_stock_threshold, rearm_threshold, alert, has_lots
FROM stock_level WHERE tenant_id = $1 AND location_id = $2 AND sku_key = ANY ($3::text[]) ORDER BY sku_key FOR UPDATE
""")
HOLDS = pipeline.Statement("""
SELECT id, line, sku, quantity, state, order_ref, expires_at, created_at, created_seq, lot
FROM hold WHERE tenant_id = $1 AND location_id = $2 AND id = ANY ($3::uuid[]) ORDER BY id, line, lot FOR UPDATE
""")
# The clock and what is due by it, in one reading.
CLOCK = pipeline.Statement("""
WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT t.now, b.sku_key, b.due FROM t LEFT JOIN LATERAL (
    SELECT sku_key, sum(quantity)::bigint AS due FROM hold_bucket
    WHERE tenant_id = $1 AND location_id = $2 AND sku_key = ANY ($3::text[]) AND expires_at <= t.now GROUP BY sku_key
) b ON true
""")
CURSORS = pipeline.Statement("""
SELECT consumer, epoch, seq FROM inbox_cursor WHERE tenant_id = $1 AND key = $2 AND consumer = ANY ($3::text[]) FOR UPDATE
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
    heads = [found["head", location] for location in wanted]
    version = max((rows[0][3] for rows in heads if rows), default=bundles.version)
    if version != bundles.version:
        bundles = await _renewed(connection, owner, bundles, version)
        wanted = plan(bundles)
        queries = _queries(owner.bytes, wanted)
        found.update(zip(queries, await connection.proceed(*queries.values()), strict=True))
    later = _later(owner.bytes, wanted, found)
    if later:
        found.update(zip(later, await connection.proceed(*later.values()), strict=True))
    variants = dict(found.get("variants", ()))
    return Loaded(
        {location: _place(location, found, variants) for location in wanted if found["head", location]},
        {row[0] - 1: (row[1], row[2]) for row in found["answered"]},
        bundles,
    )


def _later(
    owner: bytes, wanted: Mapping[uuid.UUID, Wanted], found: Mapping[Any, pipeline.Rows]
) -> dict[Any, pipeline.Query]:
    """What is only known to be needed now: SKUs that a location never had, and lots where none were expected."""
    queries: dict[Any, pipeline.Query] = {}
    missing = {
        sku
        for location, of in wanted.items()
        if len(of.skus) > len(found["levels", location])
        for sku in of.skus.difference(row[0] for row in found["levels", location])
    }
    if missing:  # a location never had them: they may still be in the catalogue
        queries["variants"] = (VARIANTS, (owner, binary.texts(sorted(missing))))
    keys_of_lots: set[str] = set()
    for location, of in wanted.items():
        keys = [row[0] for row in found["levels", location] if row[_HAS_LOTS] and row[0] not in of.with_lots]
        held = {(values.fold(row[_HOLD_SKU]), row[-1]) for row in found.get(("holds", location), ()) if row[-1]}
        unseen = held - of.lots - {(row[0], row[_LOT]) for row in found.get(("lots", location), ())}
        if keys or unseen:
            keys_of_lots.update(keys, (key for key, _ in unseen))
            more = {*of.with_lots, *keys, *(key for key, _ in of.lots)}
            queries |= lot_rows.queries(owner, location, more, of.lots | unseen)
    if keys_of_lots:
        queries["policies"] = lot_rows.policies(owner, keys_of_lots | _keys_of_lots(wanted))
    return queries


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
    """By (what, location). Locks first, in their one order; then what is read under them."""
    places = sorted(wanted.items())
    queries: dict[Any, pipeline.Query] = {}
    for location, _ in places:
        queries["head", location] = (HEAD, (owner, location.bytes))
    skus = {location: binary.texts(sorted(of.skus)) for location, of in places}
    for location, _ in places:
        queries["levels", location] = (LEVELS, (owner, location.bytes, skus[location]))
    for location, of in places:
        if of.holds:
            queries["holds", location] = (HOLDS, (owner, location.bytes, binary.uuids(sorted(of.holds))))
    for location, of in places:
        if of.consumers:
            queries["cursors", location] = (CURSORS, (owner, of.key.encode(), binary.texts(sorted(of.consumers))))
    for location, of in places:
        if of.beside:
            queries["beside", location] = (
                bundle_store.BESIDE,
                (owner, location.bytes, binary.texts(sorted(of.beside))),
            )
    for location, _ in places:
        queries["clock", location] = (CLOCK, (owner, location.bytes, skus[location]))
    for location, of in places:
        if of.with_lots or of.lots:
            queries |= lot_rows.queries(owner, location, {*of.with_lots, *(key for key, _ in of.lots)}, of.lots)
    for location, of in places:
        for origin, keys in of.sent.items():
            queries["sent", location, origin] = lot_rows.sent(owner, location, origin, keys)
    if keys := _keys_of_lots(wanted):
        queries["policies"] = lot_rows.policies(owner, keys)
    return queries


def _place(location: uuid.UUID, found: Mapping[Any, pipeline.Rows], variants: Mapping[str, str]) -> Place:
    ((seq, epoch, closed, _),) = found["head", location]
    now, due = _clock(found["clock", location])
    levels = {row[0]: level_of(row) for row in found["levels", location]}
    policies = {row[0]: lot_rows.policy_of(row[1]) for row in found.get("policies", ())}
    new = [
        row for what, rows in found.items() if what[:2] in (("new_lots", location), ("sent", location)) for row in rows
    ]
    for key, of_key in lot_rows.by_sku(found.get(("lots", location), ()), new, policies).items():
        if key not in levels and key in variants:
            levels[key] = values.Level(variants[key], fresh=True)
        if key in levels:
            levels[key].lots = of_key
    return Place(
        seq=seq,
        epoch=epoch,
        closed=closed,
        now=now,
        levels=levels,
        due=due,
        holds=_holds(found.get(("holds", location), ())),
        cursors={row[0]: (row[1], row[2]) for row in found.get(("cursors", location), ())},
        variants=variants,
        beside=bundle_store.beside(found.get(("beside", location), ())),
        lot_due=lot_rows.due(found.get(("lot_buckets", location), ()), now),
        policies=policies,
    )


async def answered(
    connection: pipeline.LaneConnection,
    tenant: str,
    locations: Iterable[uuid.UUID],
    keys: Sequence[idempotency.Key],
) -> dict[int, tuple[bytes, bytes]]:
    """What is remembered of keys. Waits for the head rows, so that a batch whose end is unknown has ended by then."""
    owner = uuid.UUID(tenant)
    heads: list[pipeline.Query] = [(HEAD, (owner.bytes, location.bytes)) for location in sorted(set(locations))]
    rows = (await connection.ask(tenant, *heads, idempotency.look_up(owner, keys)))[-1]
    return {row[0] - 1: (row[1], row[2]) for row in rows}


def _clock(rows: Sequence[Sequence[Any]]) -> tuple[dt.datetime, dict[str, int]]:
    return rows[0][0], {row[1]: row[2] for row in rows if row[1] is not None}


_HAS_LOTS = 18
_HOLD_SKU = 2
_LOT = 8


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
    for hold_id, number, sku, quantity, state, order_ref, expires_at, created_at, created_seq, lot in rows:
        line = values.HoldLine(values.fold(sku), sku, quantity, number, lot)
        if (hold := holds.get(hold_id)) is not None:
            hold.lines = (*hold.lines, line)
        else:
            holds[hold_id] = values.Hold(
                hold_id, (line,), values.HoldState(state), expires_at, order_ref, created_at, created_seq
            )
    return holds


# --- writing: a data-modifying statement for each location, made of the parts that it needs, and what to remember ---

PARTS: Mapping[str, str] = {
    "head": "UPDATE stock_head SET seq = %(seq)s::bigint WHERE tenant_id = %(tenant)s::uuid AND location_id = %(location)s::uuid",
    "levels": """
        UPDATE stock_level x SET on_hand = u.on_hand, reserved = u.reserved, allocated = u.allocated, damaged = u.damaged,
            quality_control = u.quality_control, expired = u.expired, in_transit = u.in_transit, version = u.version,
            updated_at = %(now)s::timestamptz
        FROM unnest(%(l_key)s::text[], %(l_on_hand)s::bigint[], %(l_reserved)s::bigint[], %(l_allocated)s::bigint[],
            %(l_damaged)s::bigint[], %(l_quality_control)s::bigint[], %(l_expired)s::bigint[], %(l_in_transit)s::bigint[],
            %(l_version)s::bigint[])
            u (sku_key, on_hand, reserved, allocated, damaged, quality_control, expired, in_transit, version)
        WHERE x.tenant_id = %(tenant)s::uuid AND x.location_id = %(location)s::uuid AND x.sku_key = u.sku_key""",
    "whole_levels": """
        INSERT INTO stock_level AS x (tenant_id, location_id, sku_key, sku, on_hand, reserved, allocated, damaged,
            quality_control, expired, in_transit, safety_stock, backorder_limit, incoming, version, observed_at,
            low_stock_threshold, rearm_threshold, alert, has_lots, updated_at)
        SELECT %(tenant)s::uuid, %(location)s::uuid, u.*, %(now)s::timestamptz
        FROM unnest(%(w_key)s::text[], %(w_sku)s::text[], %(w_on_hand)s::bigint[], %(w_reserved)s::bigint[],
            %(w_allocated)s::bigint[], %(w_damaged)s::bigint[], %(w_quality_control)s::bigint[], %(w_expired)s::bigint[],
            %(w_in_transit)s::bigint[], %(w_safety_stock)s::bigint[], %(w_backorder_limit)s::bigint[], %(w_incoming)s::jsonb[], %(w_version)s::bigint[],
            %(w_observed_at)s::timestamptz[], %(w_low_stock_threshold)s::bigint[], %(w_rearm_threshold)s::bigint[],
            %(w_alert)s::bigint[], %(w_has_lots)s::boolean[]) u
        ON CONFLICT (tenant_id, location_id, sku_key) DO UPDATE SET on_hand = excluded.on_hand,
            reserved = excluded.reserved, allocated = excluded.allocated, damaged = excluded.damaged,
            quality_control = excluded.quality_control, expired = excluded.expired, in_transit = excluded.in_transit,
            safety_stock = excluded.safety_stock, backorder_limit = excluded.backorder_limit, incoming = excluded.incoming, version = excluded.version,
            observed_at = excluded.observed_at, low_stock_threshold = excluded.low_stock_threshold,
            rearm_threshold = excluded.rearm_threshold, alert = excluded.alert, has_lots = excluded.has_lots,
            updated_at = excluded.updated_at""",
    "ledger": """
        INSERT INTO ledger (tenant_id, location_id, recorded_at, seq, line, sku, from_state, to_state, quantity, reason,
            ref_type, ref_id, actor, terminal, occurred_at, lot)
        SELECT %(tenant)s::uuid, %(location)s::uuid, %(now)s::timestamptz, u.*
        FROM unnest(%(m_seq)s::bigint[], %(m_line)s::bigint[], %(m_sku)s::text[], %(m_from)s::bigint[], %(m_to)s::bigint[],
            %(m_quantity)s::bigint[], %(m_reason)s::bigint[], %(m_ref_type)s::text[], %(m_ref_id)s::text[],
            %(m_actor)s::text[], %(m_terminal)s::text[], %(m_occurred_at)s::timestamptz[], %(m_lot)s::text[]) u""",
    "holds": """
        INSERT INTO hold (tenant_id, location_id, created_at, id, line, sku, quantity, state, order_ref, expires_at, created_seq,
            lot)
        SELECT %(tenant)s::uuid, %(location)s::uuid, %(now)s::timestamptz, u.*
        FROM unnest(%(h_id)s::uuid[], %(h_line)s::bigint[], %(h_sku)s::text[], %(h_quantity)s::bigint[], %(h_state)s::bigint[],
            %(h_order_ref)s::text[], %(h_expires_at)s::timestamptz[], %(h_seq)s::bigint[], %(h_lot)s::text[]) u""",
    "changed_holds": """
        UPDATE hold x SET state = u.state, expires_at = u.expires_at
        FROM unnest(%(c_id)s::uuid[], %(c_state)s::bigint[], %(c_expires_at)s::timestamptz[]) u (id, state, expires_at)
        WHERE x.tenant_id = %(tenant)s::uuid AND x.location_id = %(location)s::uuid AND x.id = u.id""",
    "buckets": """
        INSERT INTO hold_bucket AS x (tenant_id, location_id, sku_key, expires_at, quantity)
        SELECT %(tenant)s::uuid, %(location)s::uuid, u.*
        FROM unnest(%(b_key)s::text[], %(b_expires_at)s::timestamptz[], %(b_quantity)s::bigint[]) u
        ON CONFLICT (tenant_id, location_id, sku_key, expires_at) DO UPDATE SET quantity = x.quantity + excluded.quantity""",
    "taken": """
        UPDATE hold_bucket x SET quantity = x.quantity - u.quantity
        FROM unnest(%(t_key)s::text[], %(t_expires_at)s::timestamptz[], %(t_quantity)s::bigint[]) u (sku_key, expires_at, quantity)
        WHERE x.tenant_id = %(tenant)s::uuid AND x.location_id = %(location)s::uuid AND x.sku_key = u.sku_key
          AND x.expires_at = u.expires_at""",
    "due": """
        DELETE FROM hold_bucket WHERE tenant_id = %(tenant)s::uuid AND location_id = %(location)s::uuid AND sku_key = ANY (%(due)s::text[])
          AND expires_at <= %(now)s::timestamptz""",
    "exceptions": """
        INSERT INTO stock_exception (tenant_id, location_id, recorded_at, id, kind, sku, quantity, ref_type, ref_id, lot)
        SELECT %(tenant)s::uuid, %(location)s::uuid, %(now)s::timestamptz, u.*
        FROM unnest(%(x_id)s::uuid[], %(x_kind)s::bigint[], %(x_sku)s::text[], %(x_quantity)s::bigint[],
            %(x_ref_type)s::text[], %(x_ref_id)s::text[], %(x_lot)s::text[]) u""",
    "cursors": """
        INSERT INTO inbox_cursor AS x (tenant_id, key, consumer, epoch, seq)
        SELECT %(tenant)s::uuid, %(k_key)s::text, u.* FROM unnest(%(k_consumer)s::text[], %(k_epoch)s::bigint[], %(k_seq)s::bigint[]) u
        ON CONFLICT (tenant_id, consumer, key) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
            updated_at = clock_timestamp()""",
    **lot_rows.PARTS,
    "event": outbox.LANE_INSERT,
}


@functools.cache
def _statement(parts: tuple[str, ...]) -> pipeline.Named:
    """The statement of some parts. A few dozen combinations exist."""
    return pipeline.Named("WITH " + ", ".join(f"{name} AS ({PARTS[name]})" for name in parts) + " SELECT 1")


class Writes:
    """Collects what a batch writes at a location, part by part."""

    def __init__(self, tenant: str, location: uuid.UUID, now: dt.datetime, seq: int) -> None:
        self._parts: list[str] = []
        self._values: dict[str, Any] = {"tenant": uuid.UUID(tenant), "location": location, "now": now, "seq": seq}

    def _add(self, part: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._parts.append(part)
            self._values |= zip(names, zip(*rows, strict=True), strict=True)

    def stock(self, touched: Mapping[str, values.Level], movements: Sequence[values.Movement], *, head: bool) -> None:
        """Levels, the ledger and the head row."""
        if head:
            self._parts.append("head")
        whole = {key: level for key, level in touched.items() if level.fresh or level.policy_changed}
        self._add(
            "levels",
            (
                "l_key",
                "l_on_hand",
                "l_reserved",
                "l_allocated",
                "l_damaged",
                "l_quality_control",
                "l_expired",
                "l_in_transit",
                "l_version",
            ),
            [
                (
                    key,
                    v.on_hand,
                    v.reserved,
                    v.allocated,
                    v.damaged,
                    v.quality_control,
                    v.expired,
                    v.in_transit,
                    v.version,
                )
                for key, v in touched.items()
                if key not in whole
            ],
        )
        self._add(
            "whole_levels",
            ("w_key", "w_sku", "w_on_hand", "w_reserved", "w_allocated", "w_damaged", "w_quality_control", "w_expired",
             "w_in_transit", "w_safety_stock", "w_backorder_limit", "w_incoming", "w_version", "w_observed_at", "w_low_stock_threshold",
             "w_rearm_threshold", "w_alert", "w_has_lots"),
            [
                (key, v.sku, v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.in_transit,
                 v.safety_stock, v.backorder_limit, _incoming_json(v.incoming), v.version, v.observed_at, v.low_stock_threshold,
                 v.rearm_threshold, int(v.alert), v.has_lots)
                for key, v in whole.items()
            ],
        )  # fmt: skip
        self._add(
            "ledger",
            ("m_seq", "m_line", "m_sku", "m_from", "m_to", "m_quantity", "m_reason", "m_ref_type", "m_ref_id", "m_actor",
             "m_terminal", "m_occurred_at", "m_lot"),
            movements,
        )  # fmt: skip

    def holds(self, new: Sequence[values.Hold], changed: Sequence[values.Hold]) -> None:
        """Reservations."""
        self._add(
            "holds",
            ("h_id", "h_line", "h_sku", "h_quantity", "h_state", "h_order_ref", "h_expires_at", "h_seq", "h_lot"),
            [
                (
                    hold.id,
                    line.number,
                    line.sku,
                    line.quantity,
                    int(hold.state),
                    hold.order_ref,
                    hold.expires_at,
                    hold.created_seq,
                    line.lot,
                )
                for hold in new
                for line in hold.lines
            ],
        )
        rows = [(hold.id, int(hold.state), hold.expires_at) for hold in changed if not hold.fresh]
        self._add("changed_holds", ("c_id", "c_state", "c_expires_at"), rows)

    def buckets(self, deltas: Mapping[tuple[str, dt.datetime], int], due: Sequence[str]) -> None:
        """When held units end. due: SKUs whose past buckets were given back."""
        more = [(key, at, quantity) for (key, at), quantity in deltas.items() if quantity > 0]
        less = [(key, at, -quantity) for (key, at), quantity in deltas.items() if quantity < 0]
        self._add("buckets", ("b_key", "b_expires_at", "b_quantity"), more)
        self._add("taken", ("t_key", "t_expires_at", "t_quantity"), less)
        if due:
            self._parts.append("due")
            self._values["due"] = list(due)

    def lots(self, touched: Mapping[tuple[str, str], values.LotStock]) -> None:
        """Units of lots. A row goes with the last unit."""
        self._add(
            "lots",
            ("o_key", "o_lot", "o_on_hand", "o_reserved", "o_allocated", "o_damaged", "o_quality_control", "o_expired",
             "o_in_transit", "o_sell_until", "o_recalled_at"),
            [
                (*of, v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.in_transit, v.sell_until,
                 v.recalled_at)
                for of, v in touched.items()
                if not v.is_empty
            ],
        )  # fmt: skip
        self._add("gone_lots", ("g_key", "g_lot"), [of for of, v in touched.items() if v.is_empty])

    def lot_buckets(self, deltas: Mapping[tuple[str, str, dt.datetime], int], due: Iterable[tuple[str, str]]) -> None:
        """When held units of lots end. due: lots whose past buckets were given back."""
        more = [(*of, quantity) for of, quantity in deltas.items() if quantity > 0]
        less = [(*of, -quantity) for of, quantity in deltas.items() if quantity < 0]
        self._add("lot_buckets", ("lb_key", "lb_lot", "lb_expires_at", "lb_quantity"), more)
        self._add("lots_taken", ("lt_key", "lt_lot", "lt_expires_at", "lt_quantity"), less)
        if keys := sorted({key for key, _ in due}):
            self._parts.append("lots_due")
            self._values["lots_due"] = keys

    def exceptions(self, raised: Sequence[values.RaisedException]) -> None:
        """What a person has to look at."""
        rows = [(x.id, int(x.kind), x.sku, x.quantity, x.ref_type, x.ref_id, x.lot) for x in raised]
        self._add("exceptions", ("x_id", "x_kind", "x_sku", "x_quantity", "x_ref_type", "x_ref_id", "x_lot"), rows)

    def cursors(self, key: str, moved: Mapping[str, tuple[int, int]]) -> None:
        """How far consumers have come with a key."""
        self._values["k_key"] = key
        self._add("cursors", ("k_consumer", "k_epoch", "k_seq"), [(name, *at) for name, at in moved.items()])

    def event(self, event: events.Event) -> None:
        """The outbox row: all changes of the batch."""
        self._parts.append("event")
        self._values |= outbox.lane_parameters([event], self._values["now"])

    def query(self) -> pipeline.Query | None:
        """The statement of all parts; None when there are none."""
        return _statement(tuple(self._parts)).bind(self._values) if self._parts else None


async def write(
    connection: pipeline.LaneConnection,
    tenant: str,
    writes: Iterable[Writes],
    answers: Sequence[idempotency.Answer],
    now: dt.datetime,
) -> None:
    """Writes and commits, in one round trip."""
    queries = [query for of in writes if (query := of.query()) is not None]
    if answers:
        queries.append(idempotency.remember(uuid.UUID(tenant), answers, now))
    await connection.commit_with(*queries)


def _incoming_json(incoming: Sequence[values.Incoming]) -> str:
    return json.dumps([{"quantity": i.quantity, "eta": i.eta.isoformat(), "reference": i.reference} for i in incoming])

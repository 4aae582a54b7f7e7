"""What a batch of the stock lane writes: one data-modifying statement for all its locations, of the parts it needs.

A statement costs as much as ten of its rows, so a location has no statement of its own.
"""

from __future__ import annotations

import collections
import datetime as dt
import functools
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import levels as values
from services.kit import audit, events, idempotency, outbox, pipeline
from services.kit.audit import store as audit_log


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the statement. columns: names and types of its rows, which the SQL has as `{rows}` under the name u."""

    columns: Mapping[str, str]
    sql: str

    def parameters(self, name: str) -> tuple[str, ...]:
        """The parameter that each column's array is."""
        return tuple(f"{name}_{column}" for column in self.columns)

    def text(self, name: str) -> str:
        """The SQL with its rows."""
        given = zip(self.parameters(name), self.columns.values(), strict=True)
        arrays = ", ".join(f"%({parameter})s::{kind}[]" for parameter, kind in given)
        return self.sql.format(rows=f"unnest({arrays}) u ({', '.join(self.columns)})")


_LEVEL = {"location_id": "uuid", "sku_key": "text"}
_COUNTERS = dict.fromkeys(
    ("on_hand", "reserved", "allocated", "damaged", "quality_control", "expired", "in_transit"), "bigint"
)
_BUCKET = {"expires_at": "timestamptz", "quantity": "bigint"}
_LOT = {**_LEVEL, "lot": "text"}
_HERE = "x.tenant_id = %(tenant)s::uuid AND x.location_id = u.location_id"
_SET_COUNTERS = ", ".join(f"{name} = u.{name}" for name in _COUNTERS)
_EXCLUDED_COUNTERS = ", ".join(f"{name} = excluded.{name}" for name in _COUNTERS)

PARTS: Mapping[str, _Part] = {
    "head": _Part(
        {"location_id": "uuid", "seq": "bigint"},
        f"UPDATE stock_head x SET seq = u.seq FROM {{rows}} WHERE {_HERE}",
    ),
    "levels": _Part(
        {**_LEVEL, **_COUNTERS, "version": "bigint"},
        f"""UPDATE stock_level x SET {_SET_COUNTERS}, version = u.version, updated_at = %(now)s::timestamptz
        FROM {{rows}} WHERE {_HERE} AND x.sku_key = u.sku_key""",
    ),
    "whole_levels": _Part(
        {
            **_LEVEL, "sku": "text", **_COUNTERS, "safety_stock": "bigint", "backorder_limit": "bigint", "incoming": "jsonb",
            "version": "bigint", "observed_at": "timestamptz", "low_stock_threshold": "bigint",
            "rearm_threshold": "bigint", "alert": "bigint", "has_lots": "boolean",
        },
        f"""INSERT INTO stock_level AS x (tenant_id, location_id, sku_key, sku, {", ".join(_COUNTERS)}, safety_stock,
            backorder_limit, incoming, version, observed_at, low_stock_threshold, rearm_threshold, alert, has_lots, updated_at)
        SELECT %(tenant)s::uuid, u.*, %(now)s::timestamptz FROM {{rows}}
        ON CONFLICT (tenant_id, location_id, sku_key) DO UPDATE SET {_EXCLUDED_COUNTERS},
            safety_stock = excluded.safety_stock, backorder_limit = excluded.backorder_limit, incoming = excluded.incoming,
            version = excluded.version, observed_at = excluded.observed_at,
            low_stock_threshold = excluded.low_stock_threshold, rearm_threshold = excluded.rearm_threshold,
            alert = excluded.alert, has_lots = excluded.has_lots, updated_at = excluded.updated_at""",
    ),
    "ledger": _Part(
        {
            "location_id": "uuid", "seq": "bigint", "line": "bigint", "sku": "text", "from_state": "bigint",
            "to_state": "bigint", "quantity": "bigint", "reason": "bigint", "ref_type": "text", "ref_id": "text",
            "actor": "text", "terminal": "text", "occurred_at": "timestamptz", "lot": "text",
        },
        """INSERT INTO ledger (tenant_id, recorded_at, location_id, seq, line, sku, from_state, to_state, quantity, reason,
            ref_type, ref_id, actor, terminal, occurred_at, lot)
        SELECT %(tenant)s::uuid, %(now)s::timestamptz, u.* FROM {rows}""",
    ),
    "holds": _Part(
        {
            "location_id": "uuid", "id": "uuid", "line": "bigint", "sku": "text", "quantity": "bigint", "state": "bigint",
            "order_ref": "text", "expires_at": "timestamptz", "created_seq": "bigint", "lot": "text",
        },
        """INSERT INTO hold (tenant_id, created_at, location_id, id, line, sku, quantity, state, order_ref, expires_at,
            created_seq, lot)
        SELECT %(tenant)s::uuid, %(now)s::timestamptz, u.* FROM {rows}""",
    ),
    "changed_holds": _Part(
        {"location_id": "uuid", "id": "uuid", "state": "bigint", "expires_at": "timestamptz"},
        f"UPDATE hold x SET state = u.state, expires_at = u.expires_at FROM {{rows}} WHERE {_HERE} AND x.id = u.id",
    ),
    # Of holds that were reduced, each line: a row is written by one part of the statement only.
    "resized_holds": _Part(
        {
            "location_id": "uuid", "id": "uuid", "line": "bigint", "lot": "text", "quantity": "bigint", "state": "bigint",
            "expires_at": "timestamptz",
        },
        f"""UPDATE hold x SET quantity = u.quantity, state = u.state, expires_at = u.expires_at
        FROM {{rows}} WHERE {_HERE} AND x.id = u.id AND x.line = u.line AND x.lot = u.lot""",
    ),
    "buckets": _Part(
        {**_LEVEL, **_BUCKET},
        """INSERT INTO hold_bucket AS x (tenant_id, location_id, sku_key, expires_at, quantity)
        SELECT %(tenant)s::uuid, u.* FROM {rows}
        ON CONFLICT (tenant_id, location_id, sku_key, expires_at) DO UPDATE SET quantity = x.quantity + excluded.quantity""",
    ),
    "taken": _Part(
        {**_LEVEL, **_BUCKET},
        f"""UPDATE hold_bucket x SET quantity = x.quantity - u.quantity
        FROM {{rows}} WHERE {_HERE} AND x.sku_key = u.sku_key AND x.expires_at = u.expires_at""",
    ),
    "due": _Part(
        _LEVEL,
        f"""DELETE FROM hold_bucket x USING {{rows}}
        WHERE {_HERE} AND x.sku_key = u.sku_key AND x.expires_at <= %(now)s::timestamptz""",
    ),
    "lots": _Part(
        {**_LOT, **_COUNTERS, "sell_until": "timestamptz", "recalled_at": "timestamptz"},
        f"""INSERT INTO stock_lot AS x (tenant_id, location_id, sku_key, lot, {", ".join(_COUNTERS)}, sell_until, recalled_at)
        SELECT %(tenant)s::uuid, u.* FROM {{rows}}
        ON CONFLICT (tenant_id, location_id, sku_key, lot) DO UPDATE SET {_EXCLUDED_COUNTERS}""",
    ),
    "gone_lots": _Part(
        _LOT, f"DELETE FROM stock_lot x USING {{rows}} WHERE {_HERE} AND x.sku_key = u.sku_key AND x.lot = u.lot"
    ),
    "lot_buckets": _Part(
        {**_LOT, **_BUCKET},
        """INSERT INTO lot_bucket AS x (tenant_id, location_id, sku_key, lot, expires_at, quantity)
        SELECT %(tenant)s::uuid, u.* FROM {rows}
        ON CONFLICT (tenant_id, location_id, sku_key, lot, expires_at)
            DO UPDATE SET quantity = x.quantity + excluded.quantity""",
    ),
    "lots_taken": _Part(
        {**_LOT, **_BUCKET},
        f"""UPDATE lot_bucket x SET quantity = x.quantity - u.quantity
        FROM {{rows}} WHERE {_HERE} AND x.sku_key = u.sku_key AND x.lot = u.lot AND x.expires_at = u.expires_at""",
    ),
    "lots_due": _Part(
        _LEVEL,
        f"""DELETE FROM lot_bucket x USING {{rows}}
        WHERE {_HERE} AND x.sku_key = u.sku_key AND x.expires_at <= %(now)s::timestamptz""",
    ),
    "exceptions": _Part(
        {
            "location_id": "uuid", "id": "uuid", "kind": "bigint", "sku": "text", "quantity": "bigint", "ref_type": "text",
            "ref_id": "text", "lot": "text",
        },
        """INSERT INTO stock_exception (tenant_id, recorded_at, location_id, id, kind, sku, quantity, ref_type, ref_id, lot)
        SELECT %(tenant)s::uuid, %(now)s::timestamptz, u.* FROM {rows}""",
    ),
    "cursors": _Part(
        {"key": "text", "consumer": "text", "epoch": "bigint", "seq": "bigint"},
        """INSERT INTO inbox_cursor AS x (tenant_id, key, consumer, epoch, seq) SELECT %(tenant)s::uuid, u.* FROM {rows}
        ON CONFLICT (tenant_id, consumer, key) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
            updated_at = clock_timestamp()""",
    ),
}  # fmt: skip


@functools.cache
def _statement(parts: tuple[str, ...], *, event: bool) -> pipeline.Named:
    """The statement of some parts, in the order of PARTS. A few dozen combinations exist."""
    texts = {name: PARTS[name].text(name) for name in parts} | ({"event": outbox.LANE_INSERT} if event else {})
    return pipeline.Named("WITH " + ", ".join(f"{name} AS ({text})" for name, text in texts.items()) + " SELECT 1")


class Writes:
    """Collects what a batch of a tenant writes, location by location."""

    def __init__(self, tenant: str, now: dt.datetime) -> None:
        self._tenant = uuid.UUID(tenant)
        self._now = now
        self._rows: collections.defaultdict[str, list[Sequence[Any]]] = collections.defaultdict(list)
        self._events: list[events.Event] = []

    def stock(
        self, location: uuid.UUID, seq: int, touched: Mapping[str, values.Level], moved: Iterable[values.Movement]
    ) -> None:
        """Levels, the ledger and the head row. seq: the position that was reached."""
        self._rows["head"].append((location, seq))
        for key, v in touched.items():
            counters = (
                v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.in_transit,
            )  # fmt: skip
            if not (v.fresh or v.policy_changed):
                self._rows["levels"].append((location, key, *counters, v.version))
                continue
            # fmt: off
            self._rows["whole_levels"].append((
                location, key, v.sku, *counters, v.safety_stock, v.backorder_limit, _incoming_json(v.incoming), v.version,
                v.observed_at, v.low_stock_threshold, v.rearm_threshold, int(v.alert), v.has_lots,
            ))
            # fmt: on
        self._rows["ledger"] += [(location, *movement) for movement in moved]

    def holds(self, location: uuid.UUID, new: Iterable[values.Hold], changed: Iterable[values.Hold]) -> None:
        """Reservations."""
        # fmt: off
        self._rows["holds"] += [
            (location, hold.id, line.number, line.sku, line.quantity, int(hold.state), hold.order_ref, hold.expires_at,
             hold.created_seq, line.lot)
            for hold in new for line in hold.lines
        ]
        # fmt: on
        kept = [hold for hold in changed if not hold.fresh]
        self._rows["changed_holds"] += [
            (location, hold.id, int(hold.state), hold.expires_at) for hold in kept if not hold.resized
        ]
        self._rows["resized_holds"] += [
            (location, hold.id, line.number, line.lot, line.quantity, int(hold.state), hold.expires_at)
            for hold in kept
            if hold.resized
            for line in (*hold.lines, *hold.gone)
        ]

    def buckets(self, location: uuid.UUID, deltas: Mapping[tuple[str, dt.datetime], int], due: Iterable[str]) -> None:
        """When held units end. due: SKUs whose past buckets were given back."""
        self._buckets("buckets", "taken", location, deltas)
        self._rows["due"] += [(location, key) for key in due]

    def lots(self, location: uuid.UUID, touched: Mapping[tuple[str, str], values.LotStock]) -> None:
        """Units of lots. A row goes with the last unit."""
        for of, v in touched.items():
            if v.is_empty:
                self._rows["gone_lots"].append((location, *of))
                continue
            # fmt: off
            self._rows["lots"].append((
                location, *of, v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.in_transit,
                v.sell_until, v.recalled_at,
            ))
            # fmt: on

    def lot_buckets(
        self,
        location: uuid.UUID,
        deltas: Mapping[tuple[str, str, dt.datetime], int],
        due: Iterable[tuple[str, str]],
    ) -> None:
        """When held units of lots end. due: lots whose past buckets were given back."""
        self._buckets("lot_buckets", "lots_taken", location, deltas)
        self._rows["lots_due"] += [(location, key) for key in sorted({key for key, _ in due})]

    def _buckets(self, more: str, less: str, location: uuid.UUID, deltas: Mapping[Any, int]) -> None:
        for of, quantity in deltas.items():
            if quantity:
                self._rows[more if quantity > 0 else less].append((location, *of, abs(quantity)))

    def exceptions(self, location: uuid.UUID, raised: Iterable[values.RaisedException]) -> None:
        """What a person has to look at."""
        self._rows["exceptions"] += [
            (location, x.id, int(x.kind), x.sku, x.quantity, x.ref_type, x.ref_id, x.lot) for x in raised
        ]

    def cursors(self, key: str, moved: Mapping[str, tuple[int, int]]) -> None:
        """How far consumers have come with a key."""
        self._rows["cursors"] += [(key, name, *at) for name, at in moved.items()]

    def event(self, event: events.Event) -> None:
        """The outbox row: all changes of the batch at its location."""
        self._events.append(event)

    def query(self) -> pipeline.Query | None:
        """The statement of all parts; None when there are none."""
        parts = tuple(name for name in PARTS if self._rows.get(name))
        if not parts and not self._events:
            return None
        given: dict[str, Any] = {"tenant": self._tenant, "now": self._now}
        for name in parts:
            given.update(zip(PARTS[name].parameters(name), zip(*self._rows[name], strict=True), strict=True))
        if self._events:
            given |= outbox.lane_parameters(self._events, self._now)
        return _statement(parts, event=bool(self._events)).bind(given)


async def write(
    connection: pipeline.LaneConnection,
    tenant: str,
    writes: Writes,
    answers: Sequence[idempotency.Answer],
    noted: Sequence[tuple[audit.Source, audit.Entry]],
    now: dt.datetime,
) -> None:
    """Writes and commits, in one round trip. noted: for the audit log."""
    queries = [query for query in (writes.query(),) if query is not None]
    if answers:
        queries.append(idempotency.remember(uuid.UUID(tenant), answers, now))
    if noted:
        queries.append(audit_log.lane_query(uuid.UUID(tenant), noted, now))
    await connection.commit_with(*queries)


def _incoming_json(incoming: Sequence[values.Incoming]) -> str:
    return json.dumps([{"quantity": i.quantity, "eta": i.eta.isoformat(), "reference": i.reference} for i in incoming])

"""SQL of the stock lane: what a batch locks and loads, and the one statement that writes it. Raw psycopg, pipelined.

Locks are taken here and nowhere else, in one order: the location's head row, levels by SKU, holds by id. Each lock has a
statement of its own: in READ COMMITTED a statement's snapshot is older than its wait. The clock is read after them.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from services.inventory.domain import levels as values
from services.kit import database, errors, idempotency

ENTER = "SELECT set_config('app.tenant_id', %s, true)"
HEAD = """
SELECT h.seq, h.epoch, l.closed FROM stock_head h JOIN location l ON l.tenant_id = h.tenant_id AND l.id = h.location_id
WHERE h.tenant_id = %s AND h.location_id = %s FOR UPDATE OF h
"""
LEVELS = """
SELECT sku_key, sku, on_hand, reserved, allocated, damaged, quality_control, expired, safety_stock, backorder_limit,
       incoming, version, observed_at, updated_at
FROM stock_level WHERE tenant_id = %s AND location_id = %s AND sku_key = ANY (%s) ORDER BY sku_key FOR UPDATE
"""
HOLDS = """
SELECT id, line, sku, quantity, state, order_ref, expires_at, created_at, created_seq
FROM hold WHERE tenant_id = %s AND id = ANY (%s) AND location_id = %s ORDER BY id, line FOR UPDATE
"""
# The clock and what is due by it, in one reading.
CLOCK = """
WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT t.now, b.sku_key, b.due FROM t LEFT JOIN LATERAL (
    SELECT sku_key, sum(quantity)::bigint AS due FROM hold_bucket
    WHERE tenant_id = %s AND location_id = %s AND sku_key = ANY (%s) AND expires_at <= t.now GROUP BY sku_key
) b ON true
"""
# LATERAL with a LIMIT is a look-up by key for each, whatever statistics a generic plan was made without.
ANSWERED = """
SELECT k.n, i.fingerprint, i.response
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY k (principal, method, key, n)
CROSS JOIN LATERAL (
    SELECT a.fingerprint, a.response FROM idempotency a
    WHERE a.tenant_id = %s AND a.principal = k.principal AND a.method = k.method AND a.key = k.key
      AND a.day >= date_trunc('day', now(), 'UTC') - interval '3 days'
      AND a.day <= date_trunc('day', now(), 'UTC') + interval '1 day' AND a.response IS NOT NULL LIMIT 1
) i
"""
CURSORS = """
SELECT consumer, epoch, seq FROM inbox_cursor WHERE tenant_id = %s AND consumer = ANY (%s) AND key = %s FOR UPDATE
"""
VARIANTS = "SELECT sku_key, sku FROM variant WHERE tenant_id = %s AND sku_key = ANY (%s)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a batch needs: folded SKUs (sorted), hold ids (sorted), idempotency keys, consumers of events."""

    skus: list[str]
    holds: list[uuid.UUID]
    keys: list[idempotency.Key]
    consumers: list[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What it got, under locks. answered: position in Wanted.keys -> fingerprint, response."""

    seq: int
    epoch: int
    closed: bool
    now: dt.datetime
    levels: dict[str, values.Level]
    due: dict[str, int]
    holds: dict[uuid.UUID, values.Hold]
    answered: dict[int, tuple[bytes, bytes]]
    cursors: dict[str, tuple[int, int]]
    variants: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success to be remembered."""

    key: idempotency.Key
    response: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """The batch's outbox row."""

    id: uuid.UUID
    key: str
    shard: int
    type: str
    seq_from: int
    traceparent: str
    causation_id: str
    data: bytes


async def load(
    connection: database.LaneConnection, tenant: str, location: uuid.UUID, key: str, wanted: Wanted
) -> Loaded:
    """Locks and loads. NOT_FOUND when the tenant has no such location."""
    async with connection.pipeline():
        run = functools.partial(connection.execute, prepare=True, binary=True)
        await run(ENTER, (tenant,))
        head = await run(HEAD, (tenant, location))
        rows = await run(LEVELS, (tenant, location, wanted.skus))
        holds = await run(HOLDS, (tenant, wanted.holds, location)) if wanted.holds else None
        cursors = await run(CURSORS, (tenant, wanted.consumers, key)) if wanted.consumers else None
        clock = await run(CLOCK, (tenant, location, wanted.skus))
        answered = await run(ANSWERED, (*_columns(wanted.keys), tenant))
    found = await head.fetchone()
    if found is None:
        raise errors.NotFound("location")
    now, due = _clock(await clock.fetchall())
    levels = {row[0]: level_of(row) for row in await rows.fetchall()}
    missing = [sku for sku in wanted.skus if sku not in levels]
    variants: dict[str, str] = {}
    if missing:  # the location never had them: they may still be in the catalogue
        variants = dict(await (await run(VARIANTS, (tenant, missing))).fetchall())
    return Loaded(
        seq=found[0],
        epoch=found[1],
        closed=found[2],
        now=now,
        levels=levels,
        due=due,
        holds=_holds(await holds.fetchall()) if holds else {},
        answered={row[0] - 1: (row[1], row[2]) for row in await answered.fetchall()},
        cursors={row[0]: (row[1], row[2]) for row in await cursors.fetchall()} if cursors else {},
        variants=variants,
    )


async def answered(connection: database.LaneConnection, tenant: str, location: uuid.UUID, keys: Sequence[idempotency.Key]) -> dict[int, tuple[bytes, bytes]]:  # fmt: skip
    """What is remembered of keys. Waits for the head row, so that a batch whose end is unknown has ended by then."""
    await connection.execute(ENTER, (tenant,))
    await connection.execute(HEAD, (tenant, location))
    rows = await (await connection.execute(ANSWERED, (*_columns(keys), tenant), binary=True)).fetchall()
    return {row[0] - 1: (row[1], row[2]) for row in rows}


def _columns(keys: Sequence[idempotency.Key]) -> tuple[list[str], list[str], list[str]]:
    return [k.principal for k in keys], [k.method for k in keys], [k.key for k in keys]


def _clock(rows: Sequence[Sequence[Any]]) -> tuple[dt.datetime, dict[str, int]]:
    return rows[0][0], {row[1]: row[2] for row in rows if row[1] is not None}


def level_of(row: Sequence[Any]) -> values.Level:
    level = values.Level(*row[1:10])
    level.incoming = tuple(
        values.Incoming(i["quantity"], dt.datetime.fromisoformat(i["eta"]), i["reference"]) for i in row[10]
    )
    level.version, level.observed_at, level.updated_at = row[11], row[12], row[13]
    return level


def _holds(rows: Sequence[Sequence[Any]]) -> dict[uuid.UUID, values.Hold]:
    holds: dict[uuid.UUID, values.Hold] = {}
    for hold_id, _line, sku, quantity, number, order_ref, expires_at, created_at, created_seq in rows:
        line = values.HoldLine(values.fold(sku), sku, quantity)
        if (hold := holds.get(hold_id)) is not None:
            hold.lines = (*hold.lines, line)
        else:
            state = values.HoldState(number)
            holds[hold_id] = values.Hold(hold_id, (line,), state, expires_at, order_ref, created_at, created_seq)
    return holds


# --- writing: one data-modifying statement, made of the parts that a batch needs ---

PARTS: Mapping[str, str] = {
    "head": "UPDATE stock_head SET seq = %(seq)s WHERE tenant_id = %(tenant)s AND location_id = %(location)s",
    "levels": """
        UPDATE stock_level x SET on_hand = u.on_hand, reserved = u.reserved, allocated = u.allocated, damaged = u.damaged,
            quality_control = u.quality_control, expired = u.expired, version = u.version, updated_at = %(now)s
        FROM unnest(%(l_key)s::text[], %(l_on_hand)s::bigint[], %(l_reserved)s::bigint[], %(l_allocated)s::bigint[],
            %(l_damaged)s::bigint[], %(l_quality_control)s::bigint[], %(l_expired)s::bigint[], %(l_version)s::bigint[])
            u (sku_key, on_hand, reserved, allocated, damaged, quality_control, expired, version)
        WHERE x.tenant_id = %(tenant)s AND x.location_id = %(location)s AND x.sku_key = u.sku_key""",
    "whole_levels": """
        INSERT INTO stock_level AS x (tenant_id, location_id, sku_key, sku, on_hand, reserved, allocated, damaged,
            quality_control, expired, safety_stock, backorder_limit, incoming, version, observed_at, updated_at)
        SELECT %(tenant)s, %(location)s, u.*, %(now)s
        FROM unnest(%(w_key)s::text[], %(w_sku)s::text[], %(w_on_hand)s::bigint[], %(w_reserved)s::bigint[],
            %(w_allocated)s::bigint[], %(w_damaged)s::bigint[], %(w_quality_control)s::bigint[], %(w_expired)s::bigint[],
            %(w_safety_stock)s::bigint[], %(w_backorder_limit)s::bigint[], %(w_incoming)s::jsonb[], %(w_version)s::bigint[],
            %(w_observed_at)s::timestamptz[]) u
        ON CONFLICT (tenant_id, location_id, sku_key) DO UPDATE SET on_hand = excluded.on_hand,
            reserved = excluded.reserved, allocated = excluded.allocated, damaged = excluded.damaged,
            quality_control = excluded.quality_control, expired = excluded.expired, safety_stock = excluded.safety_stock,
            backorder_limit = excluded.backorder_limit, incoming = excluded.incoming, version = excluded.version,
            observed_at = excluded.observed_at, updated_at = excluded.updated_at""",
    "ledger": """
        INSERT INTO ledger (tenant_id, location_id, recorded_at, seq, line, sku, from_state, to_state, quantity, reason,
            ref_type, ref_id, actor, terminal, occurred_at)
        SELECT %(tenant)s, %(location)s, %(now)s, u.*
        FROM unnest(%(m_seq)s::bigint[], %(m_line)s::bigint[], %(m_sku)s::text[], %(m_from)s::bigint[], %(m_to)s::bigint[],
            %(m_quantity)s::bigint[], %(m_reason)s::bigint[], %(m_ref_type)s::text[], %(m_ref_id)s::text[],
            %(m_actor)s::text[], %(m_terminal)s::text[], %(m_occurred_at)s::timestamptz[]) u""",
    "holds": """
        INSERT INTO hold (tenant_id, location_id, created_at, id, line, sku, quantity, state, order_ref, expires_at, created_seq)
        SELECT %(tenant)s, %(location)s, %(now)s, u.*
        FROM unnest(%(h_id)s::uuid[], %(h_line)s::bigint[], %(h_sku)s::text[], %(h_quantity)s::bigint[], %(h_state)s::bigint[],
            %(h_order_ref)s::text[], %(h_expires_at)s::timestamptz[], %(h_seq)s::bigint[]) u""",
    "changed_holds": """
        UPDATE hold x SET state = u.state, expires_at = u.expires_at
        FROM unnest(%(c_id)s::uuid[], %(c_state)s::bigint[], %(c_expires_at)s::timestamptz[]) u (id, state, expires_at)
        WHERE x.tenant_id = %(tenant)s AND x.id = u.id""",
    "buckets": """
        INSERT INTO hold_bucket AS x (tenant_id, location_id, sku_key, expires_at, quantity)
        SELECT %(tenant)s, %(location)s, u.*
        FROM unnest(%(b_key)s::text[], %(b_expires_at)s::timestamptz[], %(b_quantity)s::bigint[]) u
        ON CONFLICT (tenant_id, location_id, sku_key, expires_at) DO UPDATE SET quantity = x.quantity + excluded.quantity""",
    "taken": """
        UPDATE hold_bucket x SET quantity = x.quantity - u.quantity
        FROM unnest(%(t_key)s::text[], %(t_expires_at)s::timestamptz[], %(t_quantity)s::bigint[]) u (sku_key, expires_at, quantity)
        WHERE x.tenant_id = %(tenant)s AND x.location_id = %(location)s AND x.sku_key = u.sku_key
          AND x.expires_at = u.expires_at""",
    "due": """
        DELETE FROM hold_bucket WHERE tenant_id = %(tenant)s AND location_id = %(location)s AND sku_key = ANY (%(due)s)
          AND expires_at <= %(now)s""",
    "exceptions": """
        INSERT INTO stock_exception (tenant_id, location_id, recorded_at, id, kind, sku, quantity, ref_type, ref_id)
        SELECT %(tenant)s, %(location)s, %(now)s, u.*
        FROM unnest(%(x_id)s::uuid[], %(x_kind)s::bigint[], %(x_sku)s::text[], %(x_quantity)s::bigint[],
            %(x_ref_type)s::text[], %(x_ref_id)s::text[]) u""",
    "cursors": """
        INSERT INTO inbox_cursor AS x (tenant_id, key, consumer, epoch, seq)
        SELECT %(tenant)s, %(o_key)s, u.* FROM unnest(%(k_consumer)s::text[], %(k_epoch)s::bigint[], %(k_seq)s::bigint[]) u
        ON CONFLICT (tenant_id, consumer, key) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
            updated_at = clock_timestamp()""",
    "answers": """
        INSERT INTO idempotency (tenant_id, principal, method, key, fingerprint, response, day)
        SELECT %(tenant)s, u.*, d.day
        FROM unnest(%(a_principal)s::text[], %(a_method)s::text[], %(a_key)s::text[], %(a_fingerprint)s::bytea[],
            %(a_response)s::bytea[]) u, unnest(%(days)s::timestamptz[]) d (day)""",
    "event": """
        INSERT INTO outbox (tenant_id, key, seq_to, recorded_at, seq_from, epoch, id, shard, type, occurred_at, traceparent,
            causation_id, data)
        VALUES (%(tenant)s, %(o_key)s, %(seq)s, %(now)s, %(o_seq_from)s, %(o_epoch)s, %(o_id)s, %(o_shard)s, %(o_type)s,
            %(now)s, %(o_traceparent)s, %(o_causation_id)s, %(o_data)s)""",
}


@functools.cache
def _statement(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The statement with $1, $2, … and the names of its parameters, in order. A few dozen combinations exist.

    psycopg parses a statement with named parameters anew each time when it is as long as this one; a raw cursor doesn't.
    """
    with_parts = ", ".join(f"{name} AS ({PARTS[name]})" for name in parts)
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", with_parts)))
    for number, name in enumerate(names, 1):
        with_parts = with_parts.replace(f"%({name})s", f"${number}")
    return f"WITH {with_parts} SELECT 1", names


def _unzip(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def days_around(now: dt.datetime) -> list[dt.datetime]:
    """UTC days that now, give or take 5 minutes, touches (services/kit/idempotency.py says why)."""
    margin = dt.timedelta(minutes=5)
    days = {(now + offset).astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0) for offset in (-margin, margin)}  # fmt: skip
    return sorted(days)


class Batch:
    """Collects what a batch writes, part by part, and writes it with its end."""

    def __init__(self, tenant: str, location: uuid.UUID, key: str, now: dt.datetime, seq: int) -> None:
        self._parts: list[str] = []
        self._values: dict[str, Any] = {"tenant": tenant, "location": location, "now": now, "seq": seq, "o_key": key}

    def _add(self, part: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._parts.append(part)
            self._values |= _unzip(names, rows)

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
                "l_version",
            ),
            [
                (key, v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.version)
                for key, v in touched.items()
                if key not in whole
            ],
        )
        self._add(
            "whole_levels",
            ("w_key", "w_sku", "w_on_hand", "w_reserved", "w_allocated", "w_damaged", "w_quality_control", "w_expired",
             "w_safety_stock", "w_backorder_limit", "w_incoming", "w_version", "w_observed_at"),
            [
                (key, v.sku, v.on_hand, v.reserved, v.allocated, v.damaged, v.quality_control, v.expired, v.safety_stock,
                 v.backorder_limit, _incoming_json(v.incoming), v.version, v.observed_at)
                for key, v in whole.items()
            ],
        )  # fmt: skip
        self._add(
            "ledger",
            ("m_seq", "m_line", "m_sku", "m_from", "m_to", "m_quantity", "m_reason", "m_ref_type", "m_ref_id", "m_actor",
             "m_terminal", "m_occurred_at"),
            movements,
        )  # fmt: skip

    def holds(self, new: Sequence[values.Hold], changed: Sequence[values.Hold]) -> None:
        """Reservations."""
        self._add(
            "holds",
            ("h_id", "h_line", "h_sku", "h_quantity", "h_state", "h_order_ref", "h_expires_at", "h_seq"),
            [
                (
                    hold.id,
                    number,
                    line.sku,
                    line.quantity,
                    int(hold.state),
                    hold.order_ref,
                    hold.expires_at,
                    hold.created_seq,
                )
                for hold in new
                for number, line in enumerate(hold.lines, 1)
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

    def exceptions(self, raised: Sequence[values.RaisedException]) -> None:
        """What a person has to look at."""
        rows = [(x.id, int(x.kind), x.sku, x.quantity, x.ref_type, x.ref_id) for x in raised]
        self._add("exceptions", ("x_id", "x_kind", "x_sku", "x_quantity", "x_ref_type", "x_ref_id"), rows)

    def cursors(self, moved: Mapping[str, tuple[int, int]]) -> None:
        """How far consumers have come."""
        self._add("cursors", ("k_consumer", "k_epoch", "k_seq"), [(name, *at) for name, at in moved.items()])

    def answers(self, answers: Sequence[Answer]) -> None:
        """Successes, for when their keys come again."""
        rows = [(a.key.principal, a.key.method, a.key.key, a.key.fingerprint, a.response) for a in answers]
        self._add("answers", ("a_principal", "a_method", "a_key", "a_fingerprint", "a_response"), rows)
        self._values["days"] = days_around(self._values["now"])

    def event(self, event: Event, epoch: int) -> None:
        """The outbox row: all changes of the batch."""
        self._parts.append("event")
        self._values |= {
            "o_id": event.id, "o_shard": event.shard, "o_type": event.type, "o_seq_from": event.seq_from, "o_epoch": epoch,
            "o_traceparent": event.traceparent, "o_causation_id": event.causation_id, "o_data": event.data,
        }  # fmt: skip

    async def write(self, connection: database.LaneConnection) -> None:
        """Writes all parts and commits, in one round trip."""
        async with connection.pipeline():
            if self._parts:
                statement, names = _statement(tuple(self._parts))
                cursor = psycopg.AsyncRawCursor(connection)
                await cursor.execute(statement, [self._values[name] for name in names], prepare=True)
            await database.commit(connection)


def _incoming_json(incoming: Sequence[values.Incoming]) -> Jsonb:
    return Jsonb([{"quantity": i.quantity, "eta": i.eta.isoformat(), "reference": i.reference} for i in incoming])

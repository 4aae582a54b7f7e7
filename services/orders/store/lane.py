"""SQL of the sales lane: what a batch locks and looks up, and the statement that writes it. Two round
trips a batch.

The location's head row is the only lock, in a statement of its own: in READ COMMITTED a statement's snapshot is older
than its wait. Look-up and clock come after it.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.kit import binary, events, idempotency, outbox, pipeline
from services.orders.domain import sale as domain

HEAD = pipeline.Statement("SELECT seq, epoch FROM order_head WHERE tenant_id = $1 AND location_id = $2 FOR UPDATE")
MAKE_HEAD = pipeline.Statement("INSERT INTO order_head (tenant_id, location_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
# The clock, and which of the sales are recorded already. Always at least one row. Generic plans are often made while a
# table is empty, when all plans look equal: LIMIT keeps the planner from a hash of all orders of the tenant, and
# ORDER BY from any other index than the unique one (both were seen, and cost 30 ms a batch).
RECORDED = pipeline.Statement("""
SELECT clock_timestamp(), x.n, x.id, x.fingerprint
FROM (SELECT 1) one LEFT JOIN LATERAL (
    SELECT u.n, o.id, o.fingerprint
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY u (terminal_id, client_sale_id, n), LATERAL (
        SELECT id, fingerprint, client_sale_id FROM sales_order
        WHERE tenant_id = $1 AND terminal_id = u.terminal_id AND client_sale_id >= u.client_sale_id
        ORDER BY client_sale_id LIMIT 1
    ) o WHERE o.client_sale_id = u.client_sale_id
) x ON true
""")
# All locations of a batch in one statement: a statement costs as much as ten of its rows.
WRITE = pipeline.Named(f"""
WITH head AS (
    UPDATE order_head h SET seq = u.seq FROM unnest(%(locations)s::uuid[], %(seqs)s::bigint[]) u (location_id, seq)
    WHERE h.tenant_id = %(tenant)s::uuid AND h.location_id = u.location_id
), orders AS (
    INSERT INTO sales_order (tenant_id, recorded_at, channel, state, location_id, id, seq, terminal_id, client_sale_id,
        fingerprint, currency_code, tax_inclusive, net_total, tax_total, discount_total, total, line_count, unit_count,
        customer_id, campaign_id, reservation_id, business_date, business_hour, occurred_at, clock_skewed, actor)
    SELECT %(tenant)s::uuid, %(now)s::timestamptz, {domain.Channel.POS:d}, {domain.OrderState.COMPLETED:d}, u.*
    FROM unnest(%(o_location)s::uuid[], %(o_id)s::uuid[], %(o_seq)s::bigint[], %(o_terminal)s::text[],
        %(o_sale)s::text[], %(o_print)s::bytea[], %(o_currency)s::text[], %(o_inclusive)s::boolean[],
        %(o_net)s::bigint[], %(o_tax)s::bigint[], %(o_discount)s::bigint[], %(o_total)s::bigint[],
        %(o_lines)s::bigint[], %(o_units)s::bigint[], %(o_customer)s::uuid[], %(o_campaign)s::text[],
        %(o_reservation)s::uuid[], %(o_date)s::date[], %(o_hour)s::bigint[], %(o_occurred)s::timestamptz[],
        %(o_skewed)s::boolean[], %(o_actor)s::text[]) u
), lines AS (
    INSERT INTO order_line (tenant_id, location_id, order_id, business_date, business_hour, currency_code, campaign_id,
        id, number, kind, unresolved, quantity, unit_price, net_amount, tax_amount, discount_amount, product_id, sku,
        name, category, price_id, taxes, discounts, components, lot)
    SELECT %(tenant)s::uuid, u.*
    FROM unnest(%(l_location)s::uuid[], %(l_order)s::uuid[], %(l_date)s::date[], %(l_hour)s::bigint[],
        %(l_currency)s::text[], %(l_campaign)s::text[], %(l_id)s::uuid[], %(l_number)s::bigint[],
        %(l_kind)s::bigint[], %(l_unresolved)s::boolean[], %(l_quantity)s::bigint[], %(l_price)s::bigint[],
        %(l_net)s::bigint[], %(l_tax)s::bigint[], %(l_discount)s::bigint[], %(l_product)s::uuid[], %(l_sku)s::text[],
        %(l_name)s::text[], %(l_category)s::text[], %(l_price_id)s::text[], %(l_taxes)s::jsonb[],
        %(l_discounts)s::jsonb[], %(l_components)s::jsonb[], %(l_lot)s::text[]) u
), tenders AS (
    INSERT INTO order_tender (tenant_id, location_id, order_id, business_date, business_hour, currency_code,
        campaign_id, number, type, amount, details)
    SELECT %(tenant)s::uuid, u.*
    FROM unnest(%(t_location)s::uuid[], %(t_order)s::uuid[], %(t_date)s::date[], %(t_hour)s::bigint[],
        %(t_currency)s::text[], %(t_campaign)s::text[], %(t_number)s::bigint[], %(t_type)s::bigint[],
        %(t_amount)s::bigint[], %(t_details)s::text[]) u
)
{outbox.LANE_INSERT}
""")

# Position among the batch's commands -> order id and fingerprint of what was recorded before.
Found = dict[int, tuple[uuid.UUID, bytes]]


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a location's lane. tenant_id and location_id are TypeID texts, the others their uuids."""

    tenant: str
    location: uuid.UUID
    tenant_id: str
    location_id: str


class Head(NamedTuple):
    """A location's position, under its lock."""

    seq: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The heads under their locks, the clock after them, and what was recorded before, by position in the batch."""

    heads: Mapping[uuid.UUID, Head]
    now: dt.datetime
    recorded: Found
    answered: Found


async def load(
    connection: pipeline.LaneConnection,
    tenant: str,
    locations: Iterable[uuid.UUID],
    sales: Sequence[tuple[str, str]],
    keys: Sequence[idempotency.Key | None],
) -> Loaded:
    """Begins, locks the heads (made by a location's first sale), then looks up the sales and reads the clock.

    sales: (terminal, its id of the sale); keys: None where no key was sent.
    """
    owner, places = uuid.UUID(tenant), sorted(set(locations))
    asked = [n for n, key in enumerate(keys) if key is not None]
    queries: list[pipeline.Query] = [(HEAD, (owner.bytes, location.bytes)) for location in places]
    terminals, ids = [sale[0] for sale in sales], [sale[1] for sale in sales]
    queries.append((RECORDED, (owner.bytes, binary.texts(terminals), binary.texts(ids))))
    if asked:
        queries.append(idempotency.look_up(owner, [key for key in keys if key is not None]))
    found = await connection.begin(tenant, *queries)
    heads = {location: Head(*rows[0]) for location, rows in zip(places, found, strict=False) if rows}
    if new := [location for location in places if location not in heads]:
        await connection.commit_with(*[(MAKE_HEAD, (owner.bytes, location.bytes)) for location in new])
        return await load(connection, tenant, places, sales, keys)
    recorded = found[len(places)]
    return Loaded(
        heads=heads,
        now=recorded[0][0],
        recorded={row[1] - 1: (row[2], row[3]) for row in recorded if row[1] is not None},
        answered={asked[row[0] - 1]: (uuid.UUID(bytes=row[2]), row[1]) for row in (found[-1] if asked else ())},
    )


class Writes(NamedTuple):
    """What a batch writes at a location: its orders in order of seq, their fingerprints, and the event of both."""

    key: Key
    orders: Sequence[domain.Order]
    fingerprints: Sequence[bytes]
    event: events.Event


async def write(
    connection: pipeline.LaneConnection,
    writes: Sequence[Writes],
    answers: Sequence[idempotency.Answer],
    now: dt.datetime,
) -> None:
    """Writes a batch and commits, in one round trip. At least one location."""
    tenant = uuid.UUID(writes[0].key.tenant)
    queries = [WRITE.bind({"tenant": tenant, "now": now, **_written(writes, now)})]
    if answers:
        queries.append(idempotency.remember(tenant, answers, now))
    await connection.commit_with(*queries)


def _written(writes: Sequence[Writes], now: dt.datetime) -> dict[str, Any]:
    orders = [order for of in writes for order in of.orders]
    return {
        "locations": [of.key.location for of in writes],
        "seqs": [of.event.seq_to for of in writes],
        **_orders(orders, [fingerprint for of in writes for fingerprint in of.fingerprints]),
        **_lines(orders),
        **_tenders(orders),
        **outbox.lane_parameters([of.event for of in writes], now),
    }


def _orders(orders: Sequence[domain.Order], fingerprints: Sequence[bytes]) -> dict[str, Sequence[Any]]:
    return {
        "o_location": [o.location_id for o in orders],
        "o_id": [o.id for o in orders],
        "o_seq": [o.seq for o in orders],
        "o_terminal": [o.terminal_id for o in orders],
        "o_sale": [o.client_sale_id for o in orders],
        "o_print": fingerprints,
        "o_currency": [o.currency_code for o in orders],
        "o_inclusive": [o.tax_inclusive for o in orders],
        "o_net": [o.net_total for o in orders],
        "o_tax": [o.tax_total for o in orders],
        "o_discount": [o.discount_total for o in orders],
        "o_total": [o.total for o in orders],
        "o_lines": [len(o.lines) for o in orders],
        "o_units": [sum([line.quantity for line in o.lines]) for o in orders],
        "o_customer": [o.customer_id for o in orders],
        "o_campaign": [o.campaign_id for o in orders],
        "o_reservation": [o.reservation_id for o in orders],
        "o_date": [o.business_date for o in orders],
        "o_hour": [o.business_hour for o in orders],
        "o_occurred": [o.occurred_at for o in orders],
        "o_skewed": [o.clock_skewed for o in orders],
        "o_actor": [o.actor for o in orders],
    }


def _owners(prefix: str, owners: Sequence[domain.Order]) -> dict[str, Sequence[Any]]:
    """What every line or tender repeats of its order."""
    return {
        f"{prefix}_location": [o.location_id for o in owners],
        f"{prefix}_order": [o.id for o in owners],
        f"{prefix}_date": [o.business_date for o in owners],
        f"{prefix}_hour": [o.business_hour for o in owners],
        f"{prefix}_currency": [o.currency_code for o in owners],
        f"{prefix}_campaign": [o.campaign_id for o in owners],
    }


def _lines(orders: Sequence[domain.Order]) -> dict[str, Sequence[Any]]:
    lines = [line for order in orders for line in order.lines]
    return {
        **_owners("l", [order for order in orders for _ in order.lines]),
        "l_id": [line.id for line in lines],
        "l_number": [line.number for line in lines],
        "l_kind": [line.kind for line in lines],
        "l_unresolved": [line.unresolved for line in lines],
        "l_quantity": [line.quantity for line in lines],
        "l_price": [line.unit_price for line in lines],
        "l_net": [line.net_amount for line in lines],
        "l_tax": [line.tax_amount for line in lines],
        "l_discount": [line.discount_amount for line in lines],
        "l_product": [line.product_id for line in lines],
        "l_sku": [line.sku for line in lines],
        "l_name": [line.name for line in lines],
        "l_category": [line.category for line in lines],
        "l_price_id": [line.price_id for line in lines],
        "l_taxes": [_taxes_json(line.taxes) for line in lines],
        "l_discounts": [_discounts_json(line.discounts) for line in lines],
        "l_components": [json.dumps(line.components) if line.components else None for line in lines],
        "l_lot": [line.lot for line in lines],
    }


def _taxes_json(taxes: Sequence[domain.Tax]) -> str | None:
    return json.dumps([{"name": t.name, "rate": t.rate, "amount": t.amount} for t in taxes]) if taxes else None


def _discounts_json(discounts: Sequence[domain.Discount]) -> str | None:
    if not discounts:
        return None
    return json.dumps([{"name": d.name, "amount": d.amount, "campaign_id": d.campaign_id} for d in discounts])


def _tenders(orders: Sequence[domain.Order]) -> dict[str, Sequence[Any]]:
    tenders = [tender for order in orders for tender in order.tenders]
    return {
        **_owners("t", [order for order in orders for _ in order.tenders]),
        "t_number": [number for o in orders for number in range(1, len(o.tenders) + 1)],
        "t_type": [tender.type for tender in tenders],
        "t_amount": [tender.amount for tender in tenders],
        "t_details": [tender.details for tender in tenders],
    }

"""Two years of a brand's orders, made by SQL as the administrator: 5,000,000 with lines, payments, groups and history.

Made as they would have come about, not through the saga: 65 of 100 were rung up at tills, the others come from the web, by
phone and from a marketplace; a few customers have very many, a few places sell very much; 92 of 100 are at their end, and
those that are not are mostly of the last months. What an order is follows from its number, so each run makes the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg

#: Loading with indexes takes several times as long, and leaves them larger than building them.
TABLES: Final = (
    "sales_order",
    "order_line",
    "order_tender",
    "payment",
    "order_group",
    "order_group_line",
    "order_parcel",
    "order_history",
)
DAYS: Final = 730
WAREHOUSES: Final = 8
#: Sold online at the last location, by two marketplaces at the one before it.
ONLINE: Final = 2
SETTINGS: Final = """
SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; SET work_mem = '64MB';
SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = '64MB'
"""
#: A number between 0 and 1 that follows from n: chance(n, 1), chance(n, 2)… have nothing to do with each other.
CHANCE: Final = """
CREATE FUNCTION pg_temp.chance(n bigint, which int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (hashint8extended(n, which) & 1048575) / 1048576.0::float8 $$
"""
CUSTOMERS: Final = """
INSERT INTO customer (tenant_id, id, state, guest, locale, created_at, updated_at, version)
SELECT %(tenant)s, md5('customer ' || n)::uuid, 1, false, 'de-AT', %(since)s, %(since)s, 1
FROM generate_series(0, %(customers)s - 1) n
"""
# One of a hundred was merged into the customer before: whose history then has two parts.
MERGED: Final = """
UPDATE customer SET state = 2, merged_into = md5('customer ' || n - 1)::uuid
FROM generate_series(1, %(customers)s - 1, 100) n WHERE tenant_id = %(tenant)s AND id = md5('customer ' || n)::uuid
"""
HEADS: Final = """
INSERT INTO order_head (tenant_id, location_id, seq) SELECT %(tenant)s, unnest(%(locations)s::uuid[]), %(orders)s
ON CONFLICT DO NOTHING
"""
ORDERS: Final = """
INSERT INTO sales_order (tenant_id, id, location_id, seq, channel, state, tax_inclusive, clock_skewed, business_hour,
    line_count, business_date, unit_count, net_total, tax_total, discount_total, total, occurred_at, recorded_at,
    customer_id, currency_code, campaign_id, terminal_id, client_sale_id, fingerprint, actor, number, method, address_id,
    country_code, delivery_method, rounding_mode, tax_level, tax_country, tax_policy_version, capture, cancel_reason,
    placed_at, updated_at, external_reference, marketplace)
SELECT %(tenant)s, id, (%(locations)s::uuid[])[place], n, channel, state, true, false, extract(hour FROM at)::smallint,
    lines, at::date, lines, lines * 1000, lines * 167, 0, lines * 1000, at, at + interval '80 ms',
    CASE WHEN chance(n, 3) < CASE channel WHEN 1 THEN 0.4 ELSE 0.95 END
         THEN md5('customer ' || floor(%(customers)s * power(chance(n, 4), 3))::bigint)::uuid END,
    'EUR', '', CASE channel WHEN 1 THEN 'till-' || place || '-' || n %% 4 ELSE '' END,
    CASE channel WHEN 1 THEN n::text ELSE 'order:' || id END, '\\x', 'usr_made',
    CASE WHEN channel <> 1 AND state <> 1 THEN n END, CASE WHEN channel = 1 THEN 0 ELSE 1 END,
    CASE WHEN channel = 1 THEN '' ELSE 'adr-' || n END, CASE WHEN channel = 1 THEN '' ELSE 'AT' END,
    CASE WHEN channel = 1 THEN '' ELSE 'standard' END, CASE WHEN channel = 1 THEN 0 ELSE 1 END,
    CASE WHEN channel = 1 THEN 0 ELSE 1 END, CASE WHEN channel = 1 THEN '' ELSE 'AT' END,
    CASE WHEN channel = 1 THEN 0 ELSE 1 END, CASE WHEN channel = 1 THEN 0 ELSE 1 END, CASE state WHEN 5 THEN 1 ELSE 0 END,
    CASE WHEN channel <> 1 AND state IN (3, 4, 5) THEN at END, CASE WHEN channel <> 1 THEN at + interval '2 days' END,
    CASE channel WHEN 4 THEN 'MP-' || n ELSE '' END, CASE channel WHEN 4 THEN 'market' ELSE '' END
FROM (
    SELECT n, at, channel,
        (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
            || substr(md5(n::text), 4, 15))::uuid AS id,
        CASE channel WHEN 2 THEN %(places)s WHEN 4 THEN %(places)s - 1
            ELSE 1 + floor((%(places)s - %(others)s) * power(chance(n, 5), 1.5))::int END AS place,
        CASE WHEN channel = 1 THEN 4
            WHEN chance(n, 6) < CASE WHEN n > 0.8 * %(orders)s THEN 0.85 ELSE 0.075 END THEN 3
            WHEN chance(n, 7) < 0.001 THEN 2 WHEN chance(n, 7) < 0.003 THEN 1
            WHEN chance(n, 7) < 0.06 THEN 5 WHEN chance(n, 7) < 0.08 THEN 6 ELSE 4 END AS state,
        CASE WHEN chance(n, 8) < 0.6 THEN 1 WHEN chance(n, 8) < 0.85 THEN 2 WHEN chance(n, 8) < 0.95 THEN 3 ELSE 5 END AS lines
    FROM (
        SELECT n, %(since)s::timestamptz + %(span)s::interval * ((n - chance(n, 1)) / %(orders)s) AS at,
            CASE WHEN chance(n, 2) < 0.65 THEN 1 WHEN chance(n, 2) < 0.93 THEN 2 WHEN chance(n, 2) < 0.95 THEN 3
                ELSE 4 END AS channel
        FROM generate_series(1, %(orders)s::bigint) n
    ) drawn
) decided
"""
LINES: Final = """
INSERT INTO order_line (tenant_id, location_id, business_date, order_id, number, business_hour, kind, unresolved, id, quantity,
    unit_price, net_amount, tax_amount, discount_amount, product_id, currency_code, campaign_id, sku, name, category, price_id,
    taxes, counted)
SELECT tenant_id, location_id, business_date, o.id, k, business_hour, 1, false, md5(seq || '-' || k)::uuid, 1, 1000, 1000, 167, 0,
    md5((seq * 5 + k) %% 25000 || ' product')::uuid, 'EUR', '', 'SKU-' || (seq * 5 + k) %% 25000,
    'A thing of some name ' || (seq * 5 + k) %% 25000, 'Face/Lips', '',
    '[{"name": "VAT", "rate": "0.2", "amount": 167}]', state IN (3, 4)
FROM sales_order o, generate_series(1, line_count) k WHERE tenant_id = %(tenant)s
"""
TENDERS: Final = """
INSERT INTO order_tender (tenant_id, location_id, business_date, order_id, number, business_hour, type, amount, currency_code,
    campaign_id, details)
SELECT tenant_id, location_id, business_date, id, 1, business_hour, 2, total, 'EUR', '', ''
FROM sales_order WHERE tenant_id = %(tenant)s AND state IN (3, 4)
"""
PAYMENTS: Final = """
INSERT INTO payment (tenant_id, id, order_id, provider, state, amount, authorised, captured, refunded, occurred_at,
    created_at, updated_at, currency_code, method, reference)
SELECT tenant_id, md5('payment ' || seq)::uuid, id, 1, CASE state WHEN 5 THEN 8 ELSE 5 END, total, total, total,
    CASE state WHEN 5 THEN total ELSE 0 END, occurred_at, occurred_at, occurred_at, 'EUR', 'card', 'pi_' || seq
FROM sales_order WHERE tenant_id = %(tenant)s AND channel <> 1 AND state IN (3, 4, 5)
"""
# Six of ten are sent from a warehouse, one of seven from two places.
GROUPS: Final = """
INSERT INTO order_group (tenant_id, id, order_id, location_id, state, occurred_at, updated_at)
SELECT tenant_id, md5('group ' || seq || '-' || g)::uuid, id,
    (%(locations)s::uuid[])[CASE WHEN chance(seq, 10 + g) < 0.6
        THEN %(places)s - %(others)s + 1 + floor(%(warehouses)s * power(chance(seq, 12 + g), 2))::int
        ELSE 1 + floor((%(places)s - %(others)s) * chance(seq, 12 + g))::int END],
    CASE state WHEN 4 THEN 8 ELSE 1 END, occurred_at, updated_at
FROM sales_order, generate_series(1, CASE WHEN chance(seq, 9) < 0.15 AND line_count > 1 THEN 2 ELSE 1 END) g
WHERE tenant_id = %(tenant)s AND channel <> 1 AND state IN (3, 4)
"""
GROUP_LINES: Final = """
INSERT INTO order_group_line (tenant_id, group_id, reservation_id, line_number, quantity, sku)
SELECT tenant_id, md5('group ' || seq || '-' || CASE WHEN chance(seq, 9) < 0.15 AND line_count > 1 THEN 1 + k %% 2 ELSE 1 END)::uuid,
    id, k, 1, 'SKU-' || (seq * 5 + k) %% 25000
FROM sales_order, generate_series(1, line_count) k
WHERE tenant_id = %(tenant)s AND channel <> 1 AND state IN (3, 4)
"""
PARCELS: Final = """
INSERT INTO order_parcel (tenant_id, id, group_id, state, updated_at)
SELECT tenant_id, md5('parcel ' || id)::uuid, id, 6, updated_at FROM order_group WHERE tenant_id = %(tenant)s AND state = 8
"""
HISTORY: Final = """
INSERT INTO order_history (tenant_id, order_id, number, machine, version, at, target_id, from_state, to_state, reason, actor)
SELECT tenant_id, id, k, CASE WHEN k IN (1, 5) THEN 1 ELSE 3 END, k, occurred_at + k * interval '5 hours',
    CASE WHEN k IN (1, 5) THEN NULL ELSE md5('group ' || seq || '-1')::uuid END,
    ('{PENDING,OPEN,PICKING,HANDED_OVER,PLACED}'::text[])[k],
    CASE WHEN k = 1 AND state IN (5, 6) THEN 'CANCELLED' ELSE ('{PLACED,PICKING,HANDED_OVER,DELIVERED,COMPLETED}'::text[])[k] END,
    '', 'usr_made'
FROM sales_order, generate_series(1, CASE state WHEN 4 THEN 5 ELSE 1 END) k
WHERE tenant_id = %(tenant)s AND channel <> 1 AND state > 2
"""
STEPS: Final = (
    ("customers", CUSTOMERS),
    ("merged customers", MERGED),
    ("heads", HEADS),
    ("orders", ORDERS),
    ("lines", LINES),
    ("tenders", TENDERS),
    ("payments", PAYMENTS),
    ("groups", GROUPS),
    ("lines of groups", GROUP_LINES),
    ("parcels", PARCELS),
    ("history", HISTORY),
)
#: Constraints first: dropping one drops its index.
CONSTRAINTS: Final = """
SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I', t.relname, c.conname),
       format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', t.relname, c.conname, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid WHERE t.relname = ANY (%(tables)s) AND c.contype IN ('p', 'u')
"""
INDEXES: Final = """
SELECT format('DROP INDEX %%I', indexname), indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename = ANY (%(tables)s)
    AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u'))
"""
SIZES: Final = "SELECT sum(pg_table_size(oid))::float8, sum(pg_indexes_size(oid))::float8 FROM pg_class WHERE relname = ANY (%(tables)s)"


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. locations: the last ones are warehouses and online stores."""

    orders: int
    locations: int
    customers: int


FULL: Final = Size(5_000_000, 400, 800_000)
SHORT: Final = Size(20_000, 40, 3_000)


@dataclass(frozen=True, slots=True)
class Made:
    """What there is now. Sizes in GB, of the tables of orders."""

    until: dt.datetime
    seconds: float
    tables_gb: float
    indexes_gb: float


def customer(number: int) -> uuid.UUID:
    """A customer, the lower the number the more has been bought; of 1, 101, 201… the one before has taken the place."""
    return uuid.UUID(hashlib.md5(f"customer {number}".encode(), usedforsecurity=False).hexdigest())


def make(
    session: psycopg.Connection[Any],
    tenant: str,
    locations: list[uuid.UUID],
    size: Size,
    said: Callable[[str], None] = lambda _: None,
) -> Made:
    """Makes the orders of a tenant (uuid text), the last of which is of now. session: an administrator's, autocommit."""
    begun = dt.datetime.now(dt.UTC)
    values = {
        "tenant": tenant,
        "locations": locations,
        "places": len(locations),
        "orders": size.orders,
        "customers": size.customers,
        "warehouses": WAREHOUSES,
        "others": WAREHOUSES + ONLINE,
        "since": begun - dt.timedelta(days=DAYS),
        "span": dt.timedelta(days=DAYS),
        "tables": list(TABLES),
    }
    session.execute(SETTINGS)
    session.execute(CHANCE)
    dropped = [*session.execute(CONSTRAINTS, values), *session.execute(INDEXES, values)]
    for drop, _ in dropped:
        session.execute(drop)
    for name, statement in STEPS:
        session.execute(statement.replace("chance(", "pg_temp.chance("), values)
        said(f"{name} after {(dt.datetime.now(dt.UTC) - begun).total_seconds():.0f} s")
    for _, create in dropped:
        session.execute(create)
    said(f"indexes after {(dt.datetime.now(dt.UTC) - begun).total_seconds():.0f} s")
    session.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}, customer, order_head")
    session.execute("CHECKPOINT")
    row = session.execute(SIZES, values).fetchone()
    assert row is not None
    seconds = (dt.datetime.now(dt.UTC) - begun).total_seconds()
    return Made(begun, round(seconds, 1), round(row[0] / 1e9, 2), round(row[1] / 1e9, 2))

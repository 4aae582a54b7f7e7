"""SQL of sourcing: where a request could be served from, and what is there. Unlocked: the lanes decide again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from services.inventory.domain.bundles import Bundle, Bundles, Component
from services.kit import binary, pipeline

CANDIDATES_MAX = 400
SHIP_FROM, PICKUP = 3, 2  # LocationCapability
PLACES = pipeline.Statement("""
SELECT id, type, address -> 'coordinates', usable
FROM location, LATERAL (SELECT NOT closed AND $2::bigint = ANY (capabilities) AS usable) u
WHERE tenant_id = $1 AND CASE WHEN $3::uuid[] IS NULL THEN usable ELSE id = ANY ($3::uuid[]) END
ORDER BY code_key LIMIT 401
""")
# What can be promised of each SKU at each location to a channel, as the lanes decide it: with what has run out, what may be
# backordered, and without lots that don't live long enough. Of a bundle, its parts, and of those the same, all in one moment:
# by another definition than that by which a bundle is taken apart, it would seem to be nowhere.
PROMISES = pipeline.Statement("""
WITH part AS MATERIALIZED (
    SELECT v.sku AS bundle, p.sku_key, p.sku, p.quantity FROM bundle_part p
    JOIN variant v ON v.tenant_id = p.tenant_id AND v.sku_key = p.bundle_key
    WHERE p.tenant_id = $1 AND p.bundle_key = ANY ($2::text[])
)
SELECT NULL AS location_id, sku_key, quantity, bundle, sku FROM part
UNION ALL
SELECT l.location_id, l.sku_key,
       least(l.available + coalesce(b.due, 0) - s.unsellable, l.available + l.safety_stock + coalesce(b.due, 0) - s.short_lived)
           + l.backorder_limit, NULL, NULL
FROM (SELECT unnest($2::text[]) UNION SELECT sku_key FROM part) k (sku_key)
JOIN stock_level l ON l.tenant_id = $1 AND l.sku_key = k.sku_key
LEFT JOIN LATERAL (SELECT sum(quantity)::bigint AS due FROM hold_bucket
    WHERE l.reserved > 0 AND tenant_id = l.tenant_id AND location_id = l.location_id AND sku_key = l.sku_key
      AND expires_at <= clock_timestamp()
) b ON true
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.units) FILTER (WHERE r.over), 0)::bigint AS unsellable, coalesce(sum(r.units), 0)::bigint AS short_lived
    FROM (
        SELECT o.recalled_at IS NOT NULL OR o.sell_until <= (SELECT clock_timestamp()) AS over, greatest(o.free + coalesce((
            SELECT sum(c.quantity)::bigint FROM lot_bucket c
            WHERE c.tenant_id = o.tenant_id AND c.location_id = o.location_id AND c.sku_key = o.sku_key AND c.lot = o.lot
              AND c.expires_at <= (SELECT clock_timestamp())
        ), 0), 0) AS units
        FROM stock_lot o JOIN variant v ON v.tenant_id = o.tenant_id AND v.sku_key = o.sku_key
        WHERE l.has_lots AND o.tenant_id = l.tenant_id AND o.location_id = l.location_id AND o.sku_key = l.sku_key
          AND (o.recalled_at IS NOT NULL OR o.sell_until <= (SELECT clock_timestamp())
               + coalesce((v.lot_policy -> 'minimum_life_days' ->> $3::text)::int, 0) * interval '24 hours')
    ) r
) s
""")
VARIANTS = pipeline.Statement("SELECT sku_key, sku FROM variant WHERE tenant_id = $1 AND sku_key = ANY ($2::text[])")


class Place(NamedTuple):
    """A location. coordinates: degrees north and east. usable: it is open and has the capability."""

    id: uuid.UUID
    type: int
    coordinates: tuple[float, float] | None
    usable: bool


class Found(NamedTuple):
    """Where a request could be served from. promises: units by location and folded SKU; spellings by folded SKU.

    bundles: those that are asked for. Of these, promises and spellings have the plain SKUs.
    """

    places: list[Place]
    promises: dict[uuid.UUID, dict[str, int]]
    spellings: dict[str, str]
    bundles: Bundles


async def find(
    connection: pipeline.LaneConnection,
    tenant: str,
    keys: Sequence[str],
    *,
    capability: int,
    within: Sequence[uuid.UUID] | None,
    channel: str,
) -> Found:
    """Locations by code, at most one more than CANDIDATES_MAX: those that are usable, or all that are named (within)."""
    owner, wanted = uuid.UUID(tenant).bytes, binary.texts(keys)
    places, promises, variants = await connection.ask(
        tenant,
        (PLACES, (owner, binary.number(capability), None if within is None else binary.uuids(within))),
        (PROMISES, (owner, wanted, channel.encode())),
        (VARIANTS, (owner, wanted)),
    )
    found: dict[uuid.UUID, dict[str, int]] = {}
    parts: dict[str, list[Component]] = {}
    spellings = dict(variants)
    for location, key, units, bundle, sku in promises:
        if location is None:
            parts.setdefault(bundle, []).append(Component(sku, units))
            spellings[key] = sku
        else:
            found.setdefault(location, {})[key] = units
    return Found(
        [Place(location, kind, tuple(point) if point else None, usable) for location, kind, point, usable in places],
        found,
        spellings,
        Bundles(Bundle(sku, tuple(components)) for sku, components in parts.items()),
    )

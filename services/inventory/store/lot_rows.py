"""How lots and their policies are kept: what the lane reads of them, and what reads take off for them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.inventory.domain import levels as values
from services.inventory.domain import lots
from services.kit import binary, pipeline

# The lots of levels that have some, and those that commands name. Guarded by the head row, as lots' dates and the location's
# zone are: whoever changes those locks it too (store/lots.py).
LOTS = pipeline.Statement("""
SELECT s.sku_key, s.on_hand, s.reserved, s.allocated, s.damaged, s.quality_control, s.expired, s.in_transit, s.lot,
       s.sell_until, s.recalled_at
FROM stock_lot s WHERE s.tenant_id = $1 AND s.location_id = $2 AND s.sku_key = ANY ($3::text[])
""")
NEW_LOTS = pipeline.Statement("""
SELECT d.sku_key, d.code, d.expires_on, d.best_before_on, d.recalled_at, p.timezone
FROM unnest($3::text[], $4::text[]) q (sku_key, code) JOIN lot d ON d.tenant_id = $1 AND d.sku_key = q.sku_key AND d.code = q.code
JOIN location p ON p.tenant_id = $1 AND p.id = $2
""")
# Lots that another location has, as they are here.
SENT = pipeline.Statement("""
SELECT d.sku_key, d.code, d.expires_on, d.best_before_on, d.recalled_at, p.timezone
FROM stock_lot s JOIN lot d ON d.tenant_id = s.tenant_id AND d.sku_key = s.sku_key AND d.code = s.lot
JOIN location p ON p.tenant_id = $1 AND p.id = $2
WHERE s.tenant_id = $1 AND s.location_id = $3 AND s.sku_key = ANY ($4::text[])
""")
POLICIES = pipeline.Statement("""
SELECT sku_key, lot_policy FROM variant WHERE tenant_id = $1 AND sku_key = ANY ($2::text[]) AND lot_policy IS NOT NULL
""")
# Read after the clock, so that nothing is missing that is due by it; what isn't yet is left out then.
LOT_BUCKETS = pipeline.Statement("""
SELECT sku_key, lot, expires_at, quantity FROM lot_bucket
WHERE tenant_id = $1 AND location_id = $2 AND sku_key = ANY ($3::text[]) AND expires_at <= (SELECT clock_timestamp())
""")


def queries(
    owner: bytes, location: uuid.UUID, keys: Iterable[str], named: Iterable[tuple[str, str]]
) -> dict[Any, pipeline.Query]:
    """The lots of some folded SKUs, by (what, location). named: those that are needed without units too."""
    place, skus = location.bytes, binary.texts(sorted(keys))
    found: dict[Any, pipeline.Query] = {
        ("lots", location): (LOTS, (owner, place, skus)),
        ("lot_buckets", location): (LOT_BUCKETS, (owner, place, skus)),
    }
    if pairs := sorted(named):
        codes = binary.texts([sku for sku, _ in pairs]), binary.texts([code for _, code in pairs])
        found["new_lots", location] = (NEW_LOTS, (owner, place, *codes))
    return found


def sent(owner: bytes, location: uuid.UUID, origin: uuid.UUID, keys: Iterable[str]) -> pipeline.Query:
    """Lots of folded SKUs that units may be of which come from another location. After its head is locked."""
    return SENT, (owner, location.bytes, origin.bytes, binary.texts(sorted(keys)))


def policies(owner: bytes, keys: Iterable[str]) -> pipeline.Query:
    """The policies of folded SKUs."""
    return POLICIES, (owner, binary.texts(sorted(keys)))


def by_sku(
    rows: Sequence[Sequence[Any]], new: Sequence[Sequence[Any]], of: Mapping[str, lots.Policy]
) -> dict[str, dict[str, values.LotStock]]:
    """LOTS and NEW_LOTS, by folded SKU and code."""
    found: dict[str, dict[str, values.LotStock]] = {}
    for key, code, expires_on, best_before_on, recalled_at, timezone in new:
        until = lots.sell_until(expires_on, best_before_on, of.get(key, lots.NO_POLICY), timezone)
        found.setdefault(key, {})[code] = values.LotStock(key, code=code, sell_until=until, recalled_at=recalled_at)
    for row in rows:
        lot = values.LotStock(*row)
        found.setdefault(lot.sku, {})[lot.code] = lot
    return found


def due(rows: Sequence[Sequence[Any]], now: dt.datetime) -> dict[tuple[str, str], int]:
    """LOT_BUCKETS that have run out, by folded SKU and code."""
    found: dict[tuple[str, str], int] = {}
    for key, code, expires_at, quantity in rows:
        if expires_at <= now:
            found[key, code] = found.get((key, code), 0) + quantity
    return found


def retiring(level: str) -> str:
    """Free units of lots that may not be sold any more and that no batch of the lane has put aside yet: recalled, expired.

    A sub-select for a LATERAL beside a level of that name. For a level without lots nothing is looked up.
    """
    return f"""
SELECT coalesce(sum(r.units) FILTER (WHERE r.recalled), 0)::bigint AS recalled,
       coalesce(sum(r.units) FILTER (WHERE NOT r.recalled), 0)::bigint AS expired
FROM (
    SELECT o.recalled_at IS NOT NULL AS recalled, greatest(o.free + coalesce((
        SELECT sum(c.quantity)::bigint FROM lot_bucket c
        WHERE c.tenant_id = o.tenant_id AND c.location_id = o.location_id AND c.sku_key = o.sku_key AND c.lot = o.lot
          AND c.expires_at <= (SELECT clock_timestamp())
    ), 0), 0) AS units
    FROM stock_lot o
    WHERE {level}.has_lots AND o.tenant_id = {level}.tenant_id AND o.location_id = {level}.location_id
      AND o.sku_key = {level}.sku_key AND (o.recalled_at IS NOT NULL OR o.sell_until <= (SELECT clock_timestamp()))
) r
"""


def policy_of(kept: Mapping[str, Any]) -> lots.Policy:
    """A policy from its JSON."""
    return lots.Policy(kept["sell_past_best_before"], kept["minimum_life_days"])


def policy_json(policy: lots.Policy | None) -> dict[str, Any] | None:
    """A policy as it is kept."""
    if policy is None:
        return None
    return {
        "sell_past_best_before": policy.sell_past_best_before,
        "minimum_life_days": dict(policy.minimum_life_days),
    }

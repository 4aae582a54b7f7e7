"""Searches over a tenant's orders, newest first: which indexes serve a filter. How pages come of them is in looking.py."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kit import database
from services.orders.domain import sale as domain
from services.orders.store import looking, reads

LOCATIONS_MAX: Final = 50
"""Locations of a token whose lists are merged; of who covers more, the newest orders of all are looked at."""
#: Parts of a filter, asked of an order `o`.
CONDITIONS: Final = {
    "number": "o.number = :number",
    "customers": "o.customer_id = ANY (CAST(:customers AS uuid[]))",
    "location": "o.location_id = CAST(:location AS uuid)",
    "served": """EXISTS (SELECT FROM order_group x WHERE x.tenant_id = o.tenant_id AND x.order_id = o.id
        AND x.location_id = CAST(:served AS uuid))""",
    "within": """(o.location_id = ANY (CAST(:within AS uuid[])) OR EXISTS (SELECT FROM order_group x
        WHERE x.tenant_id = o.tenant_id AND x.order_id = o.id AND x.location_id = ANY (CAST(:within AS uuid[]))))""",
    "reference": "o.external_reference = :reference AND o.external_reference <> ''",
    "state": "o.state = {state:d}",  # in the text: the planner has to see which partial index serves
    "channel": "o.channel = {channel:d}",
    "balance": """o.balance_due_at < CAST(:balance AS timestamptz) AND o.state = 3 AND o.total > (
        SELECT coalesce(sum(p.authorised - p.voided - p.refunded), 0) FROM payment p
        WHERE p.tenant_id = o.tenant_id AND p.order_id = o.id)""",
    # Asked last, and of the row only where the state leaves it open: no index has to hold it.
    "placed": """CASE WHEN o.state IN (5, 6) THEN (SELECT x.placed_at FROM sales_order x
        WHERE x.tenant_id = o.tenant_id AND x.id = o.id LIMIT 1) IS NOT NULL ELSE true END""",
}
#: States of what was never placed, or of any order: others are not asked.
_NEVER_PLACED: Final = (0, int(domain.OrderState.CANCELLED), int(domain.OrderState.EXPIRED))
#: Bounds of occurred_at, of an order or of a group, which repeats it.
TIMES: Final = {
    "since": "{}.occurred_at >= CAST(:since AS timestamptz)",
    "until": "{}.occurred_at < CAST(:until AS timestamptz)",
}
#: What nearly all orders are, if they are sales at tills.
COMMON: Final = {"state": int(domain.OrderState.COMPLETED), "channel": int(domain.Channel.POS)}
#: Parts of which hardly more than one order has the same: their index alone is looked at.
EXACT: Final = ("number", "reference", "customers", "balance")
#: What the indexes by time, location, state and channel hold, so that no row is read for it (migration 0009).
HELD: Final = frozenset({"location", "state", "channel", "placed"})


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep; None, 0 and empty: everything. within: only what is sold or fulfilled at one of these locations.

    unplaced: also what came to nothing without ever having been placed.
    """

    number: int = 0
    customer_ids: tuple[uuid.UUID, ...] = ()
    state: int = 0
    location_id: uuid.UUID | None = None
    fulfillment_location_id: uuid.UUID | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    channel: int = 0
    external_reference: str = ""
    balance_due_before: dt.datetime | None = None
    unplaced: bool = False
    within: tuple[uuid.UUID, ...] | None = None


async def find(
    session: database.ReadSession, tenant: str, keep: Filter, *, after: looking.Position | None, limit: int
) -> looking.Found:
    """A page of orders after a position."""
    ways, given = plan(tenant, keep)
    page = await looking.page(session, ways, given, after=after, limit=limit)
    return looking.Found(await reads.with_parts(session, tenant, page.rows), page.next)


def plan(tenant: str, keep: Filter) -> tuple[list[looking.Way], Mapping[str, Any]]:
    """The ways to what is asked, the best first, and their parameters.

    Who names a location has been asked whether it is one of theirs, so `within` says nothing more then.
    """
    within = None if keep.location_id or keep.fulfillment_location_id else keep.within
    given: dict[str, Any] = {
        "number": keep.number or None,
        "reference": keep.external_reference or None,
        "customers": list(keep.customer_ids) or None,
        "location": keep.location_id,
        "served": keep.fulfillment_location_id,
        "within": None if within is None else list(within),
        "state": keep.state or None,
        "channel": keep.channel or None,
        "balance": keep.balance_due_before,
        "placed": None if keep.unplaced or keep.state not in _NEVER_PLACED else True,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    times = {"since": keep.since, "until": keep.until}
    bounds = {name: value for name, value in times.items() if value is not None}
    ways = [_way(asked, bounds, name) for name in _served(asked)]
    return ways, {"tenant": tenant, **asked, **bounds}


def _served(asked: Mapping[str, Any]) -> list[str]:
    """Parts of a filter whose indexes are looked at, the best first; "" for that of all orders."""
    for name in EXACT:
        if name in asked:
            return [name]
    places = [name for name in ("served", "location") if name in asked]
    if "within" in asked and len(asked["within"]) <= LOCATIONS_MAX:
        places = ["within"]
    # Every order has a state and a channel: those of sales at tills have no index.
    rare = [name for name, common in COMMON.items() if asked.get(name, common) != common]
    return [*places, *rare] or [""]


def _way(asked: Mapping[str, Any], bounds: Mapping[str, Any], served: str) -> looking.Way:
    kept = [condition.format_map(asked) for name, condition in CONDITIONS.items() if name in asked and name != served]
    held = HELD.issuperset(asked.keys() - {served}) and served not in ("served", "customers", "within", "balance")
    each_row = asked.keys() >= {"state", "placed"}  # of a state that leaves it open
    most = looking.ENTRIES_MAX if held and not each_row else looking.ROWS_MAX
    orders = [TIMES[name].format("o") for name in bounds]
    groups = [TIMES[name].format("g") for name in bounds]
    match served:
        case "customers":
            return looking.Way([looking.Entries(["o.customer_id = p.id", *orders], kept)], served, most)
        case "within":
            sold = looking.Entries(["o.location_id = p.id", *orders], kept)
            sent = looking.Entries(["g.location_id = p.id", *groups], kept, of_groups=True)
            return looking.Way([sold, sent], served, most)
        case "served":
            here = ["g.location_id = CAST(:served AS uuid)", *groups]
            return looking.Way([looking.Entries(here, kept, of_groups=True)], most=most)
        case "balance":
            late = [*kept, CONDITIONS[served]]
            return looking.Way([looking.Entries(["o.balance_due_at IS NOT NULL", *orders], late)], most=most)
        case "":
            return looking.Way([looking.Entries(orders, kept)], most=most)
        case _:
            return looking.Way([looking.Entries([CONDITIONS[served].format_map(asked), *orders], kept)], most=most)

"""Which orders a caller may see and change: staff by location, customers their own, services all of the tenant."""

from __future__ import annotations

import uuid

from services.kit import access, errors, ids, tokens
from services.kit import principal as principals
from services.orders.domain import sale


def is_staff(caller: principals.Principal) -> bool:
    """Whether the caller works for the tenant, or is a service of ours."""
    return bool(caller.service) or tokens.SERVICE_ROLE in caller.roles or not caller.roles.isdisjoint(access.STAFF)


def require(caller: principals.Principal, order: sale.Order) -> None:
    """LocationScope unless one of the order's locations is covered; NotFound for somebody else's order."""
    if not is_staff(caller):
        if order.customer_id is None or ids.encode("cus", order.customer_id) != caller.customer_id:
            raise errors.NotFound("order")
        return
    groups = () if order.placed is None else order.placed.groups
    places = {order.location_id, *(group.location_id for group in groups)}
    if not any(caller.covers(ids.encode("loc", place)) for place in places):
        raise errors.LocationScope


def locations(caller: principals.Principal) -> tuple[uuid.UUID, ...] | None:
    """Where orders have to lie to be seen in lists; None: anywhere. Customers ask for their own, wherever those lie."""
    if caller.all_locations or not is_staff(caller):
        return None
    return tuple(ids.decode("loc", text) for text in sorted(caller.locations))

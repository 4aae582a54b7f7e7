"""Requests about orders that are no sales to commands and questions. Pure functions."""

from __future__ import annotations

import uuid
from typing import Any

from services.kit import errors, idempotency, paging, principal, validation
from services.kit import events as kit_events
from services.kit import ids as type_ids
from services.orders import moving
from services.orders.domain import machines, money, placement
from services.orders.domain import moving as moves
from services.orders.mapping import placed_messages, requests
from services.orders.store import looking, searching
from tillmesh.orders.v1 import orders_pb2, placement_pb2

SERVICE = "tillmesh.orders.v1.OrdersService"


def idempotency_key(method: str, request: Any, caller: principal.Principal) -> idempotency.Key:
    """The scope and fingerprint of a write. method: the rpc's name."""
    content = type(request)()
    content.CopyFrom(request)
    content.ClearField("request_id")
    tenant = kit_events.tenant_uuid(caller.tenant_id)
    fingerprint = idempotency.fingerprint(content)
    return idempotency.Key(tenant, caller.subject, f"{SERVICE}/{method}", request.request_id, fingerprint)


def actor(caller: principal.Principal) -> str:
    """Who is named in an order's history."""
    return caller.actor or caller.subject


def move(request: placement_pb2.UpdateOrderStatusRequest, caller: principal.Principal) -> moving.Command:
    """NOT_FOUND for an id that can't be one; INVALID_REQUEST for a target of a machine that has none."""
    machine = machines.Machine(request.machine)
    target = None
    if request.target_id:
        if machine not in placed_messages.TARGETS:
            raise validation.invalid("target_id", "is for the machines FULFILLMENT and PARCEL")
        target = type_ids.given(placed_messages.TARGETS[machine], machine.name.lower(), request.target_id)
    asked = moves.Request(machine, target, request.to_state, request.reason, actor(caller))
    return moving.Command(
        order_id=requests.order_uuid(request.order_id),
        request=asked,
        expected_version=request.expected_version,
        key=idempotency_key("UpdateOrderStatus", request, caller),
        tenant_id=caller.tenant_id,
    )


def search(request: placement_pb2.ListOrdersRequest) -> searching.Filter:
    keep = request.filter
    customer = requests.optional_id("cus", keep.customer_id, "filter.customer_id")
    return searching.Filter(
        number=int(keep.number or 0),
        customer_ids=() if customer is None else (customer,),
        state=keep.state,
        location_id=requests.optional_id("loc", keep.location_id, "filter.location_id"),
        fulfillment_location_id=requests.optional_id(
            "loc", keep.fulfillment_location_id, "filter.fulfillment_location_id"
        ),
        since=validation.instant(keep, "occurred_from"),
        until=validation.instant(keep, "occurred_until"),
        channel=keep.channel,
        external_reference=requests.storable(keep.external_reference, "filter.external_reference"),
        balance_due_before=validation.instant(keep, "balance_due_before"),
        unplaced=keep.include_unplaced,
    )


def customer(request: placement_pb2.ListCustomerOrdersRequest) -> uuid.UUID:
    """NOT_FOUND for an id that can't be one."""
    return type_ids.given("cus", "customer", request.customer_id)


def search_start(
    request: placement_pb2.ListOrdersRequest | placement_pb2.ListCustomerOrdersRequest, tenant: str
) -> looking.Position | None:
    """Where the page begins. INVALID_PAGE_TOKEN."""
    return requests.position(paging.start(tenant, request, [int, str]))


def history_start(request: placement_pb2.ListOrderHistoryRequest, tenant: str) -> int | None:
    """Number that the page begins below. INVALID_PAGE_TOKEN."""
    found = paging.start(tenant, request, [int])
    if found is None:
        return None
    if not isinstance(found[0], int) or not 0 <= found[0] < 2**63:
        raise errors.InvalidPageToken
    return found[0]


# --- tax policies ---


def tax_policy(request: placement_pb2.SetTaxPolicyRequest) -> placement.TaxPolicy:
    """INVALID_REQUEST when a category has the same tax twice."""
    told = request.tax_policy
    named = [(rate.tax_category, rate.name) for rate in told.rates]
    for number, each in enumerate(named):
        if each in named[:number]:
            raise validation.invalid(f"tax_policy.rates[{number}].name", "the category has a tax of this name already")
    level = told.rounding_level or orders_pb2.TAX_ROUNDING_LEVEL_LINE
    mode = told.rounding_mode or orders_pb2.ROUNDING_MODE_HALF_UP
    return placement.TaxPolicy(
        country_code=told.country_code,
        tax_inclusive=told.tax_inclusive,
        level=money.TaxLevel(level),
        rounding=money.Rounding(mode),
        rates=tuple((rate.tax_category, money.TaxRate(rate.name, rate.rate)) for rate in told.rates),
    )


def policies_start(request: placement_pb2.ListTaxPoliciesRequest, tenant: str) -> str:
    """Country after which the page begins. INVALID_PAGE_TOKEN."""
    found = paging.start(tenant, request, [str])
    if found is None:
        return ""
    if not isinstance(found[0], str) or "\0" in found[0]:
        raise errors.InvalidPageToken
    return found[0]

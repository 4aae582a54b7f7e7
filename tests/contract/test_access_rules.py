"""Every rpc of the contract has an access rule that means something, and a way in over REST unless it is internal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from edge import roles as edge_roles
from services.kit import access, tokens
from tillmesh.common.v1 import access_pb2, events_service_pb2
from tillmesh.inventory.v1 import (
    bulk_data_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    lots_service_pb2,
    replenishment_service_pb2,
    transfers_service_pb2,
)
from tillmesh.marketing.v1 import marketing_service_pb2
from tillmesh.orders.v1 import (
    customers_service_pb2,
    marketplaces_service_pb2,
    orders_service_pb2,
    payments_service_pb2,
)
from tillmesh.reviews.v1 import reviews_service_pb2

ROOT = Path(__file__).parents[2]
MODULES = (
    bulk_data_service_pb2,
    catalog_service_pb2,
    customers_service_pb2,
    events_service_pb2,
    inventory_service_pb2,
    lots_service_pb2,
    marketing_service_pb2,
    marketplaces_service_pb2,
    orders_service_pb2,
    payments_service_pb2,
    replenishment_service_pb2,
    reviews_service_pb2,
    transfers_service_pb2,
)
SERVICES = [service.full_name for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
# Location ids that the interceptor doesn't check, and why.
FROM_ANYWHERE = {"content.pickup.location_id", "content.sourcing.location_ids"}
FREE_LOCATIONS = {
    # May be empty, and that means more than one location: the servicer asks the principal in either case.
    "CatalogService.ListPrices": {"location_id"},
    "CatalogService.SetPrice": {"price.location_id"},
    # Only services call it; the location is one that Orders has checked.
    "InventoryService.GetAppliedPosition": {"location_id"},
    # Only of the reservation's own locations, which are all checked once it is read.
    "InventoryService.ReduceReservation": {"lines.location_id"},
    # Where an order is sold is checked; where it is picked up or sent from may be any location of the brand.
    "OrdersService.PlaceOrder": FROM_ANYWHERE,
    "OrdersService.PreviewOrder": FROM_ANYWHERE,
    "OrdersService.CreateDraftOrder": FROM_ANYWHERE,
    "OrdersService.UpdateDraftOrder": FROM_ANYWHERE,
    "OrdersService.EditOrder": {"sourcing.location_ids"},
    "OrdersService.PreviewOrderEdit": {"edit.sourcing.location_ids"},
}
# Deep enough for every request, and an end for messages that contain themselves.
DEPTH_MAX = 5


def methods() -> list[MethodDescriptor]:
    pool = descriptor_pool.Default()
    return [method for name in SERVICES for method in pool.FindServiceByName(name).methods]


def name_of(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}.{method.name}"


def option(method: MethodDescriptor) -> access_pb2.AccessRule:
    return method.GetOptions().Extensions[access_pb2.access]


def location_paths(message: Descriptor, prefix: str = "", depth: int = 0) -> Iterator[str]:
    for field in message.fields:
        path = f"{prefix}{field.name}"
        if field.name in ("location_id", "location_ids") and field.type == FieldDescriptor.TYPE_STRING:
            yield path
        if field.message_type is not None and depth < DEPTH_MAX:
            yield from location_paths(field.message_type, f"{path}.", depth + 1)


every_method = pytest.mark.parametrize("method", methods(), ids=name_of)


@every_method
def test_every_rpc_has_a_rule_that_lets_somebody_in(method):
    assert method.GetOptions().HasExtension(access_pb2.access)
    rule = access.rule_of(method)  # ValueError when a path leads nowhere
    assert rule.public or rule.roles
    assert access_pb2.ROLE_UNSPECIFIED not in option(method).roles


@every_method
def test_roles_and_scopes_are_those_that_tokens_have(method):
    rule = access.rule_of(method)
    assert rule.roles <= tokens.USER_ROLES | {tokens.SERVICE_ROLE}
    assert rule.scopes <= set(edge_roles.SCOPES)
    users = rule.roles - {tokens.SERVICE_ROLE}
    assert not users or rule.scopes, "a rule for users names a scope"
    assert not rule.services or tokens.SERVICE_ROLE in rule.roles


@every_method
def test_an_admin_with_every_scope_may_call_whatever_users_may(method):
    rule = access.rule_of(method)
    users = rule.roles - {tokens.SERVICE_ROLE}
    assert not users or "admin" in users
    assert not users or rule.scopes <= set(edge_roles.DEFAULT_SCOPES["admin"])


@every_method
def test_what_is_not_internal_has_a_path_over_rest(method):
    """But for streams of requests: over REST they have no answer before their end, and a file or a batch is sent."""
    internal = access.rule_of(method).roles == {tokens.SERVICE_ROLE}
    has_path = method.GetOptions().HasExtension(annotations_pb2.http)
    assert has_path is not (internal or method.client_streaming)


@every_method
def test_each_location_in_a_request_is_checked_or_named_as_free(method):
    checked = set(option(method).location_fields)
    free = FREE_LOCATIONS.get(name_of(method), set())
    assert set(location_paths(method.input_type)) - checked == free


def test_nothing_is_named_as_free_that_isnt_there():
    assert set(FREE_LOCATIONS) <= {name_of(method) for method in methods()}


def test_no_service_of_the_contract_is_left_out():
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "generated/descriptors/tillmesh.binpb").read_bytes())
    ours = {
        f"{file.package}.{s.name}" for file in files.file for s in file.service if file.package.startswith("tillmesh.")
    }
    assert set(SERVICES) == ours


def test_the_roles_of_the_contract_are_those_of_the_edge():
    named = {name.removeprefix("ROLE_").lower() for name, number in access_pb2.Role.items() if number}
    assert named == tokens.USER_ROLES | {tokens.SERVICE_ROLE}
    assert set(edge_roles.ROLES) == tokens.USER_ROLES

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from services.kit import access
from tillmesh.inventory.v1 import catalog_service_pb2, inventory_service_pb2

Line = inventory_service_pb2.BulkUpdateStockRequest.Line


def test_a_path_reads_texts_through_messages_and_lists():
    request = inventory_service_pb2.BulkUpdateStockRequest(lines=[Line(location_id="a"), Line(location_id="b")])
    assert list(access.reader(request.DESCRIPTOR, "lines.location_id")(request)) == ["a", "b"]
    edit = catalog_service_pb2.UpdateLocationRequest(location={"id": "c"})
    assert list(access.reader(edit.DESCRIPTOR, "location.id")(edit)) == ["c"]
    assert list(access.reader(edit.DESCRIPTOR, "location.id")(type(edit)())) == [""]


@pytest.mark.parametrize("path", ["nope", "lines.nope", "lines", "lines.location_id.x", "lines.delta"])
def test_a_path_that_leads_to_no_text_is_a_defect_of_the_contract(path):
    with pytest.raises(ValueError, match="BulkUpdateStockRequest"):
        access.reader(inventory_service_pb2.BulkUpdateStockRequest.DESCRIPTOR, path)


def test_a_rule_is_what_the_contract_says():
    pool = descriptor_pool.Default()
    rule = access.rule_of(pool.FindMethodByName("tillmesh.inventory.v1.InventoryService.AdjustStock"))
    assert rule.roles == {"associate", "store_manager", "admin", "service"}
    assert rule.scopes == {"inventory:write"}
    assert [(field.path, field.judged_by_item) for field in rule.locations] == [("location_id", False)]
    assert rule.needs_tenant
    bulk = access.rule_of(pool.FindMethodByName("tillmesh.inventory.v1.InventoryService.BulkUpdateStock"))
    assert [(field.path, field.judged_by_item) for field in bulk.locations] == [("lines.location_id", True)]


def test_no_rule_lets_nobody_in():
    assert access.rule_of(None) == access.Rule()
    assert access.Rule().roles == frozenset()

from __future__ import annotations

import datetime as dt

import pytest
from google.protobuf import struct_pb2

from services.kit import errors, validation
from tests.unit.kit import keyring
from tillmesh.inventory.v1 import catalog_pb2, catalog_service_pb2, inventory_service_pb2

Line = inventory_service_pb2.BulkUpdateStockRequest.Line


def fields(message, *mask: str, prefix: str = "") -> list[str]:
    with pytest.raises(errors.InvalidRequest) as caught:
        if mask:
            validation.check_masked(message, mask, prefix)
        else:
            validation.check(message)
    return [violation.field for violation in caught.value.violations]


def test_a_request_that_keeps_the_rules_passes():
    validation.check(inventory_service_pb2.GetStockRequest(location_id=keyring.SHOP, sku="A-1"))
    validation.check(struct_pb2.Struct())


def test_every_broken_rule_is_listed_with_its_path():
    request = inventory_service_pb2.SetStockCountsRequest(location_id=keyring.SHOP)
    request.counts.add(sku="A-1", on_hand=1, expected_on_hand=1)
    request.counts.add(sku="not a sku", on_hand=-1, expected_on_hand=1)
    assert fields(request) == ["counts[1].sku", "counts[1].on_hand"]


def test_items_that_are_judged_by_themselves_don_t_refuse_the_request_but_their_number_does():
    bad = Line(location_id=keyring.SHOP, sku="not a sku", delta=0)
    validation.check(inventory_service_pb2.BulkUpdateStockRequest(lines=[bad]))
    assert fields(inventory_service_pb2.BulkUpdateStockRequest(lines=[bad] * 1001)) == ["lines"]
    assert fields(inventory_service_pb2.BulkUpdateStockRequest()) == ["lines"]


def test_each_item_is_translated_or_is_its_own_refusal_with_paths_that_begin_at_it():
    def translate(line):
        if line.sku == "gone":
            raise errors.NotFound("variant")
        return line.sku

    lines = [Line(location_id=keyring.SHOP, sku=sku, delta=delta) for sku, delta in (("A", 1), ("!", 0), ("gone", 1))]

    good, broken, refused = validation.each(lines, translate)

    assert good == "A"
    assert [violation.field for violation in broken.violations] == ["sku", "delta"]
    assert refused.metadata == {"resource": "variant"}


def test_the_contract_says_which_lists_are_judged_by_item():
    bulk = inventory_service_pb2.BulkUpdateStockRequest.DESCRIPTOR.fields_by_name
    counts = inventory_service_pb2.SetStockCountsRequest.DESCRIPTOR.fields_by_name
    update = catalog_service_pb2.UpdateLocationRequest.DESCRIPTOR.fields_by_name
    judged = [bulk["lines"], bulk["request_id"], counts["counts"], update["location"]]
    assert [validation.is_judged_by_item(field) for field in judged] == [True, False, False, False]


def test_a_rule_over_several_fields_has_no_path_but_says_what_is_wrong():
    request = inventory_service_pb2.MoveStockRequest(
        location_id=keyring.SHOP, sku="A-1", from_state=2, to_state=2, quantity=1, reason=1
    )
    with pytest.raises(errors.InvalidRequest) as caught:
        validation.check(request)
    assert caught.value.violations == (errors.FieldViolation("", "from_state and to_state must differ"),)


def test_of_an_edited_resource_only_masked_fields_are_checked():
    location = catalog_pb2.Location(name="x" * 1000, timezone="nowhere at all", code="Main St.")
    assert fields(location, "name", prefix="location") == ["location.name"]
    assert set(fields(location, "name", "code")) == {"name", "code"}
    validation.check_masked(catalog_pb2.Location(name="Shop", code="Main St."), ["name"], "location")
    validation.check_masked(location, [])


def test_a_mask_covers_what_lies_below_it_and_no_neighbour():
    assert validation._under("address.city", ["address"])
    assert validation._under("barcodes[2]", ["barcodes"])
    assert validation._under('options["size"]', ["options"])
    assert not validation._under("name_long", ["name"])
    assert not validation._under("address", ["address.city"])


def test_the_contracts_update_requests_leave_the_resource_to_the_mask():
    request = catalog_service_pb2.UpdateLocationRequest(location=catalog_pb2.Location(name=""))
    request.update_mask.paths.append("name")
    validation.check(request)


def test_a_timestamp_is_aware_or_absent_and_out_of_the_calendar_it_is_refused():
    line = Line()
    assert validation.instant(line, "occurred_at") is None
    line.occurred_at.FromJsonString("2026-03-04T11:00:00Z")
    assert validation.instant(line, "occurred_at") == dt.datetime(2026, 3, 4, 11, tzinfo=dt.UTC)
    for seconds in (10**15, -(10**15)):
        line.occurred_at.seconds = seconds
        with pytest.raises(errors.InvalidRequest) as caught:
            validation.instant(line, "occurred_at")
        assert [violation.field for violation in caught.value.violations] == ["occurred_at"]


def test_rules_are_compiled_ahead():
    validation.warm_up([inventory_service_pb2.GetStockRequest.DESCRIPTOR])

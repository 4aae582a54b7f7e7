"""Calls of many lines: what the contract leaves out of the validation of a request is answered line by line."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from services.kit import validation
from tests.contract.test_access_rules import methods, name_of


def judged(method: MethodDescriptor) -> list[FieldDescriptor]:
    return [field for field in method.input_type.fields if validation.is_judged_by_item(field)]


BATCHES = [method for method in methods() if judged(method)]


def test_there_are_batches() -> None:
    assert {"InventoryService.BulkUpdateStock", "CatalogService.BatchCreateProducts"} <= set(map(name_of, BATCHES))


@pytest.mark.parametrize("method", BATCHES, ids=name_of)
def test_lines_are_messages_and_their_number_has_bounds(method: MethodDescriptor) -> None:
    (lines,) = judged(method)
    assert lines.message_type is not None
    rules = lines.GetOptions().Extensions[validation.validate_pb2.field].repeated
    assert 1 <= rules.max_items <= 1000
    assert rules.min_items or method.client_streaming  # a message of a stream may be there for its key alone


@pytest.mark.parametrize("method", BATCHES, ids=name_of)
def test_each_line_has_a_result_with_an_error_of_its_own(method: MethodDescriptor) -> None:
    results = method.output_type.fields_by_name["results"]
    assert results.is_repeated
    kind = (
        FieldDescriptor.TYPE_INT64 if method.client_streaming else FieldDescriptor.TYPE_INT32
    )  # in the whole, or the call
    assert results.message_type.fields_by_name["index"].type == kind
    assert results.message_type.fields_by_name["error"].message_type.full_name == "google.rpc.Status"


@pytest.mark.parametrize("method", BATCHES, ids=name_of)
def test_one_key_is_for_the_whole_call(method: MethodDescriptor) -> None:
    (lines,) = judged(method)
    assert "request_id" in method.input_type.fields_by_name
    assert "request_id" not in lines.message_type.fields_by_name

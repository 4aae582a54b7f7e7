"""The enum of the contract and the table of the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.kit import errors
from tillmesh.common.v1 import error_reason_pb2

PREFIX = "ERROR_REASON_"
REASONS = [name.removeprefix(PREFIX) for name, number in error_reason_pb2.ErrorReason.items() if number]
PROTO = Path(__file__).parents[2] / "protos/tillmesh/common/v1/error_reason.proto"
# Codes as Envoy's transcoder maps them: a row may say otherwise, and then x-http-status carries it.
NAMES = {code.name for code in errors.Code}


ROOT = Path(__file__).parents[2]


def comments() -> dict[str, str]:
    """The comment of each reason in the contract, on one line."""
    found = re.findall(rf"((?: *//.*\n)+) *{PREFIX}(\w+) = ", PROTO.read_text())
    return {name: re.sub(r"\s*//\s*", " ", comment).strip() for comment, name in found}


def subclasses(of: type[errors.Error]) -> list[type[errors.Error]]:
    return [each for direct in of.__subclasses__() for each in (direct, *subclasses(direct))]


def test_every_reason_has_a_row_and_every_row_a_reason():
    assert sorted(errors.TABLE) == sorted(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_the_contracts_comment_says_what_the_row_says(reason):
    row, comment = errors.TABLE[reason], comments()[reason]
    assert str(row.http) in comment
    told = set(re.findall(r"\b[A-Z][A-Z_]{6,}\b", comment)) & NAMES
    assert told <= {row.code.name}
    if not reason.startswith("EDGE_"):
        assert told == {row.code.name}
    listed = re.search(r"Metadata: ([a-z_, ]+)\.", comment)
    assert set(listed[1].split(", ") if listed else ()) == set(row.metadata)


def test_every_error_of_the_kit_has_a_reason_of_the_table():
    ours = [each for each in subclasses(errors.Error) if each.__module__ == errors.__name__]
    assert {each.reason for each in ours} <= set(errors.TABLE)
    assert len({each.reason for each in ours}) == len(ours)


def test_the_edge_lets_a_service_answer_every_status_of_the_table() -> None:
    """envoy/lua/reply.lua ignores a status that it doesn't know."""
    lua = (ROOT / "envoy/lua/reply.lua").read_text()
    known = set(re.findall(r'\["(\d{3})"\] = true', lua))
    assert {str(row.http) for row in errors.TABLE.values()} <= known


def test_the_page_about_orders_has_the_statuses_of_the_table() -> None:
    page = (ROOT / "docs" / "orders.md").read_text()
    rows = re.findall(r"^\| ([A-Z_, ]+) \| (\d{3}) \|", page, re.MULTILINE)
    told = {reason: int(status) for reasons, status in rows for reason in reasons.split(", ")}

    assert len(told) > 20
    assert told == {reason: errors.TABLE[reason].http for reason in told}

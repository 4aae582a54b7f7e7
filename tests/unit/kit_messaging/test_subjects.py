from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import subjects

TYPE = "tillmesh.inventory.v1.StockChanged"


def test_shards_of_keys_never_change() -> None:
    """They stand in databases and streams; another hash would split a key over two relays."""
    check_value_of_crc_32 = 0xCBF43926
    assert subjects.shard("123456789") == check_value_of_crc_32 % 64
    keys = ["loc_01h455vb4pex5vsknk084sn02q", "location:loc_01h455vb4pex5vsknk084sn02q", "ord_1", ""]
    assert [subjects.shard(key) for key in keys] == [19, 13, 11, 0]


@given(st.text())
def test_a_shard_is_one_of_64(key: str) -> None:
    assert 0 <= subjects.shard(key) < 64


def test_keys_spread_over_all_shards() -> None:
    assert {subjects.shard(f"loc_{n}") for n in range(1000)} == set(range(64))


def test_a_subject_names_service_event_tenant_and_shard() -> None:
    assert subjects.subject(TYPE, "ten_1", 7) == "tillmesh.inventory.v1.stock_changed.ten_1.07"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("StockChanged", "stock_changed"), ("SKUChanged", "sku_changed"), ("ProductV2Changed", "product_v2_changed")],
)
def test_event_names_become_snake_case(name: str, expected: str) -> None:
    assert subjects.snake(name) == expected


@pytest.mark.parametrize("name", ["StockChanged", "tillmesh.inventory.StockChanged", "google.inventory.v1.X", "...."])
def test_what_is_no_event_has_no_subject(name: str) -> None:
    with pytest.raises(ValueError, match="full name"):
        subjects.prefix(name)


def test_streams_and_durables_have_the_contracts_names() -> None:
    assert subjects.stream("inventory") == "INVENTORY"
    assert subjects.durable("inventory", "orders") == "inventory--orders"
    assert subjects.of_service("orders") == "tillmesh.orders.v1.>"
    assert subjects.filters((TYPE,)) == ["tillmesh.inventory.v1.stock_changed.>"]


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_ping_carries_any_key_in_one_token(tenant_id: str, key: str) -> None:
    subject = subjects.ping("orders", tenant_id, key)
    assert subject.count(".") == 4
    assert not set(subject) & set(" \t\r\n*>")
    assert subjects.parse_ping(subject) == (tenant_id, key)

"""A placed order goes elsewhere, or is for somebody else: told by a version, and kept as secret as before."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

import pytest

from services.kit import errors, ids, principal
from services.orders.customers import domain as people
from services.orders.customers import postal
from services.orders.domain import placed_order, sale
from services.orders.mapping import placing_requests
from tests.integration.orders.placing.shop import HOME, Shop, command, edit
from tests.integration.orders.placing.test_recipients import SENT, customer, guest, here, recipient
from tillmesh.orders.v1 import orders_events_pb2, orders_pb2, recipients_pb2

__all__ = ["here"]

WIEN = dataclasses.replace(HOME, city="Wien", postal_code="1010")
OTHER = {"given_name": "Nepomuk", "family_name": "Birnstingl", "email": "nepo@posteo.example", "phone": "+436641111111"}


async def send(shop: Shop, order: sale.Order, place: postal.Postal | None = None, **changes: Any) -> orders_pb2.Order:
    request = recipients_pb2.UpdateOrderRecipientRequest(order_id=ids.encode("ord", order.id))
    if place is not None:
        request.address.CopyFrom(recipients_pb2.PostalAddress(**dataclasses.asdict(place)))
    request.MergeFrom(recipients_pb2.UpdateOrderRecipientRequest(**changes))
    caller = shop.caller()
    principal.enter(caller)
    return await shop.desk.readdressing.change(caller, placing_requests.recipient(request, caller))


async def test_a_guest_s_order_goes_elsewhere_and_to_somebody_else(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT))

    moved = await send(shop, order, WIEN, reason="moved", expected_version=1)
    known = await recipient(shop, order)
    assert known is not None
    assert known.place == dataclasses.replace(WIEN, recipient="Zdenka Quastenhuber")
    again = await send(shop, order, contact=OTHER)

    assert (moved.version, again.version, again.total.minor_units) == (2, 3, order.total)
    assert await recipient(shop, order) == people.Recipient(**OTHER, place=known.place)
    rows = await shop.rows("SELECT seq_to, data FROM outbox WHERE type LIKE '%.OrderUpdated' ORDER BY seq_to")
    assert [row.seq_to for row in rows] == [2, 3]
    assert orders_events_pb2.OrderUpdated.FromString(rows[0].data).order.delivery.country_code == "AT"
    history = await shop.rows("SELECT reason, actor, version FROM order_history ORDER BY number DESC LIMIT 2")
    assert [tuple(row) for row in history] == [("", "web", 3), ("moved", "web", 2)]
    changed = await shop.edit(edit(order, {1: 2}, tokens={"sim_ok": order.total}, expected_version=3))
    assert changed.version == 4


async def test_one_of_the_customer_s_addresses_is_named_by_its_id(shop: Shop, here: uuid.UUID) -> None:
    who, [home, work] = await customer(shop, HOME, WIEN)
    order = await shop.order(command(here, ("lip", 1), customer_id=who, method=placed_order.Delivery(home, "")))

    moved = await send(shop, order, address_id=work)

    known = await recipient(shop, order)
    assert known is not None
    assert known.place is not None
    assert (moved.delivery.address_id, moved.delivery.country_code, known.place.city) == (work, "AT", "Wien")
    with pytest.raises(errors.NotFound):
        await send(shop, order, address_id=ids.encode("adr", uuid.uuid4()))


async def test_what_can_t_be_leaves_the_order_as_it_was(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT))
    known = await recipient(shop, order)
    abroad = dataclasses.replace(HOME, country_code="DE", postal_code="80331")

    with pytest.raises(errors.InvalidRequest):
        await send(shop, order, abroad)
    with pytest.raises(errors.InvalidRequest):
        await send(shop, order, contact={"email": "nobody"})
    with pytest.raises(errors.VersionMismatch):
        await send(shop, order, WIEN, expected_version=2)
    collected = await shop.order(command(here, ("lip", 1), guest=guest(shop), method=placed_order.Pickup(here)))
    with pytest.raises(errors.InvalidRequest):
        await send(shop, collected, WIEN)
    assert (await send(shop, collected, contact=OTHER)).version == 2
    nobody = await shop.order(command(here, ("lip", 1)))
    with pytest.raises(errors.InvalidRequest):
        await send(shop, nobody, WIEN)
    await shop.execute("UPDATE order_group SET state = 7")
    with pytest.raises(placed_order.NotEditable):
        await send(shop, order, WIEN)

    assert await recipient(shop, order) == known
    [row] = await shop.rows("SELECT version FROM sales_order WHERE id = :id", id=order.id)
    assert row.version == 1


async def test_a_repeat_is_one_change_and_another_place_is_told_apart(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT))

    first, again = [await send(shop, order, WIEN, request_id="k") for _ in range(2)]

    assert first == again
    with pytest.raises(errors.IdempotencyKeyReused):
        await send(shop, order, HOME, request_id="k")
    with pytest.raises(errors.IdempotencyKeyReused):
        await send(shop, order, WIEN, contact=OTHER, request_id="k")


async def test_nothing_personal_stands_in_the_database(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT))
    street = dataclasses.replace(WIEN, lines=("Kärntner Straße 12",))

    await send(shop, order, street, contact=OTHER, request_id="k")

    for table in ("sales_order", "order_history", "outbox", "idempotency", "order_recipient", "audit_entry"):
        for row in await shop.rows(f"SELECT t::text, to_jsonb(t)::text FROM {table} t"):
            for part in ("Birnstingl", "Straße", OTHER["email"], "41111111", "Straße".encode().hex()):
                assert part not in f"{row[0]}{row[1]}{json.loads(row[1])}", table
    [entry] = await shop.rows("SELECT resource_id, changes FROM audit_entry WHERE action = 'readdressed'")
    assert json.loads(entry.changes)["order_recipient"]["after"] == ids.encode("ord", order.id)

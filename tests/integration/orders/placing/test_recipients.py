"""Where an order goes is said when it is placed, stays so, is nobody's to read who finds the database, and is forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from typing import Any

import pytest

from services.kit import errors, idempotency, ids, principal
from services.orders.customers import domain as people
from services.orders.customers import export, postal
from services.orders.customers.handlers import desk, profiles
from services.orders.domain import money, placed_order, placement, sale
from services.orders.domain import payments as paying
from services.orders.placing import addressing
from tests.integration.orders.placing.shop import HOME, PRICE, Shop, command
from tests.integration.orders.placing.test_drafts import Clerk

MAIL = "zdenka@posteo.example"
PERSON = people.Profile(given_name="Zdenka", family_name="Quastenhuber", email=MAIL, phone="+436647654321")
SENT = placed_order.Delivery("", "")


@pytest.fixture
async def here(shop: Shop) -> uuid.UUID:
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", 50)
    return location


def write(shop: Shop) -> desk.Write:
    return desk.Write(shop.tenant.id, idempotency.Key(shop.tenant.uuid, "web", "", "", b""), "web")


def guest(shop: Shop, **profile: str) -> addressing.Guest:
    return addressing.Guest(write(shop), people.Draft(profile=dataclasses.replace(PERSON, **profile)))


async def customer(shop: Shop, *addresses: postal.Postal) -> tuple[uuid.UUID, list[str]]:
    """A new customer, and the ids of the addresses."""
    made = await shop.people.profiles.create(write(shop), people.Draft(profile=PERSON))
    kept = [await move_in(shop, made.id, place) for place in addresses]
    return made.id, [ids.encode("adr", each) for each in kept]


async def move_in(shop: Shop, customer_id: uuid.UUID, place: postal.Postal, at: uuid.UUID | None = None) -> uuid.UUID:
    flags = {"default_shipping": False, "default_billing": False}
    address = people.Address(id=at or ids.new_uuid(), **dataclasses.asdict(place), **flags)
    edit = profiles.AddressEdit(customer_id=customer_id, expected_version=0)
    return (await shop.people.profiles.put_address(write(shop), edit, address, new=at is None)).id


async def recipient(shop: Shop, order: sale.Order) -> people.Recipient | None:
    async with shop.db.read(shop.tenant.uuid, snapshot=True) as session:
        found = (await shop.people.recipients.of(session, shop.tenant.uuid, [order.id])).get(order.id)
    return None if found is None else found[1]


async def test_a_guest_s_order_says_who_gets_it_and_where(shop: Shop, here: uuid.UUID) -> None:
    place = dataclasses.replace(HOME, postal_code=" 8010 ", phone="+43 316 123456")

    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=place, method=SENT))

    kept = dataclasses.replace(HOME, recipient="Zdenka Quastenhuber", phone="+43316123456")
    assert await recipient(shop, order) == people.Recipient(
        given_name="Zdenka", family_name="Quastenhuber", email=MAIL, phone="+436647654321", place=kept
    )
    assert order.placed is not None
    assert order.placed.method == placed_order.Delivery("", "AT")
    collected = await shop.order(
        command(here, ("lip", 1), guest=guest(shop, phone="+4366012345"), method=placed_order.Pickup(here))
    )
    known = await recipient(shop, collected)
    assert known is not None
    assert (known.phone, known.place) == ("+4366012345", None)


async def test_nothing_of_it_stands_in_the_database(shop: Shop, here: uuid.UUID) -> None:
    made = command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT, key="k")
    await shop.order(made)
    tables = (
        "sales_order",
        "order_line",
        "order_saga",
        "order_history",
        "outbox",
        "idempotency",
        "order_recipient",
        "payment",
    )

    for table in tables:
        for row in await shop.rows(f"SELECT t::text, to_jsonb(t)::text FROM {table} t"):
            for part in ("Quastenhuber", "Herrengasse", MAIL, "7654321", b"Herrengasse".hex()):
                assert part not in f"{row[0]}{row[1]}", table


async def test_an_order_s_address_stays_when_the_customer_s_changes(shop: Shop, here: uuid.UUID) -> None:
    other = dataclasses.replace(HOME, city="Wien", postal_code="1010")
    who, [home] = await customer(shop, HOME)
    to = placed_order.Delivery(home, "")

    first = await shop.order(command(here, ("lip", 1), customer_id=who, method=to))
    await move_in(shop, who, other, ids.decode("adr", home))
    second = await shop.order(command(here, ("lip", 1), customer_id=who, method=to))
    edit = profiles.AddressEdit(customer_id=who, expected_version=0)
    await shop.people.profiles.drop_address(write(shop), edit, ids.decode("adr", home))
    third = await shop.order(command(here, ("lip", 1), customer_id=who, method=SENT, place=HOME))

    sent = [await recipient(shop, order) for order in (first, second, third)]
    assert [each and each.place and each.place.city for each in sent] == ["Graz", "Wien", "Graz"]
    with pytest.raises(errors.NotFound):
        await shop.order(command(here, ("lip", 1), customer_id=who, method=to))


async def test_a_repeat_is_the_same_order_also_when_the_address_is_gone_since(shop: Shop, here: uuid.UUID) -> None:
    who, [home] = await customer(shop, HOME)
    again = command(here, ("lip", 1), customer_id=who, method=placed_order.Delivery(home, ""), key="k")
    first = await shop.order(again)
    edit = profiles.AddressEdit(customer_id=who, expected_version=0)
    await shop.people.profiles.drop_address(write(shop), edit, ids.decode("adr", home))

    assert (await shop.order(again)).id == first.id
    inline = command(here, ("lip", 1), customer_id=who, method=SENT, place=HOME, key="k2")
    await shop.order(inline)
    with pytest.raises(errors.IdempotencyKeyReused):
        await shop.order(dataclasses.replace(inline, place=dataclasses.replace(HOME, city="Linz")))


@pytest.mark.parametrize(
    ("role", "changes", "field"),
    [
        ("admin", {"guest": True, "method": SENT}, "address"),
        ("storefront", {"method": SENT}, "address"),
        ("customer", {"customer": True, "method": SENT}, "address"),
        ("admin", {"place": HOME, "method": SENT}, "address"),
        ("admin", {"method": placed_order.Delivery("adr_00000000000000000000000000", "")}, "address"),
        ("admin", {"guest": True, "method": placed_order.Delivery("adr-1", "")}, "content.delivery.address_id"),
        ("admin", {"guest": True, "place": HOME, "method": placed_order.Delivery("", "DE")}, "content.delivery.country_code"),
        ("admin", {"guest": True, "place": dataclasses.replace(HOME, postal_code="80"), "method": SENT}, "address.postal_code"),
        ("admin", {"nameless": True, "place": HOME, "method": SENT}, "address.recipient"),
        ("admin", {"guest": True, "phone": "123", "method": placed_order.Pickup(uuid.UUID(int=0))}, "guest.phone"),
    ],
)  # fmt: skip
async def test_what_can_t_be_sent_is_refused_before_anything_is_kept(
    shop: Shop, here: uuid.UUID, role: str, changes: dict[str, Any], field: str
) -> None:
    if changes.pop("guest", False):
        changes["guest"] = guest(shop, **({"phone": changes.pop("phone")} if "phone" in changes else {}))
    if changes.pop("nameless", False):
        changes["guest"] = guest(shop, given_name="", family_name=" ")
    if changes.pop("customer", False):
        changes["customer_id"] = (await customer(shop))[0]

    with pytest.raises(errors.InvalidRequest) as refusal:
        await shop.order(command(here, ("lip", 1), **changes), roles=frozenset({role}))

    assert [each.field for each in refusal.value.violations] == [field]
    assert await shop.rows("SELECT 1 FROM sales_order UNION ALL SELECT 1 FROM customer WHERE guest") == []


async def test_staff_may_send_to_where_they_know_of_elsewhere(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1)))

    assert (order.state, await recipient(shop, order)) == (sale.OrderState.PLACED, None)


async def test_taxes_are_those_of_the_country_it_goes_to(shop: Shop, here: uuid.UUID) -> None:
    rates = (("", money.TaxRate("MwSt", "0.19")),)
    await shop.tax(placement.TaxPolicy("DE", tax_inclusive=False, rates=rates))
    berlin = dataclasses.replace(HOME, city="Berlin", postal_code="10115", country_code="DE")
    who, [there] = await customer(shop, berlin)
    by_id = command(
        here,
        ("lip", 1),
        customer_id=who,
        method=placed_order.Delivery(there, ""),
        tokens={"sim_ok": PRICE * 119 // 100},
    )

    principal.enter(shop.caller())
    shown = await shop.desk.placing.preview(shop.caller(), shop.tenant, by_id)
    order = await shop.order(by_id)

    assert shown.total == order.total == PRICE * 119 // 100


async def test_what_is_refused_forgets_where_it_was_to_go(shop: Shop, here: uuid.UUID) -> None:
    declined = {"tokens": {"sim_declined_stolen": PRICE}}

    with pytest.raises(paying.Declined):
        await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT, **declined))

    assert len(await shop.rows("SELECT 1 FROM sales_order")) == 1
    assert await shop.rows("SELECT 1 FROM order_recipient") == []


async def test_a_draft_is_sent_to_where_it_is_placed_to(shop: Shop, here: uuid.UUID) -> None:
    await shop.tax(placement.TaxPolicy("AT", rates=(("", money.TaxRate("MwSt", "0.20")),)))
    clerk, linz = Clerk(shop, here), dataclasses.replace(HOME, city="Linz", postal_code="4020")
    with pytest.raises(errors.InvalidRequest):  # nobody's: there is no key to keep it with
        await clerk.place(await clerk.create(), PRICE, address=dataclasses.asdict(linz))
    clerk.customer = ids.encode("cus", (await customer(shop))[0])
    offer = await clerk.quote(await clerk.create())
    abroad = dataclasses.replace(HOME, country_code="CH")
    with pytest.raises(errors.InvalidRequest):
        await clerk.place(offer, PRICE, address=dataclasses.asdict(abroad))

    with pytest.raises(paying.Declined):
        await clerk.place(offer, PRICE, "sim_declined_stolen", address=dataclasses.asdict(linz))
    assert await shop.rows("SELECT 1 FROM order_recipient") == []
    order = await clerk.place(offer, PRICE, address=dataclasses.asdict(linz))

    known = await recipient(shop, order)
    assert known is not None
    assert known.place is not None
    assert (known.place.city, known.place.recipient) == ("Linz", "Zdenka Quastenhuber")


async def test_an_erasure_takes_it_along_and_an_export_has_it(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), guest=guest(shop), place=HOME, method=SENT))
    assert order.customer_id is not None
    parts = shop.people.exporting.export(write(shop), order.customer_id)
    document = json.loads(b"".join([chunk async for chunk in export.document(parts)]))

    await shop.people.erasing.erase(write(shop), order.customer_id)

    [sent] = document["recipients"]
    assert (sent["order_id"], sent["address"]["city"]) == (ids.encode("ord", order.id), "Graz")
    assert await recipient(shop, order) is None
    assert await shop.rows("SELECT 1 FROM order_recipient") == []
    with pytest.raises(people.CustomerErased):
        await shop.order(command(here, ("lip", 1), customer_id=order.customer_id, method=SENT, place=HOME))


async def test_orders_that_come_while_keys_change_and_customers_merge_can_all_be_opened(
    shop: Shop, here: uuid.UUID
) -> None:
    who, [home] = await customer(shop, HOME)
    other = await shop.people.profiles.create(write(shop), people.Draft(profile=people.Profile(family_name="Q")))
    to = placed_order.Delivery(home, "")

    async def turn() -> None:
        for _ in range(10):
            await shop.people.rotation.rotate_customer(shop.tenant.uuid, who)

    orders = await asyncio.gather(
        *(shop.order(command(here, ("lip", 1), customer_id=who, method=to)) for _ in range(20)), turn()
    )
    await shop.people.merging.merge(write(shop), other.id, who)

    placed = [order for order in orders if order is not None]
    sent = [await recipient(shop, order) for order in placed]
    assert [each and each.place and each.place.lines for each in sent] == [HOME.lines] * 20
    [row] = await shop.rows("SELECT version FROM customer_key WHERE customer_id = :id", id=who)
    assert row.version == 11

"""Two customers become one: nothing is lost, nothing is counted twice, whoever merges at the same time."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.kit import errors
from services.orders.customers import domain
from services.orders.customers.handlers import consents, exporting
from tests.integration.orders.customers.world import PERSON, World, uuid_of
from tillmesh.orders.v1 import customers_pb2 as messages

MERGED, ACTIVE = messages.CUSTOMER_STATE_MERGED, messages.CUSTOMER_STATE_ACTIVE


async def test_the_one_that_stays_has_what_both_had(people: World) -> None:
    target = await people.new(family_name="Quast", given_name="Z.", email="old@example.com")
    source = await people.new()
    home, shop = await people.move_in(target.id), await people.move_in(source.id, city="Wien", postal_code="1010")
    await people.say(target.id, purpose="news")
    await people.say(source.id, purpose="sms")

    merged = await people.merge(target.id, source.id)

    assert (merged.id, merged.given_name, merged.family_name, merged.email) == (
        target.id,
        "Z.",
        "Quast",
        "old@example.com",
    )
    assert (merged.phone, merged.birthday) == ("+436647654321", PERSON["birthday"])
    assert list(merged.merged_ids) == [source.id]
    places = await people.addresses(target.id)
    assert [(each.id, each.default_shipping) for each in places] == [(home.id, True), (shop.id, False)]
    ledger = (await people.call("ListConsents", customer_id=target.id)).consents
    assert {(each.purpose, each.customer_id) for each in ledger} == {("news", target.id), ("sms", source.id)}
    for by in (
        {"email": "old@example.com"}, {"email": PERSON["email"]}, {"phone": PERSON["phone"]},
        {"family_name": "Quastenhuber"}, {"family_name": "Quast"}, {"postal_code": "1010"}, {"postal_code": "8010"},
    ):  # fmt: skip
        assert await people.found(**by) == [target.id], by


async def test_the_other_id_leads_to_the_one_that_stays(people: World) -> None:
    target, source = await people.new(family_name="A"), await people.new(family_name="B")
    merged = await people.merge(target.id, source.id)
    assert await people.get(source.id) == merged
    assert (await people.get(source.id, people.customer(source.id))).id == target.id
    edited = await people.edit(source.id, given_name="Through the other id")
    assert (edited.id, edited.version) == (target.id, merged.version + 1)
    listed = (await people.call("ListCustomers")).customers
    gone = (await people.call("ListCustomers", filter={"state": MERGED})).customers
    assert [each.id for each in listed] == [target.id]
    assert [(each.id, each.merged_into) for each in gone] == [(source.id, target.id)]


async def test_the_history_of_orders_follows(people: World) -> None:
    target, source = await people.new(family_name="A"), await people.new(family_name="B")
    await people.merge(target.id, source.id)
    async with people.db.read(people.tenant) as session:
        ways = [await consents.family(session, uuid_of(each)) for each in (target.id, source.id)]
    assert ways == [sorted([uuid_of(target.id), uuid_of(source.id)])] * 2


async def test_a_merge_is_told_under_the_key_of_each(people: World) -> None:
    target, source = await people.new(family_name="A"), await people.new(family_name="B")
    await people.merge(target.id, source.id)
    for each in (target, source):
        assert await people.told(each.id) == [(1, "CustomerCreated"), (2, "CustomersMerged")]


async def test_store_credit_is_one_and_conserved(people: World) -> None:
    target, source = await people.new(family_name="A"), await people.new(family_name="B")
    for customer, currency, amount in ((target, "EUR", 500), (source, "EUR", 250), (source, "USD", 90)):
        await people.credited(customer.id, currency, amount)
    owed = await people.credits.liability(people.tenant)
    await people.merge(target.id, source.id)
    for each in (target, source):
        assert await people.credit(each.id) == {"EUR": 750, "USD": 90}
    await people.credited(source.id, "EUR", 5)  # under the other id, after the merge
    assert await people.credit(target.id) == {"EUR": 755, "USD": 90}
    after = await people.credits.liability(people.tenant)
    assert sum(row.balance for row in owed) + 5 == sum(row.balance for row in after)
    assert {row.differing for row in after} == {0}


async def test_store_credit_is_spent_on_orders_of_either_id_and_of_nobody_else(people: World) -> None:
    target, source, other = [await people.new(family_name=name) for name in "ABC"]
    before = await people.sold_to(source.id)
    await people.credited(target.id, "EUR", 1000)
    assert not await people.may_spend(target.id, before)
    await people.merge(target.id, source.id)
    assert await people.may_spend(target.id, before)
    assert not await people.may_spend(target.id, await people.sold_to(other.id))


async def test_merging_the_same_again_changes_nothing(people: World) -> None:
    target, source = await people.new(family_name="A"), await people.new(family_name="B")
    merged = await people.merge(target.id, source.id)
    assert await people.merge(target.id, source.id) == merged


async def test_chains_cycles_and_oneself_are_refused(people: World) -> None:
    a, b, c = [(await people.new(family_name=name)).id for name in "ABC"]
    await people.merge(a, b)
    for target, source in ((b, a), (b, c), (c, b)):
        with pytest.raises(domain.CustomerMerged) as refusal:
            await people.merge(target, source)
        assert refusal.value.metadata == {"customer_id": b, "merged_into": a}
    with pytest.raises(errors.InvalidRequest):
        await people.merge(a, a)
    with pytest.raises(errors.NotFound):
        await people.merge(a, "cus_00000000000000000000000000")


async def test_a_family_moves_as_a_whole(people: World) -> None:
    a, b, c = [(await people.new(family_name=name, email=f"{name}@example.com")).id for name in "ABC"]
    await people.merge(b, c)
    merged = await people.merge(a, b)
    assert list(merged.merged_ids) == sorted([b, c])
    assert (await people.get(c)).id == a
    assert await people.found(email="c@example.com") == [a]
    assert await people.told(c) == [(1, "CustomerCreated"), (2, "CustomersMerged"), (3, "CustomersMerged")]


async def test_too_many_addresses_or_customers_are_refused_and_nothing_moves(
    people: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = [(await people.new(family_name=name)).id for name in "AB"]
    for _ in range(2):
        await people.move_in(a)
        await people.move_in(b)
    monkeypatch.setattr(domain, "ADDRESSES_MAX", 3)
    with pytest.raises(domain.CustomerLimit):
        await people.merge(a, b)
    monkeypatch.setattr(domain, "MERGED_MAX", 0)
    with pytest.raises(domain.CustomerLimit):
        await people.merge(a, b)
    assert [len(await people.addresses(each)) for each in (a, b)] == [2, 2]
    assert (await people.get(b)).state == ACTIVE


async def test_twenty_merges_at_once_in_all_directions_leave_a_forest(people: World) -> None:
    """Whatever came first, every customer leads in one step to one in use, and no address or e-mail is lost."""
    ids = [(await people.new(family_name=f"N{n}", email=f"n{n}@example.com")).id for n in range(5)]
    for each in ids:
        await people.move_in(each)
    pairs = [(target, source) for target in ids for source in ids if target != source]
    done = await asyncio.gather(*(people.merge(*pair) for pair in pairs), return_exceptions=True)
    assert {type(each) for each in done} <= {messages.Customer, domain.CustomerMerged, errors.Conflict}

    shown = [await people.get(each) for each in ids]
    roots = {each.id: each for each in shown}
    assert {each.state for each in roots.values()} == {ACTIVE}
    assert sorted(one for root in roots.values() for one in (root.id, *root.merged_ids)) == sorted(ids)
    assert sum([len(await people.addresses(root)) for root in roots]) == 5
    for n, customer_id in enumerate(ids):
        assert await people.found(email=f"n{n}@example.com") == [(await people.get(customer_id)).id]
    for customer_id in ids:  # one event a version, without gaps
        told = await people.told(customer_id)
        assert [version for version, _ in told] == list(range(1, len(told) + 1))


async def test_edits_and_addresses_during_merges_are_not_lost(people: World) -> None:
    a, b = [(await people.new(family_name=name)).id for name in "AB"]
    writes = [people.move_in(b, city=f"C{n}") for n in range(10)] + [people.say(b, purpose=f"p{n}") for n in range(10)]
    await asyncio.gather(people.merge(a, b), *writes)
    assert {each.city for each in await people.addresses(a)} == {f"C{n}" for n in range(10)}
    assert len((await people.call("ListConsents", customer_id=a)).consents) == 10


async def test_a_guest_who_registers_keeps_id_and_history(people: World) -> None:
    guest = await people.guest(email="Guest@example.com", given_name="G")
    assert await people.guest(email="guest@EXAMPLE.com", given_name="Other") == guest
    shown = await people.get(guest)
    assert (shown.guest, shown.given_name) == (True, "G")

    registered = await people.new(email="guest@example.com", family_name="Now Known")
    assert (registered.id, registered.guest, registered.version) == (guest, False, 2)
    assert (registered.given_name, registered.family_name) == ("G", "Now Known")
    assert await people.guest(email="guest@example.com") == guest
    with pytest.raises(errors.AlreadyExists):
        await people.new(email="guest@example.com")


async def test_twenty_orders_of_a_guest_at_once_are_of_one_customer(people: World) -> None:
    found = await asyncio.gather(*(people.guest(email="rush@example.com") for _ in range(20)))
    assert len(set(found)) == 1
    assert await people.told(found[0]) == [(1, "CustomerCreated")]


async def test_a_guest_merged_into_a_customer_is_that_customer_from_then_on(people: World) -> None:
    customer, guest = await people.new(family_name="A"), await people.guest(email="guest@example.com")
    merged = await people.merge(customer.id, guest)
    assert (merged.guest, merged.email) == (False, "guest@example.com")
    assert await people.guest(email="guest@example.com") == customer.id


async def test_an_export_has_everything_of_the_family(people: World) -> None:
    target, source = await people.new(), await people.new(family_name="Second", email="second@example.com")
    await people.move_in(target.id)
    await people.say(source.id)
    await people.merge(target.id, source.id)
    await people.sold_to(source.id, net_amount=1234)

    own = people.customer(target.id)
    document = json.loads(await people.call("ExportCustomer", own, customer_id=target.id))

    assert list(document) == [
        "customers", "addresses", "accesses", "store_credit", "consents", "orders", "recipients", "payments",
    ]  # fmt: skip
    first, second = document["customers"]
    assert {first["email"], second["email"]} == {PERSON["email"], "second@example.com"}
    assert document["addresses"][0]["postal_code"] == "8010"
    assert document["consents"][0]["customer_id"] == source.id
    (order,) = document["orders"]
    assert (order["customer_id"], order["total"]["minor_units"]) == (source.id, "1234")
    assert [(each["action"], each["actor"]) for each in document["accesses"]][-1] == ("exported", "usr_self")
    assert [each["action"] for each in document["accesses"]][:-1] == ["merged", "merged"]


async def test_an_export_of_many_pages_is_whole(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PAGE", 3)
    made = await people.new()
    for _ in range(7):
        await people.sold_to(made.id)
    document = json.loads(await people.call("ExportCustomer", customer_id=made.id))
    assert len({order["id"] for order in document["orders"]}) == 7

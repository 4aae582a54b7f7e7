"""Profiles and addresses: who is found by what, who may see what, and one e-mail for one customer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.kit import errors
from services.orders.customers import domain
from tests.integration.orders.customers.world import ADDRESS, PERSON, World
from tillmesh.orders.v1 import customers_pb2 as messages


async def test_a_customer_is_kept_read_and_told(people: World) -> None:
    made = await people.new(**PERSON, locale="de-AT")

    assert (made.given_name, made.family_name, made.birthday) == ("Zdenka", "Quastenhuber", "1977-11-23")
    assert (made.email, made.phone) == (PERSON["email"], "+436647654321")
    assert (made.state, made.guest, made.version) == (messages.CUSTOMER_STATE_ACTIVE, False, 1)
    assert await people.get(made.id) == made
    assert await people.told(made.id) == [(1, "CustomerCreated")]
    assert people.pings == [made.id]


@pytest.mark.parametrize(
    "by",
    [
        {"email": "zdenka.QUASTENHUBER@posteo.EXAMPLE"},
        {"phone": "0043 (664) 765-43-21"},
        {"family_name": "quästenhuber"},
        {"postal_code": "80 10"},
        {"family_name": "QUASTENHUBER", "postal_code": "8010", "phone": "+43 (0)664 7654321"},
    ],
)
async def test_a_customer_is_found_by_exact_values_however_they_are_written(people: World, by: dict[str, str]) -> None:
    made = await people.new()
    await people.move_in(made.id)
    assert await people.found(**by) == [made.id]


@pytest.mark.parametrize(
    "by",
    [
        {"email": "quastenhuber@posteo.example"},
        {"email": "not an e-mail"},
        {"phone": "+43 664 765432"},
        {"phone": "664 7654321"},
        {"family_name": "Quasten"},
        {"family_name": "%"},
        {"family_name": "Quastenhuber", "postal_code": "8011"},
        {"email": PERSON["email"], "phone": "+43 1 1234567"},
    ],
)
async def test_nobody_is_found_by_parts_or_when_something_does_not_match(people: World, by: dict[str, str]) -> None:
    made = await people.new()
    await people.move_in(made.id)
    assert await people.found(**by) == []


async def test_an_edit_moves_what_a_customer_is_found_by(people: World) -> None:
    made = await people.new()
    edited = await people.edit(made.id, made.version, email="other@example.com", phone="")

    assert (edited.version, edited.email, edited.phone, edited.family_name) == (
        2,
        "other@example.com",
        "",
        "Quastenhuber",
    )
    assert await people.found(email=PERSON["email"]) == []
    assert await people.found(phone=PERSON["phone"]) == []
    assert await people.found(email="OTHER@example.com") == [made.id]
    with pytest.raises(errors.VersionMismatch):
        await people.edit(made.id, made.version, given_name="X")
    assert (await people.new()).id != made.id  # the old e-mail is free again
    assert await people.told(made.id) == [(1, "CustomerCreated"), (2, "CustomerUpdated")]


async def test_many_pages_of_one_name(people: World) -> None:
    made = [(await people.new(family_name="Novák", given_name=str(n))).id for n in range(5)]
    found, token = [], ""
    while True:
        page = await people.call("SearchCustomers", family_name="novak", page_size=2, page_token=token)
        found += [one.id for one in page.customers]
        if not (token := page.next_page_token):
            break
    listed = await people.call("ListCustomers", page_size=500)
    assert found == made == [one.id for one in listed.customers]
    with pytest.raises(errors.InvalidPageToken):
        await people.call("SearchCustomers", family_name="other", page_size=2, page_token="AAAA")


async def test_of_twenty_who_come_at_once_with_one_email_one_gets_it(people: World) -> None:
    made = await asyncio.gather(
        *(people.new(email="same@example.com", given_name=str(n)) for n in range(20)), return_exceptions=True
    )
    (one,) = [each for each in made if isinstance(each, messages.Customer)]
    assert {type(each) for each in made if each is not one} == {errors.AlreadyExists}
    assert await people.found(email="same@example.com") == [one.id]
    assert await people.rows("SELECT 1 FROM customer") == [(1,)]


async def test_twenty_edits_to_one_email_leave_it_with_one_customer(people: World) -> None:
    made = [await people.new(family_name=f"N{n}") for n in range(20)]
    done = await asyncio.gather(
        *(people.edit(each.id, email="wanted@example.com") for each in made), return_exceptions=True
    )
    (one,) = [each for each in done if isinstance(each, messages.Customer)]
    assert {type(each) for each in done if each is not one} == {errors.AlreadyExists}
    assert await people.found(email="wanted@example.com") == [one.id]


async def test_a_repeat_under_the_same_key_is_the_same_customer(people: World) -> None:
    given: dict[str, Any] = {"customer": {"family_name": "Repeat"}, "request_id": "r-1"}
    made = await asyncio.gather(*(people.call("CreateCustomer", **given) for _ in range(20)))
    assert {each.id for each in made} == {made[0].id}
    with pytest.raises(errors.IdempotencyKeyReused):
        await people.call("CreateCustomer", customer={"family_name": "Another"}, request_id="r-1")


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        ({"given_name": "Only"}, "customer"),
        ({"email": "a@b"}, "customer.email"),
        ({"email": "a b@example.com"}, "customer.email"),
        ({"phone": "0664 1234567"}, "customer.phone"),
        ({"family_name": "X", "birthday": "2026-02-30"}, "customer.birthday"),
        ({"family_name": "X", "locale": "German"}, "customer.locale"),
    ],
)
async def test_what_is_wrong_is_named_and_never_quoted(people: World, profile: dict[str, str], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        await people.new(**profile)
    (violation,) = refusal.value.violations
    assert violation.field == field
    assert not any(value in violation.description for value in profile.values())


async def test_addresses_have_one_default_each_and_end_at_twenty(people: World) -> None:
    made = await people.new()
    first = await people.move_in(made.id)
    assert (first.default_shipping, first.default_billing) == (True, True)
    second = await people.move_in(made.id, city="Wien", default_shipping=True, phone="+43 1 5556677")
    kept = await people.addresses(made.id)
    assert [(each.id, each.default_shipping, each.default_billing) for each in kept] == [
        (first.id, False, True), (second.id, True, False),
    ]  # fmt: skip
    assert second.phone == "+4315556677"

    changed = {"id": first.id, **ADDRESS, "city": "Linz", "postal_code": "4020"}
    edited = await people.call("UpdateCustomerAddress", customer_id=made.id, address=changed)
    assert (edited.city, edited.default_billing) == ("Linz", True)  # a default is moved, not unset
    assert await people.found(postal_code="4020") == [made.id]

    left = await people.call("DeleteCustomerAddress", customer_id=made.id, address_id=second.id)
    (only,) = await people.addresses(made.id)
    assert (only.id, only.default_shipping, only.default_billing, left.version) == (first.id, True, True, 5)
    assert await people.found(postal_code="8010") == []

    for _ in range(domain.ADDRESSES_MAX - 1):
        await people.move_in(made.id)
    with pytest.raises(domain.CustomerLimit):
        await people.move_in(made.id)
    with pytest.raises(errors.NotFound):
        await people.call("DeleteCustomerAddress", customer_id=made.id, address_id=second.id)


async def test_twenty_addresses_at_once_lose_none_and_have_one_default(people: World) -> None:
    made = await people.new()
    await asyncio.gather(*(people.move_in(made.id, city=f"C{n}") for n in range(20)))
    kept = await people.addresses(made.id)
    assert {each.city for each in kept} == {f"C{n}" for n in range(20)}
    assert [sum(each.default_shipping for each in kept), sum(each.default_billing for each in kept)] == [1, 1]
    assert [version for version, _ in await people.told(made.id)] == list(range(1, 22))


async def test_an_associate_finds_by_email_and_phone_only_and_sees_no_birthday(people: World) -> None:
    made = await people.new()
    ann = people.caller("associate", subject="ann")
    assert await people.found(ann, email=PERSON["email"]) == [made.id]
    assert await people.found(ann, phone=PERSON["phone"], email=PERSON["email"]) == [made.id]
    seen = await people.get(made.id, ann)
    assert (seen.family_name, seen.birthday) == ("Quastenhuber", "")
    for by in ({"family_name": "Quastenhuber"}, {"postal_code": "8010", "email": PERSON["email"]}):
        with pytest.raises(errors.RoleRequired):
            await people.found(ann, **by)
    for method in ("ListCustomers", "UpdateCustomer", "MergeCustomers", "ExportCustomer", "EraseCustomer"):
        with pytest.raises(errors.RoleRequired):
            await people.call(method, ann)


async def test_customers_reach_themselves_and_nobody_else(people: World) -> None:
    made, other = await people.new(), await people.new(family_name="Other")
    own = people.customer(made.id)
    assert (await people.get(made.id, own)).birthday == PERSON["birthday"]
    for method in ("GetCustomer", "ListConsents", "ExportCustomer", "EraseCustomer", "ListCustomerAddresses"):
        with pytest.raises(errors.NotFound):
            await people.call(method, own, customer_id=other.id)
    with pytest.raises(errors.NotFound):
        await people.call("UpdateCustomer", own, customer={"id": other.id, "locale": "de"}, update_mask="locale")


async def test_another_tenant_finds_nothing_and_learns_nothing(people: World, other: World) -> None:
    made = await people.new()
    await other.new(family_name="Somebody")
    assert await other.found(email=PERSON["email"]) == []
    with pytest.raises(errors.NotFound):
        await other.get(made.id)
    ours, theirs = await people.rows("SELECT digest FROM customer_digest WHERE kind = 1"), (await other.new()).id
    hers = await other.rows("SELECT digest FROM customer_digest WHERE kind = 1")
    assert ours != hers  # the same e-mail has another digest in each tenant
    assert theirs != made.id

"""What is done with customers, and who looks at them, is in the audit log; only an erasure takes the values away."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from services.kit import database, errors, key_file
from services.kit import principal as principals
from services.kit.audit import anchors, reading, sealing, verifying
from tests.integration.orders.customers.test_restoring import NEVER_IN_CLEAR
from tests.integration.orders.customers.world import PERSON, World
from tillmesh.common.v1 import audit_pb2

CLERK = {"subject": "usr_clerk"}


@pytest.fixture
def people(db: database.Database, keys_file: Path, erasure_log: Path) -> World:
    made = World(db, keys_file, erasure_log)
    made.audited = reading.Reading(db, made.parts.opener)
    return made


async def entries(people: World, caller: principals.Principal | None = None, **keep: str) -> list[audit_pb2.AuditEntry]:
    """What a manager reads, the oldest first."""
    request = audit_pb2.ListAuditEntriesRequest(filter=audit_pb2.ListAuditEntriesRequest.Filter(**keep), page_size=500)
    who = caller or people.caller("store_manager", subject="usr_manager")
    principals.enter(who)
    return list(reversed((await people.audited.list(who, request)).entries))


def shown(entry: audit_pb2.AuditEntry) -> dict[str, tuple[Any, Any]]:
    """Before and after by field."""
    return {
        each.field: tuple(json.loads(text) if text else None for text in (each.before, each.after)) for each in entry.changes
    }  # fmt: skip


async def done(people: World, **keep: str) -> list[str]:
    """Actions, without looks."""
    return [each.action for each in await entries(people, **keep) if each.action != "read"]


async def test_each_change_of_a_profile_is_there_with_before_and_after(people: World) -> None:
    made = await people.new(**PERSON, locale="de")
    await people.edit(made.id, given_name="Zdenka Maria", birthday="")

    created, updated = await entries(people, resource="customer", resource_id=made.id)
    assert (created.action, created.actor, created.resource_id) == ("created", "boss", made.id)
    assert shown(created) == {
        "state": (None, "ACTIVE"), "guest": (None, False), "locale": (None, "de"),
        **{name: (None, made_value) for name, made_value in ((n, getattr(made, n)) for n in PERSON)},
    }  # fmt: skip
    assert shown(updated) == {"given_name": ("Zdenka", "Zdenka Maria"), "birthday": (PERSON["birthday"], None)}
    assert not updated.changes[0].unreadable
    assert updated.method.endswith("UpdateCustomer")


async def test_addresses_consents_merges_exports_and_erasures_are_there(people: World) -> None:
    target, source = await people.new(), await people.new(family_name="Twin", email="twin@example.com", phone="")
    address = await people.move_in(source.id)
    await people.say(target.id)
    await people.say(target.id, decision="CONSENT_DECISION_WITHDRAWN")
    await people.merge(target.id, source.id)
    await people.call("ExportCustomer", customer_id=target.id)
    await people.call("EraseCustomer", customer_id=target.id)

    assert await done(people, resource="customer", resource_id=target.id) == [
        "created", "consented", "consented", "merged", "exported", "erased",
    ]  # fmt: skip
    assert await done(people, resource="customer", resource_id=source.id) == ["created", "updated", "merged", "erased"]
    found = await entries(people, resource="customer", resource_id=target.id)
    (said,) = shown(found[2]).values()
    assert (said[0]["decision"], said[1]["decision"]) == ("CONSENT_DECISION_GRANTED", "CONSENT_DECISION_WITHDRAWN")
    merged = {each.field: each for each in found[3].changes}
    assert merged[f"address:{address.id}"].unreadable
    assert shown(found[3])["merged_ids"] == (None, [source.id])
    assert shown(found[-1])["state"] == ("ACTIVE", "ERASED")


async def test_nothing_personal_stands_in_the_log_in_clear(people: World) -> None:
    made = await people.new(**PERSON)
    await people.move_in(made.id)
    await people.found(email=PERSON["email"])
    await people.edit(made.id, phone="+43 1 234567")
    rows = await people.rows("SELECT e::text AS text FROM audit_entry e")
    kept = "".join(row.text for row in rows).encode()
    assert len(rows) >= 4
    assert made.id.encode() in kept
    assert [text for text in NEVER_IN_CLEAR if text in kept] == []


async def test_an_erasure_takes_the_values_away_and_the_log_still_verifies(
    people: World, keys_file: Path, tmp_path: Path
) -> None:
    made = await people.new(**PERSON)
    await people.edit(made.id, given_name="Anna")
    keys, file = key_file.KeyFile(keys_file), anchors.Anchors(tmp_path, "orders")
    sealer = sealing.Sealer(people.db, "orders", keys, file)
    await sealer.seal()
    before = await people.rows("SELECT * FROM audit_entry ORDER BY id")
    await people.call("EraseCustomer", customer_id=made.id)
    await sealer.seal()

    created, updated = (await entries(people, resource="customer", resource_id=made.id))[:2]
    gone = {each.field: each for each in updated.changes}["given_name"]
    assert (gone.before, gone.after, gone.unreadable) == ("", "", True)
    assert {each.field for each in created.changes if each.unreadable} == set(PERSON)
    assert shown(created)["state"] == (None, "ACTIVE")
    assert (await people.rows("SELECT * FROM audit_entry ORDER BY id"))[: len(before)] == before
    found = [one async for one in verifying.Verifier(people.db, "orders", keys, file).run(people.tenant_id)]
    assert found == []


async def test_the_log_stays_readable_when_keys_are_rotated(people: World) -> None:
    made = await people.new(**PERSON)
    await people.parts.rotation.rotate_customers(people.tenant)
    await people.parts.rotation.rotate_tenant(people.tenant)
    await people.edit(made.id, given_name="Anna")
    created, updated = await entries(people, resource="customer", resource_id=made.id)
    assert shown(created)["given_name"] == (None, "Zdenka")
    assert shown(updated)["given_name"] == ("Zdenka", "Anna")
    assert await done(people, resource="tenant_key") == ["rotated", "removed"]
    assert await done(people, resource="customer_keys") == ["rotating", "rotated"]


async def test_a_customer_from_before_the_log_gets_a_key_for_it(people: World) -> None:
    made = await people.new(**PERSON)
    async with people.db.transaction(people.tenant) as session:
        await session.execute(sealing.store.sa.text("UPDATE customer_key SET audit_wrapped = NULL"))
    await people.edit(made.id, given_name="Anna")
    await people.edit(made.id, given_name="Eva")
    created, *updated = await entries(people, resource="customer", resource_id=made.id)
    assert [shown(each)["given_name"] for each in updated] == [("Zdenka", "Anna"), ("Anna", "Eva")]
    assert {each.field for each in created.changes if each.unreadable} == set(PERSON)


async def test_a_value_that_was_moved_to_another_entry_is_not_shown_there(people: World) -> None:
    made = await people.new(**PERSON)
    (row,) = await people.rows("SELECT * FROM audit_entry")
    principals.enter(people.caller())

    async def opened(entry_id: Any) -> Any:
        kept = sealing.entries.Row(**{**row._asdict(), "id": entry_id})
        return (await people.parts.opener.open(people.tenant, [(kept, json.loads(row.changes))]))[entry_id]

    assert (await opened(row.id))["given_name"] == {"before": None, "after": "Zdenka"}
    assert (await opened(uuid.uuid4()))["given_name"] == {"before": None, "after": None}
    assert made.id == row.resource_id


# --- who looks ---


async def test_whoever_works_for_the_tenant_and_looks_at_somebody_is_noted(people: World) -> None:
    made, clerk = await people.new(**PERSON), people.caller("associate", **CLERK)
    await people.call("GetCustomer", clerk, customer_id=made.id)
    await people.call("SearchCustomers", clerk, email=PERSON["email"])
    await people.call("SearchCustomers", clerk, phone="+43 1 234567")
    for method, asked in (("ListCustomerAddresses", {"customer_id": made.id}), ("ListCustomers", {})):
        await people.call(method, people.caller("store_manager", **CLERK), **asked)

    looks = await entries(people, actor="usr_clerk")
    assert {each.action for each in looks} == {"read"}
    assert [each.resource_id for each in looks] == [made.id, made.id, "", made.id, made.id]
    assert [shown(each).get("searched_by") for each in looks] == [
        None, (None, ["email"]), (None, ["phone"]), None, None,
    ]  # fmt: skip


async def test_what_customers_and_services_read_is_not(people: World) -> None:
    made = await people.new(**PERSON)
    await people.call("GetCustomer", people.customer(made.id), customer_id=made.id)
    await people.call(
        "GetCustomer", people.caller("service", subject="svc:marketing", service="marketing"), customer_id=made.id
    )
    assert [each.action for each in await entries(people)] == ["created"]


async def test_who_reads_personal_values_in_the_log_is_in_it(people: World) -> None:
    made, other = await people.new(**PERSON), await people.new(family_name="Other", email="", phone="")
    await entries(people, resource="customer", resource_id=made.id)
    looks = [each for each in await entries(people, actor="usr_manager") if each.action == "read"]
    assert [each.resource_id for each in looks] == [made.id]
    assert other.id != made.id


# --- exactly what happened ---


async def test_what_is_refused_or_repeated_leaves_no_entry(people: World) -> None:
    made = await people.call("CreateCustomer", customer=PERSON, request_id="r-1")
    again = await people.call("CreateCustomer", customer=PERSON, request_id="r-1")
    assert again.id == made.id
    with pytest.raises(errors.VersionMismatch):
        await people.edit(made.id, expected_version=7, given_name="X")
    with pytest.raises(errors.AlreadyExists):
        await people.call("CreateCustomer", customer=PERSON, request_id="r-2")
    (entry,) = await entries(people)
    assert (entry.action, entry.request_id) == ("created", "r-1")


async def test_a_service_that_calls_for_somebody_is_named_beside_them(people: World) -> None:
    clerk = people.caller("associate", service="marketing", **CLERK)
    made = await people.call("CreateCustomer", clerk, customer=PERSON)
    (entry,) = await entries(people)
    assert (entry.actor, entry.service, entry.resource_id) == ("usr_clerk", "marketing", made.id)


# --- reading ---


async def test_pages_and_filters(people: World) -> None:
    made = [(await people.new(family_name=f"F{n}", email="", phone="")).id for n in range(5)]
    manager, found, token = people.caller("store_manager", subject="usr_manager"), [], ""
    principals.enter(manager)
    while True:
        request = json_format.ParseDict(
            {"filter": {"resource": "customer", "actor": "boss"}, "page_size": 2, "page_token": token},
            audit_pb2.ListAuditEntriesRequest(),
        )
        page = await people.audited.list(manager, request)
        found += [each.resource_id for each in page.entries]
        if not (token := page.next_page_token):
            break
    assert found == made[::-1]
    assert await entries(people, actor="usr_nobody") == []
    request.filter.actor = "usr_other"
    request.page_token = paging_token = (await people.audited.list(manager, _two())).next_page_token
    assert paging_token
    with pytest.raises(errors.InvalidPageToken):
        await people.audited.list(manager, request)


def _two() -> audit_pb2.ListAuditEntriesRequest:
    return audit_pb2.ListAuditEntriesRequest(page_size=2)


async def test_another_tenant_and_a_manager_of_one_shop_see_nothing(people: World, other: World) -> None:
    await people.new(**PERSON)
    other.audited = reading.Reading(other.db, other.parts.opener)
    assert await entries(other) == []
    of_a_shop = principals.Principal(
        "usr", people.tenant_id, frozenset({"store_manager"}), frozenset(), frozenset({"loc_1"}), 2e9
    )
    with pytest.raises(errors.LocationScope):
        await entries(people, of_a_shop)

"""Locations: codes, versions, masks, lists, and what the others are told."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from services.kit import errors, ids
from tests.integration.inventory.catalog.brands import Brand, a_location
from tillmesh.inventory.v1 import catalog_pb2, inventory_events_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

WAREHOUSE = catalog_pb2.LOCATION_TYPE_WAREHOUSE
SELL, PICKUP = catalog_pb2.LOCATION_CAPABILITY_SELL, catalog_pb2.LOCATION_CAPABILITY_PICKUP


def an_edit(location: catalog_pb2.Location, *, expected_version: int = 0, **fields: Any) -> pb.UpdateLocationRequest:
    request = pb.UpdateLocationRequest(
        location=catalog_pb2.Location(id=location.id, **fields), expected_version=expected_version
    )
    request.update_mask.paths.extend(fields)
    return request


async def test_a_location_is_read_as_it_was_made(brand: Brand) -> None:
    address = catalog_pb2.Address(lines=["Graben 1"], city="Wien", postal_code="1010", country_code="AT")
    made = await brand.location("Vienna-1", address=address, capabilities=[PICKUP, SELL], business_day_cutoff="04:30")

    assert await brand.call(pb.GetLocationRequest(location_id=made.id)) == made
    assert (made.version, made.address, list(made.capabilities)) == (1, address, [SELL, PICKUP])


async def test_a_location_begins_with_an_empty_ledger(brand: Brand, as_owner: psycopg.Connection[Any]) -> None:
    made = await brand.location()

    head = as_owner.execute(
        "SELECT seq, epoch FROM stock_head WHERE location_id = %s", [ids.decode("loc", made.id)]
    ).fetchone()
    assert head == (0, 1)


async def test_of_twenty_racers_one_gets_the_code(brand: Brand) -> None:
    codes = ["vienna", "VIENNA"] * 10
    outcomes = await asyncio.gather(*map(brand.location, codes), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, errors.AlreadyExists)]
    assert len(refused) == 19
    assert refused[0].metadata == {"resource": "code"}


async def test_a_lost_answer_can_be_asked_for_again(brand: Brand) -> None:
    request = pb.CreateLocationRequest(location=a_location(), request_id="import-1")

    first, again = await brand.call(request), await brand.call(request)

    assert first == again
    assert len(brand.pings) == 1


async def test_two_brands_have_the_same_code(brand: Brand, other_brand: Brand) -> None:
    ours, theirs = await brand.location(), await other_brand.location()

    assert ours.id != theirs.id


async def test_a_location_of_another_brand_answers_like_one_that_never_was(brand: Brand, other_brand: Brand) -> None:
    theirs = await other_brand.location()
    refusals = []
    for location_id in (theirs.id, ids.new("loc"), "loc_" + "z" * 26):
        for request in (
            pb.GetLocationRequest(location_id=location_id),
            an_edit(catalog_pb2.Location(id=location_id), closed=True),
            pb.BatchResolveItemsRequest(location_id=location_id),
        ):
            with pytest.raises(errors.NotFound) as refusal:
                await brand.call(request)
            refusals.append((str(refusal.value), refusal.value.metadata))

    assert set(map(str, refusals)) == {str(("no such location", {"resource": "location"}))}


async def test_an_edit_sets_the_masked_fields_and_nothing_else(brand: Brand) -> None:
    made = await brand.location()
    request = an_edit(made, name="New", closed=True)
    request.location.timezone = "not looked at"

    edited = await brand.call(request)

    assert (edited.name, edited.closed, edited.version) == ("New", True, 2)
    assert (edited.timezone, edited.code, edited.created_at) == (made.timezone, made.code, made.created_at)
    assert await brand.call(pb.GetLocationRequest(location_id=made.id)) == edited


async def test_a_masked_field_follows_the_rules_of_the_contract(brand: Brand) -> None:
    made = await brand.location()
    for fields in (
        {"name": ""},
        {"timezone": "Mars/Olympus"},
        {"currency_code": "XXX"},
        {"business_day_cutoff": "24:00"},
    ):
        with pytest.raises(errors.InvalidRequest) as refusal:
            await brand.call(an_edit(made, **fields))
        assert [each.field for each in refusal.value.violations] == [f"location.{next(iter(fields))}"]


async def test_a_mask_names_whole_fields(brand: Brand) -> None:
    made = await brand.location()
    for paths in ([], ["address.city"]):
        request = an_edit(made)
        request.update_mask.paths.extend(paths)
        request.update_mask.SetInParent()
        with pytest.raises(errors.InvalidRequest):
            await brand.call(request)


async def test_an_edit_of_an_old_version_is_refused(brand: Brand) -> None:
    made = await brand.location()
    await brand.call(an_edit(made, expected_version=1, name="A"))
    with pytest.raises(errors.VersionMismatch) as refusal:
        await brand.call(an_edit(made, expected_version=1, name="B"))

    assert refusal.value.metadata == {"current_version": "2"}


async def test_of_twenty_racers_one_edits_a_version(brand: Brand) -> None:
    made = await brand.location()
    edits = [brand.call(an_edit(made, expected_version=1, name=f"Shop {n}")) for n in range(20)]
    outcomes = await asyncio.gather(*edits, return_exceptions=True)

    assert sum(isinstance(outcome, errors.VersionMismatch) for outcome in outcomes) == 19


async def test_a_code_that_is_taken_is_not_given_by_an_edit(brand: Brand) -> None:
    await brand.location("graz")
    made = await brand.location("vienna")
    with pytest.raises(errors.AlreadyExists):
        await brand.call(an_edit(made, code="GRAZ"))

    assert (await brand.call(an_edit(made, code="VIENNA"))).code == "VIENNA"


async def test_a_token_edits_only_the_locations_that_it_covers(brand: Brand) -> None:
    ours, other = await brand.location("a"), await brand.location("b")
    with pytest.raises(errors.LocationScope):
        await brand.covering(ours.id).call(an_edit(other, name="X"))


async def test_locations_are_listed_by_code_in_pages(brand: Brand) -> None:
    for code in ("b", "D", "a", "C", "e"):
        await brand.location(code)
    pages, token = [], ""
    while True:
        page = await brand.call(pb.ListLocationsRequest(page_size=2, page_token=token))
        pages.append([each.code for each in page.locations])
        if not (token := page.next_page_token):
            break

    assert pages == [["a", "b"], ["C", "D"], ["e"]]


async def test_locations_are_listed_as_far_as_the_token_covers_them(brand: Brand, other_brand: Brand) -> None:
    ours, _ = await brand.location("a"), await brand.location("b")
    theirs = await other_brand.location("a")

    listed = await brand.covering(ours.id, theirs.id).call(pb.ListLocationsRequest())

    assert [each.id for each in listed.locations] == [ours.id]
    assert not (await brand.covering().call(pb.ListLocationsRequest())).locations


async def test_locations_are_filtered(brand: Brand) -> None:
    await brand.location("a", capabilities=[SELL])
    await brand.location("b", type=WAREHOUSE, capabilities=[PICKUP])

    async def listed(**fields: Any) -> list[str]:
        request = pb.ListLocationsRequest(filter=pb.ListLocationsRequest.Filter(**fields))
        return [each.code for each in (await brand.call(request)).locations]

    assert await listed(type=WAREHOUSE) == ["b"]
    assert await listed(capability=SELL) == ["a"]
    assert await listed(code="B") == ["b"]
    assert await listed(code="B", capability=SELL) == []


async def test_a_page_token_belongs_to_its_query_and_its_brand(brand: Brand, other_brand: Brand) -> None:
    for each in (brand, other_brand):
        for code in "ab":
            await each.location(code)
    token = (await brand.call(pb.ListLocationsRequest(page_size=1))).next_page_token
    narrowed = pb.ListLocationsRequest(page_token=token, filter=pb.ListLocationsRequest.Filter(type=WAREHOUSE))
    for caller, request in ((brand, narrowed), (other_brand, pb.ListLocationsRequest(page_token=token))):
        with pytest.raises(errors.InvalidPageToken):
            await caller.call(request)


async def test_each_version_of_a_location_is_told_once(brand: Brand, as_owner: psycopg.Connection[Any]) -> None:
    made = await brand.location()
    edited = await brand.call(an_edit(made, closed=True))

    rows = as_owner.execute(
        "SELECT seq_from, seq_to, type, data FROM outbox WHERE tenant_id = %s AND key = %s ORDER BY seq_to",
        [brand.tenant, f"location:{made.id}"],
    ).fetchall()
    assert [row[:2] for row in rows] == [(1, 1), (2, 2)]
    assert {row[2] for row in rows} == {"tillmesh.inventory.v1.LocationChanged"}
    told = [inventory_events_pb2.LocationChanged.FromString(row[3]).location for row in rows]
    assert told == [made, edited]
    assert brand.pings == [(brand.tenant_id, f"location:{made.id}")] * 2

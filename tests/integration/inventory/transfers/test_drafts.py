"""What may be drafted, edited and made ready, and what is told of the rest."""

from __future__ import annotations

import pytest

from services.inventory.domain import bundles, levels, stock_errors
from services.kit import errors, ids
from tests.integration.inventory.transfers.moving import (
    READY,
    MovingWorld,
)
from tillmesh.inventory.v1 import transfers_pb2 as messages
from tillmesh.inventory.v1 import transfers_service_pb2 as pb


async def test_a_draft_is_edited_against_its_version(world: MovingWorld) -> None:
    here, there = await world.ends(a=5, b=5)
    draft = await world.drafted(here, there, {"a": 5}, note="old")
    changed = messages.Transfer(id=draft.id, note="new")
    changed.lines.add(sku="B", quantity=2)
    edit = pb.UpdateTransferRequest(
        transfer=changed, update_mask={"paths": ["lines", "note"]}, expected_version=draft.version
    )

    edited = await world.call(edit)

    assert (edited.note, [(x.sku, x.quantity) for x in edited.lines], edited.version) == ("new", [("b", 2)], 2)
    with pytest.raises(errors.VersionMismatch):
        await world.call(edit)


async def test_what_can_not_be_transferred_is_told(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    for lines, ends, refusal in (
        ({"a": 1, "A": 2}, (here, there), errors.InvalidRequest),
        ({"a": 1}, (here, here), errors.InvalidRequest),
        ({"nothing": 1}, (here, there), stock_errors.SkuNotFound),
        ({"a": 1}, (here, ids.new("loc")), errors.NotFound),
    ):
        with pytest.raises(refusal):
            await world.drafted(*ends, lines)
    empty = await world.drafted(here, there, {})
    with pytest.raises(errors.InvalidRequest):
        await world.ready(empty.id)
    draft = await world.drafted(here, there, {"a": 1})
    await world.execute("UPDATE location SET closed = true WHERE id = :l", l=ids.decode("loc", there))
    for attempt in (world.ready(draft.id), world.drafted(here, there, {"a": 1})):
        with pytest.raises(stock_errors.LocationNotCapable):
            await attempt
    await world.drafted(there, here, {"a": 1})  # a shop that has closed is emptied
    assert (await world.units(here))[1] == 5


async def test_a_bundle_travels_as_what_it_consists_of(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    await world.variants(["set", "later"])
    await world.set_bundle("set", {"a": 2})
    with pytest.raises(bundles.BundleHasNoStock):
        await world.drafted(here, there, {"SET": 1})
    await world.drafted(here, there, {"later": 1})
    with pytest.raises(bundles.SkuHasStock):
        await world.set_bundle("later", {"a": 2})


async def test_a_destination_waits_for_a_sku_in_few_documents_of_any_kind(
    world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "INCOMING_MAX", 2)
    here, there = await world.ends(a=9, b=9)
    await world.placed(there, {"a": 1})
    sent = await world.sent(here, there, {"a": 1, "b": 1})
    third = await world.drafted(here, there, {"a": 1})

    with pytest.raises(errors.InvalidRequest):
        await world.ready(third.id)
    assert await world.units(here) == (8, 8, 0, 0)
    await world.arrive(sent.id, {"a": 1})
    assert (await world.ready(third.id)).state == READY

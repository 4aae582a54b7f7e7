"""Who may see transfers and take their steps, and what lists find."""

from __future__ import annotations

from typing import Any

import pytest

from services.kit import errors, ids
from tests.integration.inventory.transfers import moving
from tests.integration.inventory.transfers.moving import (
    CANCELLED,
    MovingWorld,
)
from tillmesh.inventory.v1 import transfers_service_pb2 as pb


async def test_each_end_has_its_own_say_and_both_see(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    sender, receiver, other = (
        world.staff(name, "store_manager", [place])
        for name, place in (("s", here), ("r", there), ("o", await world.location()))
    )
    draft = await world.drafted(here, there, {"a": 2})
    named = {"transfer_id": draft.id}
    accepted = [pb.ReceiveTransferRequest.Line(sku="a", accepted=1)]
    edit = pb.UpdateTransferRequest(transfer={"id": draft.id, "note": "x"}, update_mask={"paths": ["note"]})
    for request, caller in (
        (edit, sender),
        (pb.ReadyTransferRequest(**named), sender),
        (pb.ShipTransferRequest(**named), sender),
        (pb.ReceiveTransferRequest(**named, lines=accepted), receiver),
        (pb.CloseTransferRequest(**named, reason="x"), receiver),
    ):
        for wrong in {sender, receiver, other} - {caller}:
            with pytest.raises(errors.LocationScope):
                await world.call(request, wrong)
        await world.call(request, caller)
    for wrong in (receiver, other):
        with pytest.raises(errors.LocationScope):
            await world.call(pb.CancelTransferRequest(**named, reason="x"), wrong)
    for reader in (sender, receiver):
        assert (await world.call(pb.GetTransferRequest(**named), reader)).id == draft.id
        assert [x.id for x in (await world.call(pb.ListTransfersRequest(), reader)).transfers] == [draft.id]
    for request in (pb.GetTransferRequest(**named), pb.ListTransferEventsRequest(**named)):
        with pytest.raises(errors.LocationScope):
            await world.call(request, other)
    assert list((await world.call(pb.ListTransfersRequest(), other)).transfers) == []


async def test_lists_are_filtered_and_paged(world: MovingWorld) -> None:
    here, there = await world.ends(a=9, b=9)
    third = await world.location()
    one = await world.drafted(here, there, {"a": 1})
    two = await world.drafted(there, third, {"b": 1})
    three = await world.drafted(here, third, {"a": 1, "b": 1})
    await world.cancel(one.id)

    async def listed(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            page = await world.call(pb.ListTransfersRequest(page_size=2, page_token=token, **fields))
            found += [transfer.id for transfer in page.transfers]
            if not (token := page.next_page_token):
                return found

    assert await listed() == [three.id, two.id, one.id]
    assert await listed(location_id=there) == [two.id, one.id]
    assert await listed(from_location_id=here, sku="A") == [three.id, one.id]
    assert await listed(to_location_id=third) == [three.id, two.id]
    assert await listed(states=[CANCELLED]) == [one.id]
    with pytest.raises(errors.NotFound):
        await listed(to_location_id=ids.new("loc"))


async def test_of_another_tenant_nothing_is_found(world: MovingWorld, db: Any) -> None:
    here, there = await world.ends(a=5)
    draft = await world.drafted(here, there, {"a": 1})
    async with moving.MovingWorld(db) as stranger:
        for request in (
            pb.GetTransferRequest(transfer_id=draft.id),
            pb.ReadyTransferRequest(transfer_id=draft.id),
            pb.CancelTransferRequest(transfer_id=draft.id, reason="x"),
        ):
            with pytest.raises(errors.NotFound):
                await stranger.call(request)

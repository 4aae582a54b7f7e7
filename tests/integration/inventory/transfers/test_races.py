"""Many who take steps of transfers at the same time: each happens once, and no unit is promised twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.inventory.domain import levels, transitions
from services.kit import errors
from tests.integration.inventory.replenishment.buying import APPLIED
from tests.integration.inventory.transfers.moving import (
    CANCELLED,
    IN_TRANSIT,
    RECEIVED,
    MovingWorld,
)
from tillmesh.inventory.v1 import replenishment_pb2, replenishment_service_pb2
from tillmesh.inventory.v1 import transfers_pb2 as messages


async def outcomes(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_step_is_answered_again_for_the_same_key(world: MovingWorld) -> None:
    here, there = await world.ends(a=9)
    draft = await world.drafted(here, there, {"a": 6})
    for step in (
        lambda: world.ready(draft.id, request_id="ready"),
        lambda: world.ship(draft.id, request_id="ship"),
        lambda: world.arrive(draft.id, {"a": 2}, request_id="box 1"),
        lambda: world.close(draft.id, request_id="close"),
    ):
        at_once = await asyncio.gather(*(step() for _ in range(20)))
        again = await step()
        assert {(x.state, x.stock_effect) for x in at_once[-1:]} == {(again.state, APPLIED)}
    assert [len(await world.happened(draft.id)), again.lines[0].lost] == [5, 4]
    assert (await world.units(here), await world.units(there)) == ((3, 3, 0, 0), (2, 2, 0, 0))
    with pytest.raises(errors.IdempotencyKeyReused):
        await world.arrive(draft.id, {"a": 1}, request_id="box 1")


async def test_20_who_make_it_ready_at_once_promise_its_units_once(world: MovingWorld) -> None:
    here, there = await world.ends(a=10)
    draft = await world.drafted(here, there, {"a": 6})

    answers = await outcomes(*(world.ready(draft.id) for _ in range(20)))

    assert sum(isinstance(answer, messages.Transfer) for answer in answers) == 1
    refused = (transitions.IllegalTransition, errors.VersionMismatch)
    assert all(isinstance(answer, messages.Transfer | refused[0] | refused[1]) for answer in answers)
    assert await world.units(here) == (10, 4, 6, 0)


async def test_20_receivers_at_once_bring_in_what_was_sent_and_the_rest_is_surplus(world: MovingWorld) -> None:
    here, there = await world.ends(a=50)
    sent = await world.sent(here, there, {"a": 30})

    answers = await outcomes(*(world.arrive(sent.id, {"a": 2}) for _ in range(20)))

    came = sum(isinstance(answer, messages.Transfer) for answer in answers)
    assert came == 15
    assert all(isinstance(a, messages.Transfer | transitions.IllegalTransition) for a in answers)
    assert (await world.units(here), await world.units(there)) == ((20, 20, 0, 0), (30, 30, 0, 0))
    assert (await world.transfer(sent.id)).state == RECEIVED
    assert await world.differences(here, there) == []


async def test_shipping_against_cancelling_has_one_winner(world: MovingWorld) -> None:
    here, there = await world.ends(a=200)
    drafts = [await world.drafted(here, there, {"a": 5}) for _ in range(12)]
    await asyncio.gather(*(world.ready(draft.id) for draft in drafts))

    await outcomes(*(call(d.id) for d in drafts for call in (world.ship, world.cancel)))

    states = [(await world.transfer(draft.id)).state for draft in drafts]
    assert set(states) <= {IN_TRANSIT, CANCELLED}
    sent = 5 * states.count(IN_TRANSIT)
    assert await world.units(here) == (200 - sent, 200 - sent, 0, 0)
    assert await world.units(there) == (0, 0, 0, sent)


async def test_20_documents_at_once_do_not_make_a_destination_wait_for_more_than_it_may(
    world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transfers and purchase orders count together."""
    monkeypatch.setattr(levels, "INCOMING_MAX", 3)
    here, there = await world.ends(a=100)
    transfers = [await world.drafted(here, there, {"a": 1}) for _ in range(10)]
    supplier = await world.supplier()
    await world.listed(supplier.id, replenishment_pb2.SupplierSku(sku="a"))
    orders = [await world.draft(there, {"a": 1}, supplier_id=supplier.id) for _ in range(10)]
    place = replenishment_service_pb2.PlacePurchaseOrderRequest

    answers = await outcomes(
        *(world.ready(transfer.id) for transfer in transfers),
        *(world.call(place(purchase_order_id=order.id)) for order in orders),
    )

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 3
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {type(refusal) for refusal in refused} == {errors.InvalidRequest}


async def test_transfers_both_ways_at_once_end_with_every_unit_where_it_belongs(world: MovingWorld) -> None:
    """Steps take both locations' locks: opposite ones must not wait for each other for ever."""
    here, there = await world.ends(a=100)
    await world.adjust(there, "a", 100)

    async def carry(origin: str, destination: str) -> None:
        sent = await world.sent(origin, destination, {"a": 3})
        await world.arrive(sent.id, {"a": {"accepted": 1, "lost": 1}})
        await world.arrive(sent.id, {"a": 1})

    async with asyncio.timeout(60):
        await asyncio.gather(*(carry(*ends) for ends in ((here, there), (there, here)) * 10))

    assert (await world.units(here), await world.units(there)) == ((90, 90, 0, 0), (90, 90, 0, 0))
    assert await world.differences(here, there) == []

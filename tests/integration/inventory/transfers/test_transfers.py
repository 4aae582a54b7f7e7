"""Promises of transfers, on a real database: no unit is ever nowhere, and none is in two places."""

from __future__ import annotations

import datetime as dt

import pytest

from services.inventory.domain import levels as values
from services.inventory.domain import stock_errors, transitions
from tests.integration.inventory.replenishment.buying import APPLIED, SOON
from tests.integration.inventory.transfers.moving import (
    CANCELLED,
    DRAFT,
    IN_TRANSIT,
    PARTLY,
    READY,
    RECEIVED,
    MovingWorld,
)
from tillmesh.inventory.v1 import transfers_pb2 as messages
from tillmesh.inventory.v1 import transfers_service_pb2 as pb


async def test_units_are_promised_sent_and_received_and_each_step_is_in_both_ledgers(world: MovingWorld) -> None:
    here, there = await world.ends(Red=10)
    draft = await world.drafted(here, there, {"red": 6}, reference="Q2 refill")
    assert (draft.state, draft.number, await world.units(here, "Red")) == (DRAFT, "TR-000001", (10, 10, 0, 0))

    ready = await world.ready(draft.id)
    assert (ready.state, ready.stock_effect, await world.units(here, "Red")) == (READY, APPLIED, (10, 4, 6, 0))
    sent = await world.ship(draft.id)
    assert (sent.state, await world.units(here, "Red")) == (IN_TRANSIT, (4, 4, 0, 0))
    assert await world.units(there, "Red") == (0, 0, 0, 6)
    level = await world.level(there, "Red")
    assert [tuple(entry) for entry in level.incoming] == [(6, SOON, "TR-000001")]
    assert level.expected_by(SOON) == 6  # in transit and incoming, and counted once
    some = await world.arrive(draft.id, {"red": {"accepted": 3, "damaged": 1}})
    assert (some.state, await world.units(there, "Red")) == (PARTLY, (4, 3, 0, 2))
    assert await world.incoming(there, "Red") == [(2, "TR-000001")]
    done = await world.arrive(draft.id, {"RED": {"quality_control": 1, "lost": 1}})

    assert (done.state, done.stock_effect, await world.units(there, "Red")) == (RECEIVED, APPLIED, (5, 3, 0, 0))
    assert await world.incoming(there, "Red") == []
    hold = ("reservation", ready.reservation_id)
    assert await world.ledger(here) == [
        ("Red", 1, 2, 10, 1, "reference", ""),
        ("Red", 2, 3, 6, 14, *hold),
        ("Red", 3, 4, 6, 17, *hold),
        ("Red", 4, 1, 6, 19, "transfer", "TR-000001/3"),
    ]
    assert await world.ledger(there) == [
        ("Red", 1, 8, 6, 20, "transfer", "TR-000001/3"),
        ("Red", 8, 2, 3, 21, "transfer", "TR-000001/4"),
        ("Red", 8, 5, 1, 21, "transfer", "TR-000001/4"),
        ("Red", 8, 6, 1, 21, "transfer", "TR-000001/5"),
        ("Red", 8, 1, 1, 22, "transfer", "TR-000001/5"),
    ]
    (line,) = done.lines
    assert (line.shipped, line.received, line.damaged, line.quality_control, line.lost) == (6, 5, 1, 1, 1)
    assert await world.differences(here, there) == []


async def test_what_happened_is_kept_with_who_did_it_and_where_it_is_in_the_ledger(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    sent = await world.sent(here, there, {"a": 5})
    await world.arrive(sent.id, {"a": 2}, note="one box open")
    await world.close(sent.id)

    events = await world.happened(sent.id)

    kinds = [messages.TransferEventKind.Name(event.kind).rpartition("KIND_")[2] for event in events]
    assert kinds == ["CREATED", "READY", "SHIPPED", "RECEIVED", "CLOSED"]
    assert {(event.actor, event.terminal_id) for event in events} == {("boss", "trm-1")}
    assert [event.stock_effect for event in events] == [APPLIED] * 5
    assert [(event.seq, event.movement_reference) for event in events] == [
        (0, ""), (3, "TR-000001/2"), (4, "TR-000001/3"), (2, "TR-000001/4"), (3, "TR-000001/5"),
    ]  # fmt: skip
    assert (events[3].note, events[3].lines[0].accepted, events[4].lines[0].lost, events[4].note) == (
        "one box open", 2, 3, "gone",
    )  # fmt: skip
    page = await world.call(pb.ListTransferEventsRequest(transfer_id=sent.id, page_size=3))
    rest = pb.ListTransferEventsRequest(transfer_id=sent.id, page_size=3, page_token=page.next_page_token)
    assert [*page.events, *(await world.call(rest)).events] == events


async def test_too_few_units_leave_it_a_draft(world: MovingWorld) -> None:
    here, there = await world.ends(a=5, b=5)
    draft = await world.drafted(here, there, {"a": 5, "b": 6})

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.ready(draft.id)

    assert [(line.sku, line.requested, line.available) for line in refused.value.lines] == [("b", 6, 5)]
    assert (await world.transfer(draft.id)).state == DRAFT
    assert await world.units(here, "a") == (5, 5, 0, 0)
    await world.adjust(here, "b", 1)
    assert (await world.ready(draft.id)).state == READY


async def test_cancelling_gives_back_what_was_promised(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    draft = await world.drafted(here, there, {"a": 4})
    await world.ready(draft.id)

    cancelled = await world.cancel(draft.id)

    assert (cancelled.state, cancelled.end_reason, cancelled.stock_effect) == (CANCELLED, "not now", APPLIED)
    assert (await world.units(here), await world.units(there)) == ((5, 5, 0, 0), (0, 0, 0, 0))


async def test_what_is_not_shipped_is_given_back(world: MovingWorld) -> None:
    here, there = await world.ends(a=5, b=5)
    draft = await world.drafted(here, there, {"a": 4, "b": 3})
    await world.ready(draft.id)

    sent = await world.ship(draft.id, {"a": 1})

    assert [(line.quantity, line.shipped, line.outstanding) for line in sent.lines] == [(4, 1, 1), (3, 0, 0)]
    assert (await world.units(here, "a"), await world.units(here, "b")) == ((4, 4, 0, 0), (5, 5, 0, 0))
    assert (await world.units(there, "a"), await world.incoming(there, "b")) == ((0, 0, 0, 1), [])


async def test_closing_loses_what_has_not_come(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    sent = await world.sent(here, there, {"a": 5})
    await world.arrive(sent.id, {"a": 2})

    closed = await world.close(sent.id)

    assert (closed.state, closed.lines[0].lost, closed.lines[0].outstanding) == (RECEIVED, 3, 0)
    assert (await world.units(there), await world.incoming(there, "a")) == ((2, 2, 0, 0), [])


async def test_more_than_was_sent_enters_the_stock_as_surplus(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    sent = await world.sent(here, there, {"a": 3})

    done = await world.arrive(sent.id, {"a": 4})

    assert (done.state, done.lines[0].received, done.lines[0].surplus) == (RECEIVED, 4, 1)
    assert (await world.units(here), await world.units(there)) == ((2, 2, 0, 0), (4, 4, 0, 0))
    assert (await world.ledger(there))[1:] == [
        ("a", 8, 2, 3, 21, "transfer", "TR-000001/4"),
        ("a", 1, 2, 1, 20, "transfer", "TR-000001/4"),
    ]


async def test_what_a_person_gave_back_leaves_all_the_same_and_is_reported(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    draft = await world.drafted(here, there, {"a": 4})
    ready = await world.ready(draft.id)
    await world.end(ready.reservation_id, values.HoldState.RELEASED)
    await world.sell(here, "a", 3)

    await world.ship(draft.id)

    assert (await world.units(here), await world.units(there)) == ((-2, -2, 0, 0), (0, 0, 0, 4))
    assert await world.exceptions(here) == [(1, 2, "TR-000001/3")]


async def test_a_new_date_moves_what_is_in_transit(world: MovingWorld) -> None:
    here, there = await world.ends(a=5, b=5)
    sent = await world.sent(here, there, {"a": 5, "b": 5})
    await world.arrive(sent.id, {"b": 5})
    later = messages.Transfer(id=sent.id)
    later.expected_at.FromDatetime(SOON + dt.timedelta(days=3))

    edited = await world.call(pb.UpdateTransferRequest(transfer=later, update_mask={"paths": ["expected_at"]}))

    assert (edited.state, edited.stock_effect) == (PARTLY, APPLIED)
    assert [i.eta for i in (await world.level(there, "a")).incoming] == [SOON + dt.timedelta(days=3)]
    assert (await world.level(there, "b")).incoming == ()
    with pytest.raises(transitions.IllegalTransition):
        await world.call(pb.UpdateTransferRequest(transfer=later, update_mask={"paths": ["lines"]}))


async def test_a_count_expects_what_came_off_the_road_and_not_what_is_on_it(world: MovingWorld) -> None:
    """What the van brought before the count is recorded after it."""
    here, there = await world.ends(a=9)
    draft = await world.drafted(here, there, {"a": 5})
    await world.ready(draft.id)
    count = await world.opened(there, "a")
    opened = count.created_at.ToDatetime(dt.UTC)
    at = opened + dt.timedelta(milliseconds=1)
    await world.counted(count.id, a=2)

    await world.ship(draft.id, shipped_at=at)
    await world.arrive(draft.id, {"a": {"accepted": 2, "lost": 1}}, received_at=at)
    await world.submitted(count.id)
    await world.approved(count.id)

    assert (await world.lines(count.id))["a"].variance == 0
    assert await world.units(there) == (2, 2, 0, 2)

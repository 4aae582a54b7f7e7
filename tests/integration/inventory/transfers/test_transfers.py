"""Promises of transfers, on a real database: no unit is ever nowhere, and none is in two places."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from services.inventory.domain import bundles, commands, levels, lots, stock_errors, transitions
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as stock_mapping
from services.kit import errors, ids
from tests.integration.inventory.replenishment.buying import APPLIED, SOON
from tests.integration.inventory.stock import shelf
from tests.integration.inventory.transfers import moving
from tests.integration.inventory.transfers.moving import (
    CANCELLED,
    DRAFT,
    IN_TRANSIT,
    PARTLY,
    READY,
    RECEIVED,
    MovingWorld,
)
from tillmesh.inventory.v1 import stock_pb2
from tillmesh.inventory.v1 import transfers_pb2 as messages
from tillmesh.inventory.v1 import transfers_service_pb2 as pb


async def outcomes(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


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


async def test_units_of_lots_leave_by_lot_and_no_unit_is_lost(world: MovingWorld) -> None:
    milk = shelf.Shelf(world)
    here, there = await milk.open(), await world.location()
    await milk.bring(here, 2, "L1", expires_on=shelf.day(5))
    await milk.bring(here, 2, "L2", expires_on=shelf.day(9))
    draft = await world.drafted(here, there, {shelf.SKU: 4})
    await world.ready(draft.id)

    await world.ship(draft.id, {shelf.SKU: 3})
    done = await world.arrive(draft.id, {shelf.SKU: {"accepted": 2, "lost": 1}})

    assert done.state == RECEIVED
    out = await world.rows("SELECT lot, quantity FROM ledger WHERE reason = 19 ORDER BY lot")
    assert [tuple(row) for row in out] == [("L1", 2), ("L2", 1)]
    assert await milk.on_hand(there) == {"L1": {"on_hand": 2, "free": 2}}
    assert (await world.units(here, shelf.SKU), await world.units(there, shelf.SKU)) == ((1, 1, 0, 0), (2, 2, 0, 0))
    assert await world.differences(here, there) == []


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


async def test_units_stay_of_their_lots_on_the_road_and_end_at_the_midnight_of_where_they_go(
    world: MovingWorld,
) -> None:
    here, there = await world.ends(a=1)
    async with world.db.transaction(world.tenant) as session:
        policy = 'UPDATE variant SET lot_policy = \'{"sell_past_best_before": false, "minimum_life_days": {}}\''
        await session.execute(sa.text(policy))
        zone = "UPDATE location SET timezone = 'Asia/Tokyo' WHERE id = :id"
        await session.execute(sa.text(zone), {"id": stock_mapping.location_uuid(there)})
    for code, ends in (("SOON", "2031-03-04"), ("LATE", "2031-05-06")):
        draft = lots.LotDraft(code=code, expires_on=dt.date.fromisoformat(ends))
        await world.handlers.known_lots.code("a", draft)
        command = commands.Adjust(world.origin, "a", 4, reason=1, lot=code)
        await world.handlers.write(here, command, world.key(), stock_pb2.StockLevel, stock_mapping.reply_level)

    async def shelf(location_id: str) -> dict[str, tuple[int, int, int]]:
        query = "SELECT lot, on_hand, in_transit, damaged FROM stock_lot WHERE location_id = :l ORDER BY lot"
        rows = await world.rows(query, l=str(stock_mapping.location_uuid(location_id)))
        return {row[0]: tuple(row[1:]) for row in rows}

    sent = await world.sent(here, there, {"a": 7})
    assert await shelf(here) == {"LATE": (1, 0, 0)}
    assert await shelf(there) == {"LATE": (0, 3, 0), "SOON": (0, 4, 0)}
    until = "SELECT lot, sell_until FROM stock_lot WHERE location_id = :l ORDER BY lot"
    ends = dict(await world.rows(until, l=str(stock_mapping.location_uuid(there))))  # type: ignore[arg-type]  # pairs
    assert ends["SOON"] == dt.datetime(2031, 3, 4, 15, tzinfo=dt.UTC)
    assert await world.differences(here, there) == []

    await world.arrive(sent.id, {"a": {"accepted": 3, "damaged": 2}})
    assert await shelf(there) == {"LATE": (1, 2, 1), "SOON": (4, 0, 1)}
    await world.close(sent.id)
    assert await shelf(there) == {"LATE": (1, 0, 1), "SOON": (4, 0, 1)}
    assert await world.units(there) == (5, 3, 0, 0)
    held = await world.reserve(there, ("a", 3))
    assert [(line.lot, line.quantity) for line in held.lines] == [("SOON", 3)]
    assert await world.differences(here, there) == []


async def test_units_of_no_lot_travel_as_such_beside_lots(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    async with world.db.transaction(world.tenant) as session:
        policy = 'UPDATE variant SET lot_policy = \'{"sell_past_best_before": false, "minimum_life_days": {}}\''
        await session.execute(sa.text(policy))
    await world.handlers.known_lots.code("a", lots.LotDraft(code="L"))
    command = commands.Adjust(world.origin, "a", 2, reason=1, lot="L")
    await world.handlers.write(here, command, world.key(), stock_pb2.StockLevel, stock_mapping.reply_level)

    sent = await world.sent(here, there, {"a": 6})
    await world.arrive(sent.id, {"a": 8})  # two more than were sent

    assert await world.units(there) == (8, 8, 0, 0)
    assert await world.rows("SELECT lot, on_hand FROM stock_lot") == [("L", 2)]
    assert await world.differences(here, there) == []

"""Machines move along their tables only, each move is a version with its history and its event, and 20 can't make one twice."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from services.kit import database, errors, idempotency, ids
from services.orders import moving
from services.orders.domain import machines, sale
from services.orders.domain import moving as domain
from services.orders.domain.machines import By, FulfillmentState, Machine, ParcelState
from tests.integration.orders.placing import placed
from tillmesh.orders.v1 import orders_pb2

STATES = {
    Machine.ORDER: list(sale.OrderState),
    Machine.PAYMENT: list(machines.PaymentState),
    Machine.FULFILLMENT: list(FulfillmentState),
    Machine.PARCEL: list(ParcelState),
}


class Mover:
    """The use case on a real database, for one tenant."""

    def __init__(self, db: database.Database, tenant: uuid.UUID) -> None:
        self.db, self.tenant = db, tenant
        self.heard: list[str] = []
        self.moves = moving.Moves(db, lambda _tenant, key: self.heard.append(key))

    async def move(
        self,
        order: sale.Order,
        machine: Machine,
        to: str,
        target: uuid.UUID | None = None,
        *,
        version: int = 0,
        key: str = "",
        caller: Any = None,
    ) -> orders_pb2.Order:
        caller = caller or placed.staff(self.tenant)
        command = moving.Command(
            order_id=order.id,
            request=domain.Request(machine, target, to, "because", caller.subject),
            expected_version=version,
            key=idempotency.Key(str(self.tenant), caller.subject, "test", key, b""),
            tenant_id=caller.tenant_id,
        )
        return await self.moves.move(caller, command)

    async def rows(self, statement: str, **given: Any) -> Any:
        return await placed.rows(self.db, self.tenant, statement, **given)


@pytest.fixture
def mover(db: database.Database, tenant: uuid.UUID) -> Mover:
    return Mover(db, tenant)


def one(shop: uuid.UUID, state: FulfillmentState = FulfillmentState.OPEN, *parcels: ParcelState) -> sale.Order:
    return placed.order(shop, placed.group(shop, *parcels, state=state))


async def test_a_group_is_moved_and_the_order_tells_of_it(mover: Mover) -> None:
    shop = ids.new_uuid()
    order = one(shop)
    await placed.keep(mover.db, mover.tenant, order)

    answer = await mover.move(order, Machine.FULFILLMENT, "PICKING", version=1)

    assert (answer.version, answer.fulfillment_state) == (2, FulfillmentState.PICKING)
    [entry] = await mover.rows("SELECT * FROM order_history")
    told = (entry.number, entry.machine, entry.from_state, entry.to_state, entry.reason, entry.actor, entry.version)
    assert told == (1, Machine.FULFILLMENT, "OPEN", "PICKING", "because", "usr_staff", 2)
    [event] = await mover.rows("SELECT key, seq_from, seq_to, type FROM outbox")
    assert tuple(event) == (answer.id, 2, 2, "tillmesh.orders.v1.OrderUpdated")
    assert mover.heard == [answer.id]
    [noted] = await mover.rows("SELECT action, actor, resource_id, changes FROM audit_entry")
    assert tuple(noted)[:3] == ("moved", "usr_staff", answer.id)
    [(field, change)] = json.loads(noted.changes).items()
    assert (field.partition(":")[0], change) == ("fulfillment", {"before": "OPEN", "after": "PICKING"})


async def test_an_order_is_completed_when_its_last_parcel_is_delivered_and_it_is_paid(mover: Mover) -> None:
    order = one(ids.new_uuid(), FulfillmentState.HANDED_OVER, ParcelState.IN_TRANSIT, ParcelState.DELIVERED)
    await placed.keep(mover.db, mover.tenant, order, paid=True)
    assert order.placed is not None
    parcel = order.placed.groups[0].parcels[0]

    answer = await mover.move(order, Machine.PARCEL, "DELIVERED", parcel.id)

    assert (answer.state, answer.fulfillment_state) == (sale.OrderState.COMPLETED, FulfillmentState.DELIVERED)
    moved = await mover.rows("SELECT machine, to_state, version FROM order_history ORDER BY number")
    assert [tuple(each) for each in moved] == [(4, "DELIVERED", 2), (3, "DELIVERED", 2), (1, "COMPLETED", 2)]
    assert [each.type for each in await mover.rows("SELECT type FROM outbox")] == ["tillmesh.orders.v1.OrderCompleted"]


async def test_an_order_that_is_not_paid_is_not_completed(mover: Mover) -> None:
    order = one(ids.new_uuid(), FulfillmentState.READY_FOR_PICKUP)
    await placed.keep(mover.db, mover.tenant, order)

    assert (await mover.move(order, Machine.FULFILLMENT, "DELIVERED")).state == sale.OrderState.PLACED
    with pytest.raises(machines.IllegalTransition) as refusal:
        await mover.move(order, Machine.ORDER, "COMPLETED")
    assert refusal.value.metadata == {"from": "PLACED", "to": "COMPLETED", "allowed": ""}


@pytest.mark.parametrize("machine", [Machine.ORDER, Machine.FULFILLMENT])
async def test_cancelling_is_left_to_who_sees_to_units_and_money(mover: Mover, machine: Machine) -> None:
    order = one(ids.new_uuid())
    await placed.keep(mover.db, mover.tenant, order)

    with pytest.raises(machines.TransitionReserved):
        await mover.move(order, machine, "CANCELLED")


async def test_a_payment_moves_by_payments_only(mover: Mover) -> None:
    order = one(ids.new_uuid())
    await placed.keep(mover.db, mover.tenant, order)

    with pytest.raises(machines.TransitionReserved) as refusal:
        await mover.move(order, Machine.PAYMENT, "PAID")
    assert refusal.value.metadata["by"] == "PAYMENT"


async def test_who_covers_another_location_only_is_refused(mover: Mover) -> None:
    sold_at, sent_from = ids.new_uuid(), ids.new_uuid()
    order = placed.order(sold_at, placed.group(sent_from))
    await placed.keep(mover.db, mover.tenant, order)

    for location in (ids.new_uuid(), sold_at):
        with pytest.raises(errors.LocationScope):
            await mover.move(order, Machine.FULFILLMENT, "PICKING", caller=placed.staff(mover.tenant, location))
    at_work = placed.staff(mover.tenant, sent_from)
    assert (await mover.move(order, Machine.FULFILLMENT, "PICKING", caller=at_work)).version == 2


async def test_of_20_who_saw_the_same_version_one_moves_it(mover: Mover) -> None:
    order = one(ids.new_uuid())
    await placed.keep(mover.db, mover.tenant, order)

    moves = [mover.move(order, Machine.FULFILLMENT, "PICKING", version=1) for _ in range(20)]
    answers = await asyncio.gather(*moves, return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refused) == 19
    assert {type(each) for each in refused} == {errors.VersionMismatch}
    assert await mover.rows("SELECT version FROM sales_order") == [(2,)]


async def test_the_same_key_moves_once(mover: Mover) -> None:
    order = one(ids.new_uuid())
    await placed.keep(mover.db, mover.tenant, order)

    answers = await asyncio.gather(*[mover.move(order, Machine.FULFILLMENT, "PICKING", key="k") for _ in range(20)])

    assert {answer.version for answer in answers} == {2}


async def test_another_tenant_s_order_is_not_there(mover: Mover) -> None:
    order = one(ids.new_uuid())
    await placed.keep(mover.db, ids.new_uuid(), order)

    with pytest.raises(errors.NotFound):
        await mover.move(order, Machine.FULFILLMENT, "PICKING")


# --- random walks ---


@dataclass
class Model:
    """Two groups, one of them with two parcels, as plain states."""

    order: sale.OrderState = sale.OrderState.PLACED
    groups: list[FulfillmentState] = field(
        default_factory=lambda: [FulfillmentState.OPEN, FulfillmentState.HANDED_OVER]
    )
    parcels: list[ParcelState] = field(default_factory=lambda: [ParcelState.UNKNOWN, ParcelState.IN_TRANSIT])
    version: int = 1

    def expect(self, machine: Machine, at: int, to: Any) -> str:
        """Moves, or says why not."""
        if machine is Machine.PAYMENT:
            return (
                "TRANSITION_RESERVED"
                if to in machines.PAYMENT.moves[machines.PaymentState.PAID]
                else "ILLEGAL_TRANSITION"
            )
        if machine is Machine.ORDER:
            return self._order(to)
        if self.order is not sale.OrderState.PLACED:
            return "ORDER_NOT_EDITABLE"
        states: Any = self.groups if machine is Machine.FULFILLMENT else self.parcels
        if to not in machines.TABLES[machine].allowed(states[at]):
            return "ILLEGAL_TRANSITION"
        if to not in machines.TABLES[machine].allowed(states[at], By.STAFF):
            return "TRANSITION_RESERVED"
        states[at] = to
        self.version += 1
        if machine is Machine.PARCEL:
            self.groups[1] = machines.group_state(self.groups[1], self.parcels)
        if all(group is FulfillmentState.DELIVERED for group in self.groups):
            self.order = sale.OrderState.COMPLETED
        return ""

    def _order(self, to: sale.OrderState) -> str:
        who = machines.ORDER.moves[self.order].get(to)
        if who is None or to is sale.OrderState.COMPLETED:  # it is completed by itself, or not yet
            return "ILLEGAL_TRANSITION"
        return "TRANSITION_RESERVED"


WALKS = st.lists(
    st.sampled_from(list(Machine)).flatmap(
        lambda machine: st.tuples(st.just(machine), st.integers(0, 1), st.sampled_from(STATES[machine]))
    ),
    min_size=15,
    max_size=25,
)
LEGAL = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=5, max_size=20)


async def walk(urls: tuple[str, str, str], steps: Any) -> None:
    tenant, shop = ids.new_uuid(), ids.new_uuid()
    db = database.Database(urls[0], urls[1], pool_size=1, lane_connections=1)
    try:
        await check(Mover(db, tenant), shop, steps)
    finally:
        await db.close()


async def check(mover: Mover, shop: uuid.UUID, steps: Any) -> None:
    db, tenant, model = mover.db, mover.tenant, Model()
    groups = [placed.group(shop, state=model.groups[0]), placed.group(shop, *model.parcels, state=model.groups[1])]
    order = placed.order(shop, *groups)
    await placed.keep(db, tenant, order, paid=True)
    targets = {Machine.FULFILLMENT: [each.id for each in groups], Machine.PARCEL: [p.id for p in groups[1].parcels]}
    for machine, at, to in steps(model):
        expected = model.expect(machine, at, to)
        try:
            answer = await mover.move(order, machine, to.name, targets.get(machine, [None, None])[at])
        except errors.Error as refusal:
            assert refusal.reason == expected, (machine, to, expected)
        else:
            assert expected == ""
            assert (answer.version, answer.state) == (model.version, model.order)
            shown = {group.id: group.state for group in answer.groups}
            assert [shown[ids.encode("ful", each)] for each in targets[Machine.FULFILLMENT]] == model.groups
    positions = await mover.rows("SELECT seq_to FROM outbox ORDER BY seq_to")
    assert [each.seq_to for each in positions] == list(range(2, model.version + 1))
    versions = await mover.rows("SELECT DISTINCT version FROM order_history ORDER BY version")
    assert [each.version for each in versions] == list(range(2, model.version + 1))


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(steps=WALKS)
def test_no_walk_leaves_the_tables(urls: tuple[str, str, str], steps: Any) -> None:
    asyncio.run(walk(urls, lambda _model: steps))


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(choices=LEGAL)
def test_every_legal_walk_goes_through(urls: tuple[str, str, str], choices: Any) -> None:
    def steps(model: Model) -> Any:
        for at, choice in choices:
            machine: Any = Machine.FULFILLMENT if choice % 2 else Machine.PARCEL
            state = (model.groups if machine is Machine.FULFILLMENT else model.parcels)[at]
            ways = machines.TABLES[machine].allowed(state, By.STAFF)
            if ways:
                yield machine, at, ways[choice % len(ways)]

    asyncio.run(walk(urls, steps))

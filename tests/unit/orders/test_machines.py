"""The four machines: their tables are those of the contract, legal moves are made and others refused, roll-ups agree."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from services.kit import errors
from services.orders.domain import machines
from services.orders.domain.machines import By, FulfillmentState, Machine, ParcelState, PaymentState
from services.orders.domain.sale import OrderState
from tillmesh.orders.v1 import orders_pb2, states_pb2

TABLES: list[machines.Table[Any]] = list(machines.TABLES.values())
EDGES = [(table, state, to, who) for table in TABLES for state, row in table.moves.items() for to, who in row.items()]
ASKERS = st.sampled_from([*By, By.STAFF | By.SYSTEM])
Sums = tuple[int, int, int, int, int]

each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.machine.name)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (Machine, states_pb2.Machine, "MACHINE_"),
        (OrderState, orders_pb2.OrderState, "ORDER_STATE_"),
        (PaymentState, states_pb2.PaymentState, "PAYMENT_STATE_"),
        (FulfillmentState, states_pb2.FulfillmentState, "FULFILLMENT_STATE_"),
        (ParcelState, states_pb2.ParcelState, "PARCEL_STATE_"),
    ],
)
def test_states_are_those_of_the_contract(ours: type[enum.IntEnum], theirs: Any, prefix: str) -> None:
    named = {name.removeprefix(prefix): number for name, number in theirs.items() if number}

    assert {state.name: state.value for state in ours} == named


@each_table
def test_a_table_has_every_state_and_each_can_be_reached(table: machines.Table[Any]) -> None:
    reached, ahead = set(table.initial), deque(table.initial)
    while ahead:
        new = set(table.allowed(ahead.popleft())) - reached
        reached |= new
        ahead.extend(new)

    assert reached == set(table.moves) == set(type(next(iter(table.initial))))
    assert not any(state in row for state, row in table.moves.items())


@pytest.mark.parametrize(
    ("table", "final"),
    [
        (machines.ORDER, {OrderState.COMPLETED, OrderState.CANCELLED, OrderState.EXPIRED}),
        (machines.PAYMENT, set()),
        (machines.FULFILLMENT, {FulfillmentState.DELIVERED, FulfillmentState.CANCELLED}),
        (machines.PARCEL, {ParcelState.DELIVERED, ParcelState.RETURN_TO_SENDER}),
    ],
)
def test_only_ends_lead_nowhere_and_from_everywhere_else_an_end_can_be_reached(
    table: machines.Table[Any], final: set[enum.IntEnum]
) -> None:
    assert {state for state in table.moves if table.is_final(state)} == final
    ending = set(final)
    while grown := {state for state in table.moves if ending & set(table.allowed(state))} - ending:
        ending |= grown
    assert not final or ending == set(table.moves)


@pytest.mark.parametrize(
    ("table", "state", "to", "who"), EDGES, ids=[f"{table.machine.name}-{a.name}-{b.name}" for table, a, b, _ in EDGES]
)
def test_each_move_is_made_by_those_who_may_and_by_nobody_else(
    table: machines.Table[Any], state: enum.IntEnum, to: enum.IntEnum, who: By
) -> None:
    for by in By:
        if by & who:
            assert table.move(state, to, by) == machines.Move(table.machine, state, to)
            assert to in table.allowed(state, by)
        else:
            with pytest.raises(machines.TransitionReserved) as refused:
                table.move(state, to, by)
            names = ",".join(str(each.name) for each in who)
            assert refused.value.metadata == {"from": state.name, "to": to.name, "by": names}
            assert to not in table.allowed(state, by)


@given(table=st.sampled_from(TABLES), by=ASKERS, data=st.data())
def test_what_the_table_doesnt_have_is_refused_and_what_would_be_allowed_is_named(
    table: machines.Table[Any], by: By, data: st.DataObject
) -> None:
    state = data.draw(st.sampled_from(sorted(table.moves)))
    to = data.draw(st.sampled_from([each for each in sorted(table.moves) if each not in table.moves[state]]))

    with pytest.raises(machines.IllegalTransition) as refused:
        table.move(state, to, by)

    allowed = refused.value.metadata.pop("allowed")
    assert refused.value.metadata == {"from": state.name, "to": to.name}
    for name in filter(None, allowed.split(",")):
        table.move(state, table.named(name), by)
    assert len(list(filter(None, allowed.split(",")))) == len(table.allowed(state, by))


@pytest.mark.parametrize(
    ("table", "state", "to", "by", "metadata"),
    [
        (machines.ORDER, "PLACED", "DRAFT", By.STAFF, {"allowed": "COMPLETED"}),
        (machines.ORDER, "PLACED", "PLACED", By.SYSTEM, {"allowed": "COMPLETED,CANCELLED"}),
        (machines.ORDER, "COMPLETED", "CANCELLED", By.SYSTEM, {"allowed": ""}),
        (machines.ORDER, "DRAFT", "PLACED", By.STAFF, {"allowed": ""}),
        (machines.ORDER, "DRAFT", "PENDING", By.STAFF, {"by": "SYSTEM"}),
        (machines.ORDER, "PLACED", "CANCELLED", By.STAFF, {"by": "SYSTEM"}),
        (machines.PAYMENT, "UNPAID", "PAID", By.STAFF, {"by": "PAYMENT"}),
        (machines.PAYMENT, "PAID", "VOIDED", By.STAFF, {"by": "PAYMENT"}),
        (machines.FULFILLMENT, "HANDED_OVER", "CANCELLED", By.STAFF, {"allowed": "DELIVERED,FAILED"}),
        (machines.FULFILLMENT, "OPEN", "HANDED_OVER", By.PAYMENT, {"allowed": ""}),
        (machines.FULFILLMENT, "PICKING", "CANCELLED", By.STAFF, {"by": "SYSTEM"}),
        (machines.PARCEL, "RETURN_TO_SENDER", "DELIVERED", By.SYSTEM, {"allowed": ""}),
        (machines.PARCEL, "IN_TRANSIT", "IN_TRANSIT", By.PAYMENT, {"allowed": ""}),
    ],
)
def test_a_move_that_must_not_be_is_refused(
    table: machines.Table[Any], state: str, to: str, by: By, metadata: dict[str, str]
) -> None:
    with pytest.raises((machines.IllegalTransition, machines.TransitionReserved)) as refused:
        table.move(table.named(state), table.named(to), by)
    assert refused.value.metadata == {"from": state, "to": to, **metadata}


def test_a_name_that_is_no_state_is_refused_with_those_there_are() -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        machines.ORDER.named("SHIPPED")

    (violation,) = refused.value.violations
    names = "DRAFT, PENDING, PLACED, COMPLETED, CANCELLED, EXPIRED"
    assert violation == errors.FieldViolation("to_state", f"is one of {names}")


@each_table
def test_where_something_begins_is_a_move_from_nowhere(table: machines.Table[Any]) -> None:
    for state in table.moves:
        if state in table.initial:
            assert table.begin(state) == machines.Move(table.machine, None, state)
        else:
            with pytest.raises(ValueError, match="nothing begins"):
                table.begin(state)


LIVES = {
    Machine.ORDER: {
        "placed and served": "PENDING PLACED COMPLETED",
        "a quote that is placed and cancelled": "DRAFT PENDING PLACED CANCELLED",
        "a draft whose card was declined, and which nobody tried again": "DRAFT PENDING DRAFT EXPIRED",
        "a draft thrown away": "DRAFT CANCELLED",
        "a placement without units": "PENDING CANCELLED",
        "a placement that took too long": "PENDING EXPIRED",
        "a sale": "COMPLETED",
    },
    Machine.FULFILLMENT: {
        "sent": "OPEN PICKING HANDED_OVER DELIVERED",
        "collected": "OPEN PICKING READY_FOR_PICKUP DELIVERED",
        "fetched by the customer's driver": "OPEN PICKING READY_FOR_PICKUP HANDED_OVER DELIVERED",
        "made to order": "OPEN IN_PRODUCTION ON_HOLD OPEN IN_PRODUCTION PICKING READY_FOR_PICKUP CANCELLED",
        "production stopped": "OPEN IN_PRODUCTION CANCELLED",
        "could not be made": "OPEN IN_PRODUCTION FAILED OPEN PICKING OPEN CANCELLED",
        "waits for fraud to be looked into": "ON_HOLD OPEN ON_HOLD CANCELLED",
        "ordered ahead": "SCHEDULED OPEN SCHEDULED ON_HOLD SCHEDULED CANCELLED",
        "held while it is picked": "OPEN PICKING ON_HOLD OPEN PICKING CANCELLED",
        "nothing on the shelf": "OPEN FAILED CANCELLED",
        "broken while it was picked": "OPEN PICKING FAILED OPEN",
        "a line was forgotten": "OPEN PICKING READY_FOR_PICKUP PICKING READY_FOR_PICKUP FAILED",
        "lost and found by the carrier": "OPEN PICKING HANDED_OVER FAILED DELIVERED",
    },
}


@pytest.mark.parametrize("machine", LIVES)
def test_every_life_can_be_lived_and_every_move_is_part_of_one(machine: Machine) -> None:
    table, lived = machines.TABLES[machine], set()
    for life in LIVES[machine].values():
        first, *rest = [table.named(name) for name in life.split()]
        state = table.begin(first).to_state
        for to in rest:
            lived.add((state, to))
            state = table.move(state, to, By.SYSTEM).to_state

    assert lived == {(state, to) for state, row in table.moves.items() for to in row}


def test_a_parcel_may_skip_and_repeat_but_never_comes_back_from_an_end_and_is_never_unknown_again() -> None:
    final = {ParcelState.DELIVERED, ParcelState.RETURN_TO_SENDER}
    announced = {ParcelState.UNKNOWN: 0, ParcelState.PRE_TRANSIT: 1}
    for state in ParcelState:
        expected = {to for to in ParcelState if to is not state and announced.get(to, 2) >= announced.get(state, 2)} - {
            ParcelState.UNKNOWN
        }

        assert set(machines.PARCEL.allowed(state, By.STAFF)) == (set() if state in final else expected)


class Walk(RuleBasedStateMachine):
    """One order under random moves: it is always where the last legal one led, and its history is a path."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[Machine, Any] = {
            Machine.ORDER: OrderState.DRAFT,
            Machine.PAYMENT: PaymentState.UNPAID,
            Machine.FULFILLMENT: FulfillmentState.OPEN,
            Machine.PARCEL: ParcelState.UNKNOWN,
        }
        self.history = [machines.TABLES[machine].begin(state) for machine, state in self.at.items()]

    def _make(self, machine: Machine, to: Any, by: By) -> None:
        move = machines.TABLES[machine].move(self.at[machine], to, by)
        self.history.append(move)
        self.at[machine] = move.to_state

    @rule(machine=st.sampled_from(Machine), by=ASKERS, data=st.data())
    def ask_for_anything(self, machine: Machine, by: By, data: st.DataObject) -> None:
        table, state = machines.TABLES[machine], self.at[machine]
        to = data.draw(st.sampled_from(sorted(table.moves)))
        legal = to in table.allowed(state, by)
        try:
            self._make(machine, to, by)
        except (machines.IllegalTransition, machines.TransitionReserved):
            assert not legal
            assert self.at[machine] is state
        else:
            assert legal

    @precondition(lambda self: any(not machines.TABLES[m].is_final(state) for m, state in self.at.items()))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        running = [machine for machine, state in self.at.items() if not machines.TABLES[machine].is_final(state)]
        machine = data.draw(st.sampled_from(running))
        table, state = machines.TABLES[machine], self.at[machine]
        to = data.draw(st.sampled_from(table.allowed(state)))
        self._make(machine, to, table.moves[state][to])

    def teardown(self) -> None:
        for machine, state in self.at.items():
            path = [move for move in self.history if move.machine is machine]
            assert path[0].from_state is None
            assert [move.from_state for move in path[1:]] == [move.to_state for move in path[:-1]]
            assert path[-1].to_state is state


TestWalk = Walk.TestCase


def state_of(sums: Sums) -> PaymentState:
    total, authorised, captured, refunded, voided = sums
    return machines.payment_state(total, authorised=authorised, captured=captured, refunded=refunded, voided=voided)


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ((100, 0, 0, 0, 0), "UNPAID"),
        ((0, 0, 0, 0, 0), "PAID"),  # free
        ((100, 100, 0, 0, 0), "AUTHORIZED"),
        ((100, 100, 40, 0, 0), "AUTHORIZED"),  # captured as parcels leave
        ((100, 30, 0, 0, 0), "PARTIALLY_PAID"),
        ((100, 30, 30, 0, 0), "PARTIALLY_PAID"),  # a deposit
        ((100, 100, 40, 0, 60), "PARTIALLY_PAID"),
        ((100, 100, 100, 0, 0), "PAID"),
        ((100, 120, 100, 0, 0), "PAID"),
        ((100, 100, 100, 1, 0), "PARTIALLY_REFUNDED"),
        ((100, 100, 100, 100, 0), "REFUNDED"),
        ((100, 100, 40, 40, 60), "REFUNDED"),
        ((100, 200, 100, 100, 0), "AUTHORIZED"),  # given back, and paid with another card
        ((100, 100, 0, 0, 100), "VOIDED"),
        ((0, 100, 0, 0, 100), "VOIDED"),
    ],
)
def test_the_state_of_payment_follows_from_sums(sums: Sums, expected: str) -> None:
    assert state_of(sums).name == expected


def movements(sums: Sums) -> Iterator[Sums]:
    """What payments of at most what is due, and edits of the order, can make of sums."""
    total, authorised, captured, refunded, voided = sums
    set_aside, kept = authorised - captured - voided, captured - refunded
    for amount in range(1, total - set_aside - kept + 1):
        yield total, authorised + amount, captured, refunded, voided
        yield total, authorised + amount, captured + amount, refunded, voided
    for amount in range(1, set_aside + 1):
        yield total, authorised, captured + amount, refunded, voided
        yield total, authorised, captured + amount, refunded, voided + set_aside - amount  # a final capture
        yield total, authorised, captured, refunded, voided + amount
    for amount in range(1, kept + 1):
        yield total, authorised, captured, refunded + amount, voided
    for other in range(4):
        if other != total:
            yield other, authorised, captured, refunded, voided


def test_the_table_of_payment_has_what_movements_of_money_make_and_nothing_else() -> None:
    ahead: deque[Sums] = deque((total, 0, 0, 0, 0) for total in range(4))
    seen, begun, made = set(ahead), {state_of(sums) for sums in ahead}, set()
    while ahead:
        sums = ahead.popleft()
        for after in movements(sums):
            if (state := state_of(sums)) != (to := state_of(after)):
                made.add((state, to))
            if after not in seen and after[1] <= 6:
                seen.add(after)
                ahead.append(after)

    assert begun == machines.PAYMENT.initial
    assert made == {(state, to) for state, row in machines.PAYMENT.moves.items() for to in row}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("", None),
        ("OPEN", "OPEN"),
        ("DELIVERED DELIVERED", "DELIVERED"),
        ("DELIVERED CANCELLED", "DELIVERED"),
        ("CANCELLED CANCELLED", "CANCELLED"),
        ("DELIVERED HANDED_OVER", "HANDED_OVER"),
        ("DELIVERED PICKING READY_FOR_PICKUP", "PICKING"),
        ("OPEN SCHEDULED", "SCHEDULED"),
        ("OPEN ON_HOLD SCHEDULED", "ON_HOLD"),
        ("DELIVERED FAILED ON_HOLD", "FAILED"),
    ],
)
def test_an_order_is_where_the_group_furthest_from_delivery_is(groups: str, expected: str | None) -> None:
    state = machines.fulfillment_state([FulfillmentState[name] for name in groups.split()])

    assert (state and state.name) == expected


@given(groups=st.lists(st.sampled_from(FulfillmentState), min_size=1), data=st.data())
def test_an_order_is_delivered_when_every_group_is(groups: list[FulfillmentState], data: st.DataObject) -> None:
    state = machines.fulfillment_state(groups)

    assert state in groups
    assert state is machines.fulfillment_state(data.draw(st.permutations(groups)))
    served = {group for group in groups if group is not FulfillmentState.CANCELLED}
    assert (state is FulfillmentState.DELIVERED) == (served == {FulfillmentState.DELIVERED})


@pytest.mark.parametrize(
    ("state", "parcels", "expected"),
    [
        ("HANDED_OVER", "", "HANDED_OVER"),  # the customer's driver has it
        ("HANDED_OVER", "DELIVERED IN_TRANSIT", "HANDED_OVER"),
        ("HANDED_OVER", "DELIVERED FAILURE", "HANDED_OVER"),  # a person decides
        ("HANDED_OVER", "DELIVERED DELIVERED", "DELIVERED"),
        ("HANDED_OVER", "FAILURE RETURN_TO_SENDER", "FAILED"),
        ("FAILED", "DELIVERED DELIVERED", "DELIVERED"),
        ("FAILED", "IN_TRANSIT", "FAILED"),
        ("PICKING", "DELIVERED", "PICKING"),
        ("CANCELLED", "DELIVERED", "CANCELLED"),
    ],
)
def test_a_group_is_delivered_only_when_every_parcel_is(state: str, parcels: str, expected: str) -> None:
    found = machines.group_state(FulfillmentState[state], [ParcelState[name] for name in parcels.split()])

    assert found.name == expected


@given(state=st.sampled_from(FulfillmentState), parcels=st.lists(st.sampled_from(ParcelState), max_size=5))
def test_parcels_move_a_group_along_its_table_only(state: FulfillmentState, parcels: list[ParcelState]) -> None:
    found = machines.group_state(state, parcels)

    assert found is state or found in machines.FULFILLMENT.allowed(state, By.SYSTEM)
    if found is FulfillmentState.DELIVERED and found is not state:
        assert set(parcels) == {ParcelState.DELIVERED}
    assert machines.group_state(found, parcels) is found

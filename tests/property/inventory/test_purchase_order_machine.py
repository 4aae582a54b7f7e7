"""Random steps of purchase orders, legal and not, against a notebook; their effects reach the stock late and repeatedly.

The machine keeps orders and a queue of steps for each, as the database would, and brings steps into a real working set
of stock whenever it likes, each at least once. The model knows what was ordered, and every delivery by itself.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import (
    commands,
    purchase_orders,
    purchase_receipts,
    stock,
    stock_documents,
    suppliers,
    transitions,
)
from services.inventory.domain import levels as values

SKUS = ("Red-1", "BLUE", "green.x")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ME = commands.Origin("me", "trm-1")
KNOWN = purchase_orders.Known({values.fold(sku): sku for sku in SKUS})
SUPPLIER = suppliers.Supplier(
    id=uuid.uuid4(), code="acme", name="Acme", currency_code="EUR", default_lead_time_days=7, version=1,
    created_at=START, updated_at=START,
)  # fmt: skip
State = purchase_orders.State
# Written down once more, from the contract's comment and not from the code.
LEGAL = {
    "place": {State.DRAFT},
    "receive": {State.ORDERED, State.PARTIALLY_RECEIVED},
    "close": {State.PARTIALLY_RECEIVED},
    "cancel": {State.DRAFT, State.ORDERED},
    "edit": {State.DRAFT},
    "reschedule": {State.DRAFT, State.ORDERED, State.PARTIALLY_RECEIVED},
}
few = st.sampled_from([0, 0, 1, 2])
many = st.integers(4, 15)


@dataclass
class Noted:
    """An order as a person would note it."""

    ordered: dict[str, int]
    tolerance: int
    state: State = State.DRAFT
    deliveries: list[dict[str, tuple[int, int, int, int]]] = field(default_factory=list)

    def came(self, sku: str) -> int:
        return sum(sum(delivery[sku][:3]) for delivery in self.deliveries if sku in delivery)

    def rejected(self, sku: str) -> int:
        return sum(delivery[sku][3] for delivery in self.deliveries if sku in delivery)

    def outstanding(self, sku: str) -> int:
        return max(self.ordered[sku] - self.came(sku), 0)


class PurchaseOrderMachine(stateful.RuleBasedStateMachine):
    """Each rule is one rpc, or a step that reaches the stock."""

    numbers = stateful.Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.seq = 0
        self.levels: dict[str, values.Level] = {}
        self.ledger: list[values.Movement] = []
        self.orders: dict[int, purchase_orders.PurchaseOrder] = {}
        self.noted: dict[int, Noted] = {}
        self.queues: dict[int, list[tuple[int, commands.Document]]] = {}
        self.done: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.moved: dict[str, int] = {}

    def attempt(self, number: int, move: str, step: Callable[[], Any]) -> Any:
        """The step, which must be refused exactly where the notebook says so."""
        may = self.noted[number].state in LEGAL[move]
        try:
            result = step()
        except transitions.IllegalTransition as refused:
            assert not may, (move, self.noted[number].state)
            assert refused.metadata["from"] == self.noted[number].state.name
            return None
        assert may, (move, self.noted[number].state)
        before, after = self.orders[number], result.order
        assert after.version == before.version + 1
        assert (after.effects == before.effects + 1) == (result.command is not None)
        self.orders[number] = after
        if result.command is not None:
            self.queues[number].append((after.effects, result.command))
        return result

    # --- rpcs ---

    @stateful.precondition(lambda self: len(self.orders) < 3)  # few orders go further than many
    @stateful.rule(
        target=numbers,
        lines=st.dictionaries(st.sampled_from(SKUS), many, min_size=1),
        tolerance=st.sampled_from([0, 1000, 5000, 10000]),
    )
    def create(self, lines: dict[str, int], tolerance: int) -> int:
        number = len(self.orders) + 1
        draft = purchase_orders.Draft(
            supplier_id=SUPPLIER.id,
            location_id=uuid.uuid4(),
            lines=tuple(purchase_orders.LineDraft(sku=sku.upper(), ordered=n) for sku, n in lines.items()),
            over_receipt_basis_points=tolerance,
        )
        self.orders[number] = purchase_orders.new_order(
            draft, order_id=uuid.uuid4(), number=number, supplier=SUPPLIER, known=KNOWN, by="me", now=self.now
        )
        self.noted[number], self.queues[number] = Noted(lines, tolerance), []
        return number

    @stateful.rule(number=numbers, lines=st.dictionaries(st.sampled_from(SKUS), many, min_size=1))
    def edit(self, number: int, lines: dict[str, int]) -> None:
        drafts = tuple(purchase_orders.LineDraft(sku=sku, ordered=n) for sku, n in lines.items())
        if self.attempt(
            number,
            "edit",
            lambda: purchase_orders.edit(
                self.orders[number], {"lines": drafts}, KNOWN, expected_version=0, now=self.now
            ),
        ):
            self.noted[number].ordered = lines

    @stateful.rule(number=numbers, days=st.integers(1, 50))
    def reschedule(self, number: int, days: int) -> None:
        at = self.now + dt.timedelta(days=days)
        result = self.attempt(
            number,
            "reschedule",
            lambda: purchase_orders.edit(
                self.orders[number], {"expected_at": at}, KNOWN, expected_version=0, now=self.now
            ),
        )
        if result and self.noted[number].state != State.DRAFT:
            assert {line.expected_at for line in result.order.lines if line.outstanding} == {at}

    @stateful.rule(number=numbers)
    def place(self, number: int) -> None:
        if self.attempt(
            number,
            "place",
            lambda: purchase_orders.place(self.orders[number], SUPPLIER, KNOWN, (), expected_version=0, now=self.now),
        ):
            self.noted[number].state = State.ORDERED

    @stateful.rule(number=numbers)
    def close(self, number: int) -> None:
        if self.attempt(
            number,
            "close",
            lambda: purchase_orders.close(self.orders[number], "short", expected_version=0, now=self.now),
        ):
            self.noted[number].state = State.CLOSED

    @stateful.rule(number=numbers)
    def cancel(self, number: int) -> None:
        if self.attempt(
            number,
            "cancel",
            lambda: purchase_orders.cancel(self.orders[number], "no", expected_version=0, now=self.now),
        ):
            self.noted[number].state = State.CANCELLED

    @stateful.rule(
        number=numbers,
        came=st.dictionaries(st.sampled_from(SKUS), st.tuples(few, few, few, few).filter(any), min_size=1, max_size=3),
    )
    def receive(self, number: int, came: dict[str, tuple[int, int, int, int]]) -> None:
        order, noted = self.orders[number], self.noted[number]
        came = {sku: units for sku, units in came.items() if sku in noted.ordered}
        if not came:
            return
        names = ("accepted", "damaged", "quality_control", "rejected")
        lines = tuple(
            purchase_receipts.ReceiptLine(sku=sku.lower(), **dict(zip(names, units, strict=True)))
            for sku, units in came.items()
        )
        too_many = {
            sku
            for sku, units in came.items()
            if noted.came(sku) + sum(units[:3]) > noted.ordered[sku] * (10_000 + noted.tolerance) // 10_000
        }
        try:
            received = self.attempt(
                number,
                "receive",
                lambda: purchase_receipts.receive(
                    order,
                    purchase_receipts.ReceiptDraft(lines=lines),
                    receipt_id=uuid.uuid4(),
                    origin=ME,
                    expected_version=0,
                    now=self.now,
                ),
            )
        except purchase_receipts.OverReceipt as refused:
            assert {line.sku for line in refused.lines} == too_many
            return
        if received is None:
            return
        assert not too_many
        noted.deliveries.append(came)
        assert received.receipt.number == len(noted.deliveries)
        if not any(noted.outstanding(sku) for sku in noted.ordered):
            noted.state = State.RECEIVED
        elif any(noted.came(sku) for sku in noted.ordered):
            noted.state = State.PARTIALLY_RECEIVED

    @stateful.rule(number=numbers, damaged=st.booleans())
    def receive_the_rest(self, number: int, damaged: bool) -> None:
        noted = self.noted[number]
        rest = {sku: noted.outstanding(sku) for sku in noted.ordered if noted.outstanding(sku)}
        came = {sku: (0, units, 0, 0) if damaged else (units, 0, 0, 0) for sku, units in rest.items()}
        self.receive(number, came)

    @stateful.rule(hours=st.integers(1, 100))
    def time_passes(self, hours: int) -> None:
        self.now += dt.timedelta(hours=hours)

    # --- the stock ---

    def batch(self) -> stock.Stock:
        spellings = {values.fold(sku): sku for sku in SKUS}
        return stock.Stock(
            location_id="loc", seq=self.seq, now=self.now, levels=self.levels, variants=spellings, holds={}, due={}
        )

    def keep(self, working: stock.Stock) -> None:
        for level in working.levels.values():
            level.fresh = level.policy_changed = False
        self.levels, self.seq = working.levels, working.seq
        self.ledger += [movement for step in working.steps for movement in step.movements]

    @stateful.rule(number=numbers)
    def bring(self, number: int) -> None:
        """The first step of an order that is left over, once: the lane remembers its key."""
        if not self.queues[number]:
            return
        effect, command = self.queues[number].pop(0)
        working = self.batch()
        assert stock_documents.apply(working, command) == commands.Done()
        step = working.finish()
        self.done[number, effect] = ()
        if isinstance(command, commands.ReceiveStock):
            assert step is not None
            assert {m.ref_id for m in step.movements} == {command.reference}
        self.keep(working)

    @stateful.rule(number=numbers)
    def bring_an_expectation_twice(self, number: int) -> None:
        """What is expected may be told again, as long as nothing later was: nothing more changes."""
        if not self.queues[number] or not isinstance(self.queues[number][0][1], commands.ExpectStock):
            return
        command = self.queues[number][0][1]
        self.bring(number)
        working = self.batch()
        stock_documents.apply(working, command)
        assert working.finish() is None

    @stateful.rule(sku=st.sampled_from(SKUS), delta=st.integers(-5, 9).filter(bool))
    def something_else_happens(self, sku: str, delta: int) -> None:
        working = self.batch()
        working.apply_sale(commands.Sale("ord", (commands.SaleLine(sku, delta),), ME)) if delta > 0 else working.adjust(
            commands.Adjust(ME, sku, -delta, 1)
        )
        working.finish()
        self.moved[sku] = self.moved.get(sku, 0) - delta
        self.keep(working)

    # --- what always holds ---

    @stateful.invariant()
    def orders_say_what_was_noted(self) -> None:
        for number, noted in self.noted.items():
            order = self.orders[number]
            assert order.state == noted.state
            lines = {line.sku: line for line in order.lines}
            assert set(lines) == set(noted.ordered)
            for sku, line in lines.items():
                assert (line.received, line.rejected) == (noted.came(sku), noted.rejected(sku))
                assert line.outstanding == noted.outstanding(sku)
                assert (line.completed_at is not None) == (noted.outstanding(sku) == 0)
            assert (order.ended_at is not None) == (order.state in (State.RECEIVED, State.CLOSED, State.CANCELLED))

    @stateful.invariant()
    def stock_is_what_came_and_was_brought_in(self) -> None:
        for sku in SKUS:
            waiting = sum(
                quantity
                for queue in self.queues.values()
                for _, command in queue
                if isinstance(command, commands.ReceiveStock)
                for name, _, quantity, _ in command.lines
                if name == sku
            )
            came = sum(noted.came(sku) for noted in self.noted.values() if sku in noted.ordered)
            level = self.levels.get(values.fold(sku), values.Level(sku))
            assert level.on_hand == came - waiting + self.moved.get(sku, 0)
            in_and_out = [(m.to_state == 1, m.from_state == 1, m.quantity) for m in self.ledger if m.sku == sku]
            assert level.on_hand == sum(quantity * (inward - out) for out, inward, quantity in in_and_out)

    @stateful.invariant()
    def incoming_is_what_is_waited_for(self) -> None:
        for number, noted in self.noted.items():
            if self.queues[number]:
                continue  # the stock doesn't know yet
            waited = noted.state in (State.ORDERED, State.PARTIALLY_RECEIVED)
            for sku in noted.ordered:
                level = self.levels.get(values.fold(sku), values.Level(sku))
                entries = [i.quantity for i in level.incoming if i.reference == self.orders[number].reference]
                expected = noted.outstanding(sku) if waited else 0
                assert entries == ([expected] if expected else [])


PurchaseOrderMachine.TestCase.settings = hypothesis.settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
TestPurchaseOrders = PurchaseOrderMachine.TestCase

"""Random operations, with faults: the payment agrees with a plain model, and with the provider's books."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.kit import database, errors, ids
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.providers import stripe, stripe_api
from tests.integration.orders.payments import stripe_simulator
from tests.integration.orders.payments.paying import PayingWorld, State, amounts

REFUSED = (domain.AmountExceeded, domain.IllegalTransition)
steps = st.lists(
    st.tuples(
        st.sampled_from(["capture", "final", "void", "refund"]),
        st.integers(1, 1100),
        st.sampled_from(["", "", "no_request", "no_answer", "500"]),
    ),
    max_size=7,
)
tokens = st.sampled_from(["sim_ok", "sim_twice", "sim_timeout", "sim_lost", "sim_capture_lost", "sim_capture_timeout",
                          "sim_refund_lost", "sim_refund_timeout", "sim_void_timeout", "sim_void_lost"])  # fmt: skip


@dataclass
class Model:
    """What a payment of 1000 should be, in as few words as can be."""

    single: bool
    captured: int = 0
    refunded: int = 0
    voided: int = 0

    def step(self, what: str, amount: int) -> bool:
        """Whether it is done."""
        left = 1000 - self.captured - self.voided
        if what in ("capture", "final"):
            if amount > left:
                return False
            self.captured += amount
            self.voided += left - amount if self.single or what == "final" else 0
        elif what == "void":
            if not left:
                return False
            self.voided += left
        else:
            if amount > self.captured - self.refunded:
                return False
            self.refunded += amount
        return True

    @property
    def sums(self) -> tuple[int, int, int, int]:
        return 1000, self.captured, self.refunded, self.voided


async def walk(
    world: PayingWorld,
    paid: port.Movement,
    model: Model,
    plan: list[tuple[str, int, str]],
    fault: Callable[[str], None],
    books: Callable[[], tuple[int, int, int]],
) -> None:
    """Does the steps; after each, however it went, ours and theirs are what the model says."""
    for what, amount, wrong in plan:
        fault(wrong)
        calls: dict[str, Callable[[], Any]] = {
            "capture": lambda a=amount: world.capture(paid, a),
            "final": lambda a=amount: world.capture(paid, a, final=True),
            "void": lambda: world.void(paid),
            "refund": lambda a=amount: world.refund(paid, a),
        }
        try:
            await calls[what]()
            done = True
        except REFUSED:
            done = False
        fault("")
        assert done == model.step(what, amount)
        await world.resume()
        known = await world.look_up(paid)
        assert (amounts(known), known.unknown) == (model.sums, False)
        assert books() == (1000 - model.captured - model.voided, model.captured, model.refunded)
        assert known.authorised >= known.captured + known.voided
        assert known.captured >= known.refunded
    assert await world.rows("SELECT 1 FROM payment_exception") == []


few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(token=tokens, plan=steps)
@example(
    token="sim_capture_timeout", plan=[("capture", 400, ""), ("final", 100, ""), ("refund", 500, ""), ("void", 1, "")]
)
async def test_the_simulated_bank_and_we_agree(
    db: database.Database, tmp_path: Path, token: str, plan: list[Any]
) -> None:
    world = PayingWorld(db, ids.new_uuid(), tmp_path / "bank.sqlite3")
    paid = await world.authorise(token)
    await world.resume()
    assert (await world.look_up(paid)).state is State.AUTHORISED

    def books() -> tuple[int, int, int]:
        authorised, captured, refunded, cancelled = world.books(paid)
        return 0 if cancelled else authorised - captured, captured, refunded

    await walk(world, paid, Model(single=False), plan, lambda _wrong: None, books)
    await world.close()


@few
@given(first=st.sampled_from([[], ["no_request"], ["", "no_answer"], ["no_answer"], ["", 500]]), plan=steps)
async def test_stripe_and_we_agree(
    db: database.Database,
    tmp_path: Path,
    stripe_server: stripe_simulator.StripeServer,
    first: list[Any],
    plan: list[Any],
) -> None:
    account = stripe_server.account
    account.intents.clear()
    account.refunds.clear()
    provider = stripe.Stripe(stripe_api.Api(stripe_simulator.KEY, stripe_server.url))
    world = PayingWorld(
        db, uuid.UUID(int=ids.new_uuid().int), tmp_path / "bank.sqlite3", (domain.Provider.STRIPE, provider)
    )
    account.faults[:] = first
    paid = await world.authorise("pm_card_visa")
    account.faults.clear()
    await world.resume()
    assert (await world.look_up(paid)).state is State.AUTHORISED
    (intent,) = account.intents

    def fault(wrong: str) -> None:
        account.faults[:] = [int(wrong) if wrong.isdigit() else wrong] if wrong else []

    await walk(world, paid, Model(single=True), plan, fault, lambda: account.moved(intent))
    await world.close()
    await provider.close()


@few
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(["hold", "capture", "void", "refund", "issue"]), st.integers(1, 600)), max_size=12
    )
)
async def test_a_gift_cards_entries_add_up_to_what_is_owed(
    db: database.Database, tmp_path: Path, plan: list[Any]
) -> None:
    """A second, plain book beside the ledger: what the card holds, and what each order has of it."""
    world = PayingWorld(db, ids.new_uuid(), tmp_path / "bank.sqlite3")
    card, available, redeemed = await world.gift_card(1000), 1000, 0
    payments: list[list[Any]] = []  # movement, held, captured, refunded
    for what, amount in plan:
        open_ = [each for each in payments if each[1]] if what in ("capture", "void") else payments
        if what == "hold":
            held = await world.authorise(card, amount, method=port.Method.GIFT_CARD)
            assert held.declined == (amount > available)
            if not held.declined:
                available -= amount
                payments.append([held, amount, 0, 0])
        elif what in ("capture", "void") and open_:
            each = open_[amount % len(open_)]
            if what == "capture":
                part = min(amount, each[1])
                await world.capture(each[0], part)
                each[1], each[2], redeemed = each[1] - part, each[2] + part, redeemed + part
            else:
                await world.void(each[0])
                available, each[1] = available + each[1], 0
        elif what == "refund" and payments:
            each = payments[amount % len(payments)]
            try:
                await world.refund(each[0], amount)
            except (*REFUSED, errors.Error) as error:
                assert isinstance(error, REFUSED)
                assert amount > each[2] - each[3]
            else:
                each[3], available, redeemed = each[3] + amount, available + amount, redeemed - amount
        account = await world.account(card)
        held_now = sum(each[1] for each in payments)
        assert (account.available, account.held) == (available, held_now)
        assert account.balance + redeemed == 1000
    sums = """SELECT coalesce(sum(amount) FILTER (WHERE to_book IN (2, 3)), 0)
        - coalesce(sum(amount) FILTER (WHERE from_book IN (2, 3)), 0) AS owed FROM stored_value_entry"""
    assert [int(row.owed) for row in await world.rows(sums)] == [available + sum(each[1] for each in payments)]
    await world.close()

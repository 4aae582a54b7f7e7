"""A deposit now and the balance later; money that is set aside and taken in parts: real Inventory, a bank in a file."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import uuid
from typing import Any

import pytest

from services.kit import audit, clock, errors, ids
from services.orders import catalogue
from services.orders.domain import payments as domain
from services.orders.domain import placed_order, placement, sale
from services.orders.mapping import inventory, placing_requests
from services.orders.payments import port
from services.orders.payments.handlers import paying
from services.orders.store import searching
from tests.integration.orders.placing.shop import PRICE, Shop, command
from tests.integration.orders.placing.test_recipients import HOME, customer
from tillmesh.orders.v1 import placement_pb2

DEPOSIT, BALANCE = 1, 2
SOON = dt.timedelta(days=14)


@pytest.fixture
async def here(shop: Shop) -> uuid.UUID:
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", 20)
    return location


class Till:
    """Somebody who takes payments of orders, as the rpcs do."""

    def __init__(self, shop: Shop, **caller: Any) -> None:
        places = catalogue.Catalogue(inventory.InventoryClient(shop.channel), shop.db)
        self._paying = paying.Paying(shop.db, shop.moves, places)
        self.caller = paying.Caller(
            shop.caller(**caller), shop.tenant.uuid, "usr", audit.Source(actor="usr", method="Pay")
        )

    async def pays(self, order: sale.Order, amount: int, token: str = "sim_ok", *, capture: bool = True) -> Any:
        tender = port.Tender(port.Method.CARD, token, amount, "EUR", purpose=BALANCE, lasts=not capture)
        ref = port.OrderRef(order.id, None, "usr")
        return (await self._paying.create(self.caller, ref, tender, uuid.uuid4().hex, capture=capture)).payment

    async def captures(self, payment: domain.Payment, amount: int | None, *, final: bool = False) -> domain.Payment:
        asked = None if amount is None else paying.Amount("EUR", amount)
        return (await self._paying.capture(self.caller, payment.id, asked, "", final=final)).payment


def deposit(here: uuid.UUID, now: int, units: int = 3, **more: Any) -> Any:
    """An order of which so much is paid now."""
    made = command(here, ("lip", units), tokens={"sim_ok": now} if now else {}, **more)
    later = dataclasses.replace(made.payment, due_now=now, balance_due_at=clock.now() + SOON)
    return dataclasses.replace(made, payment=later)


async def summary(shop: Shop, order: sale.Order) -> tuple[str, int]:
    """(state of the payment, what is due)."""
    now = await shop.desk.placing._asking.load(shop.tenant, order.id)
    assert now.placed is not None
    return placed_order.payment_state(now.total, now.placed.payment).name, now.placed.payment.due(now.total)


async def late(shop: Shop, at: dt.datetime) -> list[uuid.UUID]:
    keep = searching.Filter(balance_due_before=at)
    async with shop.db.read(shop.tenant.uuid) as session:
        found = await searching.find(session, shop.tenant.uuid, keep, after=None, limit=10)
    return [order.id for order in found.orders]


async def test_a_deposit_places_the_order_and_the_balance_is_paid_later(shop: Shop, here: uuid.UUID) -> None:
    till, order = Till(shop), await shop.order(deposit(here, PRICE))
    paid = await shop.order(deposit(here, PRICE))
    await till.pays(paid, 2 * PRICE)

    assert (order.state, await summary(shop, order)) == (sale.OrderState.PLACED, ("PARTIALLY_PAID", 2 * PRICE))
    assert order.placed is not None
    assert order.placed.balance_due_at is not None
    assert await late(shop, clock.now()) == []
    assert await late(shop, clock.now() + SOON) == [order.id]
    await till.pays(order, PRICE)
    with pytest.raises(domain.AmountExceeded) as refusal:
        await till.pays(order, PRICE + 1)
    assert refusal.value.metadata == {"available": str(PRICE)}
    await till.pays(order, PRICE)
    assert await summary(shop, order) == ("PAID", 0)
    assert await late(shop, clock.now() + SOON) == []
    assert sum(kept for _, kept, _ in shop.books()) == 6 * PRICE
    await shop.cancel(order)
    assert sum(back for _, _, back in shop.books()) == 3 * PRICE


async def test_of_20_who_pay_the_balance_no_more_is_taken_than_is_due(shop: Shop, here: uuid.UUID) -> None:
    till, order = Till(shop), await shop.order(deposit(here, PRICE))

    answers = await asyncio.gather(*(till.pays(order, PRICE) for _ in range(20)), return_exceptions=True)

    assert {type(each) for each in answers} == {domain.Payment, domain.AmountExceeded}
    assert (await summary(shop, order), sum(kept for _, kept, _ in shop.books())) == (("PAID", 0), 3 * PRICE)


async def test_customers_pay_what_is_due_of_their_own_orders(shop: Shop, here: uuid.UUID) -> None:
    who, _ = await customer(shop)
    order = await shop.order(deposit(here, 0, 1, customer_id=who, place=HOME, method=placed_order.Delivery("", "")))
    own = {"roles": frozenset({"customer"}), "locations": frozenset(), "customer_id": ids.encode("cus", who)}
    theirs, others = Till(shop, **own), Till(shop, **{**own, "customer_id": ids.new("cus")})

    with pytest.raises(errors.NotFound):
        await others.pays(order, PRICE)
    with pytest.raises(errors.InvalidRequest):
        await theirs.pays(order, PRICE, capture=False)
    await theirs.pays(order, PRICE)

    assert await summary(shop, order) == ("PAID", 0)


async def test_a_balance_has_a_day_only_when_there_is_one(shop: Shop, here: uuid.UUID) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        await shop.order(deposit(here, 3 * PRICE))
    assert [each.field for each in refusal.value.violations] == ["payment.balance_due_at"]
    with pytest.raises(placement.StaffOnly):
        await shop.order(deposit(here, PRICE), roles=frozenset({"customer"}))
    past = placement_pb2.OrderPayment(due_now=0)
    past.balance_due_at.FromDatetime(clock.now() - SOON)
    with pytest.raises(errors.InvalidRequest):
        placing_requests.payment(past)


async def test_what_is_set_aside_is_taken_in_parts_and_the_rest_released(shop: Shop, here: uuid.UUID) -> None:
    till = Till(shop)
    order = await shop.order(command(here, ("lip", 3), capture=placed_order.Capture.FULFILLMENT))
    [(payment_id, expires_at)] = await shop.rows("SELECT id, expires_at FROM payment")
    [payment] = await shop.desk.placing._effects.payments_of(shop.tenant, order.id)
    assert (payment.id, expires_at - clock.now() > dt.timedelta(days=6)) == (payment_id, True)

    await till.captures(payment, PRICE)
    await till.captures(payment, PRICE, final=True)
    with pytest.raises(errors.Error) as refusal:
        await till.captures(payment, 1)

    assert refusal.value.reason == "PAYMENT_AMOUNT_EXCEEDED"
    assert (shop.books(), await summary(shop, order)) == ([(0, 2 * PRICE, 0)], ("PARTIALLY_PAID", PRICE))
    await shop.cancel(order)
    assert shop.books() == [(0, 0, 2 * PRICE)]


async def test_an_order_whose_money_lapsed_unseen_is_cancelled_all_the_same(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1), capture=placed_order.Capture.FULFILLMENT))
    week = domain.AUTHORISATION_LASTS.total_seconds()
    await shop.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET made_at = made_at - ?", (week,)))

    await shop.cancel(order)

    assert (shop.books(), await summary(shop, order)) == ([(0, 0, 0)], ("VOIDED", PRICE))
    assert await shop.rows("SELECT 1 FROM payment_exception") == []


async def test_what_lapsed_is_due_again_and_may_be_paid_anew(shop: Shop, here: uuid.UUID) -> None:
    till = Till(shop)
    order = await shop.order(command(here, ("lip", 1), capture=placed_order.Capture.FULFILLMENT))
    [(reference,)] = await shop.rows("SELECT reference FROM payment")
    week = domain.AUTHORISATION_LASTS.total_seconds()
    await shop.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET made_at = made_at - ?", (week,)))

    await shop.moves.reconcile(shop.tenant.uuid, domain.Provider.SIMULATED, reference)

    assert await summary(shop, order) == ("VOIDED", PRICE)
    await till.pays(order, PRICE)
    assert await summary(shop, order) == ("PAID", 0)

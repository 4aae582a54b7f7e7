"""Orders paid with gift cards and store credit, alone and beside a card: nothing is owed twice or lost, whatever happens.

Real Inventory, real PostgreSQL, a bank in a file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.kit import errors, ids
from services.orders.domain import payments as paying
from services.orders.domain import placed_order, placement, sale, stored_value
from services.orders.payments.handlers import values
from services.orders.store import stored_value as ledger
from tests.integration.orders.placing import shop as shops
from tests.integration.orders.placing.shop import PRICE, Shop, command
from tests.integration.orders.placing.test_recipients import customer

GIFT, CREDIT, CARD = sale.TenderType.GIFT_CARD, sale.TenderType.STORE_CREDIT, sale.TenderType.CARD
UNITS = 100
PLACED, CANCELLED = sale.OrderState.PLACED, sale.OrderState.CANCELLED


@pytest.fixture
async def here(shop: Shop) -> AsyncIterator[uuid.UUID]:
    """Where units are; after each test, what is owed is what the entries say, and units are those of placed orders."""
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", UNITS)
    yield location
    for row in await values.StoredValue(shop.db).liability(shop.tenant.uuid):
        assert row.differing == 0
    placed = await shop.rows("SELECT coalesce(sum(unit_count), 0)::int AS units FROM sales_order WHERE state = 3")
    assert await shop.units(location, "lip") == (UNITS - placed[0].units, 0, placed[0].units)


async def issued(shop: Shop, amount: int, **given: Any) -> str:
    """An account (TypeID) with value on it."""
    made = stored_value.Account(
        **{"id": ids.new_uuid(), "kind": stored_value.AccountKind.GIFT_CARD, "currency_code": "EUR", **given}
    )
    code = made.id.bytes if made.kind is stored_value.AccountKind.GIFT_CARD else None
    async with shop.db.transaction(shop.tenant.uuid) as session:
        kept = await ledger.insert(session, made, code)
        assert kept is not None
        account, entries = stored_value.issue(kept, amount, await ledger.now(session))
        await ledger.save(session, account, entries)
    return ids.encode("gft", made.id)


async def left(shop: Shop, account: str) -> tuple[int, int]:
    """(balance, of it set aside)."""
    async with shop.db.read(shop.tenant.uuid) as session:
        found = await ledger.get(session, ids.decode("gft", account))
    assert found is not None
    return found.balance, found.held


def paid(here: uuid.UUID, *tenders: tuple[sale.TenderType, str, int], **more: Any) -> Any:
    """An order of as many units as the tenders pay for."""
    made = command(here, ("lip", sum(amount for _, _, amount in tenders) // PRICE), **more)
    specs = tuple(placement.TenderSpec(*each) for each in tenders)
    return dataclasses.replace(made, payment=dataclasses.replace(made.payment, tenders=specs))


async def test_a_gift_card_pays_all_and_gets_it_back(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, 5 * PRICE)

    order = await shop.order(paid(here, (GIFT, card, 3 * PRICE)))

    assert order.placed is not None
    assert placed_order.payment_state(order.total, order.placed.payment).name == "PAID"
    assert await left(shop, card) == (2 * PRICE, 0)
    assert (await shop.cancel(order)).state == CANCELLED
    assert await left(shop, card) == (5 * PRICE, 0)
    kinds = await shop.rows("SELECT kind FROM stored_value_entry ORDER BY seq")
    assert [stored_value.EntryKind(row.kind).name for row in kinds] == ["ISSUE", "HOLD", "REDEEM", "REFUND"]


async def test_what_is_set_aside_for_later_is_released_when_the_order_is_cancelled(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, PRICE)

    order = await shop.order(paid(here, (GIFT, card, PRICE), capture=placed_order.Capture.FULFILLMENT))

    assert await left(shop, card) == (PRICE, PRICE)
    await shop.cancel(order)
    assert await left(shop, card) == (PRICE, 0)


async def test_a_gift_card_store_credit_and_a_bank_card_pay_one_order(shop: Shop, here: uuid.UUID) -> None:
    who, _ = await customer(shop)
    card = await issued(shop, PRICE)
    credit = await issued(shop, 2 * PRICE, kind=stored_value.AccountKind.STORE_CREDIT, customer_id=who)
    tenders = ((GIFT, card, PRICE), (CREDIT, credit, PRICE), (CARD, "sim_ok", 2 * PRICE))

    order = await shop.order(paid(here, *tenders, customer_id=who))

    assert [tender.type for tender in order.tenders] == [GIFT, CREDIT, CARD]
    assert (await left(shop, card), await left(shop, credit), shop.books()) == ((0, 0), (PRICE, 0), [(0, 2 * PRICE, 0)])
    await shop.cancel(order)
    assert (await left(shop, card), await left(shop, credit)) == ((PRICE, 0), (2 * PRICE, 0))
    assert shop.books() == [(0, 0, 2 * PRICE)]


async def test_a_balance_that_is_too_low_is_told(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, PRICE - 1)

    with pytest.raises(paying.Declined) as refusal:
        await shop.order(paid(here, (CARD, "sim_ok", PRICE), (GIFT, card, PRICE)))

    assert refusal.value.metadata == {"code": "insufficient_funds", "available": str(PRICE - 1)}
    assert (await left(shop, card), shop.books()) == ((PRICE - 1, 0), [(0, 0, 0)])
    [row] = await shop.rows("SELECT state, cancel_reason FROM sales_order")
    assert tuple(row) == (CANCELLED, placed_order.CancelReason.PAYMENT)


@pytest.mark.parametrize(
    ("change", "type_", "code"),
    [
        ("state = 2", GIFT, "account_ended"),
        ("expires_at = now() - interval '1 s'", GIFT, "account_ended"),
        ("currency_code = 'USD'", GIFT, "currency_mismatch"),
        ("customer_id = gen_random_uuid(), kind = 2, code_digest = NULL", CREDIT, "not_the_customers"),
        ("kind = 1", CREDIT, "unknown_account"),
    ],
)
async def test_what_can_t_pay_says_why_and_leaves_nothing_behind(
    shop: Shop, here: uuid.UUID, change: str, type_: sale.TenderType, code: str
) -> None:
    who, _ = await customer(shop)
    card, good = await issued(shop, PRICE), await issued(shop, PRICE)
    async with shop.db.transaction(shop.tenant.uuid) as session:
        id_ = ids.decode("gft", card)
        await session.execute(shops.sa.text(f"UPDATE stored_value_account SET {change} WHERE id = :id"), {"id": id_})

    with pytest.raises(paying.Declined) as refusal:
        await shop.order(paid(here, (GIFT, good, PRICE), (type_, card, PRICE), customer_id=who))

    assert refusal.value.metadata == {"code": code}
    assert await left(shop, good) == (PRICE, 0)
    assert (await left(shop, card))[1] == 0


async def test_a_card_of_the_bank_that_is_declined_gives_the_gift_card_its_money_back(
    shop: Shop, here: uuid.UUID
) -> None:
    card = await issued(shop, 2 * PRICE)

    for token in ("sim_declined_stolen", "sim_capture_declined_late"):
        with pytest.raises(paying.Declined):
            await shop.order(paid(here, (GIFT, card, PRICE), (CARD, token, PRICE)))

    assert await left(shop, card) == (2 * PRICE, 0)


async def test_of_20_orders_for_the_last_of_a_card_as_many_are_placed_as_it_pays(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, 7 * PRICE)
    orders = [shop.order(paid(here, (GIFT, card, 2 * PRICE), (CARD, "sim_ok", PRICE))) for _ in range(20)]

    answers = await asyncio.gather(*orders, return_exceptions=True)

    placed = [answer for answer in answers if isinstance(answer, sale.Order)]
    assert {type(answer) for answer in answers} == {sale.Order, paying.Declined}
    assert len(placed) == 3
    assert await left(shop, card) == (PRICE, 0)
    assert sum(kept for _, kept, _ in shop.books()) == 3 * PRICE
    assert sum(open_ for open_, _, _ in shop.books()) == 0


async def test_orders_and_cancellations_at_once_leave_the_card_as_it_was(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, 4 * PRICE)

    async def buy_and_regret() -> None:
        try:
            order = await shop.order(paid(here, (GIFT, card, PRICE)))
        except paying.Declined:
            return
        await shop.cancel(order)

    await asyncio.gather(*(buy_and_regret() for _ in range(20)))

    assert await left(shop, card) == (4 * PRICE, 0)


async def test_a_voided_card_can_t_take_money_back_and_a_person_hears(shop: Shop, here: uuid.UUID) -> None:
    card = await issued(shop, PRICE)
    order = await shop.order(paid(here, (GIFT, card, PRICE)))
    await shop.execute("UPDATE stored_value_account SET state = 2")

    gone = await shop.cancel(order)

    assert gone.state == CANCELLED
    [raised] = await shop.rows("SELECT kind, expected, code FROM payment_exception WHERE resolved_at IS NULL")
    assert tuple(raised) == (paying.ExceptionKind.NOT_GIVEN_BACK, PRICE, "account_ended")


async def test_who_names_no_account_at_all_is_declined(shop: Shop, here: uuid.UUID) -> None:
    for token in ("nonsense", ids.new("gft")):
        with pytest.raises(errors.Error) as refusal:
            await shop.order(paid(here, (GIFT, token, PRICE)))
        assert refusal.value.metadata == {"code": "unknown_account"}

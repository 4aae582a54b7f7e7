"""Operations on payments, against the simulated bank and our own ledgers."""

from __future__ import annotations

import asyncio

import pytest

from services.kit import errors, ids
from services.orders.domain import payments as domain
from services.orders.domain.payment_exceptions import Finding
from services.orders.payments import port
from tests.integration.orders.payments.paying import PayingWorld, State, amounts


async def test_money_is_set_aside_taken_and_given_back(paying: PayingWorld) -> None:
    paid = await paying.authorise(amount=1000)
    part = await paying.capture(paid, 400)
    more = await paying.capture(paid, 100, final=True)
    back = await paying.refund(paid, 200)
    rest = await paying.refund(paid, 300)

    assert [each.state for each in (paid, part, more, back, rest)] == [
        State.AUTHORISED,
        State.PARTIALLY_CAPTURED,
        State.CAPTURED,
        State.PARTIALLY_REFUNDED,
        State.REFUNDED,
    ]
    assert amounts(rest) == (1000, 500, 500, 500)
    assert paying.books(paid) == (1000, 500, 500, 1)
    assert len(paying.heard) == 5


async def test_a_decline_is_an_answer(paying: PayingWorld) -> None:
    order = ids.new_uuid()

    declined, again = [
        await paying.authorise("sim_declined_insufficient_funds", key="order-1", order=order) for _ in range(2)
    ]

    assert (declined.state, declined.declined_reason) == (State.DECLINED, "insufficient_funds")
    assert again == declined


@pytest.mark.parametrize("token", ["sim_timeout", "sim_lost", "sim_unknown_then_ok"])
async def test_an_unknown_outcome_is_looked_up_and_happens_once(paying: PayingWorld, token: str) -> None:
    order = ids.new_uuid()

    first = await paying.authorise(token, order=order, key="k")
    answers = [await paying.authorise(token, order=order, key="k") for _ in range(3)]

    assert (first.unknown, first.state) == (True, State.PENDING)
    assert answers[-1].state is State.AUTHORISED
    assert {each.payment_id for each in answers} == {first.payment_id}
    assert paying.books(first) == (1000, 0, 0, 0)


async def test_what_is_late_is_pending_until_it_is_there(paying: PayingWorld) -> None:
    first = await paying.authorise("sim_late")
    still = await paying.look_up(first)
    await paying.later()
    await paying.resume()

    assert first.unknown
    assert still.unknown
    assert (await paying.look_up(first)).state is State.AUTHORISED


async def test_a_bank_that_says_it_twice_moves_money_once(paying: PayingWorld) -> None:
    paid = await paying.authorise("sim_twice")

    assert await paying.resumer.take_note() == 2

    assert amounts(await paying.look_up(paid)) == (1000, 0, 0, 0)
    assert await paying.rows("SELECT 1 FROM payment_exception") == []
    assert await paying.resumer.take_note() == 0


async def test_who_never_answers_is_looked_up_until_the_end_and_then_a_person_is_asked(paying: PayingWorld) -> None:
    paid = await paying.authorise("sim_never")
    await paying.execute("UPDATE payment_operation SET attempts = 12")
    for _ in range(3):
        await paying.resume()

    [(kind, operation_id, expected)] = await paying.rows("SELECT kind, operation_id, expected FROM payment_exception")
    assert (kind, operation_id, expected) == (1, paid.operation_id, 1000)
    assert [row.progress for row in await paying.rows("SELECT progress FROM payment_operation")] == [5]
    await paying.execute("UPDATE payment_operation SET due_at = now()")
    assert await paying.resumer.resume() == 0
    [raised] = await paying.raised()
    ended = await paying.say(raised, Finding.DID_NOT_HAPPEN)
    decided = await paying.look_up(paid)
    assert (ended.resolved_by, ended.finding, ended.resolved_at is None) == ("usr_ana", Finding.DID_NOT_HAPPEN, False)
    assert (decided.state, decided.declined_reason) == (State.DECLINED, "by_hand")


@pytest.mark.parametrize("token", ["sim_late", "sim_lost", "sim_timeout"])
async def test_a_voided_authorisation_never_counts_whatever_becomes_of_it(paying: PayingWorld, token: str) -> None:
    paid = await paying.authorise(token)

    voided = await paying.void(paid)
    await paying.later()
    await paying.resume()
    after = await paying.look_up(paid)

    assert (voided.state, after.state, after.captured) == (State.VOIDED, State.VOIDED, 0)
    held, captured, _, cancelled = paying.books(voided)
    assert (held - captured if not cancelled else 0, captured) == (0, 0)
    with pytest.raises(domain.IllegalTransition):
        await paying.capture(paid)


@pytest.mark.parametrize("what", ["capture", "refund", "void"])
@pytest.mark.parametrize("how", ["timeout", "lost"])
async def test_every_operation_of_unknown_outcome_ends_once(paying: PayingWorld, what: str, how: str) -> None:
    paid = await paying.authorise(f"sim_{what}_{how}")
    if what == "refund":
        await paying.capture(paid)
    calls = {"capture": paying.capture, "void": paying.void, "refund": lambda p: paying.refund(p, 1000)}

    unknown = await calls[what](paid)
    await paying.resume()

    expected = {"capture": (1000, 1000, 0, 0), "void": (1000, 0, 0, 1000), "refund": (1000, 1000, 1000, 0)}
    assert unknown.unknown
    assert amounts(await paying.look_up(paid)) == expected[what]
    assert paying.books(paid)[:3] == expected[what][:3]


async def test_while_an_outcome_is_unknown_its_amount_is_set_aside(paying: PayingWorld) -> None:
    paid = await paying.authorise("sim_capture_never")
    await paying.capture(paid, 700)

    with pytest.raises(domain.AmountExceeded) as refused:
        await paying.capture(paid, 301)
    with pytest.raises(domain.InProgress):
        await paying.void(paid)

    assert refused.value.metadata == {"available": "300"}


async def test_a_key_stands_for_one_operation(paying: PayingWorld) -> None:
    order = ids.new_uuid()
    paid = await paying.authorise(order=order, key="k")
    other = await paying.authorise()
    once = await paying.capture(paid, 300, "c")
    twice = await paying.capture(paid, 300, "c")

    assert once == twice
    for wrong in (
        paying.authorise(order=order, key="k", amount=999),
        paying.authorise("sim_twice", order=order, key="k"),
        paying.capture(paid, 299, "c"),
        paying.capture(other, 300, "c"),
    ):
        with pytest.raises(errors.IdempotencyKeyReused):
            await wrong


async def test_of_twenty_callers_with_one_key_one_authorises(paying: PayingWorld) -> None:
    order = ids.new_uuid()

    answers = await asyncio.gather(*(paying.authorise(order=order, key="k") for _ in range(20)))

    assert {each.payment_id for each in answers} == {answers[0].payment_id}
    assert {each.state for each in answers} <= {State.AUTHORISED, State.PENDING}
    assert await paying.rows("SELECT authorised FROM payment") == [(1000,)]
    assert paying.books(answers[0]) == (1000, 0, 0, 0)


async def test_twenty_refunds_at_once_give_back_what_was_taken_and_not_more(paying: PayingWorld) -> None:
    paid = await paying.authorise()
    await paying.capture(paid)

    async def refund() -> bool:
        try:
            return not (await paying.refund(paid, 70)).declined
        except domain.AmountExceeded:
            return False

    done = await asyncio.gather(*(refund() for _ in range(20)))

    assert sum(done) == 14
    assert paying.books(paid)[:3] == (1000, 1000, 980)


async def test_twenty_orders_at_once_spend_a_gift_card_once(paying: PayingWorld) -> None:
    card = await paying.gift_card(1000)

    async def spend() -> port.Movement:
        held = await paying.authorise(card, 130, method=port.Method.GIFT_CARD)
        return await paying.capture(held) if not held.declined else held

    spent = await asyncio.gather(*(spend() for _ in range(20)))

    assert sorted(each.declined_reason for each in spent) == [""] * 7 + ["insufficient_funds"] * 13
    account = await paying.account(card)
    assert (account.balance, account.held) == (90, 0)


async def test_captures_found_for_a_voided_payment_are_told_and_can_be_given_back(paying: PayingWorld) -> None:
    paid = await paying.authorise()
    await paying.void(paid)
    [(reference,)] = await paying.rows("SELECT reference FROM payment")
    await paying.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET captured = 1000"))

    for _ in range(2):
        await paying.operations.reconcile(paying.tenant, domain.Provider.SIMULATED, reference)

    assert await paying.rows("SELECT kind, expected, found FROM payment_exception") == [(2, 0, 1000)]
    back = await paying.refund(paid, 1000)
    assert (back.state, amounts(back)) == (State.REFUNDED, (1000, 1000, 1000, 0))

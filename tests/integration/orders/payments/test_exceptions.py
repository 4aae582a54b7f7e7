"""Money that should have gone back and didn't is found by a person and settled once; what is set aside doesn't lapse unseen."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from typing import Any

import pytest

from services.kit import errors
from services.orders.domain import payments as domain
from services.orders.domain.payment_exceptions import Finding, Raised
from services.orders.payments import port
from tests.integration.orders.payments.paying import PayingWorld, State, amounts
from tillmesh.orders.v1 import payments_events_pb2

Kind = domain.ExceptionKind
SVC = "svc:orders"


async def declined(paying: PayingWorld, amount: int = 600, actor: str = SVC) -> tuple[port.Movement, Raised]:
    """A captured payment whose refund was declined while nobody waited, and what is told of it."""
    paid = await paying.authorise("sim_refund_declined_closed")
    await paying.capture(paid)
    refused = await paying.operations.refund(paying.tenant, paid.payment_id, amount, "k", actor=actor)
    assert refused.declined_reason == "closed"
    [raised] = await paying.raised()
    return paid, raised


def mend(paying: PayingWorld) -> None:
    """The bank does what it is asked to from now on."""
    with sqlite3.connect(paying.bank_file, timeout=5) as bank:
        bank.execute("UPDATE intent SET method = 'sim_ok'")


async def told(paying: PayingWorld) -> list[tuple[str, int]]:
    rows = await paying.rows("SELECT type, seq_to FROM outbox WHERE key LIKE 'pex_%' ORDER BY seq_to")
    return [(row.type.rpartition(".")[2], row.seq_to) for row in rows]


async def test_a_refund_that_is_declined_while_nobody_waits_is_for_a_person(paying: PayingWorld) -> None:
    paid, raised = await declined(paying)

    assert (raised.kind, raised.expected, raised.code, raised.payment_id) == (
        Kind.NOT_GIVEN_BACK, 600, "closed", paid.payment_id,
    )  # fmt: skip
    assert raised.findings == (Finding.RETRY, Finding.SETTLED_BY_HAND, Finding.NOTED)
    [row] = await paying.rows("SELECT data, key FROM outbox WHERE type LIKE '%PaymentExceptionRaised'")
    event = payments_events_pb2.PaymentExceptionRaised.FromString(row.data)
    assert (event.exception_id, event.expected, event.kind) == (row.key, 600, 9)
    assert row.key in paying.heard


async def test_a_void_too_and_what_is_declined_later_but_not_what_its_caller_hears(paying: PayingWorld) -> None:
    held = await paying.authorise("sim_void_declined_busy")
    await paying.operations.void(paying.tenant, held.payment_id, "k", actor=SVC)
    later = await paying.authorise("sim_refund_late")
    await paying.capture(later)
    assert (await paying.refund(later, 1000)).unknown
    await paying.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET refunded = 1000 WHERE captured = 1000"))
    await paying.later()
    await paying.resume()
    heard = await paying.authorise("sim_refund_declined_closed")
    await paying.capture(heard)
    assert (await paying.refund(heard, 1)).declined

    raised = await paying.raised()

    assert [(each.kind, each.expected, each.code) for each in raised] == [
        (Kind.NOT_RELEASED, 1000, "busy"), (Kind.NOT_GIVEN_BACK, 1000, "amount_exceeded"),
    ]  # fmt: skip
    assert [each.id for each in await paying.raised(kind=Kind.NOT_RELEASED)] == [raised[0].id]


async def test_of_20_who_try_again_one_gives_back_and_that_ends_it(paying: PayingWorld) -> None:
    paid, raised = await declined(paying)
    with pytest.raises(domain.Declined):
        await paying.say(raised, Finding.RETRY)
    [raised] = await paying.raised()
    mend(paying)

    answers = await asyncio.gather(*(paying.say(raised, Finding.RETRY) for _ in range(20)))

    assert {answer.resolved_at is None for answer in answers} == {False}
    assert paying.books(paid)[2] == 600
    assert amounts(await paying.look_up(paid)) == (1000, 1000, 600, 0)
    assert await told(paying) == [("PaymentExceptionRaised", 1), ("PaymentExceptionResolved", 2)]
    assert [each.finding for each in await paying.raised(open_=False)] == [Finding.RETRY]
    assert await paying.raised() == []


async def test_another_try_that_gets_no_answer_waits_and_ends_by_itself(paying: PayingWorld) -> None:
    paid, raised = await declined(paying)
    with sqlite3.connect(paying.bank_file, timeout=5) as bank:
        bank.execute("UPDATE intent SET method = 'sim_refund_timeout'")

    waiting = [await paying.say(raised, Finding.RETRY) for _ in range(2)]
    await paying.resume()

    assert waiting[0].resolved_at is None
    assert await paying.raised() == []
    assert paying.books(paid)[2] == 600


async def test_what_was_given_back_by_hand_counts_once_and_the_bank_s_books_agree(paying: PayingWorld) -> None:
    paid, raised = await declined(paying)

    ended = await asyncio.gather(*(paying.say(raised, Finding.SETTLED_BY_HAND, "SEPA 1") for _ in range(20)))
    [(reference,)] = await paying.rows("SELECT reference FROM payment")
    await paying.operations.reconcile(paying.tenant, domain.Provider.SIMULATED, reference)

    assert {(each.finding, each.reference, each.resolved_at is None) for each in ended} == {(5, "SEPA 1", False)}
    assert paying.books(paid)[2] == 0
    known = await paying.look_up(paid)
    assert (known.state, amounts(known)) == (State.PARTIALLY_REFUNDED, (1000, 1000, 600, 0))
    [by_hand] = await paying.rows("SELECT reference, code FROM payment_operation WHERE key LIKE 'pex:%'")
    assert tuple(by_hand) == ("SEPA 1", "by_hand")
    assert await paying.raised() == []
    mend(paying)
    assert amounts(await paying.refund(paid, 400)) == (1000, 1000, 1000, 0)
    await paying.operations.reconcile(paying.tenant, domain.Provider.SIMULATED, reference)
    assert await paying.raised() == []
    with pytest.raises(domain.AmountExceeded):
        await paying.refund(paid, 1)


async def test_what_is_released_by_hand_is_set_aside_no_more(paying: PayingWorld) -> None:
    held = await paying.authorise("sim_void_declined_busy")
    await paying.capture(held, 300)
    await paying.operations.void(paying.tenant, held.payment_id, "k", actor=SVC)
    [raised] = await paying.raised()

    await paying.say(raised, Finding.SETTLED_BY_HAND, "call 17")

    assert amounts(await paying.look_up(held)) == (1000, 300, 0, 700)
    assert await paying.raised() == []


async def test_a_gift_card_that_was_disabled_takes_nothing_back_and_a_person_hears(paying: PayingWorld) -> None:
    card = await paying.gift_card(1000)
    paid = await paying.authorise(card, method=port.Method.GIFT_CARD)
    await paying.capture(paid)
    await paying.execute("UPDATE stored_value_account SET state = 2")
    refused = await paying.operations.refund(paying.tenant, paid.payment_id, 1000, "k", actor=SVC)

    [raised] = await paying.raised()

    assert (refused.declined_reason, raised.code) == ("account_ended", "account_ended")
    await paying.say(raised, Finding.SETTLED_BY_HAND, "paid out in the shop")
    assert amounts(await paying.look_up(paid)) == (1000, 1000, 1000, 0)


@pytest.mark.parametrize(
    ("finding", "reference", "field"),
    [(Finding.HAPPENED, "", "finding"), (Finding.SETTLED_BY_HAND, "", "reference"), (Finding.NOTED, "x", "reference")],
)
async def test_only_what_makes_sense_is_taken(
    paying: PayingWorld, finding: Finding, reference: str, field: str
) -> None:
    _, raised = await declined(paying)

    with pytest.raises(errors.InvalidRequest) as refusal:
        await paying.say(raised, finding, reference)

    assert [each.field for each in refusal.value.violations] == [field]
    noted = await paying.say(raised, Finding.NOTED)
    assert noted.findings == ()
    assert await paying.say(raised, Finding.RETRY) == noted


async def test_who_never_answered_may_be_asked_once_more(paying: PayingWorld) -> None:
    paid = await paying.authorise("sim_never")
    await paying.execute("UPDATE payment_operation SET attempts = 14")
    await paying.resume()
    [raised] = await paying.raised()
    assert (await paying.say(raised, Finding.RETRY)).resolved_at is None
    mend(paying)

    ended = await paying.say(raised, Finding.RETRY)

    assert (ended.finding, ended.resolved_by, ended.resolved_at is None) == (Finding.RETRY, "usr_ana", False)
    assert amounts(await paying.look_up(paid)) == (1000, 0, 0, 0)


# --- authorisations that are to last ---


async def later(paying: PayingWorld, days: int) -> None:
    """So many days go by, for us and for the bank."""
    moved = ", ".join(f"{column} = {column} - interval '{days} days'" for column in ("look_at", "expires_at"))
    await paying.execute(f"UPDATE payment SET {moved}")
    await paying.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET made_at = made_at - ?", (86_400 * days,)))
    while await paying.resumer.lapse():
        pass  # until nobody has to look at anything now


async def lasting(paying: PayingWorld, token: str = "sim_ok", **more: Any) -> port.Movement:
    return await paying.authorise(token, lasts=True, **more)


async def test_what_is_set_aside_is_told_of_a_day_before_it_lapses_and_when_it_has(paying: PayingWorld) -> None:
    paid = await lasting(paying)
    [(expires_at,)] = await paying.rows("SELECT expires_at FROM payment")
    assert dt.timedelta(days=6.9) < expires_at - dt.datetime.now(dt.UTC) < dt.timedelta(days=7.1)
    await later(paying, 5)
    assert await paying.raised() == []

    await later(paying, 1)
    [ending] = await paying.raised()
    await later(paying, 1)
    await later(paying, 1)

    assert (ending.kind, ending.expected) == (Kind.AUTHORISATION_ENDING, 1000)
    assert [(each.kind, each.expected, each.found) for each in await paying.raised()] == [
        (Kind.RELEASED_ELSEWHERE, 1000, 0)
    ]
    known = await paying.look_up(paid)
    assert (known.state, amounts(known)) == (State.VOIDED, (1000, 0, 0, 1000))
    assert [each.resolved_by for each in await paying.raised(open_=False)] == [SVC]
    assert await paying.rows("SELECT 1 FROM payment WHERE look_at IS NOT NULL") == []


async def test_what_is_taken_in_time_concerns_nobody(paying: PayingWorld) -> None:
    paid = await lasting(paying)
    await paying.capture(paid, 400)
    await later(paying, 6)
    [ending] = await paying.raised()
    assert ending.expected == 600

    await paying.capture(paid, 600)
    await later(paying, 1)

    assert await paying.raised() == []
    assert await paying.rows("SELECT 1 FROM payment WHERE look_at IS NOT NULL") == []
    card = await lasting(paying, await paying.gift_card(1000), method=port.Method.GIFT_CARD)
    assert not card.declined
    assert await paying.rows("SELECT 1 FROM payment WHERE look_at IS NOT NULL") == []


async def test_a_bank_that_grants_more_time_is_looked_at_again(paying: PayingWorld) -> None:
    paid = await lasting(paying)
    await paying.bank._in_thread(lambda bank: bank.execute("UPDATE intent SET made_at = made_at + ?", (86_400 * 2,)))
    await later(paying, 7)

    assert amounts(await paying.look_up(paid)) == (1000, 0, 0, 0)
    [(again,)] = await paying.rows("SELECT look_at FROM payment")
    assert again > dt.datetime.now(dt.UTC)
    await later(paying, 3)
    assert amounts(await paying.look_up(paid)) == (1000, 0, 0, 1000)

"""The ledger of consents is added to and never changed; the latest decision counts."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy.exc
from google.protobuf import timestamp_pb2

from services.kit import errors
from services.orders.customers import domain
from tests.integration.orders.customers.world import World

GRANTED, WITHDRAWN = 1, 2


async def current(people: World, customer_id: str) -> dict[tuple[str, int], int]:
    answer = await people.call("GetCurrentConsents", customer_id=customer_id)
    return {(each.purpose, each.channel): each.decision for each in answer.consents}


async def test_the_latest_decision_of_each_purpose_and_channel_counts(people: World) -> None:
    made = await people.new()
    own = people.customer(made.id)
    granted = await people.say(made.id, GRANTED, text_version="2026-03", source="checkout")
    await people.say(made.id, GRANTED, channel=2)
    said = {"purpose": "news", "channel": 1, "decision": WITHDRAWN, "source": "account"}
    withdrawn = await people.call("RecordConsent", own, customer_id=made.id, consent=said)

    assert (granted.text_version, granted.source, granted.actor, withdrawn.actor) == (
        "2026-03",
        "checkout",
        "boss",
        "usr_self",
    )
    assert await current(people, made.id) == {("news", 1): WITHDRAWN, ("news", 2): GRANTED}
    ledger = (await people.call("ListConsents", customer_id=made.id)).consents
    assert [each.id for each in ledger][0::2] == [withdrawn.id, granted.id]
    assert await people.told(made.id) == [(1, "CustomerCreated"), *((n, "CustomerConsentRecorded") for n in (2, 3, 4))]


async def test_what_was_said_earlier_and_arrives_later_does_not_count(people: World) -> None:
    made = await people.new()
    await people.say(made.id, WITHDRAWN)
    await people.say(made.id, GRANTED, occurred_at="2020-01-01T00:00:00Z")
    assert await current(people, made.id) == {("news", 1): WITHDRAWN}


async def test_a_clock_that_runs_ahead_does_not_win_for_ever(people: World) -> None:
    made = await people.new()
    ahead = await people.say(made.id, GRANTED, occurred_at="2090-01-01T00:00:00Z")
    await people.say(made.id, WITHDRAWN)
    assert ahead.occurred_at == timestamp_pb2.Timestamp(seconds=3_786_912_000)
    assert await current(people, made.id) == {("news", 1): WITHDRAWN}


async def test_the_ledger_comes_in_pages(people: World) -> None:
    made = await people.new()
    said = [(await people.say(made.id, purpose=f"p{n}")).id for n in range(5)]
    found, token = [], ""
    while True:
        page = await people.call("ListConsents", customer_id=made.id, page_size=2, page_token=token)
        found += [one.id for one in page.consents]
        if not (token := page.next_page_token):
            break
    assert found == said[::-1]


async def test_nobody_can_change_what_was_said(people: World) -> None:
    made = await people.new()
    await people.say(made.id)
    for statement in (
        "UPDATE customer_consent SET decision = 2",
        "DELETE FROM customer_consent",
        "DELETE FROM customer_access",
    ):
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"):
            await people.rows(statement)


async def test_twenty_decisions_at_once_are_all_kept_in_one_order(people: World) -> None:
    made = await people.new()
    said = await asyncio.gather(*(people.say(made.id, 1 + n % 2) for n in range(20)))
    ledger = (await people.call("ListConsents", customer_id=made.id)).consents
    assert {each.id for each in ledger} == {each.id for each in said}
    assert await current(people, made.id) == {
        ("news", 1): max(said, key=lambda each: each.recorded_at.ToNanoseconds()).decision
    }
    assert (await people.get(made.id)).version == 21


async def test_pairs_end_at_a_limit_and_known_ones_go_on(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "CONSENTS_MAX", 2)
    made = await people.new()
    await people.say(made.id, purpose="a")
    await people.say(made.id, purpose="b")
    with pytest.raises(domain.CustomerLimit):
        await people.say(made.id, purpose="c")
    await people.say(made.id, WITHDRAWN, purpose="a")


async def test_an_associate_records_and_reads_what_counts_but_not_the_ledger(people: World) -> None:
    made, ann = await people.new(), people.caller("associate", subject="ann")
    said = {"purpose": "news", "channel": 2, "decision": GRANTED, "source": "till"}
    await people.call("RecordConsent", ann, customer_id=made.id, consent=said)
    assert (await people.call("GetCurrentConsents", ann, customer_id=made.id)).consents[0].actor == "ann"
    with pytest.raises(errors.RoleRequired):
        await people.call("ListConsents", ann, customer_id=made.id)

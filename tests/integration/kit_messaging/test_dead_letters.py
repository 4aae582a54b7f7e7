from __future__ import annotations

import pytest

from services.kit import database, errors, ids, inbox
from services.kit.inbox import dead
from tests.integration.kit_messaging import messaging_worlds as worlds
from tillmesh.common.v1 import event_pb2


class Poison:
    """A handler that can't digest one position of one key until it is cured."""

    def __init__(self, world: worlds.World, key: str, *positions: int) -> None:
        self.world, self.key, self.positions = world, key, set(positions)

    async def __call__(self, session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
        if envelope.key == self.key and envelope.seq_from in self.positions:
            raise ValueError("a value that is personal data")
        await self.world.record(session, envelope)


async def _letters(world: worlds.World, subscription: inbox.Subscription) -> list[event_pb2.DeadLetter]:
    request = event_pb2.ListDeadLettersRequest()
    return list((await world.letters(subscription).list(world.tenant, request)).dead_letters)


async def _poisoned(world: worlds.World, poison: Poison, waiting: int) -> inbox.Subscription:
    world.spawn(world.relay().run())
    subscription = world.subscription(poison)
    world.spawn(world.inbox(subscription).run())
    await world.emit(poison.key, min(poison.positions) + waiting)
    await world.emit("loc_other", 5)

    async def set_aside() -> bool:
        return bool(await _letters(world, subscription))

    await world.until(set_aside)
    await world.until_published()
    await world.until_acknowledged()  # what comes behind waits at the owner now, and nowhere else
    return subscription


async def test_poison_is_set_aside_and_its_key_waits_while_others_go_on(world: worlds.World) -> None:
    poison = Poison(world, "loc_bad", 3)
    subscription = await _poisoned(world, poison, waiting=2)
    await world.until_applied("loc_other")
    (letter,) = await _letters(world, subscription)
    assert (letter.key, letter.seq_from, letter.seq_to, letter.waiting) == ("loc_bad", 3, 3, 2)
    assert letter.attempts >= 5  # a replay of the key may have met it meanwhile
    assert letter.error == "ValueError"  # the class alone
    assert letter.type == "tillmesh.orders.v1.SalesRecorded"
    await world.emit("loc_other", 2)
    await world.emit("loc_bad")
    await world.until_applied("loc_other")
    assert (await world.applied())["loc_bad"] == [(1, 1), (2, 2)]


async def test_a_replay_applies_the_letter_and_all_that_waits_behind_it(world: worlds.World) -> None:
    poison = Poison(world, "loc_bad", 2)
    subscription = await _poisoned(world, poison, waiting=3)
    (letter,) = await _letters(world, subscription)
    poison.positions.clear()
    request = event_pb2.ReplayDeadLetterRequest(consumer=worlds.CONSUMER, event_id=letter.event_id)
    response = await world.letters(subscription).replay(world.tenant, request)
    assert response.applied == 4
    assert await _letters(world, subscription) == []
    await world.emit("loc_bad", 2)
    await world.until_applied()


async def test_a_replay_that_fails_keeps_the_letter_and_counts(world: worlds.World) -> None:
    subscription = await _poisoned(world, Poison(world, "loc_bad", 1), waiting=1)
    (letter,) = await _letters(world, subscription)
    request = event_pb2.ReplayDeadLetterRequest(consumer=worlds.CONSUMER, event_id=letter.event_id)
    with pytest.raises(errors.Internal):
        await world.letters(subscription).replay(world.tenant, request)
    (after,) = await _letters(world, subscription)
    assert after.attempts == letter.attempts + 1


async def test_a_second_poison_behind_the_first_becomes_a_letter_of_its_own(world: worlds.World) -> None:
    poison = Poison(world, "loc_bad", 1, 3)
    subscription = await _poisoned(world, poison, waiting=3)
    (letter,) = await _letters(world, subscription)
    poison.positions.discard(1)
    request = event_pb2.ReplayDeadLetterRequest(consumer=worlds.CONSUMER, event_id=letter.event_id)
    assert (await world.letters(subscription).replay(world.tenant, request)).applied == 2
    (second,) = await _letters(world, subscription)
    assert (second.seq_from, second.waiting) == (3, 1)


async def test_a_purged_poison_is_set_aside_by_reconciliation(world: worlds.World) -> None:
    poison = Poison(world, "loc_bad", 2)
    await world.emit("loc_bad", 3)
    subscription = world.subscription(poison)
    world.spawn(world.reconciler(world.inbox(subscription)).run())

    async def set_aside() -> bool:
        return bool(await _letters(world, subscription))

    await world.until(set_aside)
    assert (await world.applied())["loc_bad"] == [(1, 1)]


async def test_another_tenants_letter_is_the_same_as_none(world: worlds.World) -> None:
    subscription = await _poisoned(world, Poison(world, "loc_bad", 1), waiting=0)
    (letter,) = await _letters(world, subscription)
    stranger = worlds.events.tenant_uuid(ids.new("ten"))
    letters = world.letters(subscription)
    assert not (await letters.list(stranger, event_pb2.ListDeadLettersRequest())).dead_letters
    for event_id in (letter.event_id, ids.new("evt")):
        request = event_pb2.ReplayDeadLetterRequest(consumer=worlds.CONSUMER, event_id=event_id)
        with pytest.raises(errors.NotFound):
            await letters.replay(stranger, request)


async def test_letters_are_listed_in_pages_oldest_first(world: worlds.World) -> None:
    subscription = world.subscription(Poison(world, "loc_0", 1))
    envelopes = [
        event_pb2.EventEnvelope(
            id=ids.new("evt"), type="tillmesh.orders.v1.SalesRecorded", tenant_id=world.tenant_id, key=f"loc_{n}",
            epoch=1, seq_from=1, seq_to=1,
        )
        for n in range(5)
    ]  # fmt: skip
    for envelope in envelopes:
        await dead.put(world.consumer, worlds.CONSUMER, envelope, error="X", attempts=5)
    request, seen = event_pb2.ListDeadLettersRequest(page_size=2), []
    while True:
        page = await world.letters(subscription).list(world.tenant, request)
        seen += [letter.event_id for letter in page.dead_letters]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [envelope.id for envelope in envelopes]

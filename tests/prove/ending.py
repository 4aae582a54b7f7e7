"""The end of a run: waits until all is quiet, and reads what the product says of itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.e2e import stack as stacks
from tests.prove import books, model, watchers, world
from tests.prove.history import End, History

QUIET_SECONDS: Final = 150.0
#: Also those whose placement came to nothing.
WEB_ORDERS: Final = {"filter.channel": "CHANNEL_WEB", "filter.include_unplaced": True}
#: Holds that end within this time are waited for.
SOON_SECONDS: Final = 120.0
#: An end is read so often at the most: what is held meanwhile has an end of its own.
READINGS_MAX: Final = 5
#: From the reading to the end of the streams.
STREAMS_SECONDS: Final = 15.0
READ_AGAIN_MAX: Final = 250
READ_AT_ONCE: Final = 16


async def collect(
    stack: stacks.Stack,
    brands: Sequence[world.Brand],
    tills: Sequence[tuple[str, watchers.Watcher]],
    history: History,
) -> None:
    """Fills history.end. What is read must be of one state, however long it takes.

    At the shops' midnight, a full hour, lots end by themselves, and holds at their own time: then it is read again.
    """
    for _ in range(READINGS_MAX):
        hour = time.time() // 3600
        await _until_quiet(stack, brands, tills, history, time.monotonic() + QUIET_SECONDS)
        await _read_the_rest(stack, brands, history)
        if hour == time.time() // 3600 and not ran_out(history.end, time.time() + STREAMS_SECONDS):
            return
    history.end.quiet = history.end.quiet or "holds ended while the end was read, again and again"


def ran_out(end: End, by: float) -> list[str]:
    """Holds that were active when they were read, and aren't any more by then (seconds since 1970)."""
    return [
        hold["id"]
        for rows in end.reservations.values()
        for hold in rows
        if hold["state"] == "RESERVATION_STATE_ACTIVE" and model.seconds(hold["expires_at"]) < by
    ]


async def _until_quiet(
    stack: stacks.Stack,
    brands: Sequence[world.Brand],
    tills: Sequence[tuple[str, watchers.Watcher]],
    history: History,
    until: float,
) -> None:
    while True:
        for brand in brands:
            await _read(brand, history)
        history.end.sagas, history.end.read_at = await asyncio.to_thread(books.sagas, stack), time.time()
        waiting = await asyncio.to_thread(books.unpublished, stack)
        history.end.quiet = _unquiet(tills, history, waiting)
        if not history.end.quiet or time.monotonic() > until:
            return
        await asyncio.sleep(1)


async def _read_the_rest(stack: stacks.Stack, brands: Sequence[world.Brand], history: History) -> None:
    if history.outage:
        await _read_events(stack, history)
    history.end.bank = await asyncio.to_thread(books.bank, stack)
    history.end.dead_letters = 0
    for brand in brands:
        await _read_again(brand, history, random.Random(history.seed))
        await _read_documents(brand, history)
        await _read_bundles(brand, history)
        await _read_lots(brand, history)
        await _read_orders(brand, history)
        await _read_stored_value(brand, history)
        for service in books.SERVICES:
            history.end.dead_letters += len((await brand.get(f"/v1/dead-letters/{service}")).get("dead_letters", []))


async def _read(brand: world.Brand, history: History) -> None:
    end = history.end
    for location in brand.locations:
        at = f"/v1/locations/{location}"
        held = await brand.pages(f"{at}/reservations", "reservations")
        end.reservations[location] = [_as_held_at(location, hold) for hold in held]
        sold = await brand.pages(f"{at}/sales", "sales")
        end.sales[location] = [sale for sale in sold if sale["channel"] == "CHANNEL_POS"]
        end.movements[location] = await brand.pages(f"{at}/movements", "movements")
        levels = await brand.pages(f"{at}/inventory", "levels")
        end.levels[location] = {level["sku"]: level for level in levels}
    listed = await brand.pages("/v1/orders", "orders", **WEB_ORDERS)
    end.orders |= {order["id"]: order for order in listed}
    end.transfers |= {each["id"]: each for each in await brand.pages("/v1/transfers", "transfers")}
    end.counts |= {each["id"]: each for each in await brand.pages("/v1/counts", "cycle_counts")}


def _as_held_at(location: str, hold: dict[str, Any]) -> dict[str, Any]:
    """A reservation over several locations, as one of them has it."""
    here = [line for line in hold["lines"] if (line.get("location_id") or location) == location]
    return hold | {"lines": here, "location_id": hold.get("location_id") or (location if here else "")}


def _unquiet(tills: Sequence[tuple[str, watchers.Watcher]], history: History, unpublished: Mapping[str, int]) -> str:
    """What still moves; empty: nothing. unpublished: events by service."""
    end, now = history.end, time.time()
    if any(unpublished.values()):
        return f"events wait for the relay: {dict(unpublished)}"
    if live := [saga for saga in end.sagas if saga["live"]]:
        return f"{len(live)} sagas run, the first is of {live[0]['order_id']}"
    if unknown := [order for order in end.orders.values() if order["state"] == "ORDER_STATE_PENDING"]:
        return f"{len(unknown)} orders are being placed, the first is {unknown[0]['id']}"
    pending = [s for sales in end.sales.values() for s in sales if s["stock_effect"] != "STOCK_EFFECT_APPLIED"]
    if pending:
        return f"{len(pending)} sales are not applied, the first is {pending[0]['id']}"
    documents = [*end.transfers.values(), *end.counts.values()]
    waiting = [each["number"] for each in documents if each["stock_effect"] != "DOCUMENT_EFFECT_APPLIED"]
    if waiting:
        return f"{len(waiting)} documents are not in the stock, the first is {waiting[0]}"
    for rows in end.reservations.values():
        for hold in rows:
            active = hold["state"] == "RESERVATION_STATE_ACTIVE"
            if active and model.seconds(hold["expires_at"]) < now + SOON_SECONDS:
                return f"{hold['id']} is active and ends at {hold['expires_at']}"
    for location, rows in end.reservations.items():
        held = sum(
            int(line["quantity"]) for hold in rows if hold["state"].endswith("_ACTIVE") for line in hold["lines"]
        )
        reserved = sum(int(level["reserved"]) for level in end.levels[location].values())
        swept = sum(int(row["quantity"]) for row in end.movements[location] if row["reason"].endswith("_HOLD_EXPIRED"))
        ended = sum(
            int(line["quantity"]) for hold in rows if hold["state"].endswith("_EXPIRED") for line in hold["lines"]
        )
        if held != reserved or swept != ended:
            return f"{location}: {held} held and {reserved} reserved; {ended} expired and {swept} given back"
    for location, till in tills:
        head = max((int(row["seq"]) for row in end.movements[location]), default=0)
        if till.seen < head:
            return f"a till is at {till.seen} of {head} of {location}"
    return ""


async def _read_again(brand: world.Brand, history: History, chance: random.Random) -> None:
    """Reads a part of what was accepted, each by its own id."""
    for kind, path in (("reserve", "/v1/reservations/"), ("source", "/v1/reservations/"), ("sale", "/v1/orders/")):
        ids = [call.answers[0].body["id"] for call in history.of(kind) if call.tenant == brand.name and call.answers]
        chosen = chance.sample(ids, min(len(ids), READ_AGAIN_MAX))
        for found, attempt in zip(
            chosen, await asyncio.gather(*(_one(brand, path + one) for one in chosen)), strict=True
        ):
            history.end.read[found] = attempt


async def _read_bundles(brand: world.Brand, history: History) -> None:
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def one(location: str, bundle: str) -> None:
        async with slots:
            level = await brand.get(f"/v1/locations/{location}/inventory/{bundle}")
            history.end.bundles.setdefault(location, {})[level["sku"]] = int(level["available"])

    await asyncio.gather(*(one(location, bundle) for location in brand.locations for bundle in history.bundles))


async def _read_events(stack: stacks.Stack, history: History) -> None:
    """A little more of the streams than is asked for: what was in flight when the relays were stopped."""
    since = history.outage["stopped_at"]
    for service in books.SERVICES:
        history.end.events[service] = await asyncio.to_thread(books.events, stack, service, since)
        history.end.published[service] = await books.published(stack, service, since)
    history.end.cursors = await asyncio.to_thread(books.cursors, stack)


async def _read_lots(brand: world.Brand, history: History) -> None:
    for location in brand.locations:
        at = f"/v1/locations/{location}"
        of = {sku: await brand.pages(f"{at}/inventory/{sku}/lots", "lots") for sku in world.LOT_SKUS}
        history.end.lots[location] = of
        told = await brand.pages(f"{at}/exceptions", "exceptions")
        history.end.exceptions[location] = [each for each in told if each.get("lot")]


async def _read_orders(brand: world.Brand, history: History) -> None:
    """The payments of every order that isn't a sale."""
    mine = set(brand.locations)
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def one(order: dict[str, Any]) -> None:
        async with slots:
            order["payments"] = await brand.pages(f"/v1/orders/{order['id']}/payments", "payments", size=100)

    await asyncio.gather(*(one(order) for order in history.end.orders.values() if order["location_id"] in mine))


async def _read_stored_value(brand: world.Brand, history: History) -> None:
    """Every gift card and every customer's credit, with its ledger."""
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def one(account: dict[str, Any], path: str) -> None:
        async with slots:
            account["entries"] = await brand.pages(f"{path}/entries", "entries")
            history.end.stored[account["id"]] = account

    cards = await brand.pages("/v1/gift-cards", "gift_cards", size=100)
    found = [(card, f"/v1/gift-cards/{card['id']}") for card in cards]
    for customer in brand.customers:
        path = f"/v1/customers/{customer}/store-credit"
        found += [(credit, f"{path}/EUR") for credit in await brand.pages(path, "credits", size=100)]
    await asyncio.gather(*(one(*each) for each in found))
    history.end.liability[brand.name] = (await brand.get("/v1/stored-value/liability")).get("rows", [])


async def _read_documents(brand: world.Brand, history: History) -> None:
    """Every transfer with what happened to it, and every count with its lines."""
    mine = set(brand.locations)
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def transfer(one: str) -> None:
        async with slots:
            found = await brand.get(f"/v1/transfers/{one}")
            found["events"] = await brand.pages(f"/v1/transfers/{one}/events", "events")
            history.end.transfers[one] = found

    async def count(one: str) -> None:
        async with slots:
            found = await brand.get(f"/v1/counts/{one}")
            found["counted"] = await brand.pages(f"/v1/counts/{one}/lines", "lines")
            history.end.counts[one] = found

    transfers = [one for one, of in history.end.transfers.items() if of["from_location_id"] in mine]
    counts = [one for one, of in history.end.counts.items() if of["location_id"] in mine]
    await asyncio.gather(*map(transfer, transfers), *map(count, counts))


async def _one(brand: world.Brand, path: str) -> Any:
    try:
        return await brand.get(path)
    except RuntimeError as refused:
        return str(refused)

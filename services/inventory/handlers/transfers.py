"""Use cases of transfers: a step is kept with the transfer in one transaction, and then brought into the stock."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.inventory import document_effects, lane
from services.inventory.domain import catalog, catalog_locations, commands, stock_errors
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import transfer_steps as steps
from services.inventory.domain import transfers as domain
from services.inventory.handlers import bundles, known_lots, purchase_orders
from services.inventory.handlers import stock as stock_handlers
from services.inventory.handlers.catalog import M, Write, Writer
from services.inventory.mapping import catalog_messages as names
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import catalog as common
from services.inventory.store import document_effects as effect_store
from services.inventory.store import incoming
from services.inventory.store import suppliers as supplier_store
from services.inventory.store import transfers as store
from services.kit import clock, database, errors, events, idempotency, ids, principal, telemetry
from tillmesh.inventory.v1 import stock_pb2

NUMBERS = "transfer"
SEND = "SEND"
HOLD_SECONDS: Final = 60
"""How long the stock waits for a transfer to become ready: what a crash left over is free again after that."""
SAME_HOLD_SECONDS: Final = 30
"""Who makes the same version ready within so long uses the same hold, which then has at least as long to go."""
Change = Callable[[database.WriteSession, domain.Transfer, domain.By], Awaitable[domain.Step]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which transfer is to take a step, by whom. expected_version 0: whatever it is."""

    transfer_id: uuid.UUID
    origin: commands.Origin
    expected_version: int


class Transfers:
    """Transfers of the current caller's tenant."""

    def __init__(
        self,
        db: database.Database,
        writer: Writer,
        effects: document_effects.Effects,
        stock_lanes: stock_handlers.StockLanes,
    ) -> None:
        self._db = db
        self._writer = writer
        self._effects = effects
        self._lanes = stock_lanes

    async def create(self, write: Write[domain.Transfer, M], draft: domain.Draft, origin: commands.Origin) -> M:
        """NOT_FOUND (location), LOCATION_NOT_CAPABLE, SKU_NOT_FOUND, BUNDLE_HAS_NO_STOCK, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[domain.Transfer, Sequence[events.Event]]:
            await _sending(session, draft.from_location_id)
            await purchase_orders.receiving(session, draft.to_location_id)
            spellings = await _spellings(session, [sku for sku, _ in draft.lines])
            number = await effect_store.next_number(session, NUMBERS)
            by = domain.By(origin=origin, now=await common.now(session))
            step = domain.new_transfer(draft, transfer_id=ids.new_uuid(), number=number, spellings=spellings, by=by)
            await store.insert(session, step)
            return step.transfer, ()

        return await self._writer.run(write, effect)

    async def update(
        self, write: Write[domain.Transfer, M], asked: Asked, changes: Mapping[str, Any]
    ) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, SKU_NOT_FOUND, BUNDLE_HAS_NO_STOCK,
        INVALID_REQUEST.
        """

        async def change(session: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            spellings = await _spellings(session, [sku for sku, _ in changes.get("lines", ())])
            return domain.edit(transfer, changes, spellings, by)

        return await self._step(write, asked, _sends, change)

    async def ready(self, write: Write[domain.Transfer, M], asked: Asked) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, LOCATION_NOT_CAPABLE, INVALID_REQUEST,
        INSUFFICIENT_STOCK.

        The stock is held first, since it may refuse. Whatever becomes of the rest, the hold ends by itself; it isn't
        given back when the transfer is refused after all, for somebody else may be about to use it.
        """
        draft, hold_id = await self._hold(write, asked)
        asked = dataclasses.replace(asked, expected_version=asked.expected_version or draft.version)

        async def change(session: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            return steps.ready(transfer, hold_id, await _crowded(session, transfer, lock=True), by)

        return await self._step(write, asked, _sends, change)

    async def _hold(self, write: Write[domain.Transfer, M], asked: Asked) -> tuple[domain.Transfer, uuid.UUID]:
        """Holds the lines of a draft that may become ready. A transfer that isn't a draft is left to the step."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            draft = await _found(session, asked.transfer_id, _sends)
            drafted = draft.state == domain.State.DRAFT
            crowded = await _crowded(session, draft) if drafted else frozenset()
        hold_id = uuid.uuid5(draft.id, f"{draft.version}/{int(clock.now().timestamp()) // SAME_HOLD_SECONDS}")
        if drafted:
            steps.check_ready(draft, crowded, asked.expected_version)
            lines = tuple((line.sku, line.quantity) for line in draft.lines)
            reserve = commands.Reserve(asked.origin, hold_id, lines, HOLD_SECONDS, draft.name, for_sale=False)
            at = stock_handlers.lane_key(write.tenant_id, names.location_id(draft.from_location_id))
            key = idempotency.Key(at.tenant, "svc:inventory", "HoldTransfer", f"hold:{hold_id}", b"")
            await self._lanes.submit(
                at,
                lane.Submission(
                    reserve, key, stock_pb2.Reservation, stock_mapping.reply_reservation, telemetry.traceparent()
                ),
            )
        return draft, hold_id

    async def ship(self, write: Write[domain.Transfer, M], asked: Asked, shipment: steps.Shipment) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(_: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            return steps.ship(transfer, shipment, by)

        return await self._step(write, asked, _sends, change)

    async def receive(self, write: Write[domain.Transfer, M], asked: Asked, receipt: steps.Receipt) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST, LOTS_NOT_KEPT,
        LOT_MISMATCH.
        """

        async def change(session: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            step = steps.receive(transfer, receipt, by)
            for sku, lot in receipt.lots:
                await known_lots.know(session, sku, lot)
            return step

        return await self._step(write, asked, _receives, change)

    async def close(self, write: Write[domain.Transfer, M], asked: Asked, reason: str) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(_: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            return steps.close(transfer, reason, by)

        return await self._step(write, asked, _receives, change)

    async def cancel(self, write: Write[domain.Transfer, M], asked: Asked, reason: str) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(_: database.WriteSession, transfer: domain.Transfer, by: domain.By) -> domain.Step:
            return steps.cancel(transfer, reason, by)

        return await self._step(write, asked, _sends, change)

    async def _step(self, write: Write[domain.Transfer, M], asked: Asked, may: End, change: Change) -> domain.Transfer:
        """Keeps a step, brings it into the stock, and answers the transfer as it stands then."""

        async def effect(session: database.WriteSession) -> tuple[domain.Transfer, Sequence[events.Event]]:
            transfer = await _found(session, asked.transfer_id, may, lock=True)
            now = await common.now(session)
            by = domain.By(origin=asked.origin, now=now, expected_version=asked.expected_version)
            step = await change(session, transfer, by)
            await store.update(session, step, transfer)
            await _tell(session, step)
            return step.transfer, ()

        await self._writer.run(write, effect)
        await self._effects.attempt(write.tenant_id, asked.transfer_id)
        return await self.get(asked.transfer_id)

    # --- reads ---

    async def get(self, transfer_id: uuid.UUID) -> domain.Transfer:
        """NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            return await _found(session, transfer_id, _sees)

    async def page(self, query: store.Query) -> list[domain.Transfer]:
        """One more than the limit, when there are more. NOT_FOUND (location)."""
        async with self._db.read(_tenant()) as session:
            for location in (query.location, query.from_location, query.to_location):
                if location is not None:
                    await purchase_orders.located(session, location)
            return await store.page(session, dataclasses.replace(query, limit=query.limit + 1))

    async def list_events(
        self, transfer_id: uuid.UUID, *, after: int, limit: int
    ) -> tuple[domain.Transfer, list[domain.Event]]:
        """The transfer, and one event more than the limit, when there are more. NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            transfer = await _found(session, transfer_id, _sees)
            return transfer, await store.list_events(session, transfer_id, after=after, limit=limit + 1)


End = Callable[[domain.Transfer], None]
"""Refuses whose token doesn't cover the end of a transfer that matters: LOCATION_SCOPE."""


def _sends(transfer: domain.Transfer) -> None:
    principal.current().require_location(names.location_id(transfer.from_location_id))


def _receives(transfer: domain.Transfer) -> None:
    principal.current().require_location(names.location_id(transfer.to_location_id))


def _sees(transfer: domain.Transfer) -> None:
    try:
        _sends(transfer)
    except errors.LocationScope:
        _receives(transfer)


def _tenant() -> str:
    return events.tenant_uuid(principal.current().tenant_id)


async def _found(session: common.Session, transfer_id: uuid.UUID, may: End, *, lock: bool = False) -> domain.Transfer:
    """A transfer. may: what the caller's token must cover. NOT_FOUND, LOCATION_SCOPE."""
    transfer = await store.get(session, transfer_id, lock=lock)
    if transfer is None:
        raise errors.NotFound("transfer")
    may(transfer)
    return transfer


async def _sending(session: common.Session, location_id: uuid.UUID) -> catalog.Location:
    """A location that stock leaves; a closed one is emptied so. NOT_FOUND, LOCATION_NOT_CAPABLE."""
    location = await purchase_orders.located(session, location_id)
    if location.type == catalog_locations.IN_TRANSIT:
        raise stock_errors.LocationNotCapable(SEND)
    return location


async def _spellings(session: database.WriteSession, skus: Iterable[str]) -> dict[str, str]:
    """How the catalogue spells what a transfer names, by folded SKU. SKU_NOT_FOUND, BUNDLE_HAS_NO_STOCK."""
    wanted = {codes.sku_key(sku): sku for sku in skus}
    await bundles.refuse(session, wanted)
    known = await supplier_store.spellings(session, wanted)
    for key, sku in wanted.items():
        if key not in known:
            raise stock_errors.SkuNotFound(sku)
    return known


async def _crowded(session: common.Session, transfer: domain.Transfer, *, lock: bool = False) -> frozenset[str]:
    """Its SKUs that the destination waits for in too many documents. LOCATION_NOT_CAPABLE when that has closed.

    lock: of the destination, so that it stays true until the end.
    """
    await purchase_orders.receiving(session, transfer.to_location_id, lock=lock)
    keys = [codes.sku_key(line.sku) for line in transfer.lines]
    return await incoming.crowded(session, transfer.to_location_id, keys)


async def _tell(session: database.WriteSession, step: domain.Step) -> None:
    """Keeps what the stock of both ends is told of a step."""
    if not step.told:
        return
    first, *rest = step.told
    await effect_store.add(
        session,
        first.command,
        document_id=step.transfer.id,
        number=step.event.effect,
        location=first.location_id,
        ref=(domain.REF_TYPE, step.event.reference(step.transfer)),
        elsewhere=effect_store.Elsewhere(*rest[0]) if rest else None,
    )

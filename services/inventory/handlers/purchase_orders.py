"""Use cases of purchase orders: a step is kept with the order in one transaction, and then brought into the stock."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory import document_effects
from services.inventory.domain import catalog, catalog_locations, commands, stock_errors, suppliers
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import purchase_orders as domain
from services.inventory.domain import purchase_receipts as receipts
from services.inventory.handlers import bundles, known_lots
from services.inventory.handlers import suppliers as supplier_handlers
from services.inventory.handlers.catalog import M, Write, Writer
from services.inventory.mapping import catalog_messages as names
from services.inventory.store import catalog as common
from services.inventory.store import catalog_locations as location_store
from services.inventory.store import document_effects as effect_store
from services.inventory.store import incoming
from services.inventory.store import purchase_orders as store
from services.inventory.store import suppliers as supplier_store
from services.kit import database, errors, events, ids, principal

NUMBERS = "purchase_order"
RECEIVE = "RECEIVE"
Change = Callable[[database.WriteSession, domain.PurchaseOrder], Awaitable[domain.Step]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New values of some fields of an order. expected_version 0: whatever it is."""

    order_id: uuid.UUID
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Closing or cancelling an order."""

    order_id: uuid.UUID
    to: domain.State
    reason: str
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery on an order."""

    order_id: uuid.UUID
    draft: receipts.ReceiptDraft
    origin: commands.Origin
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which orders. location: of this one; within: of these; None: of all. sku empty, supplier None: any."""

    location: uuid.UUID | None
    within: Collection[uuid.UUID] | None
    supplier_id: uuid.UUID | None
    states: Collection[int]
    sku: str
    after: uuid.UUID | None
    limit: int


class PurchaseOrders:
    """Purchase orders of the current caller's tenant."""

    def __init__(self, db: database.Database, writer: Writer, effects: document_effects.Effects) -> None:
        self._db = db
        self._writer = writer
        self._effects = effects

    async def create(self, write: Write[domain.PurchaseOrder, M], draft: domain.Draft, by: str) -> M:
        """NOT_FOUND (location, supplier), LOCATION_NOT_CAPABLE, SKU_NOT_FOUND, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[domain.PurchaseOrder, Sequence[events.Event]]:
            await receiving(session, draft.location_id)
            supplier = await supplier_handlers.found(session, draft.supplier_id)
            known = await _known(session, supplier.id, [line.sku for line in draft.lines])
            number = await effect_store.next_number(session, NUMBERS)
            now = await common.now(session)
            made = domain.new_order(
                draft, order_id=ids.new_uuid(), number=number, supplier=supplier, known=known, by=by, now=now
            )
            await store.insert(session, made)
            return made, ()

        return await self._writer.run(write, effect)

    async def update(self, write: Write[domain.PurchaseOrder, M], edit: Edit) -> domain.PurchaseOrder:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, SKU_NOT_FOUND, INVALID_REQUEST."""

        async def change(session: database.WriteSession, order: domain.PurchaseOrder) -> domain.Step:
            lines: Iterable[domain.LineDraft] = edit.changes.get("lines", ())
            known = await _known(session, order.supplier_id, [line.sku for line in lines])
            now = await common.now(session)
            return domain.edit(order, edit.changes, known, expected_version=edit.expected_version, now=now)

        return await self._step(write, edit.order_id, change)

    async def place(
        self, write: Write[domain.PurchaseOrder, M], order_id: uuid.UUID, expected_version: int
    ) -> domain.PurchaseOrder:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, LOCATION_NOT_CAPABLE, INVALID_REQUEST."""

        async def change(session: database.WriteSession, order: domain.PurchaseOrder) -> domain.Step:
            await receiving(session, order.location_id, lock=True)
            supplier = await supplier_handlers.found(session, order.supplier_id)
            skus = [line.sku for line in order.lines]
            known = await _known(session, supplier.id, skus)
            keys = list(map(codes.sku_key, skus))
            crowded = await incoming.crowded(session, order.location_id, keys)
            now = await common.now(session)
            return domain.place(order, supplier, known, crowded, expected_version=expected_version, now=now)

        return await self._step(write, order_id, change)

    async def end(self, write: Write[domain.PurchaseOrder, M], end: End) -> domain.PurchaseOrder:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(session: database.WriteSession, order: domain.PurchaseOrder) -> domain.Step:
            finish = domain.close if end.to == domain.State.CLOSED else domain.cancel
            now = await common.now(session)
            return finish(order, end.reason, expected_version=end.expected_version, now=now)

        return await self._step(write, end.order_id, change)

    async def _step(
        self,
        write: Write[domain.PurchaseOrder, M],
        order_id: uuid.UUID,
        change: Change,
    ) -> domain.PurchaseOrder:
        """Keeps a step, brings it into the stock, and answers the order as it stands then."""

        async def effect(session: database.WriteSession) -> tuple[domain.PurchaseOrder, Sequence[events.Event]]:
            order = await _found(session, order_id, lock=True)
            step = await change(session, order)
            await store.update(session, step.order, order)
            await _tell(session, step.order, step.command, step.order.reference)
            return step.order, ()

        await self._writer.run(write, effect)
        await self._effects.attempt(write.tenant_id, order_id)
        return await self.get(order_id)

    async def receive(
        self, write: Write[receipts.Receipt, M], delivery: Delivery, receipt_id: Callable[[M], uuid.UUID]
    ) -> receipts.Receipt:
        """Takes a delivery in. receipt_id: of the answer that is remembered.

        NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, OVER_RECEIPT, INVALID_REQUEST,
        LOTS_NOT_KEPT, LOT_MISMATCH.
        """

        async def effect(session: database.WriteSession) -> tuple[receipts.Receipt, Sequence[events.Event]]:
            order = await _found(session, delivery.order_id, lock=True)
            for sku, lot in delivery.draft.lots:
                await known_lots.know(session, sku, lot)
            received = receipts.receive(
                order,
                delivery.draft,
                receipt_id=ids.new_uuid(),
                origin=delivery.origin,
                expected_version=delivery.expected_version,
                now=await common.now(session),
            )
            await store.update(session, received.order, order)
            await store.insert_receipt(session, received.receipt)
            await _tell(session, received.order, received.command, received.receipt.reference)
            return received.receipt, ()

        kept = await self._writer.run(write, effect)
        await self._effects.attempt(write.tenant_id, delivery.order_id)
        return await self.get_receipt(delivery.order_id, receipt_id(kept))

    # --- reads ---

    async def get(self, order_id: uuid.UUID) -> domain.PurchaseOrder:
        """NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            return await _found(session, order_id)

    async def page(self, query: Query) -> list[domain.PurchaseOrder]:
        """One more than the limit, when there are more. NOT_FOUND (location, supplier)."""
        async with self._db.read(_tenant()) as session:
            if query.location is not None:
                await located(session, query.location)
            if query.supplier_id is not None:
                await supplier_handlers.found(session, query.supplier_id)
            return await store.page(
                session,
                within=query.within if query.location is None else [query.location],
                supplier_id=query.supplier_id,
                states=query.states,
                key=codes.sku_key(query.sku),
                after=query.after,
                limit=query.limit + 1,
            )

    async def get_receipt(self, order_id: uuid.UUID, receipt_id: uuid.UUID) -> receipts.Receipt:
        """NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            order = await _found(session, order_id)
            receipt = await store.get_receipt(session, order, receipt_id)
        if receipt is None:
            raise errors.NotFound("receipt")
        return receipt

    async def list_receipts(self, order_id: uuid.UUID, *, after: int, limit: int) -> list[receipts.Receipt]:
        """One more than the limit, when there are more. NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            order = await _found(session, order_id)
            return await store.list_receipts(session, order, after=after, limit=limit + 1)


def _tenant() -> str:
    return events.tenant_uuid(principal.current().tenant_id)


async def located(session: common.Session, location_id: uuid.UUID, *, lock: bool = False) -> catalog.Location:
    """The location. NOT_FOUND."""
    location = await location_store.get(session, location_id, lock=lock)
    if location is None:
        raise errors.NotFound("location")
    return location


async def receiving(session: common.Session, location_id: uuid.UUID, *, lock: bool = False) -> None:
    """A location that takes deliveries. NOT_FOUND, LOCATION_NOT_CAPABLE.

    lock: who has it wait for another document holds it until the end, as it waits for so many at most.
    """
    location = await located(session, location_id, lock=lock)
    if location.closed or location.type == catalog_locations.IN_TRANSIT:
        raise stock_errors.LocationNotCapable(RECEIVE)


async def _found(session: common.Session, order_id: uuid.UUID, *, lock: bool = False) -> domain.PurchaseOrder:
    """An order of a location that the caller's token covers. NOT_FOUND, LOCATION_SCOPE."""
    order = await store.get(session, order_id, lock=lock)
    if order is None:
        raise errors.NotFound("purchase_order")
    principal.current().require_location(names.location_id(order.location_id))
    return order


async def _known(session: database.WriteSession, supplier_id: uuid.UUID, skus: Iterable[str]) -> domain.Known:
    """What is known of SKUs that an order names. BUNDLE_HAS_NO_STOCK."""
    keys = {codes.sku_key(sku) for sku in skus}
    await bundles.refuse(session, keys)
    rows: Mapping[str, suppliers.SupplierSku] = await supplier_store.rows_of(session, supplier_id, keys)
    return domain.Known(await supplier_store.spellings(session, keys), rows)


async def _tell(
    session: database.WriteSession, order: domain.PurchaseOrder, command: commands.Document | None, reference: str
) -> None:
    """Keeps what the stock is told of a step."""
    if command is not None:
        await effect_store.add(
            session,
            command,
            document_id=order.id,
            number=order.effects,
            location=order.location_id,
            ref=(domain.REF_TYPE, reference),
        )

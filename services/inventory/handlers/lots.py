"""Use cases of lots: what is known of them, where their units are and went, recalls."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import lots as domain
from services.inventory.domain import stock_errors
from services.inventory.handlers import catalog, known_lots, settling_lots
from services.inventory.mapping import lots as mapping
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import catalog as common
from services.inventory.store import lots as store
from services.inventory.store import stock as stock_store
from services.kit import database, errors, idempotency, ids, principal
from tillmesh.inventory.v1 import lots_pb2

Change = Callable[[domain.Lot, dt.datetime], domain.Lot]


class Lots:
    """Lots of the current caller's tenant."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def create(self, key: idempotency.Key, sku: str, draft: domain.LotDraft) -> lots_pb2.Lot:
        """SKU_NOT_FOUND, LOTS_NOT_KEPT, ALREADY_EXISTS, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> lots_pb2.Lot:
            made = await known_lots.make(session, sku, draft)
            if made is None:
                raise errors.AlreadyExists("code", f"the SKU has a lot {draft.code}")
            await catalog.note(session, key, "created", _named(made), None, made, but={"settled"})
            return mapping.lot_to_proto(made)

        return await idempotency.run(self._db, key, lots_pb2.Lot, effect)

    async def get(self, lot_id: uuid.UUID) -> domain.Lot:
        """NOT_FOUND."""
        async with self._db.read(_tenant()) as session:
            return await _found(session, lot_id)

    async def page(
        self, sku: str, *, code: str, recalled: bool, after: uuid.UUID | None, limit: int
    ) -> list[domain.Lot]:
        """Lots of a SKU, newest first. SKU_NOT_FOUND."""
        async with self._db.read(_tenant()) as session:
            await _require_variant(session, sku)
            found = {"code": code, "recalled": recalled, "after": after, "limit": limit}
            return await store.page(session, codes.sku_key(sku), **found)  # type: ignore[arg-type]  # as above

    async def update(
        self, key: idempotency.Key, lot_id: uuid.UUID, changes: Mapping[str, dt.date | None], expected_version: int
    ) -> lots_pb2.Lot:
        """Other dates, at all locations at once. NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST."""
        return await self._change(
            key,
            "updated",
            lot_id,
            lambda lot, now: domain.edit(lot, changes, expected_version=expected_version, now=now),
        )

    async def recall(self, key: idempotency.Key, lot_id: uuid.UUID, reason: str, expected_version: int) -> lots_pb2.Lot:
        """None of it is available from now on. NOT_FOUND, VERSION_MISMATCH."""
        return await self._change(
            key,
            "recalled",
            lot_id,
            lambda lot, now: domain.recall(lot, reason, expected_version=expected_version, now=now),
        )

    async def lift_recall(self, key: idempotency.Key, lot_id: uuid.UUID, expected_version: int) -> lots_pb2.Lot:
        """NOT_FOUND, VERSION_MISMATCH."""
        return await self._change(
            key,
            "recall_lifted",
            lot_id,
            lambda lot, now: domain.lift_recall(lot, expected_version=expected_version, now=now),
        )

    async def _change(self, key: idempotency.Key, action: str, lot_id: uuid.UUID, change: Change) -> lots_pb2.Lot:
        """Keeps a lot's next version, and answers when its units are as it says everywhere; a repeat sees to it too."""

        async def effect(session: database.WriteSession) -> lots_pb2.Lot:
            lot = await _found(session, lot_id, lock=True)
            changed = change(lot, await common.now(session))
            if changed is not lot:
                await store.update(session, changed)
                await catalog.note(session, key, action, _named(lot), lot, changed, but={"settled"})
            return mapping.lot_to_proto(changed)

        answer = await idempotency.run(self._db, key, lots_pb2.Lot, effect)
        await settling_lots.settle(self._db, key.tenant, lot_id)
        return answer

    # --- where units are, and went ---

    async def at_location(self, location_id: str, sku: str, after: str, limit: int) -> list[store.PlacedLot]:
        """Stock of a SKU by lot, then what is of none. NOT_FOUND (location), SKU_NOT_FOUND."""
        location, key = stock_mapping.location_uuid(location_id), codes.sku_key(sku)
        async with self._db.read(_tenant(), snapshot=True) as session:
            if not await stock_store.location_exists(session, location):
                raise errors.NotFound("location")
            await _require_variant(session, sku)
            page = await store.at_location(session, location, key, after=after, limit=limit)
            rest = await store.of_none(session, location, key) if len(page) < limit else None
        return [*page, rest] if rest is not None else page

    async def stock(self, lot_id: uuid.UUID, after: uuid.UUID, limit: int) -> list[store.PlacedLot]:
        """Where units of a lot are, among the locations that the caller may see. NOT_FOUND."""
        async with self._db.read(_tenant(), snapshot=True) as session:
            lot = await _found(session, lot_id)
            key = codes.sku_key(lot.sku)
            return await store.of_lot(session, key, lot.code, within=_within(), after=after, limit=limit)

    async def sales(self, lot_id: uuid.UUID, after: store.After | None, limit: int) -> Sequence[Any]:
        """Sales that took units of a lot, at locations that the caller may see. NOT_FOUND."""
        async with self._db.read(_tenant()) as session:
            lot = await _found(session, lot_id)
            return await store.sales(session, lot, within=_within(), after=after, limit=limit)


def _named(lot: domain.Lot) -> tuple[str, str]:
    return "lot", ids.encode("lot", lot.id)


def _tenant() -> str:
    return stock_mapping.tenant_uuid(principal.current().tenant_id)


def _within() -> list[uuid.UUID] | None:
    caller = principal.current()
    if caller.all_locations:
        return None
    return [stock_mapping.location_uuid(text) for text in sorted(caller.locations)]


async def _found(session: common.Session, lot_id: uuid.UUID, *, lock: bool = False) -> domain.Lot:
    lot = await store.get(session, lot_id, lock=lock)
    if lot is None:
        raise errors.NotFound("lot")
    return lot


async def _require_variant(session: common.Session, sku: str) -> None:
    if await store.variant(session, codes.sku_key(sku)) is None:
        raise stock_errors.SkuNotFound(sku)

"""Lots that are named where stock changes: looked up, and made when they are new, before the lane is asked."""

from __future__ import annotations

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import lots as domain
from services.inventory.domain import stock_errors
from services.inventory.mapping import stock as mapping
from services.inventory.store import catalog as common
from services.inventory.store import lots as store
from services.kit import database, errors, ids, principal


class KnownLots:
    """Lots of the tenants of the callers."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def code(self, sku: str, draft: domain.LotDraft | None) -> str:
        """The code of a lot that is known from now on; empty: none was named.

        SKU_NOT_FOUND, LOTS_NOT_KEPT, LOT_MISMATCH, INVALID_REQUEST.
        """
        if draft is None:
            return ""
        async with self._db.transaction(mapping.tenant_uuid(principal.current().tenant_id)) as session:
            return (await know(session, sku, draft)).code


async def know(session: database.WriteSession, sku: str, draft: domain.LotDraft) -> domain.Lot:
    """The lot of a SKU that a caller names; made when it is new. Errors as above."""
    key = codes.sku_key(sku)
    known = await store.find(session, key, draft.code)
    if known is None:
        known = await make(session, sku, draft) or await store.find(session, key, draft.code)
    elif draft.gtin:
        await _check_gtin(session, key, draft.gtin)
    if known is None:
        raise errors.Conflict
    domain.check_known(known, draft)
    return known


async def make(session: database.WriteSession, sku: str, draft: domain.LotDraft) -> domain.Lot | None:
    """A new lot; None: its code is taken. SKU_NOT_FOUND, LOTS_NOT_KEPT, INVALID_REQUEST."""
    key = codes.sku_key(sku)
    variant = await store.variant(session, key)
    if variant is None:
        raise stock_errors.SkuNotFound(sku)
    if variant.policy is None:
        raise domain.LotsNotKept(variant.sku)
    if draft.gtin:
        await _check_gtin(session, key, draft.gtin)
    lot = domain.new_lot(draft, lot_id=ids.new_uuid(), sku=variant.sku, now=await common.now(session))
    return lot if await store.insert(session, key, lot) else None


async def _check_gtin(session: database.WriteSession, key: str, gtin: str) -> None:
    if not await store.has_barcode(session, key, codes.barcode_key(gtin)):
        violation = errors.FieldViolation("lot.scanned", f"GTIN {gtin} is not a barcode of the SKU")
        raise errors.InvalidRequest(violations=[violation])

"""Use cases of payments: reads, calls that move money, what a person has to look at."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import audit, database, errors, ids, validation
from services.kit import principal as principals
from services.orders import catalogue, visible
from services.orders.domain import payments as domain
from services.orders.payments import operations, port
from services.orders.payments.units import found as load
from services.orders.store import payments as store


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. tenant: uuid text. who: is named in operations; source: in the audit log."""

    principal: principals.Principal
    tenant: str
    who: str
    source: audit.Source

    def require(self, location: uuid.UUID | None) -> None:
        """LocationScope, unless the token covers the location of a payment; or all, for one that was made online."""
        self.principal.require_location("*" if location is None else ids.encode("loc", location))


@dataclass(frozen=True, slots=True)
class Amount:
    """Smallest units of a currency, above zero."""

    currency_code: str
    minor_units: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A payment with its operations, the oldest first."""

    payment: domain.Payment
    operations: Sequence[domain.Operation] = ()


class Paying:
    """Payments of a tenant's orders."""

    def __init__(self, db: database.Database, moves: operations.Operations, places: catalogue.Catalogue) -> None:
        self._db = db
        self._operations = moves
        self._places = places

    # --- reads ---

    async def get(self, caller: Caller, payment_id: uuid.UUID) -> Shown:
        """A payment. NotFound; LocationScope."""
        async with self._db.read(caller.tenant) as session:
            payment = await load(session, payment_id)
            caller.require(payment.location_id)
            return Shown(payment, await store.operations(session, payment_id))

    async def of_order(
        self, caller: Caller, order_id: uuid.UUID, *, after: uuid.UUID | None, limit: int
    ) -> list[domain.Payment]:
        """Payments of an order that the token covers, the oldest first. NotFound."""
        covered = caller.principal.locations
        places = None if "*" in covered else [ids.decode("loc", each) for each in covered]
        async with self._db.read(caller.tenant) as session:
            if not await store.has_order(session, order_id):
                raise errors.NotFound("order")
            return await store.of_order(session, order_id, places=places, after=after, limit=limit)

    # --- new payments ---

    async def create(
        self, caller: Caller, order: port.OrderRef, tender: port.Tender, key: str, *, capture: bool
    ) -> Shown:
        """Authorises, and captures if asked to. Declined; NotFound (order, location); what domain.Due.take refuses.

        InvalidRequest for what only staff may do.
        """
        if visible.is_staff(caller.principal):
            caller.require(order.location_id)
            await self._require_place(caller, order)
        else:
            await self._require_own(caller, order, capture=capture)
        moved = await self._operations.authorise(caller.tenant, order, tender, key, guard=_owed(order.id, tender))
        if capture and not (moved.declined or moved.unknown):
            moved = await self._operations.capture(
                caller.tenant, moved.payment_id, tender.amount, key, final=True, actor=caller.who, source=caller.source
            )
        return await self._answer(caller, moved)

    async def record(self, caller: Caller, order: port.OrderRef, tender: port.Tender, key: str) -> Shown:
        """A payment that was made by hand. NotFound (order, location); what domain.Due.take refuses."""
        await self._require_place(caller, order)
        guard = _owed(order.id, tender)
        moved = await self._operations.record(caller.tenant, order, tender, key, guard=guard, source=caller.source)
        return await self._answer(caller, moved)

    async def _require_own(self, caller: Caller, order: port.OrderRef, *, capture: bool) -> None:
        """A customer pays online, and at once: who would take it later? NotFound for somebody else's order."""
        if order.location_id is not None:
            raise validation.invalid("location_id", "is for staff")
        if not capture:
            raise validation.invalid("capture", "is needed of who isn't staff")
        async with self._db.read(caller.tenant) as session:
            buyer = await store.customer_of(session, order.id)
        if buyer is None or ids.encode("cus", buyer) != caller.principal.customer_id:
            raise errors.NotFound("order")

    async def _require_place(self, caller: Caller, order: port.OrderRef) -> None:
        """NotFound for a location that isn't there. Money that was taken is recorded also while nobody can be asked."""
        if order.location_id is not None:
            location_id = ids.encode("loc", order.location_id)
            with contextlib.suppress(errors.Unavailable):
                await self._places.resolve(caller.tenant, order.location_id, location_id, ())

    # --- calls on a payment ---

    async def capture(
        self, caller: Caller, payment_id: uuid.UUID, amount: Amount | None, key: str, *, final: bool
    ) -> Shown:
        """Takes an amount; None: all that is left. Never more than the order costs, which may be less by now."""
        payment = await self._mine(caller, payment_id, amount)
        asked = None if amount is None else amount.minor_units
        guard = _cost(payment.order_id, payment.capturable if asked is None else asked)
        moved = await self._operations.capture(
            caller.tenant, payment_id, asked, key, final=final, actor=caller.who, source=caller.source, guard=guard
        )
        return await self._answer(caller, moved)

    async def void(self, caller: Caller, payment_id: uuid.UUID, key: str) -> Shown:
        """Releases what isn't captured."""
        await self._mine(caller, payment_id)
        moved = await self._operations.void(caller.tenant, payment_id, key, actor=caller.who, source=caller.source)
        return await self._answer(caller, moved)

    async def refund(self, caller: Caller, payment_id: uuid.UUID, amount: Amount, key: str) -> Shown:
        """Gives back of what was captured."""
        await self._mine(caller, payment_id, amount)
        moved = await self._operations.refund(
            caller.tenant, payment_id, amount.minor_units, key, actor=caller.who, source=caller.source
        )
        return await self._answer(caller, moved)

    async def _mine(self, caller: Caller, payment_id: uuid.UUID, amount: Amount | None = None) -> domain.Payment:
        async with self._db.read(caller.tenant) as session:
            payment = await load(session, payment_id)
        caller.require(payment.location_id)
        if amount is not None and amount.currency_code != payment.currency_code:
            raise domain.CurrencyMismatch(payment.currency_code)
        return payment

    async def _answer(self, caller: Caller, moved: port.Movement) -> Shown:
        """How the payment stands. Declined when this call's operation was refused."""
        if moved.declined:
            raise domain.Declined(moved.declined_reason, moved.available)
        async with self._db.read(caller.tenant) as session:
            payment = await load(session, moved.payment_id)
            return Shown(payment, await store.operations(session, moved.payment_id))


def _owed(order_id: uuid.UUID, tender: port.Tender) -> operations.Guard:
    """Refuses a payment of more than an order still costs. NotFound; what domain.Due.take refuses."""

    async def guard(session: database.WriteSession) -> None:
        due = await store.lock_due(session, order_id)
        if due is None:
            raise errors.NotFound("order")
        due.take(tender.amount, tender.currency_code)

    return guard


def _cost(order_id: uuid.UUID, amount: int) -> operations.Guard:
    """Refuses to take more than an order costs, of which an edit may have left more set aside: domain.Due.collect."""

    async def guard(session: database.WriteSession) -> None:
        due = await store.lock_due(session, order_id)
        if due is not None:
            due.collect(amount)

    return guard

"""Every effect of a saga, each once, under the name of its failpoint.

What changes something outside of this process happens here and nowhere else in the package: tests end the process
before and after each of EFFECTS, and refuse an effect that isn't one of them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from services.kit import audit, database, deadline, errors, failpoints, ids, outbox
from services.orders import events
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk, profiles, recipients
from services.orders.domain import machines, outcomes, placed_order, placement, sagas, sale
from services.orders.domain import payments as money
from services.orders.domain.machines import FulfillmentState, Machine
from services.orders.domain.placed_order import Entry
from services.orders.payments import port as payments
from services.orders.placing import port
from services.orders.store import drafts, placed_reads, reads, refused
from services.orders.store import payments as payment_store
from services.orders.store import placing as store
from services.orders.store import sagas as saga_store
from tillmesh.orders.v1 import orders_events_pb2 as pb

EFFECTS: Final = (
    "guest", "numbers", "begin", "hold", "advance", "authorise", "confirm", "capture", "place",
    "begin_draft", "void", "refund", "release", "abandon", "postpone", "claim", "begin_cancel", "cancel",
)  # fmt: skip
SECONDS: Final = 9.0
"""For each effect; with sagas.RENEWED it is less than a lease, so that who lost a lease begins nothing any more."""
ACTOR: Final = "svc:orders"
METHODS: Final = {
    sale.TenderType.CARD: payments.Method.CARD,
    sale.TenderType.GIFT_CARD: payments.Method.GIFT_CARD,
    sale.TenderType.STORE_CREDIT: payments.Method.STORE_CREDIT,
    sale.TenderType.MARKETPLACE: payments.Method.MARKETPLACE,
}
Heard = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""
Build = Callable[[dt.datetime], sale.Order]
Rebuild = Callable[[sale.Order, dt.datetime], sale.Order]
Decide = Callable[[sale.Order], sagas.Plan]


class Taken(Exception):
    """The key stands for another saga, or another works on the order."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as uuid text and as TypeID."""

    uuid: str
    id: str


@dataclass(frozen=True, slots=True)
class SentTo:
    """Whom an order is for, and with whose key that is kept."""

    customer_id: uuid.UUID
    recipient: people.Recipient


class Effects:
    """All effects, for one process."""

    def __init__(
        self,
        db: database.Database,
        stock: port.Stock,
        moves: payments.Payments,
        customers: profiles.Profiles,
        known: recipients.Recipients,
        heard: Heard,
    ) -> None:
        self._db = db
        self._stock = stock
        self._payments = moves
        self._customers = customers
        self._recipients = known
        self._heard = heard

    # --- Inventory ---

    async def hold(self, saga: sagas.Saga, spec: sagas.HoldSpec) -> port.Reservation:
        """Holds the units of this round; again, it answers what is held."""
        deadline.enter(SECONDS)
        work = self._stock.hold(spec, ids.encode("ord", saga.order_id), saga.hold_key())
        return await failpoints.effect("hold", work)

    async def confirm(self, saga: sagas.Saga, reservation_id: uuid.UUID) -> None:
        """HoldEnded."""
        deadline.enter(SECONDS)
        work = self._stock.confirm(reservation_id, f"{saga.hold_key()}:confirm")
        await failpoints.effect("confirm", work)

    async def release(self, saga: sagas.Saga, reservation_id: uuid.UUID) -> None:
        """Puts units back on sale."""
        deadline.enter(SECONDS)
        work = self._stock.release(reservation_id, saga.key(f"release:{reservation_id}"))
        await failpoints.effect("release", work)

    # --- payments ---

    async def authorise(self, tenant: Tenant, saga: sagas.Saga, number: int, order: sale.Order) -> payments.Movement:
        """Sets the money of a tender aside; again, it asks what became of it."""
        deadline.enter(SECONDS)
        spec = saga.plan.tenders[number]
        lasts = saga.plan.capture is not placed_order.Capture.PLACEMENT
        tender = payments.Tender(METHODS[spec.type], spec.token, spec.amount, order.currency_code, lasts=lasts)
        ref = payments.OrderRef(order.id, order.location_id, order.actor)
        work = self._payments.authorise(tenant.uuid, ref, tender, saga.key(f"authorise:{number}"))
        return await failpoints.effect("authorise", work)

    async def capture(self, tenant: Tenant, saga: sagas.Saga, payment_id: uuid.UUID) -> payments.Movement:
        """Takes all that is set aside."""
        deadline.enter(SECONDS)
        work = self._payments.capture(tenant.uuid, payment_id, None, saga.key(f"capture:{payment_id}"), actor=ACTOR)
        return await failpoints.effect("capture", work)

    async def void(self, tenant: Tenant, saga: sagas.Saga, payment_id: uuid.UUID) -> payments.Movement:
        """Releases what is set aside."""
        deadline.enter(SECONDS)
        work = self._payments.void(tenant.uuid, payment_id, saga.key(f"void:{payment_id}"), actor=ACTOR)
        return await failpoints.effect("void", work)

    async def refund(self, tenant: Tenant, saga: sagas.Saga, payment_id: uuid.UUID, amount: int) -> payments.Movement:
        """Gives back."""
        deadline.enter(SECONDS)
        key = saga.key(f"refund:{payment_id}")
        work = self._payments.refund(tenant.uuid, payment_id, amount, key, actor=ACTOR)
        return await failpoints.effect("refund", work)

    async def payments_of(self, tenant: Tenant, order_id: uuid.UUID) -> Sequence[money.Payment]:
        """A read."""
        deadline.enter(SECONDS)
        async with self._db.read(tenant.uuid) as session:
            return await payment_store.of_order(session, order_id)

    # --- our own database ---

    async def order(self, tenant: Tenant, order_id: uuid.UUID) -> sale.Order:
        """A read."""
        deadline.enter(SECONDS)
        async with self._db.read(tenant.uuid) as session:
            return await _found(session, tenant, order_id)

    async def guest(self, write: desk.Write, draft: people.Draft) -> uuid.UUID:
        """The customer of an e-mail, found or made."""
        return await failpoints.effect("guest", self._customers.guest(write, draft))

    async def numbers(self, tenant: Tenant) -> range:
        """A block of order numbers; what isn't used of it is a gap."""
        return await failpoints.effect("numbers", self._numbers(tenant))

    async def _numbers(self, tenant: Tenant) -> range:
        async with self._db.transaction(tenant.uuid) as session:
            return await store.take_numbers(session, tenant.uuid)

    async def begin(self, tenant: Tenant, saga: sagas.Saga, build: Build, sent_to: SentTo | None = None) -> sale.Order:
        """Keeps a new order that is PENDING, and the saga that will place it. sent_to: whom it is for, if known.

        Taken; AlreadyExists (marketplace); CustomerErased.
        """
        return await failpoints.effect("begin", self._begin(tenant, saga, build, sent_to))

    async def _begin(self, tenant: Tenant, saga: sagas.Saga, build: Build, sent_to: SentTo | None) -> sale.Order:
        async def work(session: database.WriteSession) -> sale.Order:
            at = await saga_store.begin(session, tenant.uuid, saga)
            if at is None:
                raise Taken
            order = build(at)
            await store.insert(session, tenant.uuid, order, None)
            await self._keep_recipient(session, tenant, order.id, sent_to)
            told = outcomes.told(Machine.ORDER, "", sale.OrderState.PENDING.name, order, order.actor)
            await store.start_history(session, tenant.uuid, order.id, [told])
            return order

        try:
            return await self._db.together(tenant.uuid, saga.order_id, work)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name == "sales_order_marketplace":
                raise errors.AlreadyExists("order") from None
            raise

    async def _keep_recipient(
        self, session: database.WriteSession, tenant: Tenant, order_id: uuid.UUID, sent_to: SentTo | None
    ) -> None:
        if sent_to is not None:
            await self._recipients.keep(session, tenant.uuid, sent_to.customer_id, order_id, sent_to.recipient)

    async def begin_draft(
        self, tenant: Tenant, saga: sagas.Saga, build: Rebuild, sent_to: SentTo | None = None
    ) -> sale.Order:
        """A draft is PENDING, and has a saga that will place it. sent_to: as of `begin`. Taken; what build refuses.

        CustomerErased.
        """
        return await failpoints.effect("begin_draft", self._begin_draft(tenant, saga, build, sent_to))

    async def _begin_draft(
        self, tenant: Tenant, saga: sagas.Saga, build: Rebuild, sent_to: SentTo | None
    ) -> sale.Order:
        async with self._db.transaction(tenant.uuid) as session:
            await store.lock(session, tenant.uuid, saga.order_id)
            draft = await _found(session, tenant, saga.order_id)
            if await saga_store.is_live(session, tenant.uuid, saga.order_id):
                raise Taken
            order = build(draft, await store.now(session))
            if not await saga_store.begin(session, tenant.uuid, saga):
                raise Taken
            await store.update(session, tenant.uuid, order)
            await store.replace_lines(session, tenant.uuid, draft, order, counted=False)
            await self._keep_recipient(session, tenant, order.id, sent_to)
            told = _moved(machines.ORDER.move(draft.state, order.state, machines.By.SYSTEM), order, actor=order.actor)
            await store.add_history(session, tenant.uuid, order.id, [told])
            return order

    async def advance(self, tenant: Tenant, saga: sagas.Saga) -> None:
        """Keeps how far the saga is, and its lease. saga_store.Superseded."""
        deadline.enter(SECONDS)
        await failpoints.effect("advance", self._advance(tenant, saga))

    async def _advance(self, tenant: Tenant, saga: sagas.Saga) -> None:
        async def work(session: database.WriteSession) -> None:
            await saga_store.advance(session, tenant.uuid, saga)

        await self._db.together(tenant.uuid, saga.order_id, work)

    async def postpone(self, tenant: Tenant, saga: sagas.Saga, seconds: float) -> None:
        """Leaves the saga to whoever comes by then. saga_store.Superseded."""
        deadline.enter(SECONDS)
        await failpoints.effect("postpone", self._postpone(tenant, saga, seconds))

    async def _postpone(self, tenant: Tenant, saga: sagas.Saga, seconds: float) -> None:
        async with self._db.transaction(tenant.uuid) as session:
            await saga_store.postpone(session, tenant.uuid, saga, seconds)

    async def claim(self, limit: int) -> Sequence[tuple[uuid.UUID, sagas.Saga]]:
        """Sagas that nobody runs, of all tenants: ours for a lease. Old ones that have ended are dropped."""
        return await failpoints.effect("claim", self._claim(limit))

    async def _claim(self, limit: int) -> Sequence[tuple[uuid.UUID, sagas.Saga]]:
        async with self._db.worker() as session:
            await saga_store.forget(session)
            return await saga_store.claim_due(session, limit)

    async def place(
        self, tenant: Tenant, saga: sagas.Saga, pending: sale.Order, reservation: port.Reservation
    ) -> sale.Order:
        """The order is PLACED, its saga over, and all are told. While its saga lives, nobody else changes an order.

        saga_store.Superseded.
        """
        deadline.enter(SECONDS)
        return await failpoints.effect("place", self._place(tenant, saga, pending, reservation))

    async def _place(
        self, tenant: Tenant, saga: sagas.Saga, pending: sale.Order, reservation: port.Reservation
    ) -> sale.Order:
        async def work(session: database.WriteSession) -> sale.Order:
            await store.lock(session, tenant.uuid, saga.order_id)  # before the saga, as who begins another does
            at = await saga_store.finish(session, tenant.uuid, saga, succeeded=True)
            groups = placement.groups_of(
                reservation.held,
                placement.units_of(pending.lines),
                reservation_id=reservation.id,
                state=FulfillmentState.OPEN,
                at=at,
                new_id=[ids.new_uuid() for _ in reservation.held],
            )
            order = outcomes.placed(pending, saga, groups, at)
            if placement.was_draft(pending):
                await drafts.drop_due(session, order.id)
            await store.insert_tenders(session, tenant.uuid, order)
            await store.put_groups(session, tenant.uuid, order, groups)
            await store.count_lines(session, tenant.uuid, order, counted=True)
            entries = [
                _moved(machines.ORDER.move(pending.state, order.state, machines.By.SYSTEM), order),
                *(_moved(machines.FULFILLMENT.begin(group.state), order, group.id) for group in groups),
            ]
            return await self._tell(session, tenant, pb.OrderPlaced, order, entries, saga)

        order = await self._db.together(tenant.uuid, saga.order_id, work)
        self._heard(tenant.id, ids.encode("ord", order.id))
        return order

    async def abandon(self, tenant: Tenant, saga: sagas.Saga) -> None:
        """The placement came to nothing: the order is CANCELLED or EXPIRED, and its saga over. Superseded."""
        deadline.enter(SECONDS)
        await failpoints.effect("abandon", self._abandon(tenant, saga))

    async def _abandon(self, tenant: Tenant, saga: sagas.Saga) -> None:
        async with self._db.transaction(tenant.uuid) as session:
            await store.lock(session, tenant.uuid, saga.order_id)  # before the saga, as who begins another does
            at = await saga_store.finish(session, tenant.uuid, saga, succeeded=False)
            await self._recipients.drop(session, saga.order_id)  # nothing is sent
            pending = await _found(session, tenant, saga.order_id)
            if placement.was_draft(pending):
                await self._draft_again(session, tenant, saga, pending)
                return
            await refused.note(session, saga.order_id)
            reason = sagas.cancel_reason(saga.failure)
            expired = reason is placed_order.CancelReason.EXPIRED
            state = sale.OrderState.EXPIRED if expired else sale.OrderState.CANCELLED
            order = outcomes.ended(pending, state, reason, "", (), at)
            moved = machines.ORDER.move(pending.state, state, machines.By.SYSTEM)
            entry = dataclasses.replace(_moved(moved, order), reason=saga.failure.reason if saga.failure else "")
            await self._tell(session, tenant, pb.OrderCancelled, order, [entry], saga)
        self._heard(tenant.id, ids.encode("ord", order.id))

    async def _draft_again(
        self, session: database.WriteSession, tenant: Tenant, saga: sagas.Saga, pending: sale.Order
    ) -> None:
        """A draft that could not be placed may be tried again: nothing about it has changed, and nobody is told."""
        order = dataclasses.replace(pending, state=sale.OrderState.DRAFT)
        await store.update(session, tenant.uuid, order)
        entry = _moved(machines.ORDER.move(pending.state, order.state, machines.By.SYSTEM), order)
        entry = dataclasses.replace(entry, reason=saga.failure.reason if saga.failure else "")
        await store.add_history(session, tenant.uuid, order.id, [entry])

    async def begin_cancel(self, tenant: Tenant, saga: sagas.Saga, decide: Decide, source: audit.Source) -> sale.Order:
        """Keeps the saga of an order that is to be cancelled, as decided under its lock. Taken; what decide raises."""
        return await failpoints.effect("begin_cancel", self._begin_cancel(tenant, saga, decide, source))

    async def _begin_cancel(self, tenant: Tenant, saga: sagas.Saga, decide: Decide, source: audit.Source) -> sale.Order:
        async with self._db.transaction(tenant.uuid) as session:
            if await store.lock(session, tenant.uuid, saga.order_id) is None:
                raise errors.NotFound("order")
            order = await _found(session, tenant, saga.order_id)
            saga.plan = decide(order)
            if not await saga_store.begin(session, tenant.uuid, saga):
                raise Taken
            asked = {"reason": audit.Change(None, audit.plain(saga.plan.reason))}
            await audit.append(session, source, [_noted("cancel_begun", order, asked)])
            return order

    async def cancel(self, tenant: Tenant, saga: sagas.Saga) -> sale.Order:
        """Units and money are back: the order is CANCELLED, and the saga over. Superseded."""
        deadline.enter(SECONDS)
        return await failpoints.effect("cancel", self._cancel(tenant, saga))

    async def _cancel(self, tenant: Tenant, saga: sagas.Saga) -> sale.Order:
        plan = saga.plan
        async with self._db.transaction(tenant.uuid) as session:
            await store.lock(session, tenant.uuid, saga.order_id)  # before the saga, as who begins another does
            at = await saga_store.finish(session, tenant.uuid, saga, succeeded=True)
            before = await _found(session, tenant, saga.order_id)
            assert before.placed is not None
            groups = [group for group in before.placed.groups if group.state is not FulfillmentState.CANCELLED]
            gone = tuple(dataclasses.replace(each, state=FulfillmentState.CANCELLED, updated_at=at) for each in groups)
            order = outcomes.ended(before, sale.OrderState.CANCELLED, plan.reason, plan.note, gone, at)
            await store.put_groups(session, tenant.uuid, order, gone)
            await store.count_lines(session, tenant.uuid, order, counted=False)
            by_system = machines.By.SYSTEM
            entries = [
                _moved(machines.ORDER.move(before.state, order.state, by_system), order, actor=plan.actor),
                *(
                    _moved(
                        machines.FULFILLMENT.move(group.state, FulfillmentState.CANCELLED, by_system), order, group.id
                    )
                    for group in groups
                ),
            ]
            entries[0] = dataclasses.replace(entries[0], reason=plan.note)
            order = await self._tell(session, tenant, pb.OrderCancelled, order, entries, saga)
            states = {"state": audit.Change(before.state.name, order.state.name)}
            await audit.append(session, audit.Source(actor=plan.actor, method=""), [_noted("cancelled", order, states)])
        self._heard(tenant.id, ids.encode("ord", order.id))
        return order

    async def _tell(
        self,
        session: database.WriteSession,
        tenant: Tenant,
        kind: type[events.OrderEvent],
        order: sale.Order,
        entries: Sequence[Entry],
        saga: sagas.Saga,
    ) -> sale.Order:
        """Writes the order with its history, and its event; answers it with its payments as they are now."""
        await store.update(session, tenant.uuid, order)
        numbered = await store.add_history(session, tenant.uuid, order.id, entries)
        assert order.placed is not None
        sums = await placed_reads.payment_sums(session, tenant.uuid, [order.id])
        payment = sums.get(order.id, placed_order.PaymentSums())
        told = dataclasses.replace(order, placed=dataclasses.replace(order.placed, payment=payment))
        await outbox.append(session, [events.order_changed(kind, told, numbered, saga.request_key)])
        return told


async def _found(
    session: database.ReadSession | database.WriteSession, tenant: Tenant, order_id: uuid.UUID
) -> sale.Order:
    order = await reads.get(session, tenant.uuid, order_id)
    if order is None:
        raise errors.NotFound("order")
    return order


def _noted(action: str, order: sale.Order, changes: Mapping[str, audit.Change]) -> audit.Entry:
    return audit.Entry(action=action, resource="order", resource_id=ids.encode("ord", order.id), changes=changes)


def _moved(
    move: machines.Move[sale.OrderState] | machines.Move[FulfillmentState],
    order: sale.Order,
    target: uuid.UUID | None = None,
    actor: str = ACTOR,
) -> Entry:
    return outcomes.moved(move, order, target, actor=actor)

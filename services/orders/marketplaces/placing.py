"""An order of a marketplace is placed: by the saga that places any other, under a key that is its number there.

Its prices and taxes are the marketplace's; it is paid already, which a tender of its own says; whoever else tries to
place it, at the same moment or after a crash, finds the same order. What can't be placed is held for a person, never
dropped.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import structlog

from services.kit import channels, database, errors, failpoints, ids
from services.kit import principal as principals
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.domain.marketplaces import quoting, values
from services.orders.marketplaces import buyers, intake
from services.orders.placing import addressing, asking, cancelling, effects, placing, pricing
from services.orders.placing.effects import Tenant
from services.orders.store.marketplaces import orders as store
from services.orders.store.marketplaces import statuses

log = structlog.get_logger()

METHOD: Final = "tillmesh.orders.v1.MarketplacesService/Place"
ACTOR: Final = buyers.ACTOR
AT_ONCE: Final = 20
AGAIN: Final = dt.timedelta(seconds=2)
AGAIN_MAX: Final = dt.timedelta(minutes=5)
REFUSED: Final = values.Problem.REFUSED
PROBLEMS: Final = {
    placement.SkuNotFound.reason: values.Problem.SKU_UNKNOWN,
    placement.InsufficientStock.reason: values.Problem.OUT_OF_STOCK,
    values.CurrencyDiffers.reason: values.Problem.CURRENCY_DIFFERS,
}


class Placing:
    """Places marketplaces' orders, and cancels those that were cancelled there, for one process."""

    def __init__(
        self,
        db: database.Database,
        items: pricing.Items,
        made: effects.Effects,
        asked: asking.Asking,
        addresses: addressing.Addressing,
        cancels: cancelling.Cancelling,
    ) -> None:
        self._db = db
        self._items = items
        self._effects = made
        self._asking = asked
        self._addresses = addresses
        self._cancelling = cancels

    async def do_due(self, tenant: Tenant, of: values.Connection) -> int:
        """Places what is to be placed, and cancels what was cancelled there; answers how many it looked at."""
        async with self._db.read(tenant.uuid) as session:
            due = await store.due(session, of.id, AT_ONCE)
        for taken in due:
            if taken.state is values.State.RECEIVED:
                await self.place(tenant, of, taken)
            else:
                await self.cancel(tenant, of, taken)
        return len(due)

    async def place(self, tenant: Tenant, of: values.Connection, taken: values.Taken) -> values.Taken:
        """Tries once to place an order that was received; answers it as it is kept then."""
        try:
            order = await self._order(tenant, of, taken)
        except errors.Error as refusal:
            if refusal.passes:
                return await self._later(tenant, taken)
            return await self._hold(tenant, of, taken, PROBLEMS.get(refusal.reason, REFUSED), _detail(refusal))
        except values.AmountsDiffer as difference:
            return await self._hold(tenant, of, taken, values.Problem.AMOUNTS_DIFFER, str(difference))
        return await failpoints.effect("marketplace_placed", self._placed(tenant, of, taken, order))

    async def _order(self, tenant: Tenant, of: values.Connection, taken: values.Taken) -> sale.Order:
        """The order that stands for this number, placed now or before. errors.Error, AmountsDiffer."""
        assert taken.content is not None  # what could not be read is HELD
        key, fingerprint = f"{of.id}:{taken.number}", hashlib.sha256(taken.number.encode()).digest()
        found = await self._asking.earlier(tenant, ACTOR, METHOD, key, fingerprint)
        if found is None:
            found = await self._standing(tenant, of, taken.number)
        if found is not None:
            if found.state is sale.OrderState.PENDING:
                raise placement.InFlight
            return found
        command = await self._command(tenant, of, taken, taken.content, key, fingerprint)
        number = await self._asking.number(tenant)

        def build(at: dt.datetime) -> sale.Order:
            return placing.pending(command.command, command.content, command.priced, command.saga, number, at)

        try:
            order = await self._effects.begin(tenant, command.saga, build, command.sent_to)
        except (effects.Taken, errors.AlreadyExists):  # another process is placing it
            raise placement.InFlight from None
        return await self._asking.run(tenant, command.saga, order)

    async def _standing(self, tenant: Tenant, of: values.Connection, number: str) -> sale.Order | None:
        """The order of this number whose saga is forgotten: its row isn't."""
        async with self._db.read(tenant.uuid) as session:
            order_id = await store.placed_as(session, of.name, number)
        return None if order_id is None else await self._asking.load(tenant, order_id)

    async def _command(
        self,
        tenant: Tenant,
        of: values.Connection,
        taken: values.Taken,
        ordered: values.Ordered,
        key: str,
        fingerprint: bytes,
    ) -> _Command:
        codes = list(dict.fromkeys(line.sku for line in ordered.lines if line.sku))
        with channels.acting_for(tenant.id):
            found = await self._items.resolve(ids.encode("loc", of.location_id), codes, "")
        line_ids = [ids.new_uuid() for _ in range(len(ordered.lines) + quoting.LINES_BESIDE)]
        items = {code: item for code, item in found.items.items() if isinstance(item, sale.Item)}
        quote = quoting.quote(ordered, items, found.store, line_ids)
        buyer = addressing.Buyer(taken.customer_id, None, None, b"")
        content, sent_to = await self._addresses.address(tenant, _content(of, taken, ordered), buyer)
        tenders = (placement.TenderSpec(sale.TenderType.MARKETPLACE, ids.encode("mkc", of.id), ordered.total),)
        command = placing.Place(
            content=content,
            payment=placement.Payment(tenders if ordered.total else ()),
            expected_total=None,
            guest=None,
            principal=ACTOR,
            request_key=key,
            fingerprint=fingerprint,
            actor=ACTOR,
        )
        saga = placing.saga_of(command, METHOD, ids.new_uuid(), content, quote)
        return _Command(command, content, pricing.Priced(quote, found.store), saga, sent_to)

    # --- cancelled there ---

    async def cancel(self, tenant: Tenant, of: values.Connection, taken: values.Taken) -> None:
        """An order that is placed here was cancelled there: units go back, and what was owed is owed no more."""
        assert taken.order_id is not None
        caller = principals.Principal(
            ACTOR, tenant.id, frozenset(), frozenset(), frozenset({"*"}), 0.0, service="orders"
        )
        command = cancelling.Cancel(
            order_id=taken.order_id,
            reason=placed_order.CancelReason.CUSTOMER,
            note="",
            expected_version=0,
            principal=ACTOR,
            request_key=f"{of.id}:{taken.number}:cancelled",
            fingerprint=b"",
            actor=ACTOR,
        )
        try:
            await self._cancelling.cancel(caller, tenant, command)
        except errors.Error as refusal:
            if refusal.passes:
                await self._later(tenant, taken)  # and then with the same key
                return
            detail = refusal.metadata.get("state", refusal.reason)
            await self._hold(tenant, of, taken, values.Problem.CANCELLED_THERE, detail, state=taken.state)
            return
        await self._write(tenant, taken, {"state": values.State.CANCELLED, "problem": values.Problem.NONE})
        _count(of, "cancelled")

    # --- what is written down of it ---

    async def _later(self, tenant: Tenant, taken: values.Taken) -> values.Taken:
        return await self._write(tenant, taken, {"attempts": taken.attempts + 1}, due_in=_wait(taken))

    async def _hold(
        self,
        tenant: Tenant,
        of: values.Connection,
        taken: values.Taken,
        problem: values.Problem,
        detail: str,
        *,
        state: values.State = values.State.HELD,
    ) -> values.Taken:
        """A person has to look at it."""
        log.warning("marketplace.problem", connection=str(of.id), problem=problem.name)
        _count(of, "held")
        return await self._write(tenant, taken, {"state": state, "problem": problem, "detail": detail[:500]})

    async def _placed(
        self, tenant: Tenant, of: values.Connection, taken: values.Taken, order: sale.Order
    ) -> values.Taken:
        """From now on it isn't placed again, and the marketplace hears that it is accepted."""
        _count(of, "placed")
        changes = {"state": values.State.PLACED, "order_id": order.id, "problem": values.Problem.NONE, "detail": ""}
        accepted = values.Status(taken.number, values.StatusKind.ACCEPTED)
        return await self._write(tenant, taken, changes, tell=accepted)

    async def _write(
        self,
        tenant: Tenant,
        taken: values.Taken,
        changes: Mapping[str, Any],
        *,
        due_in: dt.timedelta | None = None,
        tell: values.Status | None = None,
    ) -> values.Taken:
        """Unless another process has done it meanwhile. What the marketplace said meanwhile stays, and is done next."""
        async with self._db.transaction(tenant.uuid) as session:
            now = await store.lock(session, taken.connection_id, taken.number)
            if now is None or now.state is not taken.state:
                return now or taken
            changed = dataclasses.replace(now, **changes)
            if now.modified_at != taken.modified_at and intake.is_due(changed):
                due_in = intake.AGAIN
            await store.save(session, changed, due_in=due_in)
            if tell is not None:
                await statuses.add(session, taken.connection_id, tell)
        return changed


def _count(of: values.Connection, outcome: str) -> None:
    intake.ORDERS.labels(of.kind.name.lower(), outcome).inc()


@dataclasses.dataclass(frozen=True, slots=True)
class _Command:
    """Everything that the saga is begun with."""

    command: placing.Place
    content: placement.Content
    priced: pricing.Priced
    saga: sagas.Saga
    sent_to: effects.SentTo | None


def _content(of: values.Connection, taken: values.Taken, ordered: values.Ordered) -> placement.Content:
    """What is ordered. Units come from the connection's locations, from as few as can be."""
    return placement.Content(
        location_id=of.location_id,
        channel=sale.Channel.MARKETPLACE,
        lines=tuple(placement.ContentLine(line.sku, line.quantity) for line in ordered.lines),
        method=placed_order.Delivery(
            buyers.address_text(taken.address_id), ordered.country_code, ordered.shipping_service
        ),
        customer_id=taken.customer_id,
        sourcing=placement.Sourcing(location_ids=tuple(ids.encode("loc", each) for each in of.stock_locations)),
        external_reference=taken.number,
        marketplace=of.name,
    )


def _wait(taken: values.Taken) -> dt.timedelta:
    return min(AGAIN_MAX, AGAIN * (1 << min(taken.attempts, 10)))


def _detail(refusal: errors.Error) -> str:
    """For a person: which SKU, or the reason."""
    if isinstance(refusal, placement.InsufficientStock):
        skus = [str(getattr(line.detail, "sku", "")) for line in refusal.lines]
        return " ".join(sku for sku in skus if sku)[:500]
    told = " ".join(f"{name}={value}" for name, value in sorted(refusal.metadata.items()))
    return (told if refusal.reason in PROBLEMS else f"{refusal.reason} {told}".strip())[:500]

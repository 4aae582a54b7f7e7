"""The order of an edit's effects, and what becomes of it when one of them fails.

Forward: hold what more is wanted, authorise, confirm, capture; then it is decided, and only goes on: money goes back,
then units, and the order is written. What is refused before that is undone in reverse, and leaves the order as it was:
its own units and money have not been touched yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from services.kit import errors
from services.orders.domain import editing, placed_order, placement, sagas, sale
from services.orders.editing.effects import EditEffects
from services.orders.payments import port as payments
from services.orders.placing import port
from services.orders.placing import saga as one
from services.orders.placing.effects import Tenant

log = structlog.get_logger()


class EditRun(one.Run):
    """One edit, run by this process while it has the lease."""

    def __init__(self, effects: EditEffects, tenant: Tenant, saga: sagas.Saga, order: sale.Order | None = None) -> None:
        super().__init__(effects, tenant, saga, order)
        self._edits = effects

    async def _run(self) -> sale.Order:
        saga = self._saga
        refusal: errors.Error = placement.PlacementExpired()
        if saga.step is not sagas.Step.UNDO:
            try:
                return await self._edit()
            except one.Refused as refused:
                refusal = refused.error
                await self._begin_undo(refusal)
        await self._take_back()
        await self._leased(lambda: self._edits.revert(self._tenant, saga))
        raise one.Refused(refusal)

    async def _edit(self) -> sale.Order:
        saga = self._saga
        decided = saga.step is sagas.Step.GIVE
        if saga.expired and not decided and not await self._is_paid():
            if saga.step is sagas.Step.HOLD:
                await self._learn_of_hold()
            raise one.Refused(placement.PlacementExpired())
        if decided:
            reservation = await self._held()
        else:
            reservation = await self._take()
            saga.step = sagas.Step.GIVE
            await self._advance()
        await self._return_surplus()
        return await self._leased(lambda: self._edits.edit(self._tenant, saga, reservation))

    async def _held(self) -> port.Reservation | None:
        """What was held and confirmed, asked for again with its key."""
        saga, spec = self._saga, self._saga.plan.hold
        return None if spec is None else await self._leased(lambda: self._effects.hold(saga, spec))

    async def _take(self) -> port.Reservation | None:
        """Units and money of what is added."""
        saga, tenant = self._saga, self._tenant
        reservation = None if saga.plan.hold is None else await self._hold()
        order = self._order or await self._effects.order(tenant, saga.order_id)
        taken = [await self._authorise(number, order) for number in range(len(saga.plan.tenders))]
        if reservation is not None:
            reservation = await self._confirm(reservation)
        if saga.plan.capture is placed_order.Capture.PLACEMENT:
            for payment_id in taken:
                await self._capture(payment_id)
        return reservation

    async def _is_paid(self) -> bool:
        """Whether money is taken for what is added, or being taken: then it goes on, however late it is."""
        paid = await self._edits.own_payments(self._tenant, self._saga)
        return any(payment.captured or payment.capturing for payment in paid)

    async def _return_surplus(self) -> None:
        """Money first: whoever has neither goods nor money comes to the shop."""
        saga = self._saga
        edited = saga.plan.edit
        assert edited is not None
        for of in edited.returns:
            await self._returned(lambda of=of: self._back(of))  # type: ignore[misc]
        for reservation_id, held in edited.reductions().items():
            try:
                await self._leased(lambda of=reservation_id, units=held: self._edits.reduce(saga, of, units))  # type: ignore[misc]
            except (port.HoldEnded, port.Fewer) as ended:  # somebody gave them back by hand
                log.warning("saga.units_not_there", saga=str(saga.id), reason=ended.reason)

    async def _back(self, of: editing.Return) -> payments.Movement:
        if of.amount:
            return await self._effects.refund(self._tenant, self._saga, of.payment_id, of.amount)
        return await self._effects.void(self._tenant, self._saga, of.payment_id)

    async def _returned(self, move: Callable[[], Awaitable[payments.Movement]]) -> None:
        """A movement that is known to have happened, or to be refused: then a person sees it among the payments."""
        try:
            await self._certainly(move)
        except errors.Error as refusal:
            if refusal.passes:
                raise
            log.warning("saga.money_not_given_back", saga=str(self._saga.id), reason=refusal.reason)

    async def _take_back(self) -> None:
        """What was added: money first, then units."""
        saga = self._saga
        for payment in await self._edits.own_payments(self._tenant, saga):
            await self._give_money_back(payment)
        if (held := saga.reservation_id) is not None:
            await self._leased(lambda: self._effects.release(saga, held))

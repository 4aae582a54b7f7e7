"""The order of a saga's effects, and what becomes of it when one of them fails.

Forward: hold, authorise, confirm the hold into an allocation, capture, note it. What is refused is undone in reverse:
money first, then units. What gets no answer is left until it is due again, and then begun again at its step:
every effect has a key, so a second time only tells what the first one did. An authorisation of unknown outcome is
looked up by the payments, under the same key; it is never made anew.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from services.kit import errors
from services.orders.domain import payments as money
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.payments import port as payments
from services.orders.placing import port
from services.orders.placing.effects import Effects, Tenant

log = structlog.get_logger()
T = TypeVar("T")

LOOKS: Final = (0.1, 0.4, 1.0)
"""Seconds between questions about a payment whose outcome is not known, while its caller waits."""
DUE_SECONDS: Final = 2.0
"""A saga that can't go on is due again after so long, doubled with each attempt up to a minute."""
DUE_SECONDS_MAX: Final = 60.0


class Refused(Exception):
    """The saga comes to nothing. error: what its caller is told."""

    def __init__(self, error: errors.Error) -> None:
        self.error = error


class Waiting(Exception):
    """Something is not known, or not possible, just now."""


class Run:
    """One saga, run by this process while it has the lease."""

    def __init__(self, effects: Effects, tenant: Tenant, saga: sagas.Saga, order: sale.Order | None = None) -> None:
        """order: as it was when the saga began, where that is known."""
        self._effects = effects
        self._tenant = tenant
        self._saga = saga
        self._order = order
        self._leased_at = time.monotonic()

    async def to_end(self) -> sale.Order:
        """Brings the saga to its end. Refused: it came to nothing; Waiting: others go on; Superseded."""
        try:
            return await self._run()
        except (errors.Error, OSError, TimeoutError) as trouble:
            log.warning("saga.waits", saga=str(self._saga.id), error=type(trouble).__name__)
            raise Waiting from trouble

    async def postpone(self) -> None:
        """Leaves it until it is due again. Superseded."""
        seconds = min(DUE_SECONDS_MAX, DUE_SECONDS * 2 ** min(self._saga.attempts, 10))
        await self._effects.postpone(self._tenant, self._saga, seconds)

    async def _run(self) -> sale.Order:
        if self._saga.kind is sagas.Kind.CANCEL:
            await self._give_back()
            return await self._leased(lambda: self._effects.cancel(self._tenant, self._saga))
        return await self._place_or_undo()

    async def _place_or_undo(self) -> sale.Order:
        saga = self._saga
        refusal: errors.Error = placement.PlacementExpired()
        if saga.step is not sagas.Step.UNDO:
            try:
                return await self._place()
            except Refused as refused:
                refusal = refused.error
                await self._begin_undo(refusal)
        await self._give_back()
        await self._leased(lambda: self._effects.abandon(self._tenant, saga))
        raise Refused(refusal)

    async def _begin_undo(self, refusal: errors.Error) -> None:
        """From now on it can only come to nothing, whoever runs it."""
        saga = self._saga
        saga.failure = sagas.Failure(refusal.reason, refusal.metadata.get("code", ""))
        if saga.step is not sagas.Step.HOLD or saga.attempts:
            saga.step = sagas.Step.UNDO
            await self._advance()

    # --- forward ---

    async def _place(self) -> sale.Order:
        saga, tenant = self._saga, self._tenant
        if saga.expired and not await self._is_paid():
            if saga.step is sagas.Step.HOLD:
                await self._learn_of_hold()
            raise Refused(placement.PlacementExpired())
        order = self._order or await self._effects.order(tenant, saga.order_id)
        reservation = await self._hold()
        taken = [await self._authorise(number, order) for number in range(len(saga.plan.tenders))]
        reservation = await self._confirm(reservation)
        if saga.plan.capture is placed_order.Capture.PLACEMENT:
            for payment_id in taken:
                await self._capture(payment_id)
        return await self._leased(lambda: self._effects.place(tenant, saga, order, reservation))

    async def _is_paid(self) -> bool:
        """Whether money is taken, or being taken: then it goes on, however late it is."""
        paid = await self._effects.payments_of(self._tenant, self._saga.order_id)
        return any(payment.captured or payment.capturing for payment in paid)

    async def _hold(self) -> port.Reservation:
        """What is held; where that is known already, it is only asked for again."""
        saga, spec = self._saga, self._spec()
        try:
            reservation = await self._leased(lambda: self._effects.hold(saga, spec))
        except errors.Error as refusal:
            if refusal.passes:
                raise
            raise Refused(refusal) from refusal
        # Kept by whatever is written next: until then a process that takes over asks for the hold again, with its key.
        saga.step, saga.reservation_id = sagas.Step.PAY, reservation.id
        return reservation

    async def _learn_of_hold(self) -> None:
        """Nobody knows whether units are held: asks with the same key, so that they can be released."""
        saga, spec = self._saga, self._spec()
        try:
            saga.reservation_id = (await self._leased(lambda: self._effects.hold(saga, spec))).id
        except errors.Error as refusal:
            if refusal.passes:
                raise

    async def _authorise(self, number: int, order: sale.Order) -> uuid.UUID:
        """Its payment, once the money is set aside."""
        try:
            movement = await self._known(lambda: self._effects.authorise(self._tenant, self._saga, number, order))
        except errors.Error as refusal:
            if refusal.passes:
                raise
            raise Refused(refusal) from refusal
        if movement is None:
            if self._saga.expired:
                raise Refused(placement.PlacementExpired())
            raise Waiting
        if movement.declined:
            raise Refused(money.Declined(movement.declined_reason, movement.available))
        return movement.payment_id

    async def _confirm(self, reservation: port.Reservation) -> port.Reservation:
        """Allocates what is held. A hold that ran out is made anew, if the units are still there."""
        saga = self._saga
        while True:
            try:
                await self._leased(lambda held=reservation.id: self._effects.confirm(saga, held))  # type: ignore[misc]
            except port.HoldEnded:
                saga.round += 1
                if saga.round >= sagas.ROUNDS_MAX:
                    raise Refused(placement.PlacementExpired()) from None
                saga.step = sagas.Step.HOLD
                await self._advance()
                reservation = await self._hold()
            else:
                return reservation

    async def _capture(self, payment_id: uuid.UUID) -> None:
        """Takes the money. What is not known by the deadline is left to the payments, which find out."""
        try:
            movement = await self._known(lambda: self._effects.capture(self._tenant, self._saga, payment_id))
        except errors.Error as refusal:
            if refusal.passes:
                raise
            raise Refused(refusal) from refusal
        if movement is None and not self._saga.expired:
            raise Waiting
        if movement is not None and movement.declined:
            raise Refused(money.Declined(movement.declined_reason))

    # --- back ---

    async def _give_back(self) -> None:
        """Money first: whoever has neither goods nor money comes to the shop."""
        saga, tenant = self._saga, self._tenant
        for payment in await self._effects.payments_of(tenant, saga.order_id):
            await self._give_money_back(payment)
        for reservation_id in self._reservations():
            await self._leased(lambda held=reservation_id: self._effects.release(saga, held))  # type: ignore[misc]

    async def _give_money_back(self, payment: money.Payment) -> None:
        saga, tenant = self._saga, self._tenant
        if payment.state is money.State.PENDING or payment.capturable or payment.voiding:
            await self._certainly(lambda: self._effects.void(tenant, saga, payment.id))
        if payment.capturing:  # nobody knows yet whether it was taken
            raise Waiting
        if payment.refundable or payment.refunding:
            amount = payment.refundable + payment.refunding
            await self._certainly(lambda: self._effects.refund(tenant, saga, payment.id, amount))

    def _reservations(self) -> list[uuid.UUID]:
        held = self._saga.reservation_id
        return [*self._saga.plan.releases, *([] if held is None else [held])]

    async def _certainly(self, move: Callable[[], Awaitable[payments.Movement]]) -> None:
        """A movement that is known to have happened, or to be refused: then the payments have told a person."""
        if await self._known(move) is None:
            raise Waiting

    # --- how ---

    async def _known(self, move: Callable[[], Awaitable[payments.Movement]]) -> payments.Movement | None:
        """A movement whose outcome is known; None: it isn't, though it was asked for again with the same key."""
        movement = await self._leased(move)
        for seconds in LOOKS:
            if not movement.unknown:
                return movement
            await asyncio.sleep(seconds)
            movement = await self._leased(move)
        return None if movement.unknown else movement

    async def _leased(self, effect: Callable[[], Awaitable[T]]) -> T:
        """An effect, begun only while the saga is surely ours. Superseded."""
        if time.monotonic() - self._leased_at > sagas.RENEWED_SECONDS:
            await self._advance()
        return await effect()

    async def _advance(self) -> None:
        began = time.monotonic()
        await self._effects.advance(self._tenant, self._saga)
        self._leased_at = began

    def _spec(self) -> sagas.HoldSpec:
        spec = self._saga.plan.hold
        assert spec is not None  # a placement holds units
        return spec

"""Use cases: a placed order is edited, or only worked out; units of it are cancelled."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.kit import errors, ids
from services.kit import principal as principals
from services.orders import visible
from services.orders.domain import editing, placed_order, placement, sagas, sale
from services.orders.domain import payments as money
from services.orders.editing.effects import Decide, EditEffects
from services.orders.placing import asking, cancelling, effects, pricing
from services.orders.placing.effects import Tenant

EDIT: Final = "tillmesh.orders.v1.OrdersService/EditOrder"


@dataclass(frozen=True, slots=True)
class Edit:
    """An order to be changed. expected_version 0: whatever it is; expected_total None: any; due_now None: all of it."""

    order_id: uuid.UUID
    change: editing.Change
    sourcing: placement.Sourcing
    tenders: tuple[placement.TenderSpec, ...]
    due_now: int | None
    expected_total: int | None
    expected_version: int
    reason: str
    principal: str
    request_key: str
    fingerprint: bytes
    actor: str


@dataclass(frozen=True, slots=True)
class Worked:
    """What an edit would come to, in smallest units. due: more to be paid now; back: what goes back."""

    order: sale.Order
    due: int
    back: int


class Editing:
    """Changes placed orders, for one process."""

    def __init__(
        self,
        prices: pricing.Pricing,
        made: EditEffects,
        asked: asking.Asking,
        cancels: cancelling.Cancelling,
    ) -> None:
        self._prices = prices
        self._cancelling = cancels
        self._effects = made
        self._asking = asked

    async def edit(self, caller: principals.Principal, tenant: Tenant, command: Edit) -> sale.Order:
        """The order, changed. See EditOrder for what is refused; OutcomeUnknown: it goes on by itself."""
        _refuse_staff_fields(caller, command)
        if (earlier := await self._earlier(tenant, command, EDIT)) is not None:
            return earlier
        order, edited = await self._work_out(caller, tenant, command)
        _expect_total(order, edited, command.expected_total)
        assert order.placed is not None

        def decide(locked: sale.Order, paid: Sequence[money.Payment]) -> tuple[sagas.Step, sagas.Plan]:
            _same(locked, order)
            assert locked.placed is not None
            editing.require_settled(paid)
            sums = locked.placed.payment
            editing.check_tenders(sums, locked.total, edited.sums.total, command.tenders, command.due_now)
            hold = _hold(locked, edited, command.sourcing)
            return _plan(edited, paid, hold, command.tenders, locked.placed.capture)

        return await self._begin(tenant, command, EDIT, decide)

    async def preview(self, caller: principals.Principal, tenant: Tenant, command: Edit) -> Worked:
        """What the order would come to. Refusals as of `edit`, but for stock and payment."""
        _refuse_staff_fields(caller, command)
        order, edited = await self._work_out(caller, tenant, command)
        assert order.placed is not None
        sums = order.placed.payment
        after = editing.changed(order, edited)
        kept = sums.captured - sums.refunded
        due = max(0, sums.due(edited.sums.total) - sums.due(order.total))
        return Worked(after, due, max(0, kept - edited.sums.total))

    async def cancel(
        self, caller: principals.Principal, tenant: Tenant, command: cancelling.Cancel, units: Mapping[int, int]
    ) -> sale.Order:
        """The order, without so many units of lines, by their numbers; none, or all there are: cancelled as a whole.

        As Cancelling.cancel; InvalidRequest; InProgress while money of the order is on its way.
        """
        if (earlier := await self._earlier(tenant, command, cancelling.METHOD)) is not None:
            return earlier
        if units:
            order = await self._asking.load(tenant, command.order_id)
            visible.require(caller, order)
            editing.require_editable(order, command.expected_version)
            left = editing.left_after(order, units)
            if not editing.is_everything(order, left):
                return await self._cancel_units(tenant, command, order, left)
        return await self._cancelling.cancel(caller, tenant, command)

    async def _cancel_units(
        self, tenant: Tenant, command: cancelling.Cancel, order: sale.Order, left: Mapping[int, int]
    ) -> sale.Order:
        reason = f"{command.reason.name}: {command.note}" if command.note else command.reason.name
        edited = editing.edit(order, editing.Change(left), None, line_ids=(), reason=reason, actor=command.actor)

        def decide(locked: sale.Order, paid: Sequence[money.Payment]) -> tuple[sagas.Step, sagas.Plan]:
            _same(locked, order)
            editing.require_settled(paid)
            return _plan(edited, paid, None, (), placed_order.Capture.PLACEMENT)

        return await self._begin(tenant, command, cancelling.METHOD, decide)

    async def _work_out(
        self, caller: principals.Principal, tenant: Tenant, command: Edit
    ) -> tuple[sale.Order, editing.Edited]:
        """The order as it is, and as it would be."""
        order, change = await self._asking.load(tenant, command.order_id), command.change
        visible.require(caller, order)
        editing.require_editable(order, command.expected_version)
        more = editing.units_added(order, change.quantities)
        raised = [line.sku for line in order.lines if line.number in more and not visible.is_staff(caller)]
        offered = None
        if change.lines or change.charges or raised:
            codes = list(dict.fromkeys([*raised, *(line.code for line in change.lines)]))
            offered = await self._prices.offered(tenant, order, codes)
        new_ids = [ids.new_uuid() for _ in (*change.lines, *change.charges)]
        edited = editing.edit(order, change, offered, line_ids=new_ids, reason=command.reason, actor=command.actor)
        if raised and offered is not None:  # whoever ordered cheaply can't go on doing so for ever
            editing.require_todays_prices(order, change, offered, edited.sums.total)
        return order, edited

    async def _earlier(self, tenant: Tenant, command: Edit | cancelling.Cancel, method: str) -> sale.Order | None:
        return await self._asking.earlier(tenant, command.principal, method, command.request_key, command.fingerprint)

    async def _begin(
        self, tenant: Tenant, command: Edit | cancelling.Cancel, method: str, decide: Decide
    ) -> sale.Order:
        saga = sagas.Saga(
            id=ids.new_uuid(),
            order_id=command.order_id,
            kind=sagas.Kind.EDIT,
            step=sagas.Step.HOLD,
            plan=sagas.Plan(),
            deadline_at=dt.datetime.max.replace(tzinfo=dt.UTC),  # the database's clock sets it
            principal=command.principal,
            method=method,
            request_key=command.request_key,
            fingerprint=command.fingerprint,
        )
        try:
            order = await self._effects.begin_edit(tenant, saga, decide)
        except effects.Taken:
            if (earlier := await self._earlier(tenant, command, method)) is not None:
                return earlier
            raise placed_order.OrderBusy from None
        return await self._asking.run(tenant, saga, order)


def _same(locked: sale.Order, order: sale.Order) -> None:
    """VersionMismatch when the order is not the one that the edit was worked out for."""
    if locked.version != order.version:
        raise errors.VersionMismatch(locked.version)


def _plan(
    edited: editing.Edited,
    paid: Sequence[money.Payment],
    hold: sagas.HoldSpec | None,
    tenders: tuple[placement.TenderSpec, ...],
    capture: placed_order.Capture,
) -> tuple[sagas.Step, sagas.Plan]:
    """All that is to be done, and where it begins. What takes nothing is decided at once."""
    returns = tuple(editing.surplus(paid, edited.sums.total))
    plan = sagas.Plan(hold=hold, tenders=tenders, capture=capture, edit=dataclasses.replace(edited, returns=returns))
    if hold is not None:
        return sagas.Step.HOLD, plan
    return (sagas.Step.PAY if tenders else sagas.Step.GIVE), plan


def _hold(order: sale.Order, edited: editing.Edited, sourcing: placement.Sourcing) -> sagas.HoldSpec | None:
    if not edited.hold:
        return None
    pickup_at = edited.method.location_id if isinstance(edited.method, placed_order.Pickup) else None
    return sagas.HoldSpec(edited.hold, pickup_at, sourcing, order.channel.name.lower())


def _refuse_staff_fields(caller: principals.Principal, command: Edit) -> None:
    if visible.is_staff(caller):
        return
    for number, line in enumerate(command.change.lines):
        if line.unit_price is not None or line.discounts:
            raise placement.StaffOnly(f"lines[{number}]")
    set_here = {
        "charges": bool(command.change.charges),
        "note": command.change.note is not None,
        "due_now": command.due_now is not None,
    }
    for field, is_set in set_here.items():
        if is_set:
            raise placement.StaffOnly(field)


def _expect_total(order: sale.Order, edited: editing.Edited, expected: int | None) -> None:
    if expected is not None and expected != edited.sums.total:
        raise placement.PriceChanged((), edited.sums.total, order.currency_code)

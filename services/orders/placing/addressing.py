"""Who orders, and where it goes: found out and checked before anything is kept."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass

from services.kit import database, errors, ids
from services.orders.customers import domain as people
from services.orders.customers import postal
from services.orders.customers.handlers import desk, recipients
from services.orders.customers.store import people as people_store
from services.orders.domain import placed_order, placement
from services.orders.placing.effects import Effects, SentTo, Tenant


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who hasn't registered."""

    write: desk.Write
    draft: people.Draft


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who orders: a customer, a guest (who is a customer too, profile: as they say it now), or nobody who is known.

    place: where it goes, checked, when that is none of the customer's addresses. fingerprint: tells all of it apart.
    """

    customer_id: uuid.UUID | None
    profile: people.Profile | None
    place: postal.Postal | None
    fingerprint: bytes


class Addressing:
    """Finds out who orders and where it goes, for one process."""

    def __init__(self, db: database.Database, made: Effects, known: recipients.Recipients) -> None:
        self._db = db
        self._effects = made
        self._recipients = known

    async def buyer(
        self,
        tenant: Tenant,
        content: placement.Content,
        guest: Guest | None,
        told: postal.Postal | None,
        *,
        needed: bool,
    ) -> Buyer:
        """Who orders. told: where it goes, as the caller says it. needed: an order that is sent has to say so.

        All that can be refused is, before a guest becomes a customer.

        InvalidRequest; NotFound (customer).
        """
        place = None if told is None else people.checked_place(told)
        _require_place(content, place, guest=guest is not None, needed=needed)
        _method(content.method, place)
        profile = None
        if guest is not None:
            profile = people.checked(guest.draft.profile, "guest")
            people.recipient(profile, place)
            customer: uuid.UUID | None = await self._effects.guest(guest.write, guest.draft)
        else:
            customer = await self._customer(tenant, content.customer_id)
        who = b"" if customer is None else customer.bytes
        return Buyer(customer, profile, place, who + await self.fingerprint(tenant, told))

    async def fingerprint(self, tenant: Tenant, told: postal.Postal | None) -> bytes:
        """What tells places apart, of the same words only; empty for none."""
        return b"" if told is None else await self._recipients.digest(tenant.uuid, told)

    async def address(
        self, tenant: Tenant, content: placement.Content, buyer: Buyer
    ) -> tuple[placement.Content, SentTo | None]:
        """The content with its customer and the country it goes to, and whom it is for.

        NotFound (address); CustomerErased; InvalidRequest when the caller was shown another country's taxes, or nobody
        is named to receive it.
        """
        recipient, customer = None, buyer.customer_id
        if buyer.profile is not None:
            recipient = people.recipient(buyer.profile, buyer.place)
        elif customer is not None and buyer.place is not None:
            recipient = await self._recipients.named(tenant.uuid, customer, buyer.place)
        elif customer is not None and (address_id := address_of(content.method)) is not None:
            recipient = await self._recipients.named(tenant.uuid, customer, address_id)
        sent_to = None if customer is None or recipient is None else SentTo(customer, recipient)
        method = _method(content.method, None if recipient is None else recipient.place)
        return dataclasses.replace(content, customer_id=customer, method=method), sent_to

    async def _customer(self, tenant: Tenant, told: uuid.UUID | None) -> uuid.UUID | None:
        """The customer that is meant: of one that was merged, the one that took its place. NotFound."""
        if told is None:
            return None
        async with self._db.read(tenant.uuid) as session:
            customer = await people_store.resolve(session, told)
        if customer is None:
            raise errors.NotFound("customer")
        return customer


def _require_place(content: placement.Content, place: postal.Postal | None, *, guest: bool, needed: bool) -> None:
    """InvalidRequest unless it is said where an order goes that is sent, by one who may say it."""
    if not isinstance(content.method, placed_order.Delivery):
        return
    by_id = bool(content.method.address_id)
    if (by_id or place is not None) and content.customer_id is None and not guest:
        raise people.invalid("address", "is of a customer or a guest, whose key it is kept with")
    if by_id and (guest or place is not None):
        raise people.invalid("content.delivery.address_id", "is of a customer, who gives no other address")
    if place is None and not by_id and (guest or needed):
        raise people.invalid("address", "is needed for an order that is sent")


def address_of(method: placed_order.Method) -> uuid.UUID | None:
    """Which of the customer's addresses it goes to; None: none of them. NotFound for what can't be one."""
    if not isinstance(method, placed_order.Delivery) or not method.address_id:
        return None
    address_id: uuid.UUID = ids.given("adr", "address", method.address_id)
    return address_id


def _method(method: placed_order.Method, place: postal.Postal | None) -> placed_order.Method:
    """With the country of the address. InvalidRequest when another was told, whose taxes the caller was shown."""
    if not isinstance(method, placed_order.Delivery) or place is None:
        return method
    if method.country_code not in ("", place.country_code):
        raise people.invalid("content.delivery.country_code", "is not the country of the address")
    return dataclasses.replace(method, country_code=place.country_code)

"""Who ordered at a marketplace: a customer like any other guest, whose data is encrypted and can be erased.

The marketplace's order keeps ids only. Everything here may be done again: a customer is found by the e-mail, or made
once for an order (its key), and an address has an id that follows from the order's.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Final

from services.kit import errors, idempotency, ids
from services.orders.customers import domain
from services.orders.customers.handlers import desk, profiles
from services.orders.marketplaces import port
from services.orders.placing.effects import Tenant

ACTOR: Final = "svc:orders"
METHOD: Final = "marketplaces.buyer"
NAME_MAX: Final = 100
LINE_MAX: Final = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A customer, and where the order goes; None: the marketplace told no address."""

    customer_id: uuid.UUID
    address_id: uuid.UUID | None


class Buyers:
    """Customers of marketplaces' orders, for one process."""

    def __init__(self, customers: profiles.Profiles) -> None:
        self._customers = customers

    async def know(
        self, tenant: Tenant, connection_id: uuid.UUID, number: str, at: dt.datetime, buyer: port.Buyer
    ) -> Known:
        """The customer, with the address of this order. at: when it was ordered."""
        key = f"{connection_id}:{number}"
        customer_id = await self._customer(tenant, key, number, buyer)
        if not buyer.lines and not buyer.city:
            return Known(customer_id, None)
        address = _address(_id(key, at), buyer)
        try:
            await self._put(tenant, customer_id, address)
        except domain.CustomerLimit:  # who has ordered so often gets another record: older addresses may be needed yet
            customer_id = await self._customer(tenant, key, number, dataclasses.replace(buyer, email=""))
            await self._put(tenant, customer_id, address)
        return Known(customer_id, address.id)

    async def _put(self, tenant: Tenant, customer_id: uuid.UUID, address: domain.Address) -> None:
        edit = profiles.AddressEdit(customer_id=customer_id, expected_version=0)
        try:
            await self._customers.put_address(_write(tenant, ""), edit, address, new=True)
        except errors.InvalidRequest:  # a phone number that can't be one
            without = dataclasses.replace(address, phone="")
            await self._customers.put_address(_write(tenant, ""), edit, without, new=True)

    async def _customer(self, tenant: Tenant, key: str, number: str, buyer: port.Buyer) -> uuid.UUID:
        """By the e-mail, which marketplaces make up for each buyer; without one, somebody new."""
        for profile in _profiles(buyer, number):
            draft = domain.Draft(profile=profile)
            try:
                if profile.email:
                    return await self._customers.guest(_write(tenant, ""), draft)
                return (await self._customers.create(_write(tenant, f"{key}:customer"), draft)).id
            except errors.InvalidRequest:  # something that a marketplace lets through and we don't
                continue
        raise AssertionError  # the last profile is a name of our own making


def _profiles(buyer: port.Buyer, number: str) -> list[domain.Profile]:
    """What is known of the buyer, less and less of it."""
    given, _, family = buyer.name.strip().rpartition(" ")
    named = domain.Profile(given_name=given[:NAME_MAX], family_name=(family or number)[:NAME_MAX])
    email = dataclasses.replace(named, email=buyer.email.strip()) if buyer.email.strip() else named
    phone = dataclasses.replace(email, phone=buyer.phone.strip())
    return [phone, email, named, domain.Profile(family_name=number[:NAME_MAX])]


def _address(address_id: uuid.UUID, buyer: port.Buyer) -> domain.Address:
    return domain.Address(
        id=address_id,
        recipient=buyer.name[:LINE_MAX],
        company=buyer.company[:LINE_MAX],
        lines=tuple(line[:LINE_MAX] for line in buyer.lines[:5]) or (buyer.city[:LINE_MAX],),
        city=buyer.city[:LINE_MAX],
        region=buyer.region[:LINE_MAX],
        postal_code=buyer.postal_code[:20],
        country_code=buyer.country_code[:2],
        phone=buyer.phone,
        default_shipping=False,
        default_billing=False,
    )


def _id(key: str, at: dt.datetime) -> uuid.UUID:
    """A UUIDv7 that follows from the order, so that once more it is the same address."""
    random = uuid.uuid5(uuid.NAMESPACE_URL, key).int
    high, low = random >> 116, random & (2**62 - 1)
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


def _write(tenant: Tenant, key: str) -> desk.Write:
    """A write of the service's own."""
    return desk.Write(tenant.id, idempotency.Key(tenant.uuid, ACTOR, METHOD, key, b""), ACTOR)


def address_text(address_id: uuid.UUID | None) -> str:
    """As orders name it."""
    return "" if address_id is None else ids.encode("adr", address_id)

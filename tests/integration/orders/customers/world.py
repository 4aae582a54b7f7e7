"""Builders: callers of CustomersService as the interceptors let them, on a real database, with real files of keys."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from google.protobuf import descriptor_pool, json_format

from services.kit import access, clock, database, events, idempotency, ids, key_file, principal, validation
from services.orders.customers import bundle, domain
from services.orders.customers.handlers import desk
from services.orders.customers.servicer import CustomersServicer
from services.orders.domain import sale as sales
from services.orders.payments import ledgers
from services.orders.payments.handlers import values
from services.orders.payments.mapping import messages as paid_messages
from tests.integration.orders import world as selling
from tillmesh.orders.v1 import customers_pb2 as messages
from tillmesh.orders.v1 import customers_service_pb2 as pb
from tillmesh.orders.v1 import stored_value_pb2

SERVICE = descriptor_pool.Default().FindServiceByName("tillmesh.orders.v1.CustomersService")
SCOPES = frozenset({"customers:read", "customers:write"})
ADDRESS = {"lines": ["Herrengasse 1"], "city": "Graz", "postal_code": "8010", "country_code": "AT"}
# Nothing of this may stand anywhere but under a customer's key. Each is unlikely to be anything else.
PERSON = {
    "given_name": "Zdenka",
    "family_name": "Quastenhuber",
    "email": "Zdenka.Quastenhuber@Posteo.example",
    "phone": "+43 664 7654321",
    "birthday": "1977-11-23",
}


def keys_file(folder: Path) -> Path:
    """A file with one root key."""
    path = folder / "root-keys.json"
    path.write_text(key_file.render([key_file.new("root", clock.now())]))
    return path


class World:
    """One tenant's customers, in one process."""

    def __init__(self, db: database.Database, keys: Path, log: Path, tenant_id: str = "") -> None:
        self.db, self.keys, self.log = db, keys, log
        self.tenant_id = tenant_id or ids.new("ten")
        self.tenant = events.tenant_uuid(self.tenant_id)
        self.pings: list[str] = []
        self.parts = bundle.Customers(db, "orders", keys, log, lambda _tenant, key: self.pings.append(key))
        self.servicer = CustomersServicer(self.parts)
        self.credits = values.StoredValue(db)

    def caller(self, *roles: str, subject: str = "boss", **more: Any) -> principal.Principal:
        given = frozenset(roles or ("admin",))
        return principal.Principal(subject, self.tenant_id, given, SCOPES, frozenset({"*"}), 2e9, **more)

    def customer(self, customer_id: str) -> principal.Principal:
        """The customer themself."""
        return self.caller("customer", subject="usr_self", customer_id=customer_id)

    async def call(self, method: str, caller: principal.Principal | None = None, **fields: Any) -> Any:
        """Answer of an rpc, in a task of its own as each rpc has. fields: the request's, as JSON."""
        described = SERVICE.methods_by_name[method]
        request = json_format.ParseDict(fields, getattr(pb, described.input_type.name)())

        async def run() -> Any:
            who = caller or self.caller()
            principal.enter(who)
            rule = access.rule_of(described)
            access.authorize(rule, who)
            validation.check(request)
            access.confine(rule, who, request)
            if described.server_streaming:
                return b"".join([part.data async for part in getattr(self.servicer, method)(request, None)])
            return await getattr(self.servicer, method)(request, None)

        return await asyncio.create_task(run())

    async def new(self, **profile: Any) -> messages.Customer:
        return await self.call("CreateCustomer", customer=profile or PERSON)

    async def get(self, customer_id: str, caller: principal.Principal | None = None) -> messages.Customer:
        return await self.call("GetCustomer", caller, customer_id=customer_id)

    async def found(self, caller: principal.Principal | None = None, **by: str) -> list[str]:
        """Ids of who is found."""
        return [found.id for found in (await self.call("SearchCustomers", caller, **by)).customers]

    async def edit(self, customer_id: str, expected_version: int = 0, **profile: str) -> messages.Customer:
        names = messages.Customer.DESCRIPTOR.fields_by_name
        mask = ",".join(names[name].camelcase_name for name in profile)  # as JSON has masks
        given = {"customer": {"id": customer_id, **profile}, "update_mask": mask}
        return await self.call("UpdateCustomer", **given, expected_version=expected_version)

    async def move_in(self, customer_id: str, **address: Any) -> messages.CustomerAddress:
        return await self.call("CreateCustomerAddress", customer_id=customer_id, address={**ADDRESS, **address})

    async def addresses(self, customer_id: str) -> list[messages.CustomerAddress]:
        return list((await self.call("ListCustomerAddresses", customer_id=customer_id)).addresses)

    async def say(self, customer_id: str, decision: int = 1, purpose: str = "news", **more: Any) -> messages.Consent:
        said = {"purpose": purpose, "channel": 1, "decision": decision, "source": "till", **more}
        return await self.call("RecordConsent", customer_id=customer_id, consent=said)

    async def merge(self, target: str, source: str) -> messages.Customer:
        return await self.call("MergeCustomers", customer_id=target, source_customer_id=source)

    async def guest(self, **profile: str) -> str:
        """Who an order of somebody is for that hasn't registered: as the placement of orders asks."""
        key = idempotency.Key(self.tenant, "storefront", "guest", "", b"")
        write = desk.Write(self.tenant_id, key, "storefront")
        return ids.encode(
            "cus", await self.parts.profiles.guest(write, domain.Draft(profile=domain.Profile(**profile)))
        )

    async def sold_to(self, customer_id: str, net_amount: int = 500) -> uuid.UUID:
        """A sale of the customer's at a till; its id."""
        till = selling.World(self.db, uuid.UUID(self.tenant))
        till.start()
        try:
            sale = selling.sale(
                ids.new_uuid(), uuid.uuid4().hex, selling.line(net_amount=net_amount), customer_id=uuid_of(customer_id)
            )
            recorded = await till.record(sale)
        finally:
            await till.stop()
        assert isinstance(recorded, sales.Order)
        return recorded.id

    async def credited(self, customer_id: str, currency_code: str, amount: int) -> None:
        """Store credit, in smallest units."""
        key = idempotency.Key(self.tenant, "boss", "credit", "", b"")
        write = values.Write(key, stored_value_pb2.StoreCredit, paid_messages.store_credit, "boss", "goodwill")
        await self.credits.issue_credit(write, uuid_of(customer_id), currency_code, amount)

    async def credit(self, customer_id: str) -> dict[str, int]:
        """What can be spent, by currency."""
        found = await self.credits.credits(self.tenant, uuid_of(customer_id), after="", limit=100)
        return {account.currency_code: account.available for account in found}

    async def may_spend(self, customer_id: str, order_id: uuid.UUID) -> bool:
        """Whether an order may be paid with a customer's credit."""
        async with self.db.transaction(self.tenant) as session:
            return await ledgers._may_spend(session, uuid_of(customer_id), order_id)

    async def rows(self, statement: str, **values: object) -> Sequence[sa.Row[Any]]:
        """What the tenant sees."""
        async with self.db.read(self.tenant) as session:
            return (await session.execute(sa.text(statement), values)).all()

    async def told(self, customer_id: str) -> list[tuple[int, str]]:
        """Version and short type of each event of a customer."""
        rows = await self.rows("SELECT seq_to, type FROM outbox WHERE key = :key ORDER BY seq_to", key=customer_id)
        return [(row.seq_to, row.type.rpartition(".")[2]) for row in rows]


def uuid_of(customer_id: str) -> uuid.UUID:
    return ids.decode("cus", customer_id)

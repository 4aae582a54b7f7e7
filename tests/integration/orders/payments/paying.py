"""A tenant that takes payments: operations on a real database, and a simulated bank in a file of its own."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.kit import audit, database, ids, principal
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import payments as domain
from services.orders.domain import stored_value
from services.orders.payments import operations, port, resuming
from services.orders.payments.handlers import exceptions
from services.orders.payments.handlers import paying as handlers
from services.orders.payments.providers import registry, simulated
from services.orders.store import stored_value as ledger

SIMULATED = domain.Provider.SIMULATED
Kind, State = domain.Kind, domain.State
DUE = "UPDATE payment_operation SET due_at = now() - interval '1 s' WHERE progress IN (1, 4)"


class PayingWorld:
    """One tenant, one process's operations."""

    def __init__(
        self,
        db: database.Database,
        tenant: uuid.UUID,
        bank_file: Path,
        provider: tuple[domain.Provider, Any] | None = None,
    ) -> None:
        self.db = db
        self.tenant = str(tenant)
        self.bank_file = bank_file
        self.bank = simulated.SimulatedBank(bank_file)
        self.heard: list[str] = []
        found = registry.Registry(provider or (SIMULATED, self.bank))
        self.operations = operations.Operations(db, found, lambda _tenant, key: self.heard.append(key))
        self.resumer = resuming.Resumer(db, self.operations, (SIMULATED, self.bank))
        self.exceptions = exceptions.Exceptions(db, self.operations)

    async def close(self) -> None:
        await self.bank.close()

    async def authorise(self, token: str = "sim_ok", amount: int = 1000, **given: Any) -> port.Movement:
        method = given.pop("method", port.Method.CARD)
        order = port.OrderRef(given.pop("order", None) or ids.new_uuid())
        key = given.pop("key", None) or uuid.uuid4().hex
        tender = port.Tender(method, token, amount, "EUR", lasts=given.pop("lasts", False))
        return await self.operations.authorise(self.tenant, order, tender, key)

    async def capture(
        self, paid: port.Movement, amount: int | None = None, key: str = "", **more: Any
    ) -> port.Movement:
        return await self.operations.capture(self.tenant, paid.payment_id, amount, key, **more)

    async def void(self, paid: port.Movement, key: str = "") -> port.Movement:
        return await self.operations.void(self.tenant, paid.payment_id, key)

    async def refund(self, paid: port.Movement, amount: int, key: str = "") -> port.Movement:
        return await self.operations.refund(self.tenant, paid.payment_id, amount, key)

    async def look_up(self, paid: port.Movement) -> port.Movement:
        return await self.operations.look_up(self.tenant, paid.payment_id)

    async def raised(self, *, open_: bool = True, kind: int = 0) -> list[raising.Raised]:
        return await self.exceptions.page(self.tenant, exceptions.Query(open_, kind, None, 100))

    async def say(self, raised: raising.Raised, finding: raising.Finding, reference: str = "") -> raising.Raised:
        """A person ends an exception, or tries to."""
        admin = principal.Principal("usr_ana", "", frozenset({"admin"}), frozenset(), frozenset({"*"}), 2e9)
        caller = handlers.Caller(admin, self.tenant, "usr_ana", audit.Source(actor="usr_ana", method="Resolve"))
        return await self.exceptions.resolve(caller, exceptions.Answer(raised.id, finding, "a note", reference))

    async def resume(self) -> None:
        """Whatever is open is due, and is looked up."""
        await self.execute(DUE)
        await self.resumer.resume()

    async def gift_card(self, amount: int, currency: str = "EUR") -> str:
        """A new card's account (TypeID)."""
        made = stored_value.Account(id=ids.new_uuid(), kind=stored_value.AccountKind.GIFT_CARD, currency_code=currency)
        async with self.db.transaction(self.tenant) as session:
            assert await ledger.insert(session, made, made.id.bytes)
            account, entries = stored_value.issue(made, amount, await ledger.now(session))
            await ledger.save(session, account, entries)
        return ids.encode("gft", made.id)

    async def account(self, typeid: str) -> stored_value.Account:
        async with self.db.read(self.tenant) as session:
            found = await ledger.get(session, ids.decode("gft", typeid))
        assert found is not None
        return found

    async def later(self) -> None:
        """What is late is there now."""
        await self.bank._in_thread(lambda bank: bank.execute("UPDATE operation SET due_at = 0"))

    def books(self, paid: port.Movement) -> tuple[int, int, int, int]:
        """What the bank has of a payment: authorised, captured, refunded, cancelled."""
        with sqlite3.connect(self.bank_file, timeout=5) as bank:
            query = """SELECT authorised, captured, refunded, cancelled FROM intent WHERE reference IN
                (SELECT reference FROM operation WHERE key = ?)"""
            row = bank.execute(query, (str(paid.operation_id),)).fetchone()
        return row or (0, 0, 0, 0)

    async def rows(self, statement: str, **values: object) -> Sequence[sa.Row[Any]]:
        async with self.db.read(self.tenant) as session:
            return (await session.execute(sa.text(statement), values)).all()

    async def execute(self, statement: str, **values: object) -> None:
        async with self.db.transaction(self.tenant) as session:
            await session.execute(sa.text(statement), values)


def amounts(movement: port.Movement) -> tuple[int, int, int, int]:
    """Authorised, captured, refunded, voided."""
    return movement.authorised, movement.captured, movement.refunded, movement.voided


ORDER = """
INSERT INTO sales_order (tenant_id, id, location_id, seq, channel, state, tax_inclusive, clock_skewed, business_hour,
    line_count, business_date, unit_count, net_total, tax_total, discount_total, total, occurred_at, recorded_at,
    customer_id, currency_code, campaign_id, terminal_id, client_sale_id, fingerprint, actor)
VALUES (current_setting('app.tenant_id')::uuid, :id, :location, 1, :channel, :state, true, false, 12, 1, '2026-03-04', 1,
    :total, 0, 0, :total, now(), now(), :customer, :currency, '', '', CAST(:id AS text), '', 'test')
"""


async def add_order(
    db: database.Database,
    tenant: str,
    total: int,
    *,
    state: int = 3,
    customer: uuid.UUID | None = None,
    currency: str = "EUR",
) -> uuid.UUID:
    """An order of the online store, as placing leaves it; states are the contract's."""
    made = ids.new_uuid()
    values = {"id": made, "location": ids.new_uuid(), "channel": 2, "state": state, "total": total}
    async with db.transaction(tenant) as session:
        await session.execute(sa.text(ORDER), {**values, "customer": customer, "currency": currency})
    return made

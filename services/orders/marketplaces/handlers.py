"""Use cases of people: connections, what waits for a person, what is listed, what is owed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from services.kit import audit, channels, database, errors, idempotency, ids, validation
from services.kit import principal as principals
from services.orders.domain import sale
from services.orders.domain.marketplaces import ledger, listings, values
from services.orders.marketplaces import statuses, tending
from services.orders.placing import pricing
from services.orders.placing.effects import Tenant
from services.orders.store.marketplaces import connections, orders
from services.orders.store.marketplaces import ledger as ledger_store
from services.orders.store.marketplaces import listings as listing_store

M = TypeVar("M", bound=Message)
T = TypeVar("T")
BEGIN_MAX: Final = dt.timedelta(days=90)
"""How far back orders are taken in: what marketplaces keep at hand."""
CONNECTION: Final = "marketplace_connection"
RETRY_IN: Final = dt.timedelta(0)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. who: is named in ledgers."""

    principal: principals.Principal
    tenant: Tenant
    who: str

    def require(self, of: values.Connection) -> values.Connection:
        """LocationScope, unless the token covers where the connection's orders are sold."""
        self.principal.require_location(ids.encode("loc", of.location_id))
        return of

    @property
    def places(self) -> Sequence[uuid.UUID] | None:
        """Where connections have to sell to be seen; None: anywhere."""
        if self.principal.all_locations:
            return None
        return [ids.decode("loc", each) for each in self.principal.locations]


@dataclass(frozen=True, slots=True)
class Write(Generic[M, T]):
    """A write of a caller: the key it is remembered by, and how its answer is told."""

    key: idempotency.Key
    answer: type[M]
    render: Callable[[T], M]


@dataclass(frozen=True, slots=True)
class Shown:
    """A connection, and what it owes by currency."""

    of: values.Connection
    owed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A connection to be made. orders_from None: now."""

    name: str
    account: str
    location_id: uuid.UUID
    stock_locations: tuple[uuid.UUID, ...]
    buffer: int
    reject_after: dt.timedelta | None
    orders_from: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Number:
    """A marketplace's order."""

    connection_id: uuid.UUID
    number: str


class Handlers:
    """Marketplaces of tenants."""

    def __init__(self, db: database.Database, accounts: tending.Accounts, items: pricing.Items) -> None:
        self._db = db
        self._accounts = accounts
        self._items = items

    # --- connections ---

    async def connect(self, caller: Caller, write: Write[M, Shown], wanted: Wanted) -> M:
        """InvalidRequest (account, time), AlreadyExists (name), NotFound (location), LocationNotCapable."""
        await self._check_locations(caller, wanted)
        found = self._accounts.find(caller.tenant.uuid, wanted.account)
        if found is None:
            raise validation.invalid("connection.account", "is not in the file of accounts")

        async def effect(session: database.WriteSession) -> Shown:
            now = await listing_store.moment(session)
            begin = wanted.orders_from or now
            if not now - BEGIN_MAX <= begin <= now:
                raise validation.invalid("connection.orders_from", "is at most 90 days ago, and not in the future")
            made = values.Connection(
                id=ids.new_uuid(),
                kind=found[0],
                name=wanted.name,
                account=wanted.account,
                state=values.ConnectionState.ACTIVE,
                location_id=wanted.location_id,
                stock_locations=wanted.stock_locations,
                buffer=wanted.buffer,
                cancel_after=wanted.reject_after,
                cursor_at=begin,
            )
            kept = await connections.add(session, made)
            told = audit.created(_told(wanted))
            await audit.append(session, audit.by(write.key), [_noted("created", CONNECTION, kept.id, told)])
            return await self._shown(session, kept.id)

        return await self._run(write, effect)

    async def _check_locations(self, caller: Caller, wanted: Wanted) -> None:
        """Each is there, and the one where it counts as sold sells."""
        with channels.acting_for(caller.tenant.id):
            for location in dict.fromkeys((wanted.location_id, *wanted.stock_locations)):
                found = await self._items.resolve(ids.encode("loc", location), [], "")
                if location == wanted.location_id and not found.store.sells:
                    raise sale.LocationNotCapable

    async def get(self, caller: Caller, connection_id: uuid.UUID) -> Shown:
        """NotFound; LocationScope."""
        async with self._db.read(caller.tenant.uuid) as session:
            shown = await self._shown(session, connection_id)
        caller.require(shown.of)
        return shown

    async def page(self, caller: Caller, *, after: str, limit: int) -> list[Shown]:
        """By name, those whose orders are sold where the token covers."""
        async with self._db.read(caller.tenant.uuid) as session:
            found = await connections.shown(session, places=caller.places, after=after, limit=limit)
            owed = await ledger_store.owed(session, [each.id for each in found])
        return [Shown(each, owed.get(each.id, {})) for each in found]

    async def move(
        self, caller: Caller, write: Write[M, Shown], connection_id: uuid.UUID, state: values.ConnectionState
    ) -> M:
        """Pauses or resumes. NotFound; LocationScope. Cursor, stream and rows stand where they stood."""

        async def effect(session: database.WriteSession) -> Shown:
            before = caller.require(await _connection(session, connection_id, lock=True))
            if before.state is not state:
                await connections.move(session, connection_id, state)
                told = {"state": audit.Change(before.state.name, state.name)}
                await audit.append(session, audit.by(write.key), [_noted("moved", CONNECTION, connection_id, told)])
            return await self._shown(session, connection_id)

        return await self._run(write, effect)

    # --- orders ---

    async def orders(
        self, caller: Caller, connection_id: uuid.UUID, *, problems: bool, state: int, after: str, limit: int
    ) -> list[values.Taken]:
        """By number. NotFound; LocationScope."""
        async with self._db.read(caller.tenant.uuid) as session:
            caller.require(await _connection(session, connection_id))
            return await orders.page(session, connection_id, problems=problems, state=state, after=after, limit=limit)

    async def retry(self, caller: Caller, write: Write[M, values.Taken], of: Number) -> M:
        """It is received again. NotFound, LocationScope, Ended."""

        async def effect(session: database.WriteSession) -> values.Taken:
            before = await self._locked(session, caller, of)
            if before.state is not values.State.HELD or before.content is None:
                raise values.Ended(before.state, values.State.RECEIVED)
            received = dataclasses.replace(
                before, state=values.State.RECEIVED, problem=values.Problem.NONE, detail="", attempts=0
            )
            await orders.save(session, received, due_in=RETRY_IN)
            await audit.append(session, audit.by(write.key), [_noted_order("retried", before, received)])
            return await self._locked(session, caller, of)

        return await self._run(write, effect)

    async def reject(self, caller: Caller, write: Write[M, values.Taken], of: Number, why: values.CancelWhy) -> M:
        """The marketplace is told. NotFound, LocationScope, Ended."""

        async def effect(session: database.WriteSession) -> values.Taken:
            before = await self._locked(session, caller, of)
            if before.state not in (values.State.HELD, values.State.REJECTED):
                raise values.Ended(before.state, values.State.REJECTED)
            rejected = await statuses.reject(session, before, why)
            await audit.append(session, audit.by(write.key), [_noted_order("rejected", before, rejected)])
            return await self._locked(session, caller, of)

        return await self._run(write, effect)

    async def settle(self, caller: Caller, write: Write[M, values.Taken], of: Number) -> M:
        """A person has done it. NotFound, LocationScope, Ended."""

        async def effect(session: database.WriteSession) -> values.Taken:
            before = await self._locked(session, caller, of)
            if before.problem is not values.Problem.NONE:
                state = _settled(before)
                settled = dataclasses.replace(before, state=state, problem=values.Problem.NONE, detail="")
                await orders.save(session, settled)
                await audit.append(session, audit.by(write.key), [_noted_order("settled", before, settled)])
            return await self._locked(session, caller, of)

        return await self._run(write, effect)

    # --- listings, ledger ---

    async def listings(
        self, caller: Caller, connection_id: uuid.UUID, *, failing: bool, after: str, limit: int
    ) -> list[listings.Listing]:
        """By SKU. NotFound; LocationScope."""
        async with self._db.read(caller.tenant.uuid) as session:
            caller.require(await _connection(session, connection_id))
            return await listing_store.page(session, connection_id, failing=failing, after=after, limit=limit)

    async def entries(
        self, caller: Caller, connection_id: uuid.UUID, currency_code: str, *, before: int | None, limit: int
    ) -> list[ledger.Entry]:
        """The newest first. NotFound; LocationScope."""
        async with self._db.read(caller.tenant.uuid) as session:
            caller.require(await _connection(session, connection_id))
            return await ledger_store.page(session, connection_id, currency_code, before=before, limit=limit)

    async def record(
        self,
        caller: Caller,
        write: Write[M, ledger.Entry],
        connection_id: uuid.UUID,
        kind: ledger.EntryKind,
        *,
        currency_code: str,
        amount: int,
        reference: str,
    ) -> M:
        """A payout or a fee. NotFound; LocationScope."""

        async def effect(session: database.WriteSession) -> ledger.Entry:
            caller.require(await _connection(session, connection_id))
            facts = {"reference": reference, "actor": caller.who, "order_id": None, "payment_id": None}
            made = await ledger_store.post(session, connection_id, kind, currency_code, amount, **facts)
            told = audit.created({"kind": kind.name, "currency": currency_code, "amount": amount, "seq": made.seq})
            await audit.append(session, audit.by(write.key), [_noted("recorded", CONNECTION, connection_id, told)])
            return made

        return await self._run(write, effect)

    # --- how ---

    async def _run(self, write: Write[M, T], effect: Callable[[database.WriteSession], Awaitable[T]]) -> M:
        async def rendered(session: database.WriteSession) -> M:
            return write.render(await effect(session))

        return await idempotency.run(self._db, write.key, write.answer, rendered)

    async def _locked(self, session: database.WriteSession, caller: Caller, of: Number) -> values.Taken:
        caller.require(await _connection(session, of.connection_id))
        taken = await orders.lock(session, of.connection_id, of.number)
        if taken is None:
            raise errors.NotFound("marketplace_order")
        return taken

    async def _shown(self, session: connections.Session, connection_id: uuid.UUID) -> Shown:
        found = await connections.shown(session, ids=[connection_id])
        if not found:
            raise errors.NotFound("marketplace_connection")
        owed = await ledger_store.owed(session, [connection_id])
        return Shown(found[0], owed.get(connection_id, {}))


def _told(wanted: Wanted) -> dict[str, object]:
    """What the audit log says of a new connection."""
    told = dataclasses.asdict(wanted)
    late: dt.timedelta | None = told.pop("reject_after")
    return {**told, "reject_after_seconds": None if late is None else int(late.total_seconds())}


def _noted(action: str, resource: str, connection_id: uuid.UUID, changes: Mapping[str, audit.Change]) -> audit.Entry:
    return audit.Entry(action=action, resource=resource, resource_id=ids.encode("mkc", connection_id), changes=changes)


def _noted_order(action: str, before: values.Taken, after: values.Taken) -> audit.Entry:
    """What a person decided about a marketplace's order."""
    changes = {"state": audit.Change(before.state.name, after.state.name)}
    if before.problem is not after.problem:
        changes["problem"] = audit.Change(before.problem.name, after.problem.name)
    resource_id = f"{ids.encode('mkc', before.connection_id)}/{before.number}"
    return audit.Entry(action=action, resource="marketplace_order", resource_id=resource_id, changes=changes)


def _settled(before: values.Taken) -> values.State:
    """What an order is after its problem was settled by hand. Ended: it has to be retried or rejected."""
    match before.state:
        case values.State.REJECTED:
            return values.State.CANCELLED
        case values.State.HELD if before.problem is values.Problem.UNREADABLE:
            return values.State.COMPLETED
        case values.State.HELD:
            raise values.Ended(before.state, values.State.COMPLETED)
        case values.State.PLACED if before.problem is values.Problem.CANCELLED_THERE:
            return values.State.CANCELLED
    return before.state


async def _connection(
    session: connections.Session, connection_id: uuid.UUID, *, lock: bool = False
) -> values.Connection:
    found = await connections.get(session, connection_id, lock=lock)
    if found is None:
        raise errors.NotFound("marketplace_connection")
    return found

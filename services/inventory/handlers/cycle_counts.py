"""Use cases of cycle counts: what is counted is noted, decided on, and once approved brought into the stock."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from services.inventory import document_effects
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import commands, stock_errors
from services.inventory.domain import cycle_counts as domain
from services.inventory.handlers import bundles, purchase_orders
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.mapping import catalog_messages as names
from services.inventory.store import catalog as common
from services.inventory.store import cycle_counts as store
from services.inventory.store import document_effects as effect_store
from services.inventory.store import suppliers as supplier_store
from services.kit import database, errors, events, ids, principal

NUMBERS = "cycle_count"
PASSES_MAX = 500
Change = Callable[[database.WriteSession, domain.Count], Awaitable[domain.Count]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to become of a count. expected_version 0: whatever it is. skus: of a recount."""

    count_id: uuid.UUID
    origin: commands.Origin
    expected_version: int
    reason: str = ""
    leave_uncounted: bool = False
    skus: Sequence[str] = ()
    admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which counts. location: of this one; within: of these; None: of all."""

    location: uuid.UUID | None
    within: Collection[uuid.UUID] | None
    states: Collection[int]
    after: uuid.UUID | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuery:
    """Which lines of a count. after: the folded SKU of the last one before."""

    count_id: uuid.UUID
    to_count: bool
    varying: bool
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Lines, and the count whose currency their amounts have."""

    count: domain.Count
    lines: Sequence[domain.Line]


class CycleCounts:
    """Cycle counts of the current caller's tenant."""

    def __init__(self, db: database.Database, writer: Writer, effects: document_effects.Effects) -> None:
        self._db = db
        self._writer = writer
        self._effects = effects

    async def create(self, write: Write[domain.Count, M], draft: domain.Draft, by: str) -> M:
        """NOT_FOUND (location), SKU_NOT_FOUND, INVALID_REQUEST, ALREADY_EXISTS."""

        async def effect(session: database.WriteSession) -> tuple[domain.Count, Sequence[events.Event]]:
            location = await purchase_orders.located(session, draft.location_id)
            skus = await _in_scope(session, draft)
            number = await effect_store.next_number(session, NUMBERS)
            made = domain.new_count(
                draft,
                skus,
                count_id=ids.new_uuid(),
                number=number,
                currency_code=location.currency_code,
                by=by,
                seq=await store.head(session, draft.location_id),
                now=await common.now(session),
            )
            await store.insert(session, made, skus)
            return await _found(session, made.id), ()

        return await self._writer.run(write, effect)

    async def record(
        self,
        write: Write[Counted, M],
        count_id: uuid.UUID,
        entries: Sequence[domain.Entry],
        origin: commands.Origin,
    ) -> M:
        """NOT_FOUND, LOCATION_SCOPE, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[Counted, Sequence[events.Event]]:
            count = await _found(session, count_id, lock=True)
            keys = [codes.sku_key(entry.sku) for entry in entries]
            lines = await store.lines_of(session, count_id, keys)
            observed = await store.observe(session, count.location_id, keys)
            now = await common.now(session)  # after the reading: what happens in between is recorded late
            after, passes = domain.record(count, lines, entries, observed, origin=origin, now=now)
            await store.add_passes(session, count_id, passes)
            counted = {codes.sku_key(x.sku): domain.passed(lines[codes.sku_key(x.sku)], x) for x in passes}
            await store.update_lines(session, count_id, counted.values())
            known = await store.expect(session, after, counted)
            await store.update(session, after)
            await store.sum_up(session, count_id)
            return Counted(after, [known[key] for key in keys]), ()

        return await self._writer.run(write, effect)

    async def submit(self, write: Write[domain.Count, M], decision: Decision) -> M:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(session: database.WriteSession, count: domain.Count) -> domain.Count:
            lines = await store.expect(session, count, await store.lines_of(session, count.id))
            return domain.submit(
                count,
                lines.values(),
                leave_uncounted=decision.leave_uncounted,
                by=decision.origin.actor,
                expected_version=decision.expected_version,
                now=await common.now(session),
            )

        return await self._change(write, "submitted", decision.count_id, change)

    async def send_back(self, write: Write[domain.Count, M], decision: Decision) -> M:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(session: database.WriteSession, count: domain.Count) -> domain.Count:
            lines = await store.lines_of(session, count.id, [codes.sku_key(sku) for sku in decision.skus])
            now = await common.now(session)
            after, again = domain.send_back(
                count, lines, decision.skus, expected_version=decision.expected_version, now=now
            )
            await store.update_lines(session, count.id, again)
            return after

        return await self._change(write, "sent_back", decision.count_id, change)

    async def end(self, write: Write[domain.Count, M], decision: Decision, to: domain.State) -> M:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""

        async def change(session: database.WriteSession, count: domain.Count) -> domain.Count:
            return domain.end(
                count,
                to,
                decision.reason,
                by=decision.origin.actor,
                expected_version=decision.expected_version,
                now=await common.now(session),
            )

        return await self._change(write, to.name.lower(), decision.count_id, change)

    async def approve(self, write: Write[domain.Count, M], decision: Decision) -> domain.Count:
        """NOT_FOUND, LOCATION_SCOPE, VERSION_MISMATCH, ILLEGAL_TRANSITION, SECOND_PERSON_REQUIRED."""

        async def change(session: database.WriteSession, count: domain.Count) -> domain.Count:
            counted = await store.has_counted(session, count.id, decision.origin.actor)
            domain.check_approval(
                count, counted=counted, admin=decision.admin, expected_version=decision.expected_version
            )
            lines = await store.expect(session, count, await store.lines_of(session, count.id))
            approved = domain.approve(count, lines.values(), origin=decision.origin, now=await common.now(session))
            if approved.command is not None:
                await effect_store.add(
                    session,
                    approved.command,
                    document_id=count.id,
                    number=approved.count.effects,
                    location=count.location_id,
                    ref=(domain.REF_TYPE, count.reference),
                )
            return approved.count

        await self._change(write, "approved", decision.count_id, change)
        await self._effects.attempt(write.tenant_id, decision.count_id)
        return await self.get(decision.count_id)

    async def _change(self, write: Write[domain.Count, M], action: str, count_id: uuid.UUID, change: Change) -> M:
        async def effect(session: database.WriteSession) -> tuple[domain.Count, Sequence[events.Event]]:
            count = await _found(session, count_id, lock=True)
            await store.update(session, await change(session, count))
            await store.sum_up(session, count_id)
            after = await _found(session, count_id)
            await note(session, write.key, action, ("cycle_count", ids.encode("cnt", count_id)), count, after)
            return after, ()

        return await self._writer.run(write, effect)

    # --- reads ---

    async def get(self, count_id: uuid.UUID) -> domain.Count:
        """NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant()) as session:
            return await _found(session, count_id)

    async def page(self, query: Query) -> list[domain.Count]:
        """One more than the limit, when there are more. NOT_FOUND (location)."""
        async with self._db.read(_tenant()) as session:
            if query.location is not None:
                await purchase_orders.located(session, query.location)
            within = query.within if query.location is None else [query.location]
            return await store.page(
                session, within=within, states=query.states, after=query.after, limit=query.limit + 1
            )

    async def list_lines(self, query: LineQuery) -> Counted:
        """One line more than the limit, when there are more. NOT_FOUND, LOCATION_SCOPE."""
        async with self._db.read(_tenant()) as session:
            count = await _found(session, query.count_id)
            lines = await store.list_lines(
                session,
                count.id,
                to_count=query.to_count,
                varying=query.varying,
                after=query.after,
                limit=query.limit + 1,
            )
        return Counted(count, lines)

    async def list_passes(self, count_id: uuid.UUID, sku: str) -> list[domain.Pass]:
        """The last passes of a line. NOT_FOUND, LOCATION_SCOPE, SKU_NOT_FOUND."""
        async with self._db.read(_tenant()) as session:
            count = await _found(session, count_id)
            key = codes.sku_key(sku)
            lines = await store.lines_of(session, count.id, [key])
            if key not in lines:
                raise stock_errors.SkuNotFound(sku)
            return await store.list_passes(session, count.id, key, PASSES_MAX)


def _tenant() -> str:
    return events.tenant_uuid(principal.current().tenant_id)


async def _found(session: common.Session, count_id: uuid.UUID, *, lock: bool = False) -> domain.Count:
    """A count of a location that the caller's token covers. NOT_FOUND, LOCATION_SCOPE."""
    count = await store.get(session, count_id, lock=lock)
    if count is None:
        raise errors.NotFound("count")
    principal.current().require_location(names.location_id(count.location_id))
    return count


async def _in_scope(session: database.WriteSession, draft: domain.Draft) -> list[str]:
    """The SKUs to count, one more than may be when there are more. SKU_NOT_FOUND, BUNDLE_HAS_NO_STOCK."""
    scope = draft.scope
    await bundles.refuse(session, scope.skus)  # and none becomes one until the count is kept
    if not scope.skus:
        category = codes.category_range(scope.category)
        if scope.category and category is None:
            return []  # slashes alone name no category
        limit = domain.LINES_MAX + 1
        return await store.skus_in(session, draft.location_id, prefix=scope.sku_prefix, category=category, limit=limit)
    wanted = {codes.sku_key(sku): sku for sku in scope.skus}
    known = await supplier_store.spellings(session, wanted)
    for key, sku in wanted.items():
        if key not in known:
            raise stock_errors.SkuNotFound(sku)
    return list(known.values())

"""Use cases of locations."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_locations as domain
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.mapping import catalog_events as announce
from services.inventory.store import catalog as common
from services.inventory.store import catalog_locations as store
from services.inventory.store import lots as lot_store
from services.kit import database, errors, events, ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New values of some fields of a location. expected_version 0: whatever it is."""

    location_id: uuid.UUID
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which locations. within: only these; None: all. after: the folded code of the last one before."""

    within: Collection[uuid.UUID] | None
    kind: int
    code: str
    capability: int
    after: str | None
    limit: int


class Locations:
    """Locations of a tenant (uuid text)."""

    def __init__(self, db: database.Database, writer: Writer) -> None:
        self._db = db
        self._writer = writer

    async def create(self, write: Write[values.Location, M], draft: values.LocationDraft) -> M:
        """INVALID_REQUEST, ALREADY_EXISTS (code)."""

        async def effect(session: database.WriteSession) -> tuple[values.Location, Sequence[events.Event]]:
            now = await common.now(session)
            location = domain.new_location(draft, location_id=ids.new_uuid(), now=now)
            await store.insert(session, location)
            await note(session, write.key, "created", _named(location), None, location)
            return location, [announce.location_changed(location)]

        return await self._writer.run(write, effect)

    async def update(self, write: Write[values.Location, M], edit: Edit) -> M:
        """NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, ALREADY_EXISTS (code)."""

        async def effect(session: database.WriteSession) -> tuple[values.Location, Sequence[events.Event]]:
            if "timezone" in edit.changes:
                await lot_store.lock_heads(session, edit.location_id)  # before the location itself, as lanes do
            location = await store.get(session, edit.location_id, lock=True)
            if location is None:
                raise errors.NotFound("location")
            now = await common.now(session)
            edited = domain.edit_location(location, edit.changes, expected_version=edit.expected_version, now=now)
            await store.update(session, edited)
            if edited.timezone != location.timezone:
                await lot_store.resettle(session, lot_store.Of(locations=[edited.id]))
            await note(session, write.key, "updated", _named(location), location, edited)
            return edited, [announce.location_changed(edited)]

        return await self._writer.run(write, effect)

    async def get(self, tenant: str, location_id: uuid.UUID) -> values.Location:
        """NOT_FOUND."""
        async with self._db.read(tenant) as session:
            location = await store.get(session, location_id)
        if location is None:
            raise errors.NotFound("location")
        return location

    async def page(self, tenant: str, query: Query) -> list[values.Location]:
        """One more than the limit, when there are more."""
        async with self._db.read(tenant) as session:
            return await store.page(
                session,
                within=query.within,
                kind=query.kind,
                code=query.code,
                capability=query.capability,
                after=query.after,
                limit=query.limit + 1,
            )


def _named(location: values.Location) -> tuple[str, str]:
    return "location", ids.encode("loc", location.id)

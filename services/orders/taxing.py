"""Use cases of tax policies: how a tenant's orders are taxed in a country."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import sqlalchemy.exc

from services.kit import audit, database, errors, idempotency
from services.orders.domain import placement
from services.orders.store import taxes as store
from tillmesh.orders.v1 import placement_pb2

Render = Callable[[placement.TaxPolicy], placement_pb2.TaxPolicy]


class TaxPolicies:
    """Tax policies of tenants (uuid text)."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def put(
        self, key: idempotency.Key, policy: placement.TaxPolicy, expected_version: int, render: Render
    ) -> placement_pb2.TaxPolicy:
        """Sets a policy, a version later. VersionMismatch; Conflict when another makes it at the same moment."""

        async def effect(session: database.WriteSession) -> placement_pb2.TaxPolicy:
            before = await store.get(session, key.tenant, policy.country_code, lock=True)
            version = 0 if before is None else before.version
            if expected_version not in (0, version):
                raise errors.VersionMismatch(version)
            try:
                kept = await store.put(session, key.tenant, dataclasses.replace(policy, version=version + 1))
            except sqlalchemy.exc.IntegrityError:
                raise errors.Conflict from None
            await audit.append(session, audit.by(key), [_noted(before, kept)])
            return render(kept)

        return await idempotency.run(self._db, key, placement_pb2.TaxPolicy, effect)

    async def get(self, tenant: str, country_code: str) -> placement.TaxPolicy:
        """NotFound."""
        async with self._db.read(tenant) as session:
            found = await store.get(session, tenant, country_code)
        if found is None:
            raise errors.NotFound("tax_policy")
        return found

    async def page(self, tenant: str, *, after: str, limit: int) -> Sequence[placement.TaxPolicy]:
        """By country, after one."""
        async with self._db.read(tenant) as session:
            return await store.page(session, tenant, after=after, limit=limit)


def _noted(before: placement.TaxPolicy | None, after: placement.TaxPolicy) -> audit.Entry:
    return audit.Entry(
        action="created" if before is None else "updated",
        resource="tax_policy",
        resource_id=after.country_code,
        changes=audit.changes(before, after, but={"updated_at"}),
    )

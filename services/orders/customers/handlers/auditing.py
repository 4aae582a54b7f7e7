"""Opens what the audit log has of customers, for managers who read it; that they have looked is noted there too."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from services.kit import audit, ids
from services.orders.customers import audited
from services.orders.customers.handlers import desk


class Opener:
    """audit.Opener of customers."""

    def __init__(self, at: desk.Desk) -> None:
        self._desk = at

    async def open(
        self, tenant: str, rows: Sequence[tuple[audit.Row, audit.Values]]
    ) -> Mapping[uuid.UUID, audit.Values]:
        """See audit.Opener."""
        wanted = {row.id: ids.decode("cus", row.resource_id) for row, _ in rows}
        async with self._desk.reading(tenant) as (kept, _):
            vaults = {record.customer.id: record.audit for record in await kept.of(set(wanted.values()))}
        shown = sorted(customer for customer, vault in vaults.items() if vault is not None)
        await self._desk.note_look(desk.Look(tenant, audit.caller()), shown)
        return {row.id: audited.opened(vaults.get(wanted[row.id]), row.id, values) for row, values in rows}

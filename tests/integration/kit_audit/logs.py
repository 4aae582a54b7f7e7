"""Builders: a tenant's audit log, its sealer and verifier, and an intruder who is the database's superuser."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from services.kit import audit, clock, database, events, ids, key_file
from services.kit.audit import anchors, sealing, verifying

SERVICE = "inventory"
BOSS = audit.Source(actor="usr_boss", method="tillmesh.inventory.v1.X/Y", request_id="r-1")


class Log:
    """One tenant's log."""

    def __init__(self, db: database.Database, folder: Path, superuser: str, tenant_id: str = "") -> None:
        self.db, self.folder, self._superuser = db, folder, superuser
        self.tenant_id = tenant_id or ids.new("ten")
        self.tenant = events.tenant_uuid(self.tenant_id)
        path = folder / "audit-keys.json"
        if not path.exists():
            path.write_text(key_file.render([key_file.new("audit", clock.now())]))
        self.keys = key_file.KeyFile(path)
        self.anchors = anchors.Anchors(folder / "anchors", SERVICE)
        self.sealer = sealing.Sealer(db, SERVICE, self.keys, self.anchors)

    async def write(self, count: int = 1, *, first: int = 0) -> list[uuid.UUID]:
        """So many entries, each in a transaction of its own."""
        return [await self.one(first + n) for n in range(count)]

    async def one(self, n: int = 0) -> uuid.UUID:
        changes = audit.changes({"limit": n, "name": "old"}, {"limit": n + 1, "name": "new"})
        entry = audit.Entry(action="updated", resource="policy", resource_id=f"p-{n}", changes=changes)
        async with self.db.transaction(self.tenant) as session:
            await audit.append(session, BOSS, [entry])
        return entry.id

    async def sealed(self, *portions: int) -> list[uuid.UUID]:
        """A chain: a seal for each portion."""
        written: list[uuid.UUID] = []
        for portion in portions:
            written += await self.write(portion, first=len(written))
            await self.seal()
        return written

    async def seal(self) -> None:
        while await self.sealer.seal():
            pass

    async def findings(self) -> list[str]:
        """What a verifier says of the tenant: `where: what`."""
        return [f"{found.where}: {found.what}" async for found in self.verifier().run(self.tenant_id)]

    def verifier(self) -> verifying.Verifier:
        return verifying.Verifier(self.db, SERVICE, self.keys, self.anchors)

    def tamper(self, statement: str, **given: Any) -> None:
        """Past every rule. :tenant is the tenant's."""
        engine = sa.create_engine(database.sqlalchemy_url(self._superuser))
        with engine.begin() as session:
            session.execute(sa.text("SET session_replication_role = replica"))
            assert session.execute(sa.text(statement), {"tenant": self.tenant, **given}).rowcount > 0
        engine.dispose()

    async def rows(self, statement: str) -> list[Any]:
        async with self.db.read(self.tenant) as session:
            return list((await session.execute(sa.text(statement))).all())


def name(entry: uuid.UUID) -> str:
    return f"entry {ids.encode('aud', entry)}"


def refused(url: str, statement: str) -> bool:
    """Whether a role may not do this at all."""
    with psycopg.connect(url) as session:
        try:
            session.execute(statement)  # type: ignore[call-overload]
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False

"""What an operator does with the audit log of a service: `python -m services.<service> audit …`. Beside live processes.

Needs the service's database URLs, its file of keys and its folder of anchors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import rich.console
import typer

from services.kit import chained_log, clock, database, events, key_file, process, settings
from services.kit.audit import anchors, verifying

T = TypeVar("T")
Tenant = Annotated[str, typer.Option(help="Only this tenant (ten_…)")]
Act = Callable[[verifying.Verifier], Awaitable[T]]
Opened = Callable[[], tuple[settings.ServiceSettings, database.Database]]
"""The service's settings, and its database, not yet open."""


class Commands:
    """The commands of one service."""

    def __init__(self, service: str, opened: Opened) -> None:
        self._service = service
        self._opened = opened
        self._console = rich.console.Console(soft_wrap=True, highlight=False)
        self.app = typer.Typer(no_args_is_help=True, help="The audit log.")
        self.app.command()(self.verify)
        self.app.command(name="accept-restore")(self.accept_restore)
        self.app.command(name="rotate-key")(self.rotate_key)

    def verify(self, tenant: Tenant = "") -> None:
        """Look for tampering: entries and seals against keys and anchors. Prints where; 1 when there is any."""

        async def act(verifier: verifying.Verifier) -> int:
            count = 0
            async for finding in verifier.run(tenant):
                count += 1
                self._console.print(f"{finding.tenant or '-'}: {finding.where}: {finding.what}")
            for note in verifier.verified.notes:
                self._console.print(f"note: {note.tenant}: {note.where}: {note.what}")
            seen = verifier.verified
            self._console.print(
                f"{self._service}: {seen.tenants} tenants, {seen.seals} seals, {seen.entries} entries, {count} findings"
            )
            return count

        _check(tenant)
        raise typer.Exit(1 if self._run(act) else 0)

    def accept_restore(self, tenant: Annotated[str, typer.Option(help="Whose chain (ten_…)")]) -> None:
        """After a restore of the database: note that a chain ends where it does. It is told at every verify."""
        _check(tenant)
        seal = self._run(lambda verifier: verifier.accept(tenant))
        self._console.print(f"{tenant}: the chain goes on after seal {seal}")

    def rotate_key(self) -> None:
        """A new key in the file, for the seals to come of all services that use it. The others stay, to verify with."""
        keys = process.audit_files(self._opened()[0])[0]
        try:
            keys.add(key_file.new("audit", clock.now()))
        except key_file.NoKey as problem:
            raise self._refused(problem) from None
        self._console.print(f"{len(keys.ids())} keys, the newest is {keys.newest().id}")

    def _run(self, act: Act[T]) -> T:
        try:
            return asyncio.run(self._with_database(act))
        except (process.NotConfigured, key_file.NoKey, chained_log.LogBroken, OSError) as problem:
            raise self._refused(problem) from None

    def _refused(self, problem: Exception) -> typer.Exit:
        self._console.print(str(problem))
        return typer.Exit(1)

    async def _with_database(self, act: Act[T]) -> T:
        config, db = self._opened()
        keys, folder = process.audit_files(config)
        await db.open()
        try:
            return await act(verifying.Verifier(db, self._service, keys, anchors.Anchors(folder, self._service)))
        finally:
            await db.close()


def _check(tenant: str) -> None:
    if tenant:
        try:
            events.tenant_uuid(tenant)
        except ValueError as problem:
            raise typer.BadParameter(str(problem)) from None

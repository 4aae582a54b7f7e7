"""What an operator does with keys of personal data, and the audit log: `python -m services.orders keys | audit …`.

Beside live processes. `keys` needs the service's two database URLs (app and worker) and its file of root keys, which
`rotate root` and `prune` write: where a secret store owns the file, add a key there and run `rewrap`. Each command goes
on where it was stopped.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import rich.console
import typer

from services.kit import clock, events, ids, key_file, logs, process
from services.kit.audit import operating
from services.orders import bootstrap
from services.orders.customers import crypto, rotation

T = TypeVar("T")
Tenant = Annotated[str, typer.Option(help="Only this tenant (ten_…)")]
Customer = Annotated[str, typer.Option(help="Only this customer (cus_…)")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
keys = typer.Typer(no_args_is_help=True, help="Keys of personal data.")
rotate = typer.Typer(no_args_is_help=True, help="New keys; what they protect stays readable throughout.")
app.add_typer(keys, name="keys")
keys.add_typer(rotate, name="rotate")
app.add_typer(operating.Commands(bootstrap.SERVICE, bootstrap.database_of).app, name="audit")
console = rich.console.Console(soft_wrap=True, highlight=False)


@keys.command()
def show() -> None:
    """Root keys in the file, the newest last, and how many tenants have keys under each; 1 when one is missing."""
    found = _run(lambda rotating: rotating.roots())
    for root in [*found.ids, *sorted(set(found.tenants) - set(found.ids))]:
        missing = "" if root in found.ids else ", MISSING in the file"
        console.print(f"{root}: {found.tenants.get(root, 0)} tenants{missing}")
    raise typer.Exit(1 if set(found.tenants) - set(found.ids) else 0)


@rotate.command()
def root() -> None:
    """A new root key in the file, and all tenants' keys under it. Touches nothing of a customer's."""
    console.print(
        f"{_run(lambda rotating: rotating.rotate_root(clock.now()))} keys of tenants under the newest root key"
    )


@keys.command()
def rewrap() -> None:
    """All tenants' keys under the newest root key of the file, which somebody else has put there."""
    console.print(f"{_run(lambda rotating: rotating.rewrap_tenants())} keys of tenants under the newest root key")


@keys.command()
def prune() -> None:
    """Takes root keys out of the file that nothing is under. Backups from before can't be read without them."""
    gone = _run(lambda rotating: rotating.prune_roots(clock.now()))
    console.print(f"removed: {', '.join(gone) or 'none'}")


@rotate.command()
def tenant(tenant: Tenant = "") -> None:
    """A new key of each tenant, and its customers' keys under it. Touches no personal data."""
    _run(lambda rotating: _each(rotating, tenant, rotating.rotate_tenant, "keys of customers wrapped anew"))


@rotate.command()
def digests(tenant: Tenant = "") -> None:
    """A new key of digests of each tenant, and all that customers are found by made with it; found throughout."""
    _run(lambda rotating: _each(rotating, tenant, rotating.rotate_digests, "digests made anew"))


@rotate.command()
def customers(tenant: Tenant = "", customer: Customer = "") -> None:
    """A new key of each customer, and their personal data sealed with it."""
    if customer and not tenant:
        raise typer.BadParameter("a customer is its tenant's: give --tenant too")
    if customer:
        try:
            wanted = ids.decode("cus", customer)
        except ValueError as problem:
            raise typer.BadParameter(str(problem)) from None
        done = _run(lambda rotating: rotating.rotate_customer(_uuid(tenant), wanted))
        console.print(f"{done} customers under a new key")
        raise typer.Exit(0 if done else 1)
    _run(lambda rotating: _each(rotating, tenant, rotating.rotate_customers, "customers under a new key"))


async def _each(
    rotating: rotation.Rotation, tenant: str, one: Callable[[str, rotation.Progress], Awaitable[int]], what: str
) -> None:
    for each in [_uuid(tenant)] if tenant else await rotating.tenants():
        name = ids.encode(events.TENANT_PREFIX, uuid.UUID(each))
        done = await one(each, functools.partial(_tell, name))
        console.print(f"{name}: {done} {what}")


def _tell(name: str, count: int) -> None:
    console.print(f"{name}: {count} …")


def _uuid(tenant: str) -> str:
    try:
        return events.tenant_uuid(tenant)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None


def _run(act: Callable[[rotation.Rotation], Awaitable[T]]) -> T:
    """Runs one act on an open database. Exits with 1 and a sentence when it can't be done (now)."""
    try:
        return asyncio.run(_with_database(act))
    except (process.NotConfigured, key_file.NoKey, rotation.Busy, crypto.Unreadable) as problem:
        console.print(str(problem))
        raise typer.Exit(1) from None


async def _with_database(act: Callable[[rotation.Rotation], Awaitable[T]]) -> T:
    config, db = bootstrap.database_of()
    await db.open()
    try:
        return await act(bootstrap.customers(config, db, lambda _tenant, _key: None).rotation)
    finally:
        await db.close()


def main() -> None:
    """Reads the command line."""
    logs.configure(bootstrap.SERVICE, log_format="console", level="warning")
    app(prog_name="python -m services.orders")

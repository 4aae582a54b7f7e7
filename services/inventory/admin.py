"""What an operator runs: `python -m services.inventory verify | rebuild | replay | audit …`. Beside live processes.

Needs the service's two database URLs (app and worker) and nothing more; `replay` also asks the owner of the events, and
so needs its address and the service's key, as `consume` does. Exit code 1: there are differences.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import rich.console
import rich.table
import typer

from services.inventory import bootstrap, ledger
from services.inventory.store import proof
from services.kit import logs
from services.kit.audit import operating
from services.kit.inbox import replaying

Tenant = Annotated[str, typer.Option(help="Only this tenant (ten_…)")]
Location = Annotated[str, typer.Option(help="Only this location (loc_…)")]
Row = tuple[ledger.Where, proof.Difference]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(operating.Commands(bootstrap.SERVICE, bootstrap.database_of).app, name="audit")


@app.command()
def verify(tenant: Tenant = "", location: Location = "") -> None:
    """Prove levels, holds and positions from the ledger, location by location; 1 when there are differences."""
    raise typer.Exit(asyncio.run(_prove(tenant, location, rebuild=False)))


@app.command()
def rebuild(tenant: Tenant = "", location: Location = "") -> None:
    """Set levels that differ to what the ledger says; 1 when differences remain. The ledger is never rewritten."""
    raise typer.Exit(asyncio.run(_prove(tenant, location, rebuild=True)))


@app.command()
def replay(
    tenant: Tenant = "",
    location: Location = "",
    after: Annotated[int, typer.Option(help="Position after which to begin", min=0)] = 0,
) -> None:
    """Apply the sales that Orders has again, from a position on: what was applied is passed over."""
    if location and not tenant:
        raise typer.BadParameter("a location's sales are its tenant's: give --tenant too")
    asyncio.run(_replay(tenant, location, after))


async def _prove(tenant: str, location: str, *, rebuild: bool) -> int:
    db = bootstrap.database_of()[1]
    await db.open()
    try:
        return await prove(ledger.Ledger(db), tenant, location, rebuild=rebuild)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    finally:
        await db.close()


async def prove(proving: ledger.Ledger, tenant: str, location: str, *, rebuild: bool) -> int:
    """Verifies, rebuilds if asked, prints what differs; the exit code."""
    console = rich.console.Console()
    places = await proving.locations(tenant, location)
    remaining = rebuilt = 0
    for where in places:
        found = await proving.verify(where)
        if found:
            console.print(_table(where, found))
        if found and rebuild:
            rebuilt += await proving.rebuild(where, found)
            found = await proving.verify(where)
        remaining += len(found)
    done = f", {rebuilt} levels rebuilt" if rebuild else ""
    console.print(f"{len(places)} locations{done}, {remaining} differences{' left' if rebuild else ''}")
    return 1 if remaining else 0


def _table(where: ledger.Where, found: list[proof.Difference]) -> rich.table.Table:
    table = rich.table.Table(title=f"{where.key.tenant_id} {where.key.location_id}", title_justify="left")
    for name in ("sku", "what", "should be", "is"):
        table.add_column(name, justify="left" if name in ("sku", "what") else "right")
    for difference in found:
        table.add_row(difference.sku, difference.what, str(difference.expected), str(difference.found))
    return table


async def _replay(tenant: str, location: str, after: int) -> None:
    console = rich.console.Console()
    inventory = bootstrap.Inventory(bootstrap.Settings())
    await inventory.db.open()
    inventory.lanes.start()
    try:
        sales = replaying.Replay(inventory.db, bootstrap.SERVICE, inventory.subscription)
        for key in [(tenant, location)] if location else await sales.keys(tenant):
            done = await sales.run(*key, after)
            console.print(f"{key[1]}: {done.read} events, {done.applied} new, at {done.position.seq}", soft_wrap=True)
    finally:
        await inventory.lanes.stop()
        await inventory.orders.close()
        await inventory.db.close()


def main() -> None:
    """Reads the command line."""
    logs.configure(bootstrap.SERVICE, log_format="console", level="warning")
    app(prog_name="python -m services.inventory")

"""`./scripts/replay`: sells what a real retailer sold, through the public doors of the running stack, and proves it.

Exit codes: 0 = all is proven; 1 = a difference, or the mesh refused; 78 = the data isn't there; 130 = Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Final

import stamina.instrumentation
import typer

from edge import settings, token
from edge.replay import data, facts, mesh, proof, screen, selling, stocking

EXIT_STOPPED: Final = 130
EXIT_CONFIGURATION: Final = 78
WAIT_SECONDS: Final = 120.0


def run(
    weeks: Annotated[int, typer.Option(min=1, max=data.WEEKS, help="How many weeks to replay")] = 1,
    from_week: Annotated[int, typer.Option(min=0, help="The first of them; default: the first that is whole")] = 0,
    stores: Annotated[int, typer.Option(min=0, help="Only so many of the busiest stores")] = 0,
    days: Annotated[int, typer.Option(min=0, help="Only so many of the first days")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Sales a second at most; default: as fast as it goes")] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, max=90, help="Sales on their way at a time")] = 32,
    tenant: Annotated[str, typer.Option(help="Demo tenant, by name or id")] = "beauty",
    wait: Annotated[float, typer.Option(min=0, help="Seconds that stock may take to follow")] = WAIT_SECONDS,
    look: Annotated[bool, typer.Option("--look", help="Only say what the data holds")] = False,
) -> None:
    """Replay weeks of a real retailer's sales, and prove that sums and stock are exact. Run it again after a stop."""
    first = from_week or (data.FIRST_WHOLE_WEEK if weeks < data.WEEKS else 1)
    shown = screen.Screen()
    stamina.instrumentation.set_on_retry_hooks([])  # counted, not said
    try:
        chosen = data.load(data.Choice(first, weeks, stores, days))
        shown.say(f"Weeks {first} to {first + weeks - 1} of the data: {chosen.first_day} to {chosen.last_day}.")
        shown.facts(facts.count(chosen))
        if not look:
            report = asyncio.run(_replay(chosen, shown, tenant, concurrency, rate, wait))
            _end(shown, report)
    except (data.DataError, settings.ConfigurationError) as error:
        _fail(str(error), EXIT_CONFIGURATION)
    except token.NoTokenError as error:
        _fail(str(error), 1)
    except mesh.Refused as error:
        _fail(f"{error}. Run it again to go on.", 1)
    except KeyboardInterrupt:
        _fail("Stopped. Run it again to go on: what was sold is not sold twice.", EXIT_STOPPED)


async def _replay(
    chosen: data.Slice, shown: screen.Screen, tenant: str, concurrency: int, rate: float, wait: float
) -> proof.Report:
    folder = settings.load().data
    url = token.address(folder)
    client = token.credentials(folder, tenant, "admin")
    async with mesh.Mesh(url, mesh.Tokens(lambda: token.fetch(url, client))) as tillmesh:
        with shown.phase("Stores", len(chosen.stores)) as step:
            locations = await stocking.stores(tillmesh, chosen, step)
        with shown.phase("Products", len(chosen.products)) as step:
            await stocking.products(tillmesh, chosen, step)
        with shown.phase("Opening stock", stocking.opening_lines(chosen)) as step:
            await stocking.opening(tillmesh, chosen, locations, step)
        baskets = len({row.basket_id for row in chosen.rows})
        with shown.phase("Sales", baskets) as step:
            done = await selling.recorded(tillmesh, chosen, locations)
            step(len(done))
            tally = await selling.sell(tillmesh, chosen, locations, done, concurrency=concurrency, rate=rate, step=step)
        shown.speed(tally, len(done), tillmesh.retries)
        with shown.phase("Proof", len(chosen.stores)) as step:
            return await proof.prove(tillmesh, chosen, locations, wait_seconds=wait, step=step)


def _end(shown: screen.Screen, report: proof.Report) -> None:
    shown.proven(report)
    if report.differences:
        _fail(f"Not proven: {len(report.differences):,} figures differ from the data.", 1)
    if report.nameless:
        shown.say(f"{report.nameless:,} lines have no name: the catalogue didn't answer in time when they were sold.")
    shown.say(f"Proven: {report.compared.total():,} figures are as the data says, to the cent and the unit.")


def _fail(story: str, code: int) -> None:
    typer.echo(f"replay: {story}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    typer.run(run)

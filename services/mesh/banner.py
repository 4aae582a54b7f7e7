"""What a person sees when the stack is ready: where to call, how to get a token, where things lie."""

from __future__ import annotations

import sys

import rich.console
import rich.panel
import rich.table

from services.mesh import endpoints, layout


def lines(place: layout.Layout, doors: endpoints.Endpoints) -> list[tuple[str, str]]:
    """Names and values, in the order in which a newcomer needs them."""
    return [
        ("REST and gRPC", doors.http),
        ("with TLS", f"{doors.https} (certificate: {place.envoy / 'tls.crt'})"),
        ("documents", f"{doors.http}/docs"),
        ("a token", "./scripts/token admin --tenant beauty"),
        ("credentials", str(place.credentials)),
        ("data", str(place.data)),
        ("logs", str(place.logs)),
        ("metrics", ", ".join(f"{name} {port}" for name, port in doors.metrics.items())),
        ("all addresses", str(place.endpoints)),
        ("stop", "Ctrl-C; the data stays"),
    ]


def show(place: layout.Layout, doors: endpoints.Endpoints) -> None:
    """Prints a panel on a terminal, and plain ``name: value`` lines elsewhere."""
    rows = lines(place, doors)
    if not sys.stdout.isatty():
        print("\n".join(f"{name}: {value}" for name, value in rows), flush=True)
        return
    grid = rich.table.Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"[bold]{name}[/bold]", value)
    rich.console.Console(soft_wrap=True).print(rich.panel.Panel(grid, title="Tillmesh is ready", expand=False))

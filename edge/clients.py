"""Make, list and remove OAuth clients; the two demo brands.

    python -m edge.clients                     demo tenants, once
    python -m edge.clients add --tenant ten_… --role associate --location loc_…
    python -m edge.clients list
    python -m edge.clients remove cli_…

How a client is stored and checked is in `edge.registry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge import cli, files, registry, roles, settings

if TYPE_CHECKING:
    from pathlib import Path

DEMO_TENANTS = ("beauty", "furniture")


def create(
    path: Path,
    *,
    tenant_id: str,
    role: str,
    locations: tuple[str, ...] = (registry.ALL_LOCATIONS,),
    scopes: tuple[str, ...] = (),
    name: str = "",
    terminal_id: str = "",
    customer_id: str = "",
) -> tuple[registry.ClientRecord, str]:
    """Add a client and return it with its secret, which is stored only as a hash.

    ``scopes`` empty: the defaults of the role. Raises ValueError when an id, the role or a scope isn't one.
    """
    chosen = scopes or roles.DEFAULT_SCOPES.get(role, ())
    _check(tenant_id, role, locations, chosen, terminal_id, customer_id)
    secret = registry.new_secret()
    record = registry.ClientRecord(
        client_id=registry.new_id("cli"),
        tenant_id=tenant_id,
        roles=(role,),
        scopes=roles.ordered(chosen),
        locations=locations,
        secret_hash=registry.hash_secret(secret),
        name=name,
        terminal_id=terminal_id,
        customer_id=customer_id,
    )
    with files.locked(path.parent):
        registry.write(path, {**registry.read(path), record.client_id: record})
    return record, secret


def _check(
    tenant_id: str,
    role: str,
    locations: tuple[str, ...],
    scopes: tuple[str, ...],
    terminal_id: str,
    customer_id: str,
) -> None:
    if role not in roles.ROLES:
        raise ValueError(f"{role} is not a role; roles are {', '.join(roles.ROLES)}")
    unknown = [scope for scope in scopes if scope not in roles.SCOPES]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a scope; scopes are {', '.join(roles.SCOPES)}")
    expected = [(tenant_id, "ten"), *((location, "loc") for location in locations if location != "*")]
    expected += [(text, prefix) for text, prefix in ((terminal_id, "trm"), (customer_id, "cus")) if text]
    for text, prefix in expected:
        if not registry.is_id(text, prefix):
            raise ValueError(f"{text} is not an id that begins with {prefix}_")


def remove(path: Path, client_id: str) -> bool:
    """Remove a client; tokens it has keep working until they expire (at most 15 minutes). False: there is none."""
    with files.locked(path.parent):
        clients = registry.read(path)
        if clients.pop(client_id, None) is None:
            return False
        registry.write(path, clients)
        return True


def ensure_demo(data: Path, issuer: str) -> Path:
    """Two demo tenants with a client for each role; returns ``<data>/credentials.json`` (0600, secrets in clear).

    Written once: later calls keep ids and secrets, add what is missing (a role that is new, a lost clients file)
    and follow a changed issuer.
    """
    credentials_file = data / "credentials.json"
    clients_file = data / "edge" / "clients.json"
    with files.locked(clients_file.parent):
        stored = files.read_json(credentials_file, missing={})
        credentials = _completed(stored, issuer)
        if credentials != stored:
            files.write_json(credentials_file, credentials, files.SECRET)
        clients = registry.read(clients_file)
        missing = _demo_records(credentials, known=set(clients))
        if missing:
            registry.write(clients_file, {**clients, **missing})
    return credentials_file


def _completed(stored: dict[str, Any], issuer: str) -> dict[str, Any]:
    tenants: dict[str, Any] = {**stored.get("tenants", {})}
    for name in DEMO_TENANTS:
        tenant = tenants.get(name) or {"tenant_id": registry.new_id("ten"), "clients": {}}
        made = {role: tenant["clients"].get(role) or _new_credentials(role) for role in roles.ROLES}
        tenants[name] = {**tenant, "clients": {**tenant["clients"], **made}}
    return {**stored, "issuer": issuer, "tenants": tenants}


def _new_credentials(role: str) -> dict[str, str]:
    credentials = {"client_id": registry.new_id("cli"), "client_secret": registry.new_secret()}
    # A customer's token is about one customer; without the claim it could read nothing that belongs to anyone.
    return {**credentials, "customer_id": registry.new_id("cus")} if role == "customer" else credentials


def _demo_records(credentials: dict[str, Any], known: set[str]) -> dict[str, registry.ClientRecord]:
    return {
        client["client_id"]: registry.ClientRecord(
            client_id=client["client_id"],
            tenant_id=tenant["tenant_id"],
            roles=(role,),
            scopes=roles.ordered(roles.DEFAULT_SCOPES[role]),
            locations=(registry.ALL_LOCATIONS,),
            secret_hash=registry.hash_secret(client["client_secret"]),
            name=f"Demo {name} {role}",
            customer_id=client.get("customer_id", ""),
        )
        for name, tenant in credentials["tenants"].items()
        for role, client in tenant["clients"].items()
        if client["client_id"] not in known and role in roles.DEFAULT_SCOPES
    }


commands = typer.Typer(help="OAuth clients of the edge.", add_completion=False)


@commands.callback(invoke_without_command=True)
def demo_command(context: typer.Context) -> None:
    """Without a command: make the demo tenants' clients, once."""
    if context.invoked_subcommand is None:
        configured = settings.load()
        typer.echo(ensure_demo(configured.data, configured.issuer))


@commands.command("add")
def add_command(
    tenant: Annotated[str, typer.Option(help="Id of the tenant, ten_…")],
    role: Annotated[str, typer.Option(help="One of: " + ", ".join(roles.ROLES))],
    location: Annotated[list[str] | None, typer.Option(help="loc_…, repeatable; none: every location")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Repeatable; none: the role's defaults")] = None,
    name: Annotated[str, typer.Option(help="What people call it")] = "",
    terminal: Annotated[str, typer.Option(help="trm_… of the till this client is")] = "",
    customer: Annotated[str, typer.Option(help="cus_… of the customer this client is")] = "",
) -> None:
    """Add a client; its secret is shown now and never again."""
    try:
        record, secret = create(
            settings.load().clients_file,
            tenant_id=tenant,
            role=role,
            locations=tuple(location or [registry.ALL_LOCATIONS]),
            scopes=tuple(scope or []),
            name=name,
            terminal_id=terminal,
            customer_id=customer,
        )
    except ValueError as error:
        typer.echo(f"{error}.", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"client_id     {record.client_id}\nclient_secret {secret}")


@commands.command("list")
def list_command() -> None:
    """Every client: id, tenant, roles, locations, name."""
    for record in registry.read(settings.load().clients_file).values():
        parts = (record.tenant_id, ",".join(record.roles), ",".join(record.locations), record.name)
        typer.echo("  ".join((record.client_id, *parts)))


@commands.command("remove")
def remove_command(client_id: str) -> None:
    """Remove a client; it gets no more tokens."""
    if not remove(settings.load().clients_file, client_id):
        typer.echo(f"There is no client {client_id}.", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(commands)

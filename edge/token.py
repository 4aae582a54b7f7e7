"""`python -m edge.token ROLE [--tenant T] [--location L]`: an access token of the running demo stack, on stdout.

For people and scripts at a terminal (./scripts/token). It asks the public door like any client would.
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from edge import files, registry, roles, settings

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 10
# The door is on this machine: a proxy from the environment must not be asked for it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NoTokenError(Exception):
    """There is no token to give; the message is one sentence for the person at the terminal."""


def _ask(url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    """The JSON answer. Raises NoTokenError with what the server said."""
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # the stack's own door, see address
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise NoTokenError(f"The answer of {url} was {error.code}: {_reason(error.read())}") from None
    except (OSError, ValueError) as error:
        said = f"Tillmesh doesn't answer at {url} ({error}); is ./scripts/server running?"
        raise NoTokenError(said) from None


def _reason(body: bytes) -> str:
    try:
        answer = json.loads(body)
        return str(answer.get("error_description") or answer.get("message") or answer.get("error"))
    except (ValueError, AttributeError):
        return body.decode(errors="replace")[:200]


def address(data: Path) -> str:
    """URL of the plain door of the stack on this data folder. Raises NoTokenError when it isn't running."""
    endpoints = files.read_json(data / "run" / "endpoints.json", missing=None)
    if not endpoints or not endpoints.get("http"):
        raise NoTokenError(f"Tillmesh isn't running on {data}: start it with ./scripts/server.")
    http = str(endpoints["http"])
    return http.rstrip("/") if "://" in http else f"http://{http}"


def credentials(data: Path, tenant: str, role: str) -> dict[str, str]:
    """Client id and secret of a demo tenant, by its name or id. Raises NoTokenError."""
    stored = files.read_json(data / "credentials.json", missing=None)
    if stored is None:
        raise NoTokenError(f"There are no demo credentials in {data}: start the stack with ./scripts/server.")
    found = [entry for name, entry in stored["tenants"].items() if tenant in (name, entry["tenant_id"])]
    if not found:
        raise NoTokenError(f"There is no demo tenant {tenant}; there are {', '.join(stored['tenants'])}.")
    client = found[0]["clients"].get(role)
    if client is None:
        raise NoTokenError(f"There is no client of the role {role}; roles are {', '.join(roles.ROLES)}.")
    return dict(client)


def fetch(url: str, client: dict[str, str], location_id: str = "") -> str:
    """A token for the client, narrowed to the location if one is given. Raises NoTokenError."""
    form = {"grant_type": "client_credentials"} | ({"location": location_id} if location_id else {})
    basic = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    return str(_ask(url + settings.OAUTH_PATH, headers, urlencode(form).encode())["access_token"])


def location_id_of(url: str, client: dict[str, str], location: str) -> str:
    """The id of a location that is given by id or by code. Raises NoTokenError."""
    if registry.is_id(location, "loc"):
        return location
    headers = {"Authorization": f"Bearer {fetch(url, client)}"}
    query = urlencode({"filter.code": location})
    found = _ask(f"{url}/v1/locations?{query}", headers).get("locations", [])
    if len(found) != 1:
        raise NoTokenError(f"There is no location with the code {location}.")
    return str(found[0]["id"])


def run(
    role: Annotated[str, typer.Argument(help="One of: " + ", ".join(roles.ROLES))],
    tenant: Annotated[str, typer.Option(help="Demo tenant, by name or id")] = "beauty",
    location: Annotated[str, typer.Option(help="Only this location: its id or its code")] = "",
) -> None:
    """Print an access token of the running demo stack; it is valid for 15 minutes."""
    try:
        data = settings.load().data
        client = credentials(data, tenant, role)
        url = address(data)
        narrowed = location_id_of(url, client, location) if location else ""
        typer.echo(fetch(url, client, narrowed))
    except (NoTokenError, settings.ConfigurationError, OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(run)

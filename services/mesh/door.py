"""Envoy's place in the stack: writing its configuration from what the stack knows, and emptying it before a stop.

What the configuration says belongs to ``services.mesh.envoy``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pydantic

from services.mesh import endpoints, envoy, faults, layout, parts, ports, probes, tls
from services.mesh import settings as settings_module

DESCRIPTOR: Final = layout.ROOT / "generated" / "descriptors" / "tillmesh.binpb"
#: Envoy finishes answers for this long before the services are told to drain; streams end with the services.
_DRAIN_SECONDS_MAX: Final = 2.0
_POLL_SECONDS: Final = 0.05


def configure(
    place: layout.Layout,
    settings: settings_module.Settings,
    doors: endpoints.Endpoints,
    chosen: ports.Ports,
) -> Path:
    """Writes Envoy's configuration, and the certificate of the TLS door if there is none; returns its path."""
    certificate, key = tls.ensure_certificate(place.envoy, dt.datetime.now(dt.UTC))
    path = place.envoy / "envoy.json"
    try:
        envoy.write_config(
            path=path,
            http_port=chosen.http,
            https_port=chosen.https,
            admin_socket=place.envoy_admin,
            sockets=doors.sockets,
            issuer=doors.issuer,
            tls_certificate=certificate,
            tls_key=key,
            descriptor=DESCRIPTOR,
            otlp_endpoint=settings.otlp_endpoint,
            access_log=place.log("access"),
            processes={service: settings.processes(service) for service in parts.SERVICES},
        )
    except pydantic.ValidationError as error:
        raise settings_module.refusal(error) from None
    except FileNotFoundError as error:
        raise faults.Refusal(f"{error.filename} is missing: run ./scripts/generate.") from None
    return path


async def is_open(http_port: int) -> bool:
    """Whether the edge says, through Envoy, that every part is ready."""
    return await probes.http_status(http_port, "/healthz") == HTTPStatus.OK


async def missing(http_port: int) -> str:
    """What the edge waits for, in its own words."""
    _, body = await probes.ask(http_port, "/healthz")
    try:
        return ", ".join(json.loads(body)["not_ready"]) or "the door"
    except (ValueError, KeyError, TypeError):
        return "the door"


async def drain(admin: Path) -> None:
    """Has Envoy take no new connections, and waits a little for the requests under way."""
    await probes.ask(admin, "/drain_listeners?graceful", method="POST")
    deadline = time.monotonic() + _DRAIN_SECONDS_MAX
    while await _requests_under_way(admin) and time.monotonic() < deadline:  # noqa: ASYNC110 — asks another process
        await asyncio.sleep(_POLL_SECONDS)


async def _requests_under_way(admin: Path) -> int:
    _, body = await probes.ask(admin, "/stats?filter=downstream_rq_active")
    rows = [line.split(": ") for line in body.splitlines() if ": " in line]
    return sum(int(value) for name, value in rows if not name.startswith("http.admin.") and value.isdigit())

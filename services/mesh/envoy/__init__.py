"""Writes Envoy's configuration: the files of envoy/, filled in from the contracts, the mesh's wiring and the settings.

The supervisor calls write_config and starts Envoy with the file. Nothing here talks to a running Envoy.
"""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.mesh.envoy import contract, replies, routes, rules, settings, template

EDGE = "edge"
FILE_LOGGER = ("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog")
STDOUT_LOGGER = ("envoy.access_loggers.stdout", "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog")


@dataclasses.dataclass(frozen=True)
class Wiring:
    """Where everything is that Envoy listens on, calls or reads."""

    http_port: int
    """0 = a free port; /listeners on the admin socket says which."""
    https_port: int
    admin_socket: Path
    sockets: Mapping[str, Sequence[Path]]
    """Unix sockets by name: `edge`, and the services, of all their processes. A service without one answers 503."""
    issuer: str
    """The `iss` of the tokens: the public URL of the edge."""
    tls_certificate: Path
    tls_key: Path
    descriptor: Path
    """The contracts' descriptor set."""
    otlp_endpoint: str | None = None
    """Where spans go by gRPC, e.g. `http://127.0.0.1:4317`; None = no traces."""
    access_log: Path | None = None
    """None = standard output."""
    processes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Of each service; one where it isn't said."""


def write_config(
    *,
    path: Path,
    http_port: int,
    https_port: int,
    admin_socket: Path,
    sockets: Mapping[str, Sequence[Path]],
    issuer: str,
    tls_certificate: Path,
    tls_key: Path,
    descriptor: Path,
    otlp_endpoint: str | None = None,
    access_log: Path | None = None,
    processes: Mapping[str, int] | None = None,
    door: settings.DoorSettings | None = None,
) -> None:
    """Writes the configuration to `path`, at once or not at all. The door's settings come from the environment.

    Raises contract.ContractError for contracts that cannot be served, pydantic.ValidationError for a bad setting.
    """
    wiring = Wiring(
        http_port=http_port,
        https_port=https_port,
        admin_socket=admin_socket,
        sockets=sockets,
        issuer=issuer,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        descriptor=descriptor,
        otlp_endpoint=otlp_endpoint,
        access_log=access_log,
        processes=processes or {},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(render(wiring, door or settings.DoorSettings()), indent=1), encoding="utf-8")
    scratch.replace(path)


def render(wiring: Wiring, door: settings.DoorSettings) -> dict[str, Any]:
    """Envoy's whole configuration as it stands in the file."""
    owners = [name for name in wiring.sockets if name != EDGE]
    rpcs = contract.load(wiring.descriptor, owners)
    tracing = _tracing(wiring.otlp_endpoint)
    clusters = [*(_service(owner, wiring, rpcs) for owner in owners), _edge(wiring.sockets[EDGE])]
    values = {
        "admin_socket": str(wiring.admin_socket),
        "max_connections": door.max_connections,
        "bind_address": door.bind_address,
        "http_port": wiring.http_port,
        "https_port": wiring.https_port,
        "tls_certificate": str(wiring.tls_certificate),
        "tls_key": str(wiring.tls_key),
        "http": _http(wiring, door, rpcs, tracing.get("tracing")),
        "clusters": [*clusters, *([tracing["cluster"]] if tracing else [])],
    }
    rendered: dict[str, Any] = template.load("envoy.yaml", values)
    return rendered


def _http(
    wiring: Wiring, door: settings.DoorSettings, rpcs: Sequence[contract.Rpc], tracing: dict[str, Any] | None
) -> dict[str, Any]:
    """The connection manager with its filters."""
    services = sorted({rpc.service for rpc in rpcs})
    limits, buckets = rules.rate_limits(door)
    processes = {name: wiring.processes.get(name, 1) for name in wiring.sockets if name != EDGE}
    events = _transcoder(wiring, door, services, sse=True)
    values = {
        "trusted_hops": door.trusted_hops,
        "access_log": _access_log(wiring.access_log),
        "tracing": tracing,
        "replies": replies.mappers(),
        "route_config": routes.route_config(rpcs, door=door, processes=processes, events_transcoder=events),
        "door_lua": template.source("lua/door.lua"),
        "reply_lua": template.source("lua/reply.lua"),
        "address_rules": rules.address_rules(door),
        "body_limit_bytes": door.body_limit_bytes,
        "issuer": wiring.issuer,
        "audience": door.audience,
        "jwks_refresh": f"{door.jwks_refresh_seconds}s",
        "token_rules": rules.token_rules(rpcs),
        "rate_limits": limits,
        "rate_buckets": buckets,
        "transcoder": _transcoder(wiring, door, services, sse=False),
    }
    filled: dict[str, Any] = template.load("http.yaml", values)
    return filled


def _transcoder(wiring: Wiring, door: settings.DoorSettings, services: list[str], *, sse: bool) -> dict[str, Any]:
    values = {
        "descriptor": str(wiring.descriptor),
        "services": services,
        "sse": sse,
        "body_limit_bytes": door.body_limit_bytes,
    }
    filled: dict[str, Any] = template.load("transcoder.yaml", values)
    return filled


def _service(owner: str, wiring: Wiring, rpcs: Sequence[contract.Rpc]) -> dict[str, Any]:
    """The upstream of one service. Its health is asked of the service that bears the owner's name, if there is one."""
    services = sorted({rpc.service for rpc in rpcs if rpc.service.split(".")[1] == owner})
    eponymous = f"tillmesh.{owner}.v1.{owner.capitalize()}Service"
    values = {
        "name": owner,
        "lb_policy": "MAGLEV" if wiring.processes.get(owner, 1) > 1 else "LEAST_REQUEST",
        "health_service": eponymous if eponymous in services or not services else services[0],
        "endpoints": _endpoints(wiring.sockets[owner]),
    }
    filled: dict[str, Any] = template.load("service.yaml", values)
    return filled


def _edge(sockets: Sequence[Path]) -> dict[str, Any]:
    filled: dict[str, Any] = template.load("edge.yaml", {"endpoints": _endpoints(sockets)})
    return filled


def _endpoints(sockets: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}} for socket in sockets]


def _access_log(path: Path | None) -> dict[str, Any]:
    name, kind = FILE_LOGGER if path else STDOUT_LOGGER
    values = {"name": name, "kind": f"type.googleapis.com/{kind}", "path": str(path) if path else None}
    filled: dict[str, Any] = template.load("access_log.yaml", values)
    return filled


def _tracing(endpoint: str | None) -> dict[str, Any]:
    """The `tracing` of the filters and the `cluster` that spans go to; empty without an endpoint."""
    if endpoint is None:
        return {}
    url = urllib.parse.urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    tls = None
    if url.scheme == "https":
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        tls = {"name": "tls", "typed_config": {"@type": kind, "sni": url.hostname}}
    filled: dict[str, Any] = template.load("tracing.yaml", {"host": url.hostname, "port": url.port or 4317, "tls": tls})
    return filled

"""``run/endpoints.json``: where everything of a running stack is. Tests and tools read this and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.mesh import files, layout, parts, ports, postgres, processes
from services.mesh import settings as settings_module


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The doors of one stack, known before anything is started."""

    http: str
    https: str
    issuer: str
    nats: str
    metrics: Mapping[str, int]
    sockets: Mapping[str, Sequence[Path]]


def plan(place: layout.Layout, settings: settings_module.Settings, chosen: ports.Ports) -> Endpoints:
    """Derives every address from the settings and the ports chosen."""
    http = f"http://{ports.HOST}:{chosen.http}"
    sockets = {service: _sockets(place, service, settings.processes(service)) for service in parts.SERVICES}
    sockets[parts.EDGE] = [place.socket(parts.EDGE)]
    return Endpoints(
        http=http,
        https=f"https://{ports.HOST}:{chosen.https}",
        issuer=settings.issuer or http,
        nats=settings.nats_url or f"nats://{ports.HOST}:{chosen.nats}",
        metrics=chosen.metrics,
        sockets=sockets,
    )


def _sockets(place: layout.Layout, service: str, count: int) -> list[Path]:
    return [path for process in parts.process_names(service, count) for path in place.sockets(process)]


def write(place: layout.Layout, endpoints: Endpoints, pids: Mapping[str, int]) -> None:
    """Writes the file anew, with the process numbers of now."""
    content: dict[str, Any] = {
        "http": endpoints.http,
        "https": endpoints.https,
        "issuer": endpoints.issuer,
        "nats": endpoints.nats,
        "run_dir": str(place.run),
        "envoy_admin": str(place.envoy_admin),
        "metrics": dict(endpoints.metrics),
        "sockets": {part: [str(path) for path in paths] for part, paths in endpoints.sockets.items()},
        "postgres": {"host": str(place.postgres_run), "port": postgres.PORT},
        "pids": dict(pids),
    }
    files.write_atomic(place.endpoints, json.dumps(content, indent=2))
    files.write_atomic(_record(place), processes.identities(pids))


def clear(place: layout.Layout) -> None:
    """Says that nothing runs any more."""
    place.endpoints.unlink(missing_ok=True)
    _record(place).unlink(missing_ok=True)


def end_leftovers(place: layout.Layout, wait_seconds: float) -> list[str]:
    """Ends what a killed supervisor left; returns the names of those that still ran."""
    return processes.end_leftovers(_record(place), wait_seconds)


def _record(place: layout.Layout) -> Path:
    return place.state / "processes.json"

"""The environment that a child is started with: the contract between the supervisor and ``services.kit.settings``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from services.mesh import databases, endpoints, layout, parts, postgres, secret_files
from services.mesh import settings as settings_module


@dataclass(frozen=True, slots=True)
class Environment:
    """Builds the environment of each child of one stack. ``cluster`` is None when no database is embedded."""

    place: layout.Layout
    settings: settings_module.Settings
    endpoints: endpoints.Endpoints
    cluster: postgres.Cluster | None
    embeds_nats: bool

    def of(self, part: str, process: str | None = None) -> dict[str, str]:
        """Everything that a process of ``part`` (a service or the edge) is told; a step passes no process."""
        told = _inherited(os.environ) | self._common()
        if process is not None:
            told |= {
                "TILLMESH_LISTEN": self._listen(part, process),
                "TILLMESH_METRICS_PORT": str(self.endpoints.metrics[process]),
            }
        if part in parts.SERVICES:
            told |= self._identity(part)
        if part == "orders":
            told.setdefault("TILLMESH_ORDERS_PAYMENTS", "simulated")  # an embedded stack is for trying things out
            told.setdefault("TILLMESH_ORDERS_KEYS_FILE", str(self.place.root_keys))
            told.setdefault("TILLMESH_ORDERS_ERASURE_LOG", str(self.place.erasures))
        if part in parts.WITH_DATABASE:
            told.setdefault("TILLMESH_AUDIT_KEYS_FILE", str(self.place.audit_keys))
            told.setdefault("TILLMESH_AUDIT_ANCHORS", str(self.place.audit_anchors))
            told |= dict(zip(settings_module.variables(part), self.database(part), strict=True))
        return told

    def database(self, service: str) -> settings_module.Database:
        """The database URLs of a service: outside ones if set, else the embedded cluster's."""
        outside = settings_module.outside_database(service)
        if outside is not None:
            return outside
        if self.cluster is None:
            raise ValueError(f"{service} has no database")
        name = databases.database(service)
        users = (f"{service}_app", f"{service}_worker", databases.MIGRATOR)
        return settings_module.Database(*(self.cluster.url(name, user) for user in users))

    def _listen(self, part: str, process: str) -> str:
        paths = self.place.sockets(process) if part in parts.SERVICES else [self.place.socket(process)]
        return ",".join(f"unix:{path}" for path in paths)

    def _common(self) -> dict[str, str]:
        told = {
            "PYTHONPATH": f"{layout.ROOT}{os.pathsep}{layout.ROOT / 'generated'}",
            "PYTHONUNBUFFERED": "1",
            "TILLMESH_DATA": str(self.place.data),
            "TILLMESH_RUN_DIR": str(self.place.run),
            "TILLMESH_ISSUER": self.endpoints.issuer,
            "TILLMESH_AUDIENCE": parts.AUDIENCE,
            "TILLMESH_JWKS_FILE": str(self.place.jwks / "edge.json"),
            "TILLMESH_SERVICE_JWKS_FILE": str(self.place.jwks / "services.json"),
            "TILLMESH_NATS_URL": self.endpoints.nats,
            "TILLMESH_LOG_FORMAT": self.settings.log_format or "json",
        }
        if self.settings.otlp_endpoint:
            told["TILLMESH_OTLP_ENDPOINT"] = self.settings.otlp_endpoint
        for service in parts.SERVICES:
            addresses = [f"unix:{path}" for path in self.endpoints.sockets[service]]
            told[f"TILLMESH_{service.upper()}_ADDRESS"] = ",".join(addresses)
        return told

    def _identity(self, service: str) -> dict[str, str]:
        told = {"TILLMESH_SERVICE_KEY_FILE": str(secret_files.service_key(self.place, service))}
        if self.embeds_nats:
            told |= {
                "TILLMESH_NATS_USER": service,
                "TILLMESH_NATS_PASSWORD_FILE": str(self.place.secrets / f"nats-{service}"),
            }
        return told


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would change which code runs, or tell a service of another's database."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {
        name: value
        for name, value in environ.items()
        if name not in dropped and not (name.startswith("TILLMESH_") and name.endswith("_DATABASE_URL"))
    }

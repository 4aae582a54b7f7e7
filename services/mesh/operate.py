"""`python -m services.mesh.operate SERVICE COMMAND …`: a command of a service against the embedded stack that runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.mesh import databases, layout, postgres, secret_files
from services.mesh import settings as settings_module


def environment(data: Path, service: str) -> dict[str, str]:
    """What the command is told: databases, key and addresses. Raises OSError or KeyError when nothing runs there."""
    place = layout.of(data)
    found: Mapping[str, Any] = json.loads(place.endpoints.read_text())
    cluster = postgres.Cluster(data, Path(found["postgres"]["host"]), place.passfile)
    name = databases.database(service)
    app, worker, _ = settings_module.variables(service)
    told = {
        app: cluster.url(name, f"{service}_app"),
        worker: cluster.url(name, f"{service}_worker"),
        "TILLMESH_SERVICE_KEY_FILE": str(secret_files.service_key(place, service)),
        "TILLMESH_JWKS_FILE": str(place.jwks / "edge.json"),
        "TILLMESH_SERVICE_JWKS_FILE": str(place.jwks / "services.json"),
        "TILLMESH_ISSUER": found["issuer"],
        "TILLMESH_AUDIT_KEYS_FILE": str(place.audit_keys),
        "TILLMESH_AUDIT_ANCHORS": str(place.audit_anchors),
    }
    if service == "orders":
        told |= {"TILLMESH_ORDERS_KEYS_FILE": str(place.root_keys), "TILLMESH_ORDERS_ERASURE_LOG": str(place.erasures)}
    sockets = found["sockets"].items()
    return told | {
        f"TILLMESH_{part.upper()}_ADDRESS": ",".join(f"unix:{at}" for at in paths) for part, paths in sockets
    }


def main() -> None:
    """Becomes the command. What the caller has set already, such as an outside database, stays."""
    data = settings_module.Settings().data
    service, *command = sys.argv[1:]
    try:
        told = environment(data, service)
    except (OSError, ValueError, KeyError):
        sys.exit(f"Tillmesh isn't running on {data}: start it with ./scripts/server.")
    os.execve(  # noqa: S606  # no shell, and the program is ourselves
        sys.executable, [sys.executable, "-P", "-m", f"services.{service}", *command], {**told, **os.environ}
    )


if __name__ == "__main__":
    main()

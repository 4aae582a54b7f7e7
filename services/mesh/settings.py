"""What an operator can set, from ``TILLMESH_…`` variables. What a child is told belongs to ``environment``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pydantic
import pydantic_settings

from services.mesh import faults, layout

Port = Annotated[int, pydantic.Field(ge=0, le=65535)]
Processes = Annotated[int, pydantic.Field(ge=1, le=16)]


class Settings(pydantic_settings.BaseSettings):
    """Settings of the supervisor. A port of 0 asks for a free one, which is then found in ``run/endpoints.json``."""

    model_config = pydantic_settings.SettingsConfigDict(env_prefix="TILLMESH_", env_ignore_empty=True, extra="ignore")

    data: Path = layout.ROOT / ".data"
    http_port: Port = 8080
    https_port: Port = 8443
    nats_port: Port = 4280
    #: The supervisor's metrics port; the services and the edge follow it, a second process of a service lies 10 higher.
    metrics_base_port: Annotated[int, pydantic.Field(ge=0, le=65000)] = 9470
    inventory_processes: Processes = 1
    orders_processes: Processes = 1
    #: Public URL of the edge as clients see it; by default the plain listener's.
    issuer: str | None = None
    #: An outside NATS server instead of the embedded one.
    nats_url: str | None = None
    #: Where spans go (OTLP over gRPC); none are made without it.
    otlp_endpoint: str | None = None
    #: Loads the two demo brands once, after the first start.
    demo: bool = True
    log_format: Literal["json", "console"] | None = None
    start_timeout_seconds: Annotated[float, pydantic.Field(gt=0)] = 120

    def processes(self, service: str) -> int:
        """How many processes a service runs in; services without state run in one."""
        return int(getattr(self, f"{service}_processes", 1))


class Database(NamedTuple):
    """The three doors to a service's database."""

    app: str
    worker: str
    owner: str


def variables(service: str) -> Database:
    """Names the variables that hold a service's database URLs."""
    prefix = f"TILLMESH_{service.upper()}"
    return Database(f"{prefix}_DATABASE_URL", f"{prefix}_WORKER_DATABASE_URL", f"{prefix}_OWNER_DATABASE_URL")


def outside_database(service: str, environ: Mapping[str, str] = os.environ) -> Database | None:
    """A database that somebody else runs for the service, or None. All three URLs must be there, or none."""
    names = variables(service)
    urls = [environ.get(name, "") for name in names]
    if not any(urls):
        return None
    missing = [name for name, url in zip(names, urls, strict=True) if not url]
    if missing:
        raise faults.Refusal(f"A database outside the stack needs three URLs: set {' and '.join(missing)} too.")
    return Database(*urls)


def load() -> Settings:
    """Reads the environment. Raises ``Refusal`` that names the first wrong variable."""
    try:
        return Settings()
    except pydantic.ValidationError as error:
        raise refusal(error) from None


def refusal(error: pydantic.ValidationError) -> faults.Refusal:
    """One sentence about the first of the variables that are wrong."""
    first = error.errors()[0]
    variable = f"TILLMESH_{first['loc'][0] if first['loc'] else ''}".upper()
    return faults.Refusal(f"{variable}={first['input']} can't be used: {first['msg']}.")

"""Settings that every service reads from TILLMESH_… variables. A service adds its own in its bootstrap."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What the mesh (or a deployment) gives each process. Durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="TILLMESH_", frozen=True, extra="ignore")

    listen: str = "127.0.0.1:0"
    """One address or several, separated by commas: the more, the more calls are taken at once."""
    metrics_port: int = 0
    issuer: str = "http://127.0.0.1:8080"
    audience: str = "tillmesh"
    jwks_file: Path | None = None
    service_jwks_file: Path | None = None
    service_key_file: Path | None = None
    nats_url: str = "nats://127.0.0.1:4280"
    nats_user: str = ""
    nats_password_file: Path | None = None
    audit_keys_file: Path | None = None
    """Keys that seal the audit logs of all services (kit/key_file.py). Needed by those with a database."""
    audit_anchors: Path | None = None
    """A folder outside of the databases, with a file of anchors for each service. All processes of one share it."""
    inventory_address: str = ""
    orders_address: str = ""
    otlp_endpoint: str = ""
    log_format: str = "json"
    log_level: str = "info"
    drain_seconds: float = Field(default=2.0, ge=0, le=60)
    # How long a stream may live before its client has to come back: re-checks access and rebalances.
    stream_lifetime_seconds: float = Field(default=900.0, gt=0)
    rpc_concurrency: int = Field(default=20_000, gt=0)

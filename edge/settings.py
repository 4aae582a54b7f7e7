"""Settings of the edge, from the environment (prefix ``TILLMESH_``).

The same variables as the services read; the edge has its own small reader so that it can be deployed without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pydantic
import pydantic_settings

REPOSITORY = Path(__file__).resolve().parents[1]
SERVICES = ("inventory", "orders", "reviews", "marketing")
OAUTH_PATH = "/oauth2/token"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class ConfigurationError(Exception):
    """The edge can't start as it is configured; the message is one sentence for the person who runs it."""


class Settings(pydantic_settings.BaseSettings):
    """Everything the edge is told from outside. Paths that aren't given follow from ``data``."""

    model_config = pydantic_settings.SettingsConfigDict(env_prefix="TILLMESH_", extra="ignore", frozen=True)

    data: Path = REPOSITORY / ".data"
    listen: str = "127.0.0.1:8081"
    issuer: str = "http://127.0.0.1:8080"
    audience: str = "tillmesh"
    jwks_file: Path | None = None
    nats_url: str = ""
    inventory_address: str = ""
    orders_address: str = ""
    reviews_address: str = ""
    marketing_address: str = ""
    metrics_port: int | None = None
    log_format: Literal["json", "console"] = "json"
    openapi_file: Path = REPOSITORY / "generated" / "openapi.json"

    @pydantic.field_validator("issuer")
    @classmethod
    def _issuer_is_usable(cls, value: str) -> str:
        """RFC 8414: https without query or fragment. Plain http only where nothing leaves the machine."""
        url = urlsplit(value)
        if url.query or url.fragment or not url.hostname:
            raise ValueError("must be a URL without query and fragment")
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK_NAMES):
            raise ValueError("must use https (http is for loopback only)")
        return value.rstrip("/")

    @property
    def keys_folder(self) -> Path:
        """Private signing keys and their schedule."""
        return self.data / "edge" / "keys"

    @property
    def clients_file(self) -> Path:
        """The OAuth clients, secrets hashed."""
        return self.data / "edge" / "clients.json"

    @property
    def public_jwks_file(self) -> Path:
        """The public keys, as the services read them."""
        return self.jwks_file or self.data / "jwks" / "edge.json"

    def service_addresses(self) -> dict[str, list[str]]:
        """The gRPC targets by service, one per process; services without an address are not part of this deployment."""
        listed = {name: str(getattr(self, f"{name}_address")) for name in SERVICES}
        return {name: [each.strip() for each in text.split(",")] for name, text in listed.items() if text.strip()}


def load() -> Settings:
    """The settings of this process. Raises ConfigurationError naming each bad variable, never its value."""
    try:
        return Settings()
    except pydantic.ValidationError as error:
        problems = "; ".join(f"TILLMESH_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"The edge's settings are not usable: {problems}.") from None

"""What an operator may set about the door. The mesh's own wiring (ports, sockets) is not here: it is passed in."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import pydantic
import pydantic_settings

Address = ipaddress.IPv4Network | ipaddress.IPv6Network
Rate = Annotated[int, pydantic.Field(ge=0, le=1_000_000)]


def _split(value: object) -> object:
    """Turns `a, b` into a list, since lists in the environment are written with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_split)]
Addresses = Annotated[tuple[Address, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_split)]


class DoorSettings(pydantic_settings.BaseSettings):
    """Settings of the door, each from the environment variable TILLMESH_<NAME>.

    Rates are requests a second, 0 = no limit. Each door (plain and TLS) and each Envoy process counts for itself.
    """

    model_config = pydantic_settings.SettingsConfigDict(env_prefix="TILLMESH_", extra="ignore", frozen=True)

    audience: str = "tillmesh"
    """The `aud` that a token must carry."""
    jwks_refresh_seconds: Annotated[int, pydantic.Field(ge=1)] = 5
    """How soon a new key of the edge is known, and a revoked one refused."""
    cors_origins: Texts = ()
    """Origins of browsers' pages that may call, e.g. `https://shop.example`; `*` for any (then without credentials)."""
    rate_limit_per_client: Rate = 2_000
    """By the token's `sub`, within its tenant."""
    rate_limit_per_tenant: Rate = 10_000
    rate_limit_per_address: Rate = 500
    """Requests without a token, by the caller's address."""
    rate_limit_tokens_per_address: Rate = 50
    """Requests to /oauth2/, by the caller's address: guesses at secrets."""
    ip_allow: Addresses = ()
    """When set, only these networks may call."""
    ip_deny: Addresses = ()
    trusted_hops: Annotated[int, pydantic.Field(ge=0, le=10)] = 0
    """Our own proxies in front of Envoy: the caller's address is then that many steps back in x-forwarded-for."""
    bind_address: str = "127.0.0.1"
    max_connections: Annotated[int, pydantic.Field(ge=1)] = 20_000
    """Callers' connections; each needs a file descriptor."""
    body_limit_bytes: Annotated[int, pydantic.Field(ge=1)] = 8 * 1024 * 1024
    read_timeout_seconds: Annotated[int, pydantic.Field(ge=1)] = 10
    """Deadline of a unary call that changes nothing, unless the caller brings a shorter one."""
    write_timeout_seconds: Annotated[int, pydantic.Field(ge=1)] = 20
    stream_idle_seconds: Annotated[int, pydantic.Field(ge=1)] = 60
    """A stream without a byte for this long is cut; watches send progress every 15 s."""
    stream_lifetime_seconds: Annotated[int, pydantic.Field(ge=1)] = 960
    """A stream is cut at this age, a minute after a service would have ended it by itself."""

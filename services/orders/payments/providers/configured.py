"""Providers of single tenants, from a file that names files with secrets. Read when the process starts.

{"ten_…": {"provider": "stripe", "api_key_file": "/run/secrets/stripe-key",
           "endpoint": "whin_…", "webhook_secret_files": ["/run/secrets/stripe-webhook"]}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pydantic

from services.kit import events, process
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.handlers import webhooks
from services.orders.payments.providers import stripe, stripe_api

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Account(pydantic.BaseModel):
    """A tenant's account. Two webhook secrets are good while one is rolled."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    provider: Literal["stripe"]
    api_key_file: Path
    endpoint: str = pydantic.Field(default="", pattern=r"^(whin_[0-7][0-9a-hjkmnp-tv-z]{25})?$")
    webhook_secret_files: tuple[Path, ...] = ()
    api_url: str = stripe_api.URL

    @pydantic.field_validator("api_url")
    @classmethod
    def _is_private(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise ValueError("must use https (http is for loopback only)")
        return value

    @pydantic.model_validator(mode="after")
    def _hears_whom_it_can_verify(self) -> Account:
        if bool(self.endpoint) != bool(self.webhook_secret_files):
            raise ValueError("endpoint and webhook_secret_files go together")
        return self


_FILE = pydantic.TypeAdapter(dict[str, Account])


class Accounts:
    """What the file says. Tenants are uuid text."""

    def __init__(self, file: Path | None) -> None:
        """NotConfigured."""
        self.providers: dict[str, tuple[domain.Provider, port.Provider]] = {}
        self.endpoints: dict[str, webhooks.Endpoint] = {}
        self._open: list[stripe.Stripe] = []
        for tenant, account in _read(file).items():
            made = stripe.Stripe(stripe_api.Api(_secret(account.api_key_file), account.api_url))
            self._open.append(made)
            self.providers[tenant] = (domain.Provider.STRIPE, made)
            if account.endpoint:
                secrets = [_secret(each) for each in account.webhook_secret_files]
                self.endpoints[account.endpoint] = webhooks.Endpoint(tenant, secrets)

    async def close(self) -> None:
        """Closes the clients."""
        for each in self._open:
            await each.close()


def _read(file: Path | None) -> Mapping[str, Account]:
    if file is None:
        return {}
    try:
        found = _FILE.validate_json(file.read_bytes())
        named = {events.tenant_uuid(tenant): account for tenant, account in found.items()}
    except (OSError, ValueError) as error:
        raise process.NotConfigured(f"TILLMESH_ORDERS_PROVIDERS_FILE: {error}") from None
    endpoints = [account.endpoint for account in named.values() if account.endpoint]
    if len(set(endpoints)) < len(endpoints):
        raise process.NotConfigured("TILLMESH_ORDERS_PROVIDERS_FILE: an endpoint is of one tenant only.")
    return named


def _secret(file: Path) -> str:
    try:
        found = file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise process.NotConfigured(f"{file}: {type(error).__name__}") from None
    if not found or not found.isprintable():
        raise process.NotConfigured(f"{file} holds no secret.")
    return found

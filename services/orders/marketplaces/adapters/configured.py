"""Accounts of tenants at marketplaces, from a file that names files with secrets. Read when the process starts.

{"ten_…": {"main": {"kind": "ebay", "client_id": "…", "client_secret_file": "/run/secrets/ebay-client",
                    "refresh_token_file": "/run/secrets/ebay-seller", "marketplace_id": "EBAY_US"}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pydantic

from services.kit import events, process
from services.orders.domain.marketplaces import values
from services.orders.marketplaces import port
from services.orders.marketplaces.adapters import ebay, ebay_api

SETTING = "TILLMESH_ORDERS_MARKETPLACES_FILE"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
KINDS = {"ebay": values.Kind.EBAY}


class Account(pydantic.BaseModel):
    """A seller's account, by the keys of our application (client) and the seller's consent (refresh token)."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ebay"]
    client_id: str = pydantic.Field(min_length=1)
    client_secret_file: Path
    refresh_token_file: Path
    marketplace_id: str = pydantic.Field(pattern=r"^[A-Z_]{4,40}$")
    url: str = ebay_api.URL

    @pydantic.field_validator("url")
    @classmethod
    def _is_private(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise ValueError("must use https (http is for loopback only)")
        return value


_FILE = pydantic.TypeAdapter(dict[str, dict[str, Account]])


class Accounts:
    """What the file says. Tenants are uuid text."""

    def __init__(self, file: Path | None) -> None:
        """NotConfigured."""
        self._made: dict[tuple[str, str], tuple[values.Kind, port.Marketplace]] = {}
        for tenant, accounts in _read(file).items():
            for name, account in accounts.items():
                self._made[tenant, name] = KINDS[account.kind], ebay.Ebay(ebay_api.Api(_account(account)))

    def find(self, tenant: str, name: str) -> tuple[values.Kind, port.Marketplace] | None:
        """A tenant's account; None: it isn't configured, or not any more."""
        return self._made.get((tenant, name))

    async def close(self) -> None:
        """Closes the clients."""
        for _, made in self._made.values():
            await made.close()


def _account(account: Account) -> ebay_api.Account:
    return ebay_api.Account(
        client_id=account.client_id,
        client_secret=_secret(account.client_secret_file),
        refresh_token=_secret(account.refresh_token_file),
        marketplace_id=account.marketplace_id,
        url=account.url,
    )


def _read(file: Path | None) -> Mapping[str, Mapping[str, Account]]:
    if file is None:
        return {}
    try:
        found = _FILE.validate_json(file.read_bytes())
        return {events.tenant_uuid(tenant): accounts for tenant, accounts in found.items()}
    except (OSError, ValueError) as error:
        raise process.NotConfigured(f"{SETTING}: {error}") from None


def _secret(file: Path) -> str:
    try:
        found = file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise process.NotConfigured(f"{file}: {type(error).__name__}") from None
    if not found or not found.isprintable():
        raise process.NotConfigured(f"{file} holds no secret.")
    return found

"""Which provider a tenant's cards go to, and who the providers are."""

from __future__ import annotations

from collections.abc import Mapping

from services.orders.domain import payments as domain
from services.orders.payments import port


class NoProvider(domain.Declined):
    """No provider takes cards for this tenant."""

    def __init__(self) -> None:
        super().__init__("no_provider")


class Registry:
    """Providers of one process, by tenant (uuid text). Tenants without one of their own have the default, if any."""

    def __init__(
        self,
        default: tuple[domain.Provider, port.Provider] | None,
        own: Mapping[str, tuple[domain.Provider, port.Provider]] | None = None,
    ) -> None:
        self._default = default
        self._own = own or {}

    @property
    def simulates(self) -> bool:
        """Whether the default is the simulated bank."""
        return self._default is not None and self._default[0] is domain.Provider.SIMULATED

    def for_cards(self, tenant: str) -> tuple[domain.Provider, port.Provider]:
        """Where a new card payment of a tenant goes. NoProvider."""
        found = self._own.get(tenant, self._default)
        if found is None:
            raise NoProvider
        return found

    def of(self, tenant: str, provider: domain.Provider) -> port.Provider:
        """The provider of a payment that was made before. NoAnswer when it isn't configured any more."""
        for found in (self._own.get(tenant), self._default):
            if found is not None and found[0] is provider:
                return found[1]
        raise port.NoAnswer(provider.name)

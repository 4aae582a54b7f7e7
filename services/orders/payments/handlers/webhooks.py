"""Use cases of what providers say by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from services.kit import errors
from services.orders.domain import payments as domain
from services.orders.payments import operations, port
from services.orders.payments.providers import stripe_webhooks as stripe

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider speaks to a tenant (uuid text). secrets: any of them is good."""

    tenant: str
    secrets: Sequence[str] = field(repr=False)


class Webhooks:
    """Verifies what comes in, and has the provider's books read."""

    def __init__(
        self,
        moves: operations.Operations,
        endpoints: Mapping[str, Endpoint],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """endpoints: by their ids, `whin_…`."""
        self._operations = moves
        self._endpoints = endpoints
        self._clock = clock

    async def stripe(self, endpoint: str, signature: str, body: bytes) -> None:
        """An event of Stripe. SignatureInvalid, also for an unknown endpoint; Unavailable: Stripe sends it again."""
        found = self._endpoints.get(endpoint)
        stripe.verify(found.secrets if found else (), signature, body, self._clock())
        assert found is not None  # without secrets nothing verifies
        said = stripe.read(body)
        if said is None:
            return
        try:
            payment = await self._operations.reconcile(found.tenant, domain.Provider.STRIPE, said.reference)
        except port.NoAnswer:
            raise errors.Unavailable("the provider's books can't be read now") from None
        if payment is not None and said.told is not None:
            await self._operations.tell(found.tenant, payment, said.told, said.amount)
        log.info("payment.webhook", known=payment is not None, told=said.told)

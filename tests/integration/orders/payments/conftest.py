"""A tenant that takes payments, on the database of Orders."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kit import database
from services.orders.domain import payments as domain
from services.orders.payments.providers import stripe, stripe_api
from tests.integration.orders.payments import stripe_simulator
from tests.integration.orders.payments.paying import PayingWorld


@pytest.fixture
async def paying(db: database.Database, tenant: uuid.UUID, tmp_path: Path) -> AsyncIterator[PayingWorld]:
    made = PayingWorld(db, tenant, tmp_path / "bank.sqlite3")
    yield made
    await made.close()


@pytest.fixture
def stripe_server() -> Iterator[stripe_simulator.StripeServer]:
    server = stripe_simulator.StripeServer()
    yield server
    server.close()


@pytest.fixture
async def striped(
    db: database.Database, tenant: uuid.UUID, tmp_path: Path, stripe_server: stripe_simulator.StripeServer
) -> AsyncIterator[PayingWorld]:
    """A tenant whose cards go to Stripe."""
    provider = stripe.Stripe(stripe_api.Api(stripe_simulator.KEY, stripe_server.url))
    made = PayingWorld(db, tenant, tmp_path / "bank.sqlite3", (domain.Provider.STRIPE, provider))
    yield made
    await provider.close()
    await made.close()

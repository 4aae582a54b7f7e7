"""One stack for all end-to-end tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import browser, webhook
from tests.e2e import stack as stacks


@pytest.fixture(scope="session")
def pages() -> Iterator[browser.Pages]:
    """Where browsers get their page from."""
    served = browser.Pages()
    yield served
    served.close()


@pytest.fixture(scope="session")
def stripe_account(tmp_path_factory: pytest.TempPathFactory) -> webhook.Account:
    """A tenant of no other test, whose cards go to Stripe."""
    return webhook.Account(tmp_path_factory.mktemp("stripe"))


@pytest.fixture(scope="session")
def stack(pages: browser.Pages, stripe_account: webhook.Account) -> Iterator[stacks.Stack]:
    """Pages of our origin may call it, and a provider speaks to it."""
    settings = {
        "TILLMESH_CORS_ORIGINS": pages.origin,
        "TILLMESH_ORDERS_PROVIDERS_FILE": str(stripe_account.file),
    }
    with stacks.running(**settings) as running:
        yield running


@pytest.fixture
def admin(stack: stacks.Stack) -> stacks.Client:
    return stack.client("admin")

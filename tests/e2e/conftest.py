"""One stack for all end-to-end tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import browser
from tests.e2e import stack as stacks


@pytest.fixture(scope="session")
def pages() -> Iterator[browser.Pages]:
    """Where browsers get their page from."""
    served = browser.Pages()
    yield served
    served.close()


@pytest.fixture(scope="session")
def stack(pages: browser.Pages) -> Iterator[stacks.Stack]:
    """Pages of our origin may call it."""
    with stacks.running(TILLMESH_CORS_ORIGINS=pages.origin) as running:
        yield running


@pytest.fixture
def admin(stack: stacks.Stack) -> stacks.Client:
    return stack.client("admin")

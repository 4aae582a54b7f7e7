"""One stack for all end-to-end tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import stack as stacks


@pytest.fixture(scope="session")
def stack() -> Iterator[stacks.Stack]:
    with stacks.running() as running:
        yield running


@pytest.fixture
def admin(stack: stacks.Stack) -> stacks.Client:
    return stack.client("admin")

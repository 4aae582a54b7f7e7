"""A shop on a real database."""

from __future__ import annotations

from tests.integration.inventory.watch.conftest import shop, urls

__all__ = ["shop", "urls"]

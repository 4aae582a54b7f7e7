"""What the audit log says of stock: policies that somebody sets. What moves units has the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.inventory.domain import commands, stock
from services.inventory.domain import levels as values
from services.kit import audit

POLICY = ("safety_stock", "backorder_limit", "incoming", "low_stock_threshold", "rearm_threshold")
Policy = Mapping[str, Any] | None


def policy(working: stock.Stock, command: commands.Command) -> Policy:
    """What governs availability of a command's SKU; None: there is no such SKU, or it isn't about that."""
    if not isinstance(command, commands.SetPolicy) or (level := working.find(values.fold(command.sku))) is None:
        return None
    return {name: getattr(level, name) for name in POLICY}


def policy_set(working: stock.Stock, command: commands.Command, before: Policy) -> audit.Entry:
    """An entry of a policy that was set. before: as `policy` told it then."""
    assert isinstance(command, commands.SetPolicy)
    resource_id = f"{working.location_id}/{working.level(command.sku).sku}"
    changes = audit.changes(before, policy(working, command))
    return audit.Entry(action="updated", resource="stock_policy", resource_id=resource_id, changes=changes)

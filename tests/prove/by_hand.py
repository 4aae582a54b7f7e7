"""Parts of which histories are made by hand: calls, answers, and lines of a ledger. Second 0 is START."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from tests.prove import model
from tests.prove.history import Attempt, Call

HERE: Final = "loc_here"
START: Final = 1_800_000_000.0
Ledger = Sequence[tuple[int, str, str, Sequence[tuple[Any, ...]]]]
"""Position (and second), type and id of what it refers to, lines: SKU, from, to, units, reason, lot if there is one."""


def at(second: float) -> str:
    """A timestamp of the history."""
    return dt.datetime.fromtimestamp(START + second, dt.UTC).isoformat()


def attempt(second: float, body: Any = None, reason: str = "", status: int = 200) -> Attempt:
    """Sent shortly before a second, answered shortly after."""
    return Attempt(START + second - 0.4, START + second + 0.4, status, reason, body)


def call(kind: str, key: str, facts: dict[str, Any], *attempts: Attempt) -> Call:
    return Call(kind, "beauty", HERE, key, facts, list(attempts))


def refusal(second: float, reason: str, metadata: dict[str, str] | None = None, lines: Any = ()) -> Attempt:
    details = [{"reason": reason, "metadata": metadata or {}}, {"lines": list(lines)}]
    return attempt(second, {"details": details}, reason, 409)


def movements(location: str, ledger: Ledger) -> list[dict[str, Any]]:
    """As the API lists them."""
    return [
        {
            "location_id": location, "seq": str(seq), "line": number, "sku": sku, "quantity": str(quantity),
            "from_state": f"STOCK_STATE_{source}", "to_state": f"STOCK_STATE_{target}",
            "reason": f"MOVEMENT_REASON_{reason}", "reference_type": kind, "reference_id": name, "recorded_at": at(seq),
            "occurred_at": at(seq), "lot": "".join(lot),
        }
        for seq, kind, name, lines in ledger
        for number, (sku, source, target, quantity, reason, *lot) in enumerate(lines, 1)
    ]  # fmt: skip


def level(sku: str, *, version: int, location: str = HERE, **counters: int) -> dict[str, Any]:
    """A level as the API tells it."""
    state = model.State(**counters)
    counts = {name: str(value) for name, value in state._asdict().items()}
    return {"location_id": location, "sku": sku, **counts, "available": str(state.available), "version": str(version)}

"""Relays that stood still over a few events, made by hand: what was in flight when they were stopped came twice."""

from __future__ import annotations

from typing import Any

from tests.prove.by_hand import START
from tests.prove.history import History


def add(of: History) -> None:
    """Puts it into a history of other things."""
    of.outage = {
        "stopped_at": START,
        "waited": {"orders": 2, "inventory": 1},
        "taken_at": {"orders": START, "inventory": START},
        "published_after": 1.5,
        "applied_after": 2.0,
    }
    of.end.events = {
        "orders": [_event("o1", "shop", 1, 1, 1), _event("o2", "shop", 2, 4, 20), _event("o3", "order", 1, 1, 21)],
        "inventory": [_event("i1", "shop", 7, 7, 30), _event("i2", "shop", 8, 9, 31)],
    }
    of.end.published = {"orders": ["o0", "o1", "o1", "o3", "o2"], "inventory": ["i1", "i2"]}
    of.end.cursors = {"shop": 4, "another shop": 3}


def _event(name: str, key: str, first: int, last: int, second: float) -> dict[str, Any]:
    return {
        "id": name, "key": key, "seq_from": first, "seq_to": last, "recorded_at": START + second, "published": True,
    }  # fmt: skip

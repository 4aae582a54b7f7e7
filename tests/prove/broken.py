"""How tests break a history that was made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.prove.by_hand import at
from tests.prove.history import Call, History

Break = Callable[[History], None]


def named(of: History, key: str) -> Call:
    """The call with a key."""
    return next(found for found in of.calls if found.key == key)


def movement(location: str, seq: int, **changes: str) -> Break:
    """Another first line of a position."""

    def broken(of: History) -> None:
        row = next(row for row in of.end.movements[location] if row["seq"] == str(seq))
        row.update(changes)

    return broken


def without(location: str, seq: int) -> Break:
    """A position is missing."""

    def broken(of: History) -> None:
        of.end.movements[location] = [row for row in of.end.movements[location] if row["seq"] != str(seq)]

    return broken


def again(location: str, seq: int) -> Break:
    """What a position says happens once more."""

    def broken(of: History) -> None:
        found = of.end.movements[location]
        found += [row | {"seq": "20", "recorded_at": at(20)} for row in found if row["seq"] == str(seq)]

    return broken


def order(number: int, change: Callable[[dict[str, Any]], None]) -> Break:
    """Another order."""
    return lambda of: change(of.end.orders[f"ord_{number}"])


def told(key: str, part: str, value: str) -> Break:
    """A refusal that tells another number than there ever was."""

    def broken(of: History) -> None:
        details = named(of, key).attempts[-1].body["details"]
        target = details[1]["lines"][0] if details[1]["lines"] else details[0]["metadata"]
        target[part] = value

    return broken

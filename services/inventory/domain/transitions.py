"""State machines of documents: a table of legal moves each, and one way to refuse the others."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import TypeVar

from services.kit import errors

S = TypeVar("S", bound=enum.IntEnum)
Moves = Mapping[S, Collection[S]]


class IllegalTransition(errors.Error):
    """The document can't move from its state to this one."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, state: enum.IntEnum, to: enum.IntEnum, allowed: Collection[enum.IntEnum]) -> None:
        names = ",".join(each.name for each in sorted(allowed))
        super().__init__(
            f"{state.name} can't become {to.name}", metadata={"from": state.name, "to": to.name, "allowed": names}
        )


def check(moves: Moves[S], state: S, to: S) -> S:
    """The state moved to. ILLEGAL_TRANSITION when the table has no such move."""
    allowed = moves[state]
    if to not in allowed:
        raise IllegalTransition(state, to, allowed)
    return to

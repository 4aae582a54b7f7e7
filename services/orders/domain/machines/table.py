"""A machine as a table of legal moves with who may ask for each, and the two ways to refuse one."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.kit import errors
from services.orders.domain.machines.states import Machine

S = TypeVar("S", bound=enum.IntEnum)


class By(enum.Flag):
    """Who asks for a move. Customers don't: they place, cancel and return, and a use case moves what follows."""

    STAFF = enum.auto()
    """Somebody who names a state; which person may, and for which location, is a question of access before it."""
    SYSTEM = enum.auto()
    """A use case of ours, which sees to units and money, or a carrier."""
    PAYMENT = enum.auto()
    """Money has moved, or what is due has changed: payment_state says where to, and nobody else may."""


class IllegalTransition(errors.Error):
    """It can't move from its state to this one."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, state: enum.IntEnum, to: enum.IntEnum, allowed: Collection[enum.IntEnum]) -> None:
        names = ",".join(each.name for each in allowed)
        super().__init__(
            f"{state.name} can't become {to.name}", metadata={"from": state.name, "to": to.name, "allowed": names}
        )


class TransitionReserved(errors.Error):
    """Somebody else may ask for this move."""

    reason = "TRANSITION_RESERVED"

    def __init__(self, state: enum.IntEnum, to: enum.IntEnum, by: By) -> None:
        names = ",".join(str(each.name) for each in by)
        super().__init__(
            f"{state.name} becomes {to.name} by {names} only", metadata={"from": state.name, "to": to.name, "by": names}
        )


@dataclass(frozen=True, slots=True)
class Move(Generic[S]):
    """A move that was made, for the history. from_state None: it began there."""

    machine: Machine
    from_state: S | None
    to_state: S


@dataclass(frozen=True, slots=True)
class Table(Generic[S]):
    """initial: where one may begin. moves: every state, with the states it may become and who may ask for that."""

    machine: Machine
    initial: frozenset[S]
    moves: Mapping[S, Mapping[S, By]]

    def allowed(self, state: S, by: By | None = None) -> tuple[S, ...]:
        """The states it may become, in order of their numbers; by somebody: those that one may ask for."""
        return tuple(sorted(to for to, who in self.moves[state].items() if by is None or who & by))

    def begin(self, state: S) -> Move[S]:
        """The beginning, as a move. ValueError: nothing begins there."""
        if state not in self.initial:
            raise ValueError(f"nothing begins as {state.name}")
        return Move(self.machine, None, state)

    def move(self, state: S, to: S, by: By) -> Move[S]:
        """The move to a state. ILLEGAL_TRANSITION: there is none, also to where it is; TRANSITION_RESERVED."""
        who = self.moves[state].get(to)
        if who is None:
            raise IllegalTransition(state, to, self.allowed(state, by))
        if not who & by:
            raise TransitionReserved(state, to, who)
        return Move(self.machine, state, to)

    def is_final(self, state: S) -> bool:
        """Whether it stays there for ever."""
        return not self.moves[state]

    def named(self, name: str, field: str = "to_state") -> S:
        """The state of a name such as `PICKING`. INVALID_REQUEST lists those there are."""
        for state in self.moves:
            if state.name == name:
                return state
        names = ", ".join(state.name for state in sorted(self.moves))
        raise errors.InvalidRequest(violations=[errors.FieldViolation(field, f"is one of {names}")])

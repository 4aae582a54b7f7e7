"""A request as the search sees it: pieces that can't be divided, loose units that can, and what each location has.

Locations are numbers here: their rank in the rule's order. Sets of ranks and of pieces are ints used as bit sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from services.inventory.domain.sourcing_values import Candidate, Line, Portion, Splitting


class Piece(NamedTuple):
    """Lines that come from one location, whole. need: (number of the key, units)."""

    lines: tuple[int, ...]
    need: tuple[tuple[int, int], ...]
    units: int


class Rest(NamedTuple):
    """What is still to be found: a set of pieces, and loose units by key."""

    pieces: int
    loose: tuple[int, ...]

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.pieces) or any(self.loose)


class Step(NamedTuple):
    """What is taken from a location."""

    rank: int
    pieces: int
    loose: tuple[int, ...]
    units: int


def bits(mask: int) -> Iterator[int]:
    """The members of a set, ascending."""
    return itertools.compress(itertools.count(), map(int, f"{mask:b}"[::-1]))


class Demand:
    """Lines against the stock of ranked locations."""

    def __init__(self, lines: Iterable[Line], ranked: Sequence[Candidate], splitting: Splitting) -> None:
        self.lines = sorted(lines, key=lambda line: (line.ref, line.key))
        self.keys = sorted({line.key for line in self.lines})
        self._number = {key: number for number, key in enumerate(self.keys)}
        self.total = [0] * len(self.keys)
        for line in self.lines:
            self.total[self._number[line.key]] += line.quantity
        self.stock = [
            [min(max(place.available.get(key, 0), 0), self.total[k]) for k, key in enumerate(self.keys)]
            for place in ranked
        ]
        whole, divided = self._divide(splitting)
        self.pieces = [self._piece(numbers) for numbers in whole]
        self.all = Rest((1 << len(self.pieces)) - 1, tuple(self._sum(divided)))
        users = self._users(self.all.loose)
        self.shared = frozenset(k for k, count in enumerate(users) if count > 1)
        self.sums = tuple(k for k, loose in enumerate(self.all.loose) if loose or k in self.shared)
        """Keys whose stock over all locations has to be added up; of any other key one piece takes all."""
        self.rivals = sum(1 << i for i, p in enumerate(self.pieces) if any(k in self.shared for k, _ in p.need))
        """Pieces that share a key with another piece or with loose units."""
        self.fits = [self._fitting(have) for have in self.stock]
        self.homes = [sum(1 << r for r, fits in enumerate(self.fits) if fits >> i & 1) for i in range(len(self.pieces))]

    def _divide(self, splitting: Splitting) -> tuple[list[tuple[int, ...]], list[int]]:
        """Numbers of the lines of each piece, in order of their first line; numbers of the lines that are loose."""
        groups: dict[tuple[str, int], list[int]] = {}
        divided = []
        for number, line in enumerate(self.lines):
            if not line.group and splitting == Splitting.UNITS:
                divided.append(number)
            else:
                groups.setdefault((line.group, 0 if line.group else number), []).append(number)
        return [tuple(numbers) for numbers in groups.values()], divided

    def _sum(self, numbers: Iterable[int]) -> list[int]:
        units = [0] * len(self.keys)
        for number in numbers:
            units[self._number[self.lines[number].key]] += self.lines[number].quantity
        return units

    def _piece(self, numbers: tuple[int, ...]) -> Piece:
        need = tuple((k, units) for k, units in enumerate(self._sum(numbers)) if units)
        return Piece(numbers, need, sum(units for _, units in need))

    def _users(self, loose: Sequence[int]) -> list[int]:
        users = [1 if units else 0 for units in loose]
        for piece in self.pieces:
            for k, _ in piece.need:
                users[k] += 1
        return users

    def _fitting(self, have: Sequence[int]) -> int:
        return sum(1 << i for i, piece in enumerate(self.pieces) if all(have[k] >= units for k, units in piece.need))

    def gives(self, rest: Rest, rank: int) -> bool:
        """Whether anything of the rest could come from a location."""
        return bool(rest.pieces & self.fits[rank]) or any(map(min, rest.loose, self.stock[rank]))

    def useful(self) -> int:
        """Locations from which anything could come."""
        return sum(1 << rank for rank in range(len(self.stock)) if self.gives(self.all, rank))

    def wants(self, rest: Rest) -> dict[int, int]:
        """Units still to be found of the keys that have to be added up."""
        wants = {k: rest.loose[k] for k in self.sums}
        for i in bits(rest.pieces & self.rivals):
            for k, units in self.pieces[i].need:
                if k in wants:
                    wants[k] += units
        return {k: units for k, units in wants.items() if units}

    def after(self, rest: Rest, step: Step) -> Rest:
        """What is left to be found after a step."""
        loose = tuple(units - taken for units, taken in zip(rest.loose, step.loose, strict=True))
        return Rest(rest.pieces & ~step.pieces, loose)

    def step(self, rest: Rest, rank: int, pieces: int) -> Step:
        """Takes these pieces, and of the loose units as many as remain there."""
        have = self.left(rank, pieces)
        loose = tuple(map(min, rest.loose, have))
        return Step(rank, pieces, loose, sum(loose) + sum(self.pieces[i].units for i in bits(pieces)))

    def left(self, rank: int, pieces: int) -> list[int]:
        """Stock that these pieces leave at a location."""
        have = list(self.stock[rank])
        for i in bits(pieces):
            for k, units in self.pieces[i].need:
                have[k] -= units
        return have

    def steps(self, rest: Rest, rank: int, at_most: int) -> tuple[list[Step], bool]:
        """What can be taken at a location, most units first, and whether that is all there is.

        A piece that takes nothing from others is always taken: leaving it can't help. Where pieces compete, every
        choice among them counts, with all loose units that it leaves.
        """
        here = rest.pieces & self.fits[rank]
        tight = self._tight(rest, rank, here)
        sets, complete = self._choices(rank, here & ~tight, tight, at_most)
        steps = [self.step(rest, rank, pieces) for pieces in sets]
        return sorted((s for s in steps if s.units), key=lambda s: (-s.units, s.pieces)), complete

    def _tight(self, rest: Rest, rank: int, here: int) -> int:
        """Pieces of which a location can't give all and all else that it would give of their keys."""
        if not here & self.rivals:
            return 0
        asked = list(rest.loose)
        for i in bits(here):
            for k, units in self.pieces[i].need:
                asked[k] += units
        short = {k for k, units in enumerate(asked) if units > self.stock[rank][k]}
        return sum(1 << i for i in bits(here & self.rivals) if any(k in short for k, _ in self.pieces[i].need))

    def _choices(self, rank: int, taken: int, tight: int, at_most: int) -> tuple[list[int], bool]:
        """Sets of pieces that fit together. Of equal pieces the first is taken first, as the last tie wants it."""
        found: list[int] = []
        order = list(bits(tight))

        def choose(at: int, taken: int, have: list[int], refused: frozenset[object]) -> bool:
            if len(found) == at_most:
                return False
            if at == len(order):
                found.append(taken)
                return True
            piece = self.pieces[order[at]]
            complete = True
            if piece.need not in refused and all(have[k] >= units for k, units in piece.need):
                less = list(have)
                for k, units in piece.need:
                    less[k] -= units
                complete = choose(at + 1, taken | 1 << order[at], less, refused)
            return choose(at + 1, taken, have, refused | {piece.need}) and complete

        complete = choose(0, taken, self.left(rank, taken), frozenset())
        return found, complete

    def portions(self, steps: Iterable[Step]) -> dict[int, list[Portion]]:
        """What comes from each location, by rank. Loose units go to the first lines from the first locations."""
        given: dict[int, dict[int, int]] = {}
        due = [line.quantity for line in self.lines]
        indivisible = {number for piece in self.pieces for number in piece.lines}
        queues = [
            [n for n, line in enumerate(self.lines) if line.key == key and n not in indivisible] for key in self.keys
        ]
        for step in sorted(steps):
            parts = given.setdefault(step.rank, {})
            for i in bits(step.pieces):
                parts.update((number, due[number]) for number in self.pieces[i].lines)
            for k, units in enumerate(step.loose):
                left = units
                for number in queues[k]:
                    if part := min(left, due[number]):
                        parts[number] = part
                        due[number] -= part
                        left -= part
        return {
            rank: [Portion(self.lines[n].ref, self.lines[n].key, parts[n]) for n in sorted(parts)]
            for rank, parts in given.items()
        }

    def merit(self, steps: Iterable[Step]) -> tuple[object, ...]:
        """What the walk compares among plans of the same lines: smaller is better (sourcing.py, the last two parts)."""
        parts = self.portions(steps)
        units = [(rank, -sum(p.quantity for p in parts[rank])) for rank in sorted(parts)]
        lines: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for rank in sorted(parts):
            for portion in parts[rank]:
                lines.setdefault((portion.ref, portion.key), []).append((rank, -portion.quantity))
        return (units, [lines[at] for at in sorted(lines)])

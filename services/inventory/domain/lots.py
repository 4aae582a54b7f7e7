"""Lots: until when one may be sold, which one goes first, and how one becomes known. stock_lots.py uses them.

A lot is of a SKU, wherever it is; its units at a location are a `LotStock`. Units of no lot are what a level has beyond
its lots: they are counted nowhere by themselves.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.inventory.domain.levels import LotStock, State
from services.kit import errors

CHANNEL_LENGTH_MAX: Final = 32
_NEVER: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
DATES: Final = ("expires_on", "best_before_on", "produced_on")


class LotsNotKept(errors.Error):
    """The variant has no lot policy: its stock isn't kept by lots."""

    reason = "LOTS_NOT_KEPT"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class LotMismatch(errors.Error):
    """The lot is known with another date."""

    reason = "LOT_MISMATCH"

    def __init__(self, lot: str, name: str, recorded: dt.date | None) -> None:
        known = recorded.isoformat() if recorded else ""
        super().__init__(metadata={"lot": lot, "field": name, "recorded": known})


class LotNotSellable(errors.Error):
    """The lot is recalled, or its time is over at the location."""

    reason = "LOT_NOT_SELLABLE"

    def __init__(self, sku: str, lot: str) -> None:
        super().__init__(metadata={"sku": sku, "lot": lot})


@dataclass(frozen=True, slots=True)
class Policy:
    """How a variant's lots are kept. minimum_life_days: by channel; others: 0."""

    sell_past_best_before: bool = False
    minimum_life_days: Mapping[str, int] = field(default_factory=dict)

    def life(self, channel: str) -> dt.timedelta:
        """How long a lot must be sellable yet to be held for a channel."""
        return dt.timedelta(days=self.minimum_life_days.get(channel, 0))


NO_POLICY: Final = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class LotDraft:
    """What a caller says of a lot. A date that is None: not said, or there is none."""

    code: str
    expires_on: dt.date | None = None
    best_before_on: dt.date | None = None
    produced_on: dt.date | None = None
    gtin: str = ""
    """14 digits, of the code that was scanned; a barcode of the SKU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """A lot of a SKU."""

    id: uuid.UUID
    sku: str
    code: str
    expires_on: dt.date | None
    best_before_on: dt.date | None
    produced_on: dt.date | None
    recalled_at: dt.datetime | None
    recall_reason: str
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    settled: bool = True
    """Its units are as this version says, at all locations."""


def new_lot(draft: LotDraft, *, lot_id: uuid.UUID, sku: str, now: dt.datetime) -> Lot:
    """A lot that becomes known. INVALID_REQUEST: it was made after its end."""
    lot = Lot(
        id=lot_id,
        sku=sku,
        code=draft.code,
        expires_on=draft.expires_on,
        best_before_on=draft.best_before_on,
        produced_on=draft.produced_on,
        recalled_at=None,
        recall_reason="",
        version=1,
        created_at=now,
        updated_at=now,
    )
    _check_dates(lot)
    return lot


def check_known(lot: Lot, draft: LotDraft) -> None:
    """LOT_MISMATCH: what a caller says of a lot isn't what is known of it. What they don't say is left open."""
    for name in DATES:
        said, known = getattr(draft, name), getattr(lot, name)
        if said is not None and said != known:
            raise LotMismatch(lot.code, name, known)


def edit(lot: Lot, changes: Mapping[str, dt.date | None], *, expected_version: int, now: dt.datetime) -> Lot:
    """The next version of a lot, with other dates. VERSION_MISMATCH, INVALID_REQUEST."""
    _check_version(lot, expected_version)
    edited = _next(lot, now, **changes)
    _check_dates(edited)
    return edited


def recall(lot: Lot, reason: str, *, expected_version: int, now: dt.datetime) -> Lot:
    """The lot, recalled; as it is when it was before. VERSION_MISMATCH."""
    _check_version(lot, expected_version)
    if lot.recalled_at is not None:
        return lot
    return _next(lot, now, recalled_at=now, recall_reason=reason)


def lift_recall(lot: Lot, *, expected_version: int, now: dt.datetime) -> Lot:
    """The lot, no more recalled; as it is when it isn't. VERSION_MISMATCH."""
    _check_version(lot, expected_version)
    if lot.recalled_at is None:
        return lot
    return _next(lot, now, recalled_at=None, recall_reason="")


def _next(lot: Lot, now: dt.datetime, **changes: Any) -> Lot:
    return dataclasses.replace(lot, **changes, version=lot.version + 1, updated_at=now, settled=False)


def _check_version(lot: Lot, expected: int) -> None:
    if expected not in (0, lot.version):
        raise errors.VersionMismatch(lot.version)


def _check_dates(lot: Lot) -> None:
    for name in ("expires_on", "best_before_on"):
        end = getattr(lot, name)
        if end is not None and lot.produced_on is not None and end < lot.produced_on:
            raise errors.InvalidRequest(violations=[errors.FieldViolation(name, "lies before produced_on")])


# --- until when it may be sold ---


def last_day(expires_on: dt.date | None, best_before_on: dt.date | None, policy: Policy) -> dt.date | None:
    """The last day on which a lot may be sold; None: there is none."""
    ends = [expires_on, None if policy.sell_past_best_before else best_before_on]
    return min((end for end in ends if end is not None), default=None)


def sell_until(
    expires_on: dt.date | None, best_before_on: dt.date | None, policy: Policy, timezone: str
) -> dt.datetime | None:
    """The midnight that ends a lot's last day at a location, in UTC. None: never.

    Where clocks are put forward at midnight it is the first moment of the next day, where they are put back to before
    midnight the first of the two.
    """
    last = last_day(expires_on, best_before_on, policy)
    if last is None or last == dt.date.max:
        return None
    midnight = dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), zoneinfo.ZoneInfo(timezone))
    return midnight.astimezone(dt.UTC)


def as_of(stock: LotStock, due: int, now: dt.datetime) -> LotStock:
    """Units of a lot as the lane would have them now. due: those whose holds have run out."""
    stock.move(State.RESERVED, State.SELLABLE, due)
    aside = stock.retired_to(now)
    if aside is not None and stock.free > 0:
        stock.move(State.SELLABLE, aside, stock.free)
    return stock


# --- which lot goes first ---


def in_order(stock: Iterable[LotStock]) -> list[LotStock]:
    """First expired, first out."""
    return sorted(stock, key=turn)


def turn(lot: LotStock) -> tuple[bool, dt.datetime, str]:
    """When it is a lot's turn to go: those that end by their end, then those that don't; codes decide among equals."""
    return lot.sell_until is None, lot.sell_until or _NEVER, lot.code


def short_lived(stock: Iterable[LotStock], until: dt.datetime) -> int:
    """Free units of lots that can't be sold until then."""
    return sum(max(lot.free, 0) for lot in stock if not lot.lives_until(until))


def take(stock: Iterable[LotStock], quantity: int, state: int, until: dt.datetime) -> list[tuple[str, int]]:
    """Of which lots units in a state are taken: (code, units), the first to expire first, then of none (code empty).

    SELLABLE: only units that nobody was promised, of lots that can be sold until then.
    """
    taken: list[tuple[str, int]] = []
    left = quantity
    for lot in in_order(stock):
        units = min(lot.takable(state, until), left)
        if units > 0:
            taken.append((lot.code, units))
            left -= units
    if left:
        taken.append(("", left))
    return taken

"""What may happen to the stock of one location. Pure: values in, values out.

`Stock` is the working set of one batch, loaded under locks. Each command first checks everything and then changes the
working set, so that a refused command leaves no trace and the next one sees what the earlier ones did. `now` is the
database's clock, read after the locks.
"""

from __future__ import annotations

import datetime as dt
import types
import uuid
from collections.abc import Callable, Iterable, Mapping

from services.inventory.domain import alerts, lots, stock_holds, stock_lots, stock_sales
from services.inventory.domain.bundles import BundleHasNoStock, BundleLevel, Bundles, PartLevel
from services.inventory.domain.commands import (
    Adjust,
    ApplySales,
    EventAhead,
    Move,
    Origin,
    Rebuild,
    Sale,
    SaleLine,
    SetCounts,
    SetPolicy,
)
from services.inventory.domain.levels import (
    Counters,
    ExceptionKind,
    Hold,
    HoldLine,
    Level,
    LotStock,
    Movement,
    RaisedException,
    Reason,
    Stale,
    State,
    Step,
    fold,
)
from services.inventory.domain.stock_errors import (
    ObservationOutdated,
    QuantityBelowZero,
    QuantityStale,
    SkuNotFound,
)
from services.kit import errors

NO_BUNDLES = Bundles()


class Stock:
    """The working set of a batch of one location."""

    def __init__(
        self,
        *,
        location_id: str,
        seq: int,
        now: dt.datetime,
        levels: Mapping[str, Level],
        variants: Mapping[str, str],
        holds: Mapping[uuid.UUID, Hold],
        due: Mapping[str, int],
        lot_due: Mapping[tuple[str, str], int] = types.MappingProxyType({}),
        policies: Mapping[str, lots.Policy] = types.MappingProxyType({}),
        cursors: Mapping[str, tuple[int, int]] | None = None,
        closed: bool = False,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
        hold_text: Callable[[uuid.UUID], str] = str,
        bundles: Bundles = NO_BUNDLES,
        beside: Mapping[str, PartLevel] | None = None,
    ) -> None:
        """Levels, variants, policies and due (units whose holds have run out) by folded SKU; cursors by consumer.

        lot_due: those of due that are of a lot, by folded SKU and its code. hold_text: how the ledger names a hold.
        beside: what else the bundles consist of whose parts may be touched, by folded SKU; nothing of it changes.
        """
        self.bundles = bundles
        self._beside = beside or {}
        self.location_id = location_id
        self.seq = seq
        self.now = now
        self.levels = dict(levels)
        self.variants = variants
        self.holds = dict(holds)
        self.due = due
        self.lot_due = lot_due
        self.policies = policies
        self.cursors = dict(cursors or {})
        self.closed = closed
        self.steps: list[Step] = []
        self.step = Step(seq + 1)
        self.buckets: dict[tuple[str, dt.datetime], int] = {}
        self.lot_buckets: dict[tuple[str, str, dt.datetime], int] = {}
        self.touched_lots: dict[tuple[str, str], LotStock] = {}
        self.new_holds: list[Hold] = []
        self.changed_holds: dict[uuid.UUID, Hold] = {}
        self._new_id = new_id
        self.hold_text = hold_text

    # --- the working set ---

    def level(self, sku: str) -> Level:
        """The level of a SKU; zeros where the location never had it.

        SKU_NOT_FOUND when no variant has it, BUNDLE_HAS_NO_STOCK when it is a bundle.
        """
        if self.bundles.version and sku in self.bundles:
            raise BundleHasNoStock(sku)
        level = self.find(fold(sku))
        if level is None:
            raise SkuNotFound(sku)
        return level

    def find(self, key: str) -> Level | None:
        """The level of a folded SKU, or None when no variant has it."""
        level = self.levels.get(key)
        if level is None and key in self.variants:
            level = self.levels[key] = Level(self.variants[key], fresh=True)
        return level

    def move(
        self,
        key: str,
        level: Level,
        source: int,
        target: int,
        quantity: int,
        reason: int,
        ref: tuple[str, str],
        origin: Origin,
        lot: str = "",
    ) -> None:
        """Moves units, of a lot or of none, and writes the ledger's line."""
        level.move(source, target, quantity)
        step = self.step
        step.touched[key] = level
        step.movements.append(
            Movement(
                step.seq,
                len(step.movements) + 1,
                level.sku,
                source,
                target,
                quantity,
                reason,
                ref[0],
                ref[1],
                origin.actor,
                origin.terminal,
                origin.occurred_at or self.now,
                lot,
            )
        )
        if lot:
            of = level.lots[lot]
            of.move(source, target, quantity)
            self.touched_lots[key, lot] = of
            if target == State.SELLABLE:  # what comes back of a lot that may not be sold is put aside at once
                stock_lots.retire(self, key, level, of)

    def move_first_out(
        self,
        key: str,
        level: Level,
        source: int,
        target: int,
        quantity: int,
        reason: int,
        ref: tuple[str, str],
        origin: Origin,
    ) -> None:
        """Moves units of the lots that end first, then of none."""
        for lot, units in stock_lots.first_out(self, level, source, quantity):
            self.move(key, level, source, target, units, reason, ref, origin, lot)

    def warn(self, kind: ExceptionKind, sku: str, quantity: int, ref: tuple[str, str], lot: str = "") -> None:
        """Raises an exception for a person."""
        self.step.exceptions.append(RaisedException(self._new_id(), kind, sku, quantity, *ref, lot))

    def finish(self) -> Step | None:
        """Ends a command. None when it changed nothing: then it takes no position in the ledger."""
        step = self.step
        if not step.touched and not step.exceptions:
            return None
        for level in step.touched.values():
            level.version += 1
            level.updated_at = self.now
            if level.lots:
                stock_lots.notice(level)
            if level.low_stock_threshold is not None or level.alert:
                alert = alerts.cross(level)
                if alert is not None:
                    step.alerts.append(alert)
        self.seq = step.seq
        self.steps.append(step)
        self.step = Step(step.seq + 1)
        return step

    def bundle_levels(self, keys: Iterable[str]) -> list[BundleLevel]:
        """What is to be had now of the bundles that consist of any of these plain SKUs (folded)."""
        found = self.bundles.affected(keys)
        return [self.bundles.level(key, self._part_levels(key)) for key in found]

    def _part_levels(self, key: str) -> dict[str, PartLevel]:
        parts = {}
        for part in self.bundles.parts(key):
            if (level := self.levels.get(part.key)) is not None:
                parts[part.key] = PartLevel(1, level.available, level.version, level.updated_at)
            elif part.key in self._beside:
                parts[part.key] = self._beside[part.key]
        return parts

    def bucket(self, line: HoldLine, at: dt.datetime, sign: int = 1) -> None:
        """Notes when units of a hold's line end; sign -1: no more then."""
        units = sign * line.quantity
        self.buckets[line.key, at] = self.buckets.get((line.key, at), 0) + units
        if line.lot:
            of = (line.key, line.lot, at)
            self.lot_buckets[of] = self.lot_buckets.get(of, 0) + units

    # --- commands ---

    def expire_due(self) -> None:
        """Gives back what has run out, and puts aside lots whose time is over.

        Runs before anything is decided, so that `reserved` counts live holds only, and what is free may be sold.
        """
        origin, ref = Origin("system"), ("expiry", "")
        states = State.RESERVED, State.SELLABLE
        for (key, lot), quantity in self.lot_due.items():
            if quantity:
                self.move(key, self.levels[key], *states, quantity, Reason.HOLD_EXPIRED, ref, origin, lot)
        of_lots: dict[str, int] = {}
        for (key, _), quantity in self.lot_due.items():
            of_lots[key] = of_lots.get(key, 0) + quantity
        for key, quantity in self.due.items():
            of_none = quantity - of_lots.get(key, 0)
            if of_none and (level := self.levels.get(key)) is not None:
                self.move(key, level, *states, of_none, Reason.HOLD_EXPIRED, ref, origin)
        for key, level in self.levels.items():
            for of in level.lots.values():
                stock_lots.retire(self, key, level, of)

    def adjust(self, command: Adjust) -> Level:
        """Adds or removes units. QUANTITY_BELOW_ZERO when they aren't there; promised ones may go, and are reported."""
        level = self.level(command.sku)
        lot = stock_lots.named(level, command.lot) if command.lot else None
        there = level.in_state(State.SELLABLE) if lot is None else stock_lots.there(self, lot)
        if command.delta < 0 and there < -command.delta:
            raise QuantityBelowZero(level.sku, State.SELLABLE, there)
        ref = (command.ref_type, command.reference)
        self._change(level, command.delta, command.reason, ref, command.origin, lot)
        return level

    def _change(
        self,
        level: Level,
        delta: int,
        reason: int,
        ref: tuple[str, str],
        origin: Origin,
        lot: LotStock | None = None,
        *,
        of_none: bool = False,
    ) -> None:
        """Units enter or leave what can be sold; what was promised and is gone raises an exception.

        lot None: of whatever lot, or, of_none, of no lot.
        """
        key = fold(level.sku)
        if delta > 0:
            code = lot.code if lot is not None else ""
            self.move(key, level, State.EXTERNAL, State.SELLABLE, delta, reason, ref, origin, code)
            return
        untold = [(State.SELLABLE, -delta, "")]
        for state, units, code in untold if of_none and lot is None else stock_lots.gone(self, level, lot, -delta):
            self.move(key, level, state, State.EXTERNAL, units, reason, ref, origin, code)
            self.warn_if_oversold(level, units if state == State.SELLABLE else 0, ref)

    def warn_if_oversold(self, level: Level, taken: int, ref: tuple[str, str]) -> None:
        """Tells a person when units that can be sold, and were taken from them, had been promised."""
        if taken > 0 and level.free < 0:
            self.warn(ExceptionKind.OVERSOLD, level.sku, min(taken, -level.free), ref)

    def set_counts(self, command: SetCounts) -> list[Level]:
        """Sets what was counted. QUANTITY_STALE lists every line whose expectation doesn't hold."""
        levels = [self.level(count.sku) for count in command.counts]
        pairs = list(zip(levels, command.counts, strict=True))
        there = [stock_lots.counted(level, count) for level, count in pairs]
        stale = [
            Stale(count.sku, count.expected, on_hand)
            for count, on_hand in zip(command.counts, there, strict=True)
            if count.expected is not None and count.expected != on_hand
        ]
        if stale:
            raise QuantityStale(lines=stale)
        observed = command.origin.occurred_at or self.now
        for level, count in pairs:
            if count.newest_wins and (newer := stock_lots.newer_observation(level, count, observed)) is not None:
                raise ObservationOutdated(level.sku, newer)
        ref = (command.ref_type, command.reference)
        for level, count in pairs:
            delta = count.on_hand - stock_lots.counted(level, count)
            if delta:
                lot = stock_lots.named(level, count.lot) if count.lot else None
                self._change(level, delta, command.reason, ref, command.origin, lot, of_none=count.by_lot)
            level.observed_at = max(observed, level.observed_at or observed)
            level.policy_changed = True
            self.step.touched[fold(level.sku)] = level
        return levels

    def move_states(self, command: Move) -> Level:
        """Moves units between states that are on hand. QUANTITY_BELOW_ZERO: the first has fewer. LOT_NOT_SELLABLE."""
        level = self.level(command.sku)
        source, target, quantity = State(command.from_state), State(command.to_state), command.quantity
        lot = stock_lots.named(level, command.lot) if command.lot else None
        there = (lot or level).in_state(source)
        if there < quantity:
            raise QuantityBelowZero(level.sku, source, there)
        if lot is not None:
            if target == State.SELLABLE and not lot.lives_until(self.now):
                raise lots.LotNotSellable(level.sku, lot.code)
            parts = [(lot.code, quantity)]
        elif target == State.SELLABLE and level.lots:
            parts = stock_lots.back_to_sale(self, level, source, quantity)
        else:
            parts = stock_lots.first_out(self, level, source, quantity)
        key, ref = fold(level.sku), ("reference", command.reference)
        for code, units in parts:
            self.move(key, level, source, target, units, command.reason, ref, command.origin, code)
        self.warn_if_oversold(level, quantity if source == State.SELLABLE else 0, ref)
        return level

    def set_policy(self, command: SetPolicy) -> Level:
        """Edits what governs availability. VERSION_MISMATCH when the level has changed since it was read."""
        level = self.level(command.sku)
        if command.expected_version and command.expected_version != level.version:
            raise errors.VersionMismatch(level.version)
        if (of := command.thresholds) is not None:
            alerts.set_thresholds(level, of.low if of.sets_low else level.low_stock_threshold, of.rearm)
        if command.safety_stock is not None:
            level.safety_stock = command.safety_stock
        if command.backorder_limit is not None:
            level.backorder_limit = command.backorder_limit
        if command.incoming is not None:
            level.incoming = tuple(sorted(command.incoming, key=lambda incoming: incoming.eta))
        level.policy_changed = True
        self.step.touched[fold(level.sku)] = level
        return level

    def rebuild(self, command: Rebuild) -> None:
        """Sets levels to what the ledger says, and tells a person. No movement: what happened stands in the ledger."""
        for key, sums in command.sums.items():
            level = self.find(key)
            if level is None:
                raise SkuNotFound(key)
            right = Level(level.sku, *sums)
            for movement in (m for step in self.steps for m in step.movements if fold(m.sku) == key):
                right.move(movement.from_state, movement.to_state, movement.quantity)
            wrong = max(abs(getattr(right, name) - getattr(level, name)) for name in Counters._fields)
            for name in Counters._fields:
                setattr(level, name, getattr(right, name))
            if stock_lots.rebuild(self, key, level, command.lot_sums) or wrong:
                self.step.touched[key] = level
                self.warn(ExceptionKind.LEVEL_REBUILT, level.sku, wrong, ("ledger", ""))

    # --- sales ---

    def admit(self, event: ApplySales) -> bool:
        """Whether an event is the next of its key: False when it was applied already. EventAhead when one is missing.

        An event of a newer epoch is ahead whatever its position: only its owner knows where the epoch begins, and the
        consumer asks there (the rule of services/kit/inbox/positions.py).
        """
        epoch, seq = self.cursors.get(event.consumer, (0, 0))
        if (epoch, seq) == (0, 0):  # of this key nothing is known, not even the epoch
            epoch = event.epoch
        if event.epoch < epoch or (event.epoch == epoch and event.seq_to <= seq):
            return False
        if event.epoch > epoch or event.seq_from != seq + 1:
            raise EventAhead
        return True

    def apply_sale(self, sale: Sale) -> None:
        """Takes what was sold, whatever the stock says (stock_sales.py): of bundles, what they consist of."""
        lines = sale.lines
        if stock_holds.has_bundle(self, plain := [(line.sku, line.quantity) for line in lines if not line.lot]):
            exploded = (SaleLine(demand.sku, demand.quantity) for demand in self.bundles.demands(plain))
            lines = (*(line for line in lines if line.lot), *exploded)
        stock_sales.apply(self, sale, lines)

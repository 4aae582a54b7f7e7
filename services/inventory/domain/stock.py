"""What may happen to the stock of one location. Pure: values in, values out.

`Stock` is the working set of one batch, loaded under locks. Each command first checks everything and then changes the
working set, so that a refused command leaves no trace and the next one sees what the earlier ones did. `now` is the
database's clock, read after the locks.
"""

from __future__ import annotations

import datetime as dt
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from services.inventory.domain import alerts, lots, stock_lots, stock_sales
from services.inventory.domain.bundles import RESERVED_MAX, BundleHasNoStock, BundleLevel, Bundles, PartLevel
from services.inventory.domain.commands import (
    Adjust,
    ApplySales,
    EndHold,
    EventAhead,
    Move,
    Origin,
    Rebuild,
    Reserve,
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
    HoldState,
    Level,
    LotStock,
    Movement,
    RaisedException,
    Reason,
    Shortage,
    Stale,
    State,
    Step,
    ceil_second,
    fold,
)
from services.inventory.domain.stock_errors import (
    InsufficientStock,
    LocationNotCapable,
    ObservationOutdated,
    QuantityBelowZero,
    QuantityStale,
    ReservationEnded,
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
        self._hold_text = hold_text

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

    def _bucket(self, line: HoldLine, at: dt.datetime, sign: int = 1) -> None:
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

    def shortages(self, command: Reserve) -> list[Shortage]:
        """Every line of a reservation that can't be had in full. SKU_NOT_FOUND; LOCATION_NOT_CAPABLE."""
        if self.closed and command.for_sale:
            raise LocationNotCapable("SELL")
        lines, short = _added_up(command.lines), []
        if command.for_sale and self._has_bundle(lines):
            return self._shortages_of_bundles(lines, command)
        for sku, quantity in lines:
            level = self.level(sku)
            promise = stock_lots.promise(self, level, command)
            if promise < quantity:
                eta = min((i.eta for i in level.incoming), default=None)
                short.append(Shortage(sku, self.location_id, quantity, max(promise, 0), eta))
        return short

    def _has_bundle(self, lines: Iterable[tuple[str, int]]) -> bool:
        return bool(self.bundles.version) and any(sku in self.bundles for sku, _ in lines)

    def _shortages_of_bundles(self, lines: Sequence[tuple[str, int]], command: Reserve) -> list[Shortage]:
        """The same where a bundle is among the lines: what they ask of each plain SKU is added up first."""
        demands = self.bundles.demands(lines)
        if len(demands) > RESERVED_MAX:
            raise errors.InvalidRequest(f"the lines come to more than {RESERVED_MAX} plain SKUs")
        levels = {demand.key: self.level(demand.sku) for demand in demands}
        promises = {key: stock_lots.promise(self, level, command) for key, level in levels.items()}
        shortage = self.bundles.shortage(lines, promises)
        if shortage is None:
            return []
        units = {fold(each.sku): each for each in shortage.components}
        return [
            Shortage(
                line.sku,
                self.location_id,
                line.requested,
                line.available,
                _expected([levels[fold(sku)] for sku in line.components]),
                together=line.alone >= line.requested,
                components=tuple(units[fold(sku)]._replace(sku=levels[fold(sku)].sku) for sku in line.components),
            )
            for line in shortage.lines
        ]

    def reserve(self, command: Reserve, until: dt.datetime | None = None) -> Hold:
        """Holds all lines or nothing. INSUFFICIENT_STOCK lists every line that is short. until: None: by the ttl."""
        if short := self.shortages(command):
            raise InsufficientStock(lines=short)
        hold = Hold(
            command.hold_id,
            tuple(
                HoldLine(fold(sku), self.level(sku).sku, units, number, lot)
                for number, (sku, quantity) in enumerate(self._plain(command.lines), command.first_line)
                for lot, units in stock_lots.for_channel(self, self.level(sku), quantity, command.channel)
            ),
            HoldState.ACTIVE,
            until or self.until(command.ttl_seconds),
            command.order_ref,
            self.now,
            self.step.seq,
            fresh=True,
        )
        ref = ("reservation", self._hold_text(hold.id))
        for line in hold.lines:
            states = State.SELLABLE, State.RESERVED
            level = self.levels[line.key]
            self.move(line.key, level, *states, line.quantity, Reason.HOLD, ref, command.origin, line.lot)
            self._bucket(line, hold.expires_at)
        self.holds[hold.id] = hold
        self.new_holds.append(hold)
        return hold

    def _plain(self, lines: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """What lines ask of plain SKUs, one line a SKU."""
        if self._has_bundle(lines):
            return [(demand.sku, demand.quantity) for demand in self.bundles.demands(lines)]
        return _added_up(lines)

    def check(self, command: Reserve | EndHold) -> list[Shortage]:
        """Whether a part of something larger can be done here: what is short; refusals of other kinds are raised."""
        if isinstance(command, Reserve):
            return self.shortages(command)
        self.check_end(command)
        return []

    def hold(self, command: Reserve | EndHold, until: dt.datetime) -> Hold:
        """Does a part of something larger."""
        return self.reserve(command, until) if isinstance(command, Reserve) else self.end_hold(command, until)

    def until(self, ttl_seconds: float) -> dt.datetime:
        """When a hold of so long ends."""
        return ceil_second(self.now + dt.timedelta(seconds=ttl_seconds))

    def check_end(self, command: EndHold) -> tuple[Hold, HoldState]:
        """The hold that a command may end, and its state now. RESERVATION_ENDED when it is not active any more."""
        hold = self.holds.get(command.hold_id)
        if hold is None:
            raise errors.NotFound("reservation")
        state = hold.state_at(self.now)
        giving_back = command.action == HoldState.RELEASED and state in (HoldState.RELEASED, HoldState.CONFIRMED)
        if state != HoldState.ACTIVE and not giving_back:
            raise ReservationEnded(state)
        return hold, state

    def end_hold(self, command: EndHold, until: dt.datetime | None = None) -> Hold:
        """Confirms, releases or extends (until: None: by the ttl). RESERVATION_ENDED when it is not active any more."""
        hold, state = self.check_end(command)
        if state == HoldState.RELEASED:
            return hold
        source = State.ALLOCATED if state == HoldState.CONFIRMED else State.RESERVED
        if command.action == HoldState.ACTIVE:
            self._extend(hold, until or self.until(command.ttl_seconds))
        elif command.action == HoldState.CONFIRMED:
            self._end(hold, source, State.ALLOCATED, HoldState.CONFIRMED, Reason.HOLD_CONFIRMED, command.origin)
        else:
            self._end(hold, source, State.SELLABLE, HoldState.RELEASED, Reason.HOLD_RELEASED, command.origin)
        return hold

    def _extend(self, hold: Hold, until: dt.datetime) -> None:
        if until > hold.expires_at:
            for line in hold.lines:
                self._bucket(line, hold.expires_at, -1)
                self._bucket(line, until)
            hold.expires_at = until
            self.changed_holds[hold.id] = hold

    def _end(self, hold: Hold, source: State, target: State, state: HoldState, reason: Reason, origin: Origin) -> None:
        ref = ("reservation", self._hold_text(hold.id))
        for line in hold.lines:
            level = self.levels[line.key]
            self.move(line.key, level, source, target, line.quantity, reason, ref, origin, line.lot)
            if source == State.RESERVED:
                self._bucket(line, hold.expires_at, -1)
        hold.state = state
        self.changed_holds[hold.id] = hold

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
        self, level: Level, delta: int, reason: int, ref: tuple[str, str], origin: Origin, lot: LotStock | None = None
    ) -> None:
        """Units enter or leave what can be sold; what was promised and is gone raises an exception."""
        key = fold(level.sku)
        if delta > 0:
            code = lot.code if lot is not None else ""
            self.move(key, level, State.EXTERNAL, State.SELLABLE, delta, reason, ref, origin, code)
            return
        for state, units, code in stock_lots.gone(self, level, lot, -delta):
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
        of = [stock_lots.named(level, count.lot) if count.lot else None for level, count in pairs]
        there = [lot.on_hand if lot is not None else level.on_hand for lot, level in zip(of, levels, strict=True)]
        stale = [
            Stale(count.sku, count.expected, on_hand)
            for count, on_hand in zip(command.counts, there, strict=True)
            if count.expected is not None and count.expected != on_hand
        ]
        if stale:
            raise QuantityStale(lines=stale)
        observed = command.origin.occurred_at or self.now
        for level, count in pairs:
            if count.newest_wins and level.observed_at is not None and level.observed_at >= observed:
                raise ObservationOutdated(level.sku, level.observed_at)
        ref = (command.ref_type, command.reference)
        for (level, count), lot in zip(pairs, of, strict=True):
            delta = count.on_hand - (level.on_hand if lot is None else lot.on_hand)
            if delta:
                self._change(level, delta, command.reason, ref, command.origin, lot)
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
        if self._has_bundle(plain := [(line.sku, line.quantity) for line in lines if not line.lot]):
            exploded = (SaleLine(demand.sku, demand.quantity) for demand in self.bundles.demands(plain))
            lines = (*(line for line in lines if line.lot), *exploded)
        stock_sales.apply(self, sale, lines)

    def use_up(self, hold: Hold) -> None:
        """Ends a hold whose units a sale, or a transfer, takes or gives back itself."""
        if hold.state == HoldState.ACTIVE:
            for line in hold.lines:
                self._bucket(line, hold.expires_at, -1)
        hold.state = HoldState.CONSUMED
        self.changed_holds[hold.id] = hold


def _expected(levels: Sequence[Level]) -> dt.datetime | None:
    """When there is something of each to come; None when there isn't."""
    first = [min((i.eta for i in level.incoming), default=None) for level in levels]
    known = [eta for eta in first if eta is not None]
    return max(known) if len(known) == len(first) else None


def _added_up(lines: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """One line a SKU, in the spelling and at the place of its first one."""
    if len(lines) == 1:
        return list(lines)
    sums: dict[str, tuple[str, int]] = {}
    for sku, quantity in lines:
        spelling, so_far = sums.get(fold(sku), (sku, 0))
        sums[fold(sku)] = (spelling, so_far + quantity)
    return list(sums.values())

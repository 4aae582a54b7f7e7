"""What may happen to the stock of one location. Pure: values in, values out.

`Stock` is the working set of one batch, loaded under locks. Each command first checks everything and then changes the
working set, so that a refused command leaves no trace and the next one sees what the earlier ones did. `now` is the
database's clock, read after the locks.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from services.inventory.domain import alerts
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
        cursors: Mapping[str, tuple[int, int]] | None = None,
        closed: bool = False,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
        hold_text: Callable[[uuid.UUID], str] = str,
        bundles: Bundles = NO_BUNDLES,
        beside: Mapping[str, PartLevel] | None = None,
    ) -> None:
        """Levels, variants and due (units whose holds have run out) by folded SKU; cursors by consumer.

        hold_text: how the ledger names a hold. beside: what else the bundles consist of whose parts may be touched, by
        folded SKU; nothing of it changes.
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
        self.cursors = dict(cursors or {})
        self.closed = closed
        self.steps: list[Step] = []
        self.step = Step(seq + 1)
        self.buckets: dict[tuple[str, dt.datetime], int] = {}
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
    ) -> None:
        """Moves units and writes the ledger's line."""
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
            )
        )

    def warn(self, kind: ExceptionKind, sku: str, quantity: int, ref: tuple[str, str]) -> None:
        """Raises an exception for a person."""
        self.step.exceptions.append(RaisedException(self._new_id(), kind, sku, quantity, *ref))

    def finish(self) -> Step | None:
        """Ends a command. None when it changed nothing: then it takes no position in the ledger."""
        step = self.step
        if not step.touched and not step.exceptions:
            return None
        for level in step.touched.values():
            level.version += 1
            level.updated_at = self.now
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

    def _bucket(self, key: str, at: dt.datetime, quantity: int) -> None:
        self.buckets[key, at] = self.buckets.get((key, at), 0) + quantity

    # --- commands ---

    def expire_due(self) -> None:
        """Gives back what has run out. Runs before anything is decided, so that `reserved` counts live holds only."""
        origin = Origin("system")
        for key, quantity in self.due.items():
            if quantity and (level := self.levels.get(key)) is not None:
                self.move(
                    key, level, State.RESERVED, State.SELLABLE, quantity, Reason.HOLD_EXPIRED, ("expiry", ""), origin
                )

    def shortages(self, command: Reserve) -> list[Shortage]:
        """Every line of a reservation that can't be had in full. SKU_NOT_FOUND; LOCATION_NOT_CAPABLE."""
        if self.closed and command.for_sale:
            raise LocationNotCapable("SELL")
        lines, short = _added_up(command.lines), []
        if command.for_sale and self._has_bundle(lines):
            return self._shortages_of_bundles(lines)
        for sku, quantity in lines:
            level = self.level(sku)
            promise = level.available + (level.backorder_limit if command.for_sale else 0)
            if promise < quantity:
                eta = min((i.eta for i in level.incoming), default=None)
                short.append(Shortage(sku, self.location_id, quantity, max(promise, 0), eta))
        return short

    def _has_bundle(self, lines: Iterable[tuple[str, int]]) -> bool:
        return bool(self.bundles.version) and any(sku in self.bundles for sku, _ in lines)

    def _shortages_of_bundles(self, lines: Sequence[tuple[str, int]]) -> list[Shortage]:
        """The same where a bundle is among the lines: what they ask of each plain SKU is added up first."""
        demands = self.bundles.demands(lines)
        if len(demands) > RESERVED_MAX:
            raise errors.InvalidRequest(f"the lines come to more than {RESERVED_MAX} plain SKUs")
        levels = {demand.key: self.level(demand.sku) for demand in demands}
        promises = {key: level.available + level.backorder_limit for key, level in levels.items()}
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
                HoldLine(fold(sku), self.level(sku).sku, quantity, number)
                for number, (sku, quantity) in enumerate(self._plain(command.lines), command.first_line)
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
            level = self.levels[line.key]
            self.move(line.key, level, State.SELLABLE, State.RESERVED, line.quantity, Reason.HOLD, ref, command.origin)
            self._bucket(line.key, hold.expires_at, line.quantity)
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
                self._bucket(line.key, hold.expires_at, -line.quantity)
                self._bucket(line.key, until, line.quantity)
            hold.expires_at = until
            self.changed_holds[hold.id] = hold

    def _end(self, hold: Hold, source: State, target: State, state: HoldState, reason: Reason, origin: Origin) -> None:
        ref = ("reservation", self._hold_text(hold.id))
        for line in hold.lines:
            level = self.levels[line.key]
            self.move(line.key, level, source, target, line.quantity, reason, ref, origin)
            if source == State.RESERVED:
                self._bucket(line.key, hold.expires_at, -line.quantity)
        hold.state = state
        self.changed_holds[hold.id] = hold

    def adjust(self, command: Adjust) -> Level:
        """Adds or removes units. QUANTITY_BELOW_ZERO when they aren't there; promised ones may go, and are reported."""
        level = self.level(command.sku)
        if command.delta < 0 and level.in_state(State.SELLABLE) < -command.delta:
            raise QuantityBelowZero(level.sku, State.SELLABLE, level.in_state(State.SELLABLE))
        self._change(level, command.delta, command.reason, (command.ref_type, command.reference), command.origin)
        return level

    def _change(self, level: Level, delta: int, reason: int, ref: tuple[str, str], origin: Origin) -> None:
        """Units enter or leave the sellable state; what was promised and is gone raises an exception."""
        source, target = (State.EXTERNAL, State.SELLABLE) if delta > 0 else (State.SELLABLE, State.EXTERNAL)
        self.move(fold(level.sku), level, source, target, abs(delta), reason, ref, origin)
        self._warn_if_oversold(level, -delta, ref)

    def _warn_if_oversold(self, level: Level, taken: int, ref: tuple[str, str]) -> None:
        if taken > 0 and level.free < 0:
            self.warn(ExceptionKind.OVERSOLD, level.sku, min(taken, -level.free), ref)

    def set_counts(self, command: SetCounts) -> list[Level]:
        """Sets what was counted. QUANTITY_STALE lists every line whose expectation doesn't hold."""
        levels = [self.level(count.sku) for count in command.counts]
        pairs = list(zip(levels, command.counts, strict=True))
        stale = [
            Stale(c.sku, c.expected, v.on_hand) for v, c in pairs if c.expected is not None and c.expected != v.on_hand
        ]
        if stale:
            raise QuantityStale(lines=stale)
        observed = command.origin.occurred_at or self.now
        for level, count in pairs:
            if count.newest_wins and level.observed_at is not None and level.observed_at >= observed:
                raise ObservationOutdated(level.sku, level.observed_at)
        ref = (command.ref_type, command.reference)
        for level, count in pairs:
            if count.on_hand != level.on_hand:
                self._change(level, count.on_hand - level.on_hand, command.reason, ref, command.origin)
            level.observed_at = max(observed, level.observed_at or observed)
            level.policy_changed = True
            self.step.touched[fold(level.sku)] = level
        return levels

    def move_states(self, command: Move) -> Level:
        """Moves units between states that are on hand. QUANTITY_BELOW_ZERO when the first has fewer."""
        level = self.level(command.sku)
        if level.in_state(command.from_state) < command.quantity:
            raise QuantityBelowZero(level.sku, State(command.from_state), level.in_state(command.from_state))
        ref = ("reference", command.reference)
        self.move(
            fold(level.sku),
            level,
            command.from_state,
            command.to_state,
            command.quantity,
            command.reason,
            ref,
            command.origin,
        )
        self._warn_if_oversold(level, command.quantity if command.from_state == State.SELLABLE else 0, ref)
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
            if wrong:
                for name in Counters._fields:
                    setattr(level, name, getattr(right, name))
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
        """Takes what was sold, whatever the stock says: first from the sale's own hold, then from what is there."""
        hold = self.holds.get(sale.hold_id) if sale.hold_id else None
        lines: Sequence[tuple[str, int]] = sale.lines
        if self._has_bundle(lines):
            lines = [(demand.sku, demand.quantity) for demand in self.bundles.demands(lines)]
        self.take(lines, hold, Reason.SALE, ("sale", sale.order_id), sale.origin)

    def take(
        self,
        lines: Sequence[tuple[str, int]],
        hold: Hold | None,
        reason: Reason,
        ref: tuple[str, str],
        origin: Origin,
    ) -> None:
        """Units have left: of the hold first, then of what is there; what is left of the hold is given back."""
        held = self._use_up(hold)
        for sku, quantity in lines:
            key = fold(sku)
            level = self.find(key)
            if level is None:
                self.warn(ExceptionKind.UNKNOWN_SKU, sku, quantity, ref)
                continue
            source, have = held.get(key, (State.SELLABLE, 0))
            from_hold = min(have, quantity)
            if from_hold:
                self.move(key, level, source, State.EXTERNAL, from_hold, reason, ref, origin)
                held[key] = (source, have - from_hold)
            if rest := quantity - from_hold:
                self.move(key, level, State.SELLABLE, State.EXTERNAL, rest, reason, ref, origin)
                self._warn_if_oversold(level, rest, ref)
        for key, (source, left) in held.items():
            if left:  # held at the scan, not sold in the end
                self.move(key, self.levels[key], source, State.SELLABLE, left, Reason.HOLD_RELEASED, ref, origin)

    def _use_up(self, hold: Hold | None) -> dict[str, tuple[State, int]]:
        """Uses up a hold: where its units are, by folded SKU. A hold that has ended gives nothing."""
        if hold is None:
            return {}
        state = hold.state_at(self.now)
        if state not in (HoldState.ACTIVE, HoldState.CONFIRMED):
            return {}
        source = State.RESERVED if state == HoldState.ACTIVE else State.ALLOCATED
        for line in hold.lines:
            if source == State.RESERVED:
                self._bucket(line.key, hold.expires_at, -line.quantity)
        hold.state = HoldState.CONSUMED
        self.changed_holds[hold.id] = hold
        return {line.key: (source, line.quantity) for line in hold.lines}


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

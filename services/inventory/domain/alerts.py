"""When a level alerts: thresholds with a re-arm point, so that stock that swings around a threshold is told once.

An alert begins when available reaches the threshold and may grow worse (low, out, oversold), each told once. It is over
when available is above the re-arm point, which is told when the level was out. In between nothing is told.
"""

from __future__ import annotations

from services.inventory.domain.levels import Alert, AlertKind, Level
from services.kit import errors


class InvalidThresholds(errors.InvalidRequest):
    """rearm_threshold needs a low_stock_threshold that is not above it."""

    def __init__(self) -> None:
        rule = "needs a low_stock_threshold that is not above it"
        super().__init__(violations=[errors.FieldViolation("rearm_threshold", rule)])


def default_rearm(threshold: int) -> int:
    """A fifth above the threshold, rounded up, and at least one."""
    return threshold + max(1, -(-threshold // 5))


def severity(level: Level, threshold: int) -> AlertKind:
    """What the level would be told as, if nothing had been told yet."""
    if level.free + level.backorder_limit < 0:
        return AlertKind.OVERSOLD
    available = level.available
    if available <= 0:
        return AlertKind.OUT_OF_STOCK
    return AlertKind.LOW_STOCK if available <= threshold else AlertKind.NONE


def cross(level: Level) -> Alert | None:
    """Moves the level's alert to where it stands now; the alert to tell, if any. Changes a level only at a crossing."""
    threshold, rearm, before = level.low_stock_threshold, level.rearm_threshold, level.alert
    if threshold is None or rearm is None:
        if before:
            _become(level, AlertKind.NONE)
        return None
    now = severity(level, threshold)
    if now and (not before or now < before):
        return _become(level, now)
    if before and not now and level.available > rearm:
        _become(level, AlertKind.NONE)
        if before != AlertKind.LOW_STOCK:
            return Alert(AlertKind.BACK_IN_STOCK, level.sku, level.available, threshold)
    return None


def _become(level: Level, kind: AlertKind) -> Alert:
    level.alert = kind
    level.policy_changed = True  # the whole row is written: alerts are rare, and others pay nothing for the columns
    return Alert(kind, level.sku, level.available, level.low_stock_threshold or 0)


def set_thresholds(level: Level, threshold: int | None, rearm: int | None) -> None:
    """None clears a threshold; a re-arm point that is None is the default. InvalidThresholds, before any change."""
    if rearm is not None and (threshold is None or rearm < threshold):
        raise InvalidThresholds
    level.low_stock_threshold = threshold
    level.rearm_threshold = default_rearm(threshold) if threshold is not None and rearm is None else rearm

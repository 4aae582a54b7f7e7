from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.inbox import positions
from services.kit.inbox.positions import Decision, Position
from tillmesh.common.v1 import event_pb2


def event(seq_from: int, seq_to: int, epoch: int = 1) -> event_pb2.EventEnvelope:
    return event_pb2.EventEnvelope(epoch=epoch, seq_from=seq_from, seq_to=seq_to)


@pytest.mark.parametrize(
    ("cursor", "envelope", "decision"),
    [
        (Position(), event(1, 1), Decision.APPLY),
        (Position(), event(1, 9, epoch=3), Decision.APPLY),
        (Position(), event(2, 2), Decision.AHEAD),
        (Position(1, 5), event(6, 8), Decision.APPLY),
        (Position(1, 5), event(7, 8), Decision.AHEAD),
        (Position(1, 5), event(3, 5), Decision.ALREADY),
        (Position(1, 5), event(1, 1), Decision.ALREADY),
        (Position(2, 5), event(6, 6, epoch=1), Decision.ALREADY),
        (Position(1, 5), event(6, 6, epoch=2), Decision.AHEAD),
        (Position(1, 5), event(2, 2, epoch=2), Decision.AHEAD),
    ],
)
def test_an_event_is_applied_right_after_the_cursor_and_nowhere_else(
    cursor: Position, envelope: event_pb2.EventEnvelope, decision: Decision
) -> None:
    assert positions.decide(cursor, envelope) is decision


def test_an_event_that_reaches_over_the_cursor_is_a_defect_of_its_owner() -> None:
    with pytest.raises(positions.Misaligned):
        positions.decide(Position(1, 5), event(4, 6))


@given(spans=st.lists(st.integers(1, 5), min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_any_order_with_any_repetition_applies_each_event_once_and_in_order(
    spans: list[int], order: st.DataObject
) -> None:
    events, position = [], 0
    for span in spans:
        events.append(event(position + 1, position + span))
        position += span
    deliveries = events * 2
    order.shuffle(deliveries)  # type: ignore[attr-defined]
    cursor, applied = Position(), []
    while deliveries:  # what is ahead comes again, as a nak brings it
        envelope = deliveries.pop(0)
        decision = positions.decide(cursor, envelope)
        if decision is Decision.APPLY:
            applied.append(envelope)
            cursor = positions.of(envelope)
        elif decision is Decision.AHEAD:
            deliveries.append(envelope)
    assert applied == events

from __future__ import annotations

import pytest

from services.kit.inbox import troubles
from tillmesh.common.v1 import event_pb2

LIMITS = troubles.Limits(ahead_delays=(1.0, 2.0), defect_tries=3, defect_delay=1.0, transient_tries=100)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> troubles.Troubles:
    return troubles.Troubles(LIMITS, clock)


def event(seq: int, key: str = "loc_0") -> event_pb2.EventEnvelope:
    return event_pb2.EventEnvelope(tenant_id="ten_1", key=key, epoch=1, seq_from=seq, seq_to=seq)


def test_an_early_event_waits_as_often_as_the_limits_say_and_then_the_owner_is_asked(keys: troubles.Troubles) -> None:
    assert [keys.ahead(event(5)) for _ in range(3)] == [1.0, 2.0, None]


def test_while_a_key_waits_its_later_events_wait_and_its_earlier_ones_do_not(
    keys: troubles.Troubles, clock: Clock
) -> None:
    keys.ahead(event(5))
    assert keys.hold_back(event(6)) > 1.0
    assert keys.hold_back(event(4)) == 0
    assert keys.hold_back(event(6, key="loc_1")) == 0
    clock.now = 1.0
    assert keys.hold_back(event(6)) == 0


def test_a_defect_is_tried_a_few_times_with_longer_waits(keys: troubles.Troubles) -> None:
    first, second, third = (keys.failed(event(5), transient=False) for _ in range(3))
    assert first is not None
    assert second is not None
    assert first < second
    assert third is None


def test_what_may_pass_by_itself_does_not_count_as_poison(keys: troubles.Troubles) -> None:
    delays = [keys.failed(event(5), transient=True) for _ in range(99)]
    assert None not in delays
    assert max(delay for delay in delays if delay is not None) <= LIMITS.transient_delay_max * 1.2
    assert keys.failed(event(5), transient=False) is not None
    assert keys.failed(event(5), transient=True) is None  # but not for ever


def test_a_key_that_went_on_begins_anew(keys: troubles.Troubles) -> None:
    keys.failed(event(5), transient=False)
    keys.failed(event(5), transient=False)
    keys.clear("ten_1", "loc_0")
    assert keys.failed(event(9), transient=False) is not None
    assert keys.attempts(event(9)) == 1


def test_memory_is_bounded(keys: troubles.Troubles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "KEYS_MAX", 2)
    for n in range(3):
        keys.ahead(event(5, key=f"loc_{n}"))
    assert keys.hold_back(event(6, key="loc_0")) == 0
    assert keys.hold_back(event(6, key="loc_2")) > 0

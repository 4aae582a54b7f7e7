"""Promises of the wheel."""

from __future__ import annotations

from services.kit.watching.wheel import TICK_SECONDS, Wheel


class Item:
    slot = 0

    def look(self, now: float) -> None:
        """Not called by the wheel itself."""


def test_an_item_is_due_once_never_early_and_at_most_a_tick_late() -> None:
    wheel, item = Wheel(100.0), Item()
    wheel.move(item, 101.1)

    seen = [n for n in range(20) if item in wheel.due(100.0 + n * TICK_SECONDS)]

    assert [100.0 + n * TICK_SECONDS for n in seen] == [101.25]


def test_an_item_that_is_moved_is_due_at_its_new_time_only() -> None:
    wheel, item = Wheel(0.0), Item()
    wheel.move(item, 1.0)
    wheel.move(item, 2.0)

    assert wheel.due(1.5) == []
    assert wheel.due(2.0) == [item]


def test_an_item_that_is_removed_is_never_due() -> None:
    wheel, item = Wheel(0.0), Item()
    wheel.move(item, 1.0)
    wheel.remove(item)
    wheel.remove(item)

    assert wheel.due(10.0) == []


def test_a_time_that_has_passed_is_due_at_the_next_tick() -> None:
    wheel, item = Wheel(50.0), Item()
    wheel.move(item, 3.0)

    assert wheel.due(50.0 + TICK_SECONDS) == [item]


def test_a_loop_that_was_held_up_loses_nothing() -> None:
    wheel = Wheel(0.0)
    items = [Item() for _ in range(10)]
    for number, item in enumerate(items):
        wheel.move(item, number)

    assert set(wheel.due(1000.0)) == set(items)

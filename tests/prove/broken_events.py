"""Every way that we could think of in which promises about events are broken. test_checker.py sees each found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.prove.broken import Break
from tests.prove.history import History

DELIVERED: Final = "events reach their stream once, in order of their key"
APPLIED: Final = "events are applied to the last one"
CAUGHT_UP: Final = "relays that stood still catch up"


def _published(change: Callable[[list[str]], Any]) -> Break:
    return lambda of: change(of.end.published["orders"])


def _overtaken(of: History) -> None:
    of.end.published["inventory"].reverse()


BROKEN: Final[dict[str, tuple[str, Break]]] = {
    "an event is lost": (DELIVERED, _published(lambda ids: ids.remove("o3"))),
    "an event that waited comes twice": (DELIVERED, _published(lambda ids: ids.append("o2"))),
    "an event in flight comes thrice": (DELIVERED, _published(lambda ids: ids.append("o1"))),
    "an event overtakes another of its key": (DELIVERED, _overtaken),
    "an event is never written": (DELIVERED, lambda of: of.end.events["orders"][1].update(seq_from=3)),
    "an event still waits": (DELIVERED, lambda of: of.end.events["orders"][2].update(published=False)),
    "an event is not applied": (APPLIED, lambda of: of.end.cursors.update(shop=1)),
    "more is applied than there was": (APPLIED, lambda of: of.end.cursors.update(shop=5)),
    "what waited is never published": (CAUGHT_UP, lambda of: of.outage.update(published_after=-1.0)),
    "what waited is never applied": (CAUGHT_UP, lambda of: of.outage.update(applied_after=-1.0)),
}

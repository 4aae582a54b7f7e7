"""A second process of Inventory beside the first: the same reservations on two stacks, one of each, in turns.

256 callers, since 64 leave a processor idle when two processes share them: a batch waits for the rows that the other
process's holds, and there is nobody left to ask for anything meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from tests.bench import reserve, shop
from tests.bench.measuring import Measured

CALLERS: Final = (16, 16)  # connections, and streams of each


class Processes:
    """Two processes against one. The value is the ratio on the spread load."""

    name = "processes"
    unit = "x"

    def __init__(self, at: shop.Shop) -> None:
        self._one = at
        self._opened = contextlib.ExitStack()
        self._subjects: dict[tuple[int, str], reserve.Reserve] = {}

    def prepare(self) -> None:
        """Starts a stack with two processes, and makes the stock of both."""
        two = self._opened.enter_context(shop.opened(short=self._one.short, TILLMESH_INVENTORY_PROCESSES="2"))
        for count, at in ((1, self._one), (2, two)):
            hot, spread = reserve.ReserveHot(at), reserve.Reserve(at, "reserve-of-many")
            hot.name = "reserve-of-one"  # its keys: other rows reserve here as well
            for load, subject in (("hot", hot), ("spread", spread)):
                subject.prepare()
                subject.callers = CALLERS
                self._subjects[count, load] = subject

    def measure(self, seconds: float) -> Measured:
        """Each load on each stack."""
        found = {each: subject.measure(seconds) for each, subject in self._subjects.items()}
        details: dict[str, Any] = {}
        for load in ("hot", "spread"):
            details[f"{load}_ratio"] = round(found[2, load].value / found[1, load].value, 3)
        for (count, load), measured in found.items():
            told = measured.details
            details[f"{load}_{count}_per_second"] = round(measured.value, 1)
            details |= {f"{load}_{count}_{name}": told[name] for name in ("cores", "cores_idle", "cores_others")}
        details["cores_others"] = max(each.details["cores_others"] for each in found.values())
        return Measured(details["spread_ratio"], details)

    def close(self) -> None:
        """Ends the second stack."""
        self._opened.close()

"""The reference of lots: until when each may be sold, as far as its callers can know. None of the product's code."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from dataclasses import dataclass, field
from typing import Final

from tests.prove.history import History

#: The database's clock and ours are one, but a moment is told before it is written down.
MARGIN_SECONDS: Final = 0.5


@dataclass(slots=True)
class Lot:
    """What is known of a lot. until: the midnight that ends it, in seconds since 1970; inf: none.

    marks: (why it may not be sold, when that was asked for first, when the first answer came).
    """

    until: float
    marks: list[tuple[str, float, float]] = field(default_factory=list)

    def surely_fit(self, at: float, life: float = 0.0) -> bool:
        """It may be sold, and for so many seconds more."""
        return at + life < self.until - MARGIN_SECONDS and all(at < asked for _, asked, _ in self.marks)

    def surely_unfit(self, at: float, life: float = 0.0) -> bool:
        """It may not be sold, or not for so long."""
        return at + life > self.until + MARGIN_SECONDS or any(at > known for _, _, known in self.marks)

    def may_be(self, why: str, at: float) -> bool:
        """Whether units may be put aside for a reason."""
        over = why == "EXPIRED" and at >= self.until - MARGIN_SECONDS
        return over or any(mark == why and at >= asked - MARGIN_SECONDS for mark, asked, _ in self.marks)


def known(history: History, tenant: str) -> dict[tuple[str, str], Lot]:
    """The lots that a brand's callers made, by SKU and code."""
    found: dict[tuple[str, str], Lot] = {}
    zone = zoneinfo.ZoneInfo(history.zone)
    for call in history.of("lot_create", "lot_recall", "lot_date"):
        if call.tenant != tenant:
            continue
        of = call.facts["sku"], call.facts["code"]
        if call.kind == "lot_create":
            last = call.facts["expires_on"]
            midnight = dt.datetime.combine(dt.date.fromisoformat(last), dt.time(), zone) if last else None
            found[of] = Lot((midnight + dt.timedelta(days=1)).timestamp() if midnight else math.inf)
        else:
            why = "RECALL" if call.kind == "lot_recall" else "EXPIRED"
            answered = min((attempt.ended for attempt in call.answers), default=math.inf)
            found[of].marks.append((why, call.attempts[0].begun, answered))
    return found

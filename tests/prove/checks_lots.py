"""Promises about lots: they add up, leave first expired first, and what may not be sold any more is put aside and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.prove import model, world
from tests.prove.checking import Check, Evidence, call_name
from tests.prove.history import Attempt, Call
from tests.prove.lots import Lot

DAY_SECONDS: Final = 86_400.0
EXCEPTIONS: Final = ("STOCK_EXCEPTION_KIND_RECALLED_LOT_SOLD", "STOCK_EXCEPTION_KIND_EXPIRED_LOT_SOLD")


def first_out(evidence: Evidence) -> Check:
    """Who doesn't name a lot takes the one that ends first and may be sold; who does is given that one."""
    check = Check("lots leave first expired first")
    for line in _lines(evidence):
        if line.source in ("RESERVED", "ALLOCATED") or line.reason not in ("HOLD", "SALE"):
            continue  # which lot that is of was decided before
        named = line.call.facts.get("lot", "") if line.call else ""
        told = [line.call] if line.call else []
        if named:
            check.that(
                line.lot == named, f"{line.place} took {line.lot or 'none'}, {named} was scanned", *told, line.step
            )
            continue
        if line.lot in line.lots:
            unfit = line.lots[line.lot].surely_unfit(line.step.at, line.life)
            check.that(not unfit, f"{line.place} took {line.lot}, which may not be sold", *told, line.step)
        for other, free in line.free.items():
            before = other != line.lot and (
                line.lot not in line.lots or _rank(line.lots, other) < _rank(line.lots, line.lot)
            )
            if before and free > 0:
                passed = line.lots[other].surely_fit(line.step.at, line.life)
                check.that(
                    not passed, f"{line.place} took {line.lot or 'none'} before {free} of {other}", *told, line.step
                )
    return check


def _rank(lots: Mapping[str, Lot], code: str) -> tuple[float, str]:
    return lots[code].until, code


@dataclass(slots=True)
class _Line:
    """A line of the ledger about lots, and what was free of each lot right before it."""

    place: str
    step: model.Step
    sku: str
    source: str
    target: str
    quantity: int
    reason: str
    lot: str
    free: dict[str, int]
    lots: dict[str, Lot]
    call: Call | None
    life: float
    """How long what it takes must be good for, in seconds."""


def _lines(evidence: Evidence) -> Iterator[_Line]:
    sales = {
        order["id"]: evidence.sales_by_key.get((place, order["client_sale_id"]))
        for place, rows in evidence.history.end.sales.items()
        for order in rows
    }
    for tenant, places in evidence.history.locations.items():
        lots = evidence.lots[tenant]
        for place in places:
            ledger = evidence.ledgers[place]
            for step in ledger.steps:
                call = sales.get(step.cause[1]) or _holder(evidence, step)
                long_lived = call is not None and call.facts.get("channel") == world.LONG_LIVED
                life = world.LONG_LIVED_DAYS * DAY_SECONDS if long_lived else 0.0
                free: dict[str, dict[str, int]] = {}
                for line in step.lines:
                    of_sku = {code: lot for (sku, code), lot in lots.items() if sku == line.sku}
                    if not of_sku:
                        continue
                    now = free.setdefault(
                        line.sku, {lot: ledger.lot_at(line.sku, lot, step.seq - 1).available for lot in of_sku}
                    )
                    yield _Line(place, step, *line, dict(now), of_sku, call, life)
                    if line.lot in now:
                        now[line.lot] += line.quantity * ((line.target == "SELLABLE") - (line.source == "SELLABLE"))


def _holder(evidence: Evidence, step: model.Step) -> Call | None:
    row = evidence.holds.get(step.cause[1])
    made = evidence.makers.get(row["order_ref"], []) if row else []
    return made[0] if made else None


def put_aside(evidence: Evidence) -> Check:
    """What of a lot nobody was promised is put aside when its time is over, whole; and sales of it are told to a person."""
    check = Check("lots that may not be sold are put aside, and told")
    told: Counter[tuple[str, str]] = Counter()
    for rows in evidence.history.end.exceptions.values():
        told.update((row["reference_id"], row["lot"]) for row in rows if row["kind"] in EXCEPTIONS)
    sold: dict[tuple[str, str], list[_Line]] = {}
    for line in _lines(evidence):
        if line.reason in model.RETIRED:
            lot = line.lots.get(line.lot)
            fine = lot is not None and lot.may_be(line.reason, line.step.at)
            check.that(fine, f"{line.place} put aside {line.lot}, which may be sold", line.step)
            whole = line.quantity == line.free.get(line.lot) and line.target == model.RETIRED[line.reason]
            check.that(whole, f"{line.place} put aside {line.quantity} of {line.lot}, {line.free} were free", line.step)
        elif line.reason == "SALE" and line.lot in line.lots:
            sold.setdefault((line.step.cause[1], line.lot), []).append(line)
    for (order, code), (line, *_) in sold.items():
        if line.call is not None:
            # A date that is corrected after a sale and before it reaches the stock was over when the sale was rung up.
            ended = max(line.step.at, *(attempt.ended for attempt in line.call.attempts))
            if line.lots[code].surely_unfit(line.call.attempts[0].begun):
                check.that(told[order, code] > 0, f"nobody is told that {order} sold {code}", line.call, line.step)
            elif line.lots[code].surely_fit(ended):
                check.that(not told[order, code], f"a person is told that {order} sold {code}", line.call, line.step)
    for order, code in told:
        check.that((order, code) in sold, f"{order} didn't sell the {code} that a person is told of")
    now = max((attempt.ended for call in evidence.history.calls for attempt in call.attempts), default=0.0)
    for tenant, places in evidence.history.locations.items():
        for (sku, code), lot in evidence.lots[tenant].items():
            for place in places if lot.surely_unfit(now) else ():
                left = evidence.ledgers[place].lot_at(sku, code, evidence.ledgers[place].head).available
                check.that(left <= 0, f"{left} of {code} ({sku}) are left at {place}, though it may not be sold")
    return check


def added_up(evidence: Evidence) -> Check:
    """Lots are what the ledger says of each, and with what is of none they are the level."""
    check = Check("lots add up to the level, and are those of the ledger")
    for place, skus in evidence.history.end.lots.items():
        ledger = evidence.ledgers[place]
        for sku, rows in skus.items():
            level = model.state_of(evidence.history.end.levels[place].get(sku, {}))
            total = model.State(*(sum(each) for each in zip(model.State(), *map(model.state_of, rows), strict=True)))
            check.that(total == level, f"the lots of {sku} at {place} come to {total}, its level is {level}")
            told = {row.get("lot", ""): model.state_of(row) for row in rows}
            for lot in told.keys() | set(ledger.lots(sku)):
                if lot:
                    says, is_told = ledger.lot_at(sku, lot, ledger.head), told.get(lot, model.State())
                    check.that(is_told == says, f"{lot} ({sku}) at {place} is {is_told}, its ledger says {says}")
    codes = {tenant: set(evidence.lots[tenant]) for tenant in evidence.history.locations}
    for tenant, places in evidence.history.locations.items():
        for place in places:
            for step in evidence.ledgers[place].steps:
                strange = [line for line in step.lines if line.lot and (line.sku, line.lot) not in codes[tenant]]
                check.that(not strange, f"{place} has a lot that nobody made", step)
    for call in evidence.history.of("lot_create"):
        fine = all(attempt.body["code"] == call.facts["code"] for attempt in call.answers)
        check.that(fine, f"{call_name(call)} made another lot", call)
    return check


def was_short(evidence: Evidence, call: Call, attempt: Attempt, told: Mapping[str, int]) -> bool:
    """What could be held of a SKU for a channel, at some moment: what is free, less what doesn't live long enough."""
    ((sku, quantity),) = call.facts["lines"].items()
    lots = {code: lot for (of, code), lot in evidence.lots[call.tenant].items() if of == sku}
    life = world.LONG_LIVED_DAYS * DAY_SECONDS if call.facts["channel"] == world.LONG_LIVED else 0.0
    ledger = evidence.ledgers[call.location]
    first, last = evidence.window(call.location, attempt)
    for seq in ledger.positions([sku], first, last):
        free = {code: max(0, ledger.lot_at(sku, code, seq).available) for code in lots}
        # A mark that is under way may have been seen or not.
        certainly = sum(free[code] for code, lot in lots.items() if lot.surely_unfit(attempt.begun, life))
        perhaps = sum(free[code] for code, lot in lots.items() if not lot.surely_fit(attempt.ended, life))
        available = ledger.at(sku, seq).available
        possible = ({sku: max(0, available - unfit)} for unfit in range(certainly, perhaps + 1))
        if dict(told) in possible and told[sku] < quantity:
            return True
    return False


ALL: Final = (added_up, first_out, put_aside)

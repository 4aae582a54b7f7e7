"""Until when a lot may be sold, what is known of it, and what requests say of it."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from services.inventory.domain import gs1, lots
from services.inventory.domain import levels as values
from services.inventory.mapping import lot_inputs
from services.kit import errors
from tillmesh.inventory.v1 import lots_pb2, lots_service_pb2

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
GTIN = "09506000134352"


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("last_day", "zone", "expected"),
    [
        ("2026-06-30", "Europe/Vienna", "2026-06-30T22:00"),
        ("2026-06-30", "America/New_York", "2026-07-01T04:00"),
        ("2026-06-30", "Pacific/Kiritimati", "2026-06-30T10:00"),
        ("2026-12-31", "Asia/Kolkata", "2026-12-31T18:30"),
        ("2026-03-28", "Europe/Vienna", "2026-03-28T23:00"),  # clocks change on the 29th, at two
        ("2026-03-29", "Europe/Vienna", "2026-03-29T22:00"),
        ("2026-10-25", "Europe/Vienna", "2026-10-25T23:00"),  # a day of 25 hours
        ("2026-09-05", "America/Santiago", "2026-09-06T04:00"),  # the 6th has no midnight: it begins at one
        ("2026-04-04", "America/Santiago", "2026-04-05T04:00"),  # the 4th has 23:00 to 24:00 twice; it ends once
        ("2026-10-31", "America/Havana", "2026-11-01T04:00"),  # the 1st has midnight twice: the first one counts
    ],
)
def test_a_lot_may_be_sold_until_the_locations_midnight(last_day: str, zone: str, expected: str) -> None:
    assert lots.sell_until(dt.date.fromisoformat(last_day), None, lots.NO_POLICY, zone) == utc(expected)


def test_the_earlier_of_both_dates_counts_unless_the_policy_lets_one_sell_past_best_before() -> None:
    expires, best_before = dt.date(2026, 3, 9), dt.date(2026, 3, 4)
    relaxed = lots.Policy(sell_past_best_before=True)
    assert lots.last_day(expires, best_before, lots.NO_POLICY) == best_before
    assert lots.last_day(expires, best_before, relaxed) == expires
    assert lots.last_day(None, best_before, relaxed) is None
    assert lots.last_day(best_before, expires, lots.NO_POLICY) == best_before
    assert lots.sell_until(dt.date.max, None, relaxed, "UTC") is None
    assert lots.sell_until(None, None, relaxed, "UTC") is None


def lot(**dates: dt.date | None) -> lots.Lot:
    draft = lots.LotDraft(code="L1", **dates)
    return lots.new_lot(draft, lot_id=uuid.uuid4(), sku="Milk", now=NOW)


def test_a_lot_cant_end_before_it_was_made() -> None:
    with pytest.raises(errors.InvalidRequest):
        lot(produced_on=dt.date(2026, 3, 2), expires_on=dt.date(2026, 3, 1))
    made = lot(produced_on=dt.date(2026, 3, 2), expires_on=dt.date(2026, 3, 2))
    with pytest.raises(errors.InvalidRequest):
        lots.edit(made, {"expires_on": dt.date(2026, 3, 1)}, expected_version=0, now=NOW)


def test_what_a_caller_says_of_a_known_lot_must_be_so_and_what_they_dont_say_is_left_open() -> None:
    known = lot(expires_on=dt.date(2026, 3, 9))
    lots.check_known(known, lots.LotDraft(code="L1"))
    lots.check_known(known, lots.LotDraft(code="L1", expires_on=dt.date(2026, 3, 9)))
    with pytest.raises(lots.LotMismatch) as refused:
        lots.check_known(known, lots.LotDraft(code="L1", expires_on=dt.date(2026, 3, 10)))
    assert refused.value.metadata == {"lot": "L1", "field": "expires_on", "recorded": "2026-03-09"}
    with pytest.raises(lots.LotMismatch):
        lots.check_known(known, lots.LotDraft(code="L1", best_before_on=dt.date(2026, 3, 9)))


def test_a_recall_begins_once_and_ends_once() -> None:
    made = lot()
    recalled = lots.recall(made, "glass", expected_version=1, now=NOW)
    assert (recalled.recalled_at, recalled.recall_reason, recalled.version) == (NOW, "glass", 2)
    assert lots.recall(recalled, "again", expected_version=0, now=NOW) is recalled
    with pytest.raises(errors.VersionMismatch):
        lots.lift_recall(recalled, expected_version=1, now=NOW)
    lifted = lots.lift_recall(recalled, expected_version=2, now=NOW)
    assert (lifted.recalled_at, lifted.recall_reason, lifted.version) == (None, "", 3)
    assert lots.lift_recall(lifted, expected_version=3, now=NOW) is lifted


def test_the_lot_that_ends_first_goes_first_and_those_without_an_end_last() -> None:
    def of(code: str, days: int | None) -> values.LotStock:
        return values.LotStock("milk", 3, code=code, sell_until=None if days is None else NOW + dt.timedelta(days=days))

    shelf = [of("Z", None), of("b", 2), of("a", 9), of("B", 2)]
    assert [each.code for each in lots.in_order(shelf)] == ["B", "b", "a", "Z"]
    assert lots.take(shelf, 13, values.State.SELLABLE, NOW) == [("B", 3), ("b", 3), ("a", 3), ("Z", 3), ("", 1)]
    soon = NOW + dt.timedelta(days=2)
    assert lots.take(shelf, 4, values.State.SELLABLE, soon) == [("a", 3), ("Z", 1)]


# --- requests ---


def request(**given: str) -> lots_service_pb2.CreateLotRequest:
    return lots_service_pb2.CreateLotRequest(sku="Milk", lot=lots_pb2.LotInput(**given))


def test_a_request_says_the_same_by_fields_and_by_scan() -> None:
    expected = lots.LotDraft(code="L1", expires_on=dt.date(2026, 2, 28))
    assert lot_inputs.draft(request(code="L1", expires_on="2026-02-28")) == expected
    assert lot_inputs.draft(request(code="L1", expires_on="260200")) == expected
    scanned = lot_inputs.draft(request(scanned=f"01{GTIN}1726020010L1"))
    assert scanned == lots.LotDraft(code="L1", expires_on=dt.date(2026, 2, 28), gtin=GTIN)
    assert lot_inputs.draft(request(code="L1", expires_on="260228", scanned=f"01{GTIN}1726020010L1")) == scanned
    assert lot_inputs.draft(lots_service_pb2.CreateLotRequest(sku="Milk")) is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"code": "L1", "expires_on": "2026-02-29"}, "lot.expires_on"),
        ({"code": "L1", "best_before_on": "260230"}, "lot.best_before_on"),
        ({"scanned": f"01{GTIN}17260200"}, "lot.scanned"),
        ({"scanned": "nonsense"}, "lot.scanned"),
        ({"code": "L2", "scanned": f"01{GTIN}10L1"}, "lot.code"),
        ({"expires_on": "2026-01-01", "scanned": f"01{GTIN}1726020010L1"}, "lot.expires_on"),
    ],
)
def test_what_contradicts_itself_or_is_no_date_is_refused(given: dict[str, str], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        lot_inputs.draft(request(**given))
    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_scanned_code_is_read_only_if_it_has_a_gtin() -> None:
    found = lot_inputs.scanned(f"]d201{GTIN}10L1")
    assert isinstance(found, gs1.Elements)
    assert (found.gtin, found.lot) == (GTIN, "L1")
    for code in ("4006381333931", "Milk", f"01{GTIN}17269999"):
        assert lot_inputs.scanned(code) is None
    for code in ("]d210L1", "(10)L1", f"(01){GTIN}(17)269999"):
        assert isinstance(lot_inputs.scanned(code), gs1.NotGs1)

"""GS1 dates and element strings, by examples of the General Specifications and round trips."""

from __future__ import annotations

import contextlib
import datetime as dt
import string

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import gs1

TODAY = dt.date(2026, 11, 25)
GTIN = "09506000134352"
FNC1 = "\x1d"


@pytest.mark.parametrize(
    ("digits", "today", "expected"),
    [
        ("141120", TODAY, dt.date(2014, 11, 20)),
        ("260200", TODAY, dt.date(2026, 2, 28)),  # day 00: the last of the month
        ("280200", TODAY, dt.date(2028, 2, 29)),
        ("261200", TODAY, dt.date(2026, 12, 31)),
        ("760101", TODAY, dt.date(2076, 1, 1)),  # 50 years ahead
        ("770101", TODAY, dt.date(1977, 1, 1)),  # 49 years back
        ("510101", dt.date(2000, 6, 1), dt.date(1951, 1, 1)),
        ("500101", dt.date(2000, 6, 1), dt.date(2050, 1, 1)),
        ("480101", dt.date(2099, 6, 1), dt.date(2148, 1, 1)),
        ("500101", dt.date(2099, 6, 1), dt.date(2050, 1, 1)),
        ("490101", dt.date(2099, 6, 1), dt.date(2149, 1, 1)),
    ],
)
def test_a_date_of_six_digits_is_read_by_the_rules_of_gs1(digits: str, today: dt.date, expected: dt.date) -> None:
    assert gs1.date(digits, today) == expected


@pytest.mark.parametrize("digits", ["", "26130", "261301", "260230", "2602311", "26-1-1", "٢٦٠١٠١", "260001"])
def test_what_is_no_date_is_refused(digits: str) -> None:
    with pytest.raises(gs1.NotGs1):
        gs1.date(digits, TODAY)


@hypothesis.given(st.dates(dt.date(1977, 1, 1), dt.date(2076, 12, 31)))
def test_a_date_of_a_hundred_years_comes_back(on: dt.date) -> None:
    assert gs1.date(gs1.date_digits(on), TODAY) == on


@pytest.mark.parametrize(
    "text",
    [
        f"01{GTIN}1714112010ABC123",
        f"]C101{GTIN}1714112010ABC123",
        f"]d2{FNC1}01{GTIN}1714112010ABC123{FNC1}",
        f"01{GTIN}10ABC123{FNC1}17141120",
        f"10ABC123{FNC1}17141120{FNC1}01{GTIN}",  # a separator after a fixed length is no fault
        f"(01){GTIN}(17)141120(10)ABC123",
        f"(10)ABC123(01){GTIN}(17)141120",
        f"01{GTIN}3103000500392209912{FNC1}1714112010ABC123",  # weight and price are passed over
        f"01{GTIN}17141120714AIM{FNC1}10ABC123{FNC1}8008200101120000",  # national number, production time
    ],
)
def test_an_element_string_says_the_same_in_every_form(text: str) -> None:
    assert gs1.parse(text, TODAY) == gs1.Elements(gtin=GTIN, expires_on=dt.date(2014, 11, 20), lot="ABC123")


def test_every_element_that_is_read_has_a_place() -> None:
    text = f"01{GTIN}11260102132601031526010416260105172601063012{FNC1}21S/1{FNC1}10L"
    assert gs1.parse(text, TODAY) == gs1.Elements(
        gtin=GTIN,
        produced_on=dt.date(2026, 1, 2),
        packed_on=dt.date(2026, 1, 3),
        best_before_on=dt.date(2026, 1, 4),
        sell_by=dt.date(2026, 1, 5),
        expires_on=dt.date(2026, 1, 6),
        quantity=12,
        serial="S/1",
        lot="L",
    )
    assert gs1.parse(f"02{GTIN}3724", TODAY) == gs1.Elements(quantity=24)  # the content of a pallet is no GTIN of it


@pytest.mark.parametrize(
    "text",
    [
        "", "ABC", "0109506000134353", f"01{GTIN}17261301", f"01{GTIN}10", f"01{GTIN}10{'A' * 21}", f"01{GTIN}10é",
        f"01{GTIN}1726", f"01{GTIN}10A{FNC1}10B", f"01{GTIN}30A", f"(01){GTIN[:-1]}", "(xx)1", f"(01){GTIN}(10)",
        "017", f"01{GTIN}x",
    ],
)  # fmt: skip
def test_what_is_no_element_string_is_refused(text: str) -> None:
    with pytest.raises(gs1.NotGs1):
        gs1.parse(text, TODAY)


SET_82 = "!\"%&'()*+,-./:;<=>?_" + string.ascii_letters + string.digits


@hypothesis.given(
    st.text(SET_82, min_size=1, max_size=20),
    st.dates(dt.date(1977, 1, 1), dt.date(2076, 12, 31)),
    st.integers(1, 99_999_999),
    st.permutations(["01", "10", "17", "30"]),
    st.sampled_from(["", *gs1.SYMBOLOGIES]),
)
def test_what_is_encoded_is_read_again(lot: str, on: dt.date, units: int, order: list[str], symbology: str) -> None:
    content = {"01": GTIN, "10": lot + FNC1, "17": gs1.date_digits(on), "30": f"{units}{FNC1}"}
    text = symbology + "".join(ai + content[ai] for ai in order)
    assert gs1.parse(text, TODAY) == gs1.Elements(gtin=GTIN, lot=lot, expires_on=on, quantity=units)


@hypothesis.given(st.text(SET_82.replace("(", ""), min_size=1, max_size=20))
def test_what_is_printed_is_read_again(lot: str) -> None:
    text = f"(01){GTIN}(10){lot}(17)260101"
    assert gs1.parse(text, TODAY) == gs1.Elements(gtin=GTIN, lot=lot, expires_on=dt.date(2026, 1, 1))


@hypothesis.given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(gs1.NotGs1):
        gs1.parse(text, TODAY)


@pytest.mark.parametrize("text", ["4006381333931", "0100", "SKU-1", "ABC", "01A"])
def test_other_codes_do_not_look_like_one(text: str) -> None:
    assert not gs1.looks_like(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://id.gs1.org/01/{GTIN}/10/ABC123/21/7?17=141120&linkType=gs1:pip",
        "HTTPS://brand.example/some/where/01/9506000134352/10/ABC123/21/7?17=141120#part",
        f"http://brand.example:8080/01/{GTIN}/22/2A/10/%41BC123/21/7?17=141120&30x=1",
        f"https://brand.example/01/shop/01/{GTIN}/10/ABC123/21/7?17=141120",
    ],
)
def test_a_digital_link_says_what_its_element_string_would(text: str) -> None:
    expected = gs1.Elements(gtin=GTIN, lot="ABC123", serial="7", expires_on=dt.date(2014, 11, 20))
    assert gs1.looks_like(text)
    assert gs1.parse(text, TODAY) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://id.gs1.org/01/09506000134353/10/A", "check digit"),
        (f"https://id.gs1.org/01/{GTIN}/10", "pairs"),
        (f"https://id.gs1.org/01/{GTIN}/10/a%00b", "set 82"),
        (f"https://id.gs1.org/01/{GTIN}?17=261301", "no date"),
        (f"https://id.gs1.org/01/{GTIN}/10/A?10=B", "twice"),
        (f"https://[id/01/{GTIN}", "no URI"),
    ],
)
def test_a_digital_link_that_is_broken_is_refused(text: str, told: str) -> None:
    assert gs1.claims(text)
    with pytest.raises(gs1.NotGs1, match=told):
        gs1.parse(text, TODAY)


def test_only_what_can_be_no_other_code_is_broken() -> None:
    """A brand's own barcode may begin with 01."""
    assert not gs1.claims("0112345678901234567")
    assert not any(map(gs1.claims, ("LIP-1", GTIN, "https://brand.example/lipstick", "https://brand.example/01/x", "")))
    assert all(map(gs1.claims, (f"]C101{GTIN}", f"(01){GTIN}", f"01{GTIN}10A{FNC1}17", "(10)A")))


@hypothesis.given(st.text(max_size=60))
@hypothesis.example("https://a/01/12345678")
def test_whatever_is_scanned_is_read_or_refused(text: str) -> None:
    for scanned in (text, "https://a.b/01/" + text, f"https://a.b/01/{GTIN}/" + text):
        with contextlib.suppress(gs1.NotGs1):
            gs1.parse(scanned, TODAY)

"""The same thing in two spellings is one value, and two things are two."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.orders.customers import folding

FOLDS = [folding.name, folding.postal_code]
digits = st.text("0123456789", min_size=7, max_size=14)
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("fold", "one", "other"),
    [
        (folding.email, "Ann.Lee@Example.COM", " ann.lee@example.com "),
        (folding.email, "ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        (folding.email, "ANN@example.com.", "ann@example.com"),
        (folding.email, "\uff21\uff2e\uff2e@example.com", "ann@example.com"),
        (folding.phone, "+43 664 123 45 67", "+436641234567"),
        (folding.phone, "0043 (0)664/1234567", "+436641234567"),
        (folding.phone, "+1 (415) 555-0132", "0014155550132"),
        (folding.name, "Müller", "MULLER"),
        (folding.name, "O'Brien", "obrien"),
        (folding.name, "O\N{RIGHT SINGLE QUOTATION MARK}Brien", "O'Brien"),
        (folding.name, "van der Berg", "Van-der-Berg"),
        (folding.name, "Straßer", "STRASSER"),
        (folding.name, "Nova\N{COMBINING ACUTE ACCENT}k", "Novák"),
        (folding.postal_code, "sw1a 1aa", "SW1A-1AA"),
        (folding.postal_code, "\uff11\uff10\uff11\uff10", "1010"),
    ],
)
def test_two_spellings_are_one(fold: object, one: str, other: str) -> None:
    assert callable(fold)
    assert fold(one) == fold(other) != ""


@pytest.mark.parametrize(
    ("fold", "one", "other"),
    [
        (folding.email, "ann.lee@example.com", "annlee@example.com"),  # only some providers hold these to be one
        (folding.email, "ann+news@example.com", "ann@example.com"),
        (folding.phone, "+43 664 1234567", "+43 664 1234568"),
        (folding.name, "Meier", "Meyer"),
        (folding.name, "李", "王"),
        (folding.postal_code, "01067", "1067"),
    ],
)
def test_two_values_are_two(fold: object, one: str, other: str) -> None:
    assert callable(fold)
    assert fold(one) != fold(other)


@pytest.mark.parametrize("text", ["", "ann", "@example.com", "ann@", "ann@example", "a b@example.com", "a@b@c.example",
                                  "ann@exa..mple.com", "ann@" + "x" * 64 + ".com", "a" * 250 + "@example.com",
                                  "ann\n@example.com", "ann@.com"])  # fmt: skip
def test_no_email(text: str) -> None:
    with pytest.raises(ValueError, match="not an e-mail address"):
        folding.email(text)


@pytest.mark.parametrize("text", ["", "+", "664 1234567", "+43 12", "+0 664 1234567", "+43 664 12345678901234", "+43 abc 1234567",
                                  "++43 6641234567", "+43 664 1234567 ext 5", "+43 664 1234\u0665\u0666\u0667"])  # fmt: skip
def test_no_phone_number_with_a_country_code(text: str) -> None:
    with pytest.raises(ValueError, match="country code"):
        folding.phone(text)


@given(st.text(max_size=40))
def test_folding_what_is_folded_changes_nothing(text: str) -> None:
    for fold in FOLDS:
        assert fold(fold(text)) == fold(text)


@given(words, words)
def test_an_email_folds_to_one_that_folds_to_itself(local: str, host: str) -> None:
    try:
        folded = folding.email(f"{local}@{host}.example")
    except ValueError:
        assume(False)
    assert folding.email(folded) == folded
    assert folding.email(folded.upper()) == folded or not folded.isascii()


@given(digits, st.text(" .-()/", max_size=3), st.integers(0, 7))
def test_marks_in_a_phone_number_mean_nothing(number: str, marks: str, at: int) -> None:
    assume(not number.startswith("0") and "(0)" not in f"{number[:at]}{marks}{number[at:]}")
    assert folding.phone(f"+{number[:at]}{marks}{number[at:]}") == f"+{number}"

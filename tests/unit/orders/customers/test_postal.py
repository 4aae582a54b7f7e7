"""Where things are sent: countries, postal codes as they are written, and who receives."""

from __future__ import annotations

from typing import Any

import pytest

from services.kit import errors
from services.orders.customers import domain, postal


def place(**changes: Any) -> postal.Postal:
    given: dict[str, Any] = {
        "recipient": "", "company": "", "lines": ("Graben 1",), "city": "Wien", "region": "", "postal_code": "1010",
        "country_code": "AT", "phone": "",
    }  # fmt: skip
    return postal.Postal(**{**given, **changes})


@pytest.mark.parametrize(
    ("country", "typed", "kept"),
    [
        ("AT", "1010", "1010"),
        ("GB", " sw1a  1aa", "SW1A 1AA"),
        ("NL", "1012 ab", "1012 AB"),
        ("US", "94105-1234", "94105-1234"),
        ("CA", "k1a 0b1", "K1A 0B1"),
        ("PL", "00-950", "00-950"),
        ("PT", "1000-001", "1000-001"),
        ("IE", "", ""),
        ("AE", "", ""),
        ("KE", "any thing", "ANY THING"),
    ],
)
def test_a_postal_code_is_kept_as_its_country_writes_it(country: str, typed: str, kept: str) -> None:
    assert postal.postal_code(country, typed) == kept


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"postal_code": "101"}, "postal_code"),
        ({"postal_code": ""}, "postal_code"),
        ({"postal_code": "\u0661\u0660\u0661\u0660"}, "postal_code"),
        ({"country_code": "DE"}, "postal_code"),
        ({"country_code": "UK"}, "country_code"),
        ({"country_code": "XX"}, "country_code"),
        ({"lines": ("  ",)}, "lines"),
        ({"city": " "}, "city"),
        ({"phone": "0664 1234567"}, "phone"),
    ],
)
def test_what_a_parcel_would_come_back_for_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        domain.checked_place(place(**changes))

    [violation] = refusal.value.violations
    assert violation.field == f"address.{field}"
    assert not any(str(value) in violation.description for value in changes.values() if len(str(value)) > 2)


def test_every_pattern_is_of_a_country() -> None:
    assert len(postal.COUNTRIES) == 250
    assert set(postal._PATTERNS) <= postal.COUNTRIES


def test_blanks_go_and_a_phone_is_e164() -> None:
    checked = domain.checked_place(place(lines=(" Graben 1 ", " "), city=" Wien", phone="+43 (0)664 123 45 67"))

    assert (checked.lines, checked.city, checked.phone) == (("Graben 1",), "Wien", "+436641234567")


def test_somebody_receives_it() -> None:
    ada = domain.Profile(given_name="Ada", family_name="Quast", phone="+431234567")

    assert domain.recipient(ada, place()).place == place(recipient="Ada Quast")
    assert domain.recipient(ada, place(recipient="Bea")).place == place(recipient="Bea")
    assert domain.recipient(domain.Profile(), place(company="Ltd")).place == place(company="Ltd")
    assert domain.recipient(domain.Profile(), place(recipient="B", phone="+439999999")).phone == "+439999999"
    with pytest.raises(errors.InvalidRequest):
        domain.recipient(domain.Profile(email="a@b.at"), place())

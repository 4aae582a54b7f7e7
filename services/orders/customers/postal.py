"""Where things are sent: which countries there are, and how they write postal codes. Pure, part of the domain.

Only what a parcel would come back for is refused. Whether a street is there is for the carrier to say.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from types import MappingProxyType

# ISO 3166-1 alpha-2, officially assigned (2024), and XK, which carriers use for Kosovo.
_ASSIGNED = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD
CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF
GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI
SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI
VN VU WF WS XK YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_ASSIGNED.split())
_DIGITS = {
    3: "FO IS",
    4: "AT AU BE BG CH CY DK HU LI NO NZ SI",
    5: "DE EE ES FI FR HR IT MC MX SM TR US VA",
    6: "CN RO SG",
}
_OTHER = {
    "BR": r"\d{5}-?\d{3}",
    "CA": r"[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z] ?\d[ABCEGHJ-NPRSTV-Z]\d",
    "CZ": r"\d{3} ?\d{2}",
    "GB": r"GIR ?0AA|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}",
    "GR": r"\d{3} ?\d{2}",
    "IE": r"([AC-FHKNPRTV-Y]\d[\dW] ?[\dAC-FHKNPRTV-Y]{4})?",  # many leave it out
    "IN": r"\d{3} ?\d{3}",
    "JP": r"\d{3}-?\d{4}",
    "LT": r"(LT-)?\d{5}",
    "LV": r"(LV-)?\d{4}",
    "LU": r"(L-)?\d{4}",
    "MT": r"[A-Z]{3} ?\d{2,4}",
    "NL": r"[1-9]\d{3} ?[A-Z]{2}",
    "PL": r"\d{2}-?\d{3}",
    "PT": r"\d{4}(-?\d{3})?",
    "SE": r"\d{3} ?\d{2}",
    "SK": r"\d{3} ?\d{2}",
    "US": r"\d{5}(-?\d{4})?",
}
_PATTERNS = MappingProxyType(
    {country: rf"\d{{{digits}}}" for digits, countries in _DIGITS.items() for country in countries.split()} | _OTHER
)


class NotWritten(ValueError):
    """A part of an address is not as it is written. part: a field of Postal. Never quotes the value."""

    def __init__(self, part: str, description: str) -> None:
        super().__init__(description)
        self.part = part


@dataclass(frozen=True, slots=True, kw_only=True)
class Postal:
    """Where something is sent; phone is E.164. Without a field of its own, empty is not known."""

    recipient: str
    company: str
    lines: tuple[str, ...]
    city: str
    region: str
    postal_code: str
    country_code: str
    phone: str


def postal_code(country_code: str, text: str) -> str:
    """A code as its country writes it, in upper case. NotWritten, also for no country.

    Empty stays empty where a country has no pattern here: many have no codes at all.
    """
    if country_code not in COUNTRIES:
        raise NotWritten("country_code", "is no country of ISO 3166-1")
    written = " ".join(text.upper().split())
    pattern = _PATTERNS.get(country_code)
    if pattern is not None and re.fullmatch(pattern, written, re.ASCII) is None:
        raise NotWritten("postal_code", f"is not as {country_code} writes it")
    return written


def without_blanks(place: Postal) -> Postal:
    """Without blanks around what people type. NotWritten: nothing is left of what is needed."""
    lines = tuple(line.strip() for line in place.lines if line.strip())
    city = place.city.strip()
    if not lines:
        raise NotWritten("lines", "has a street or a box")
    if not city:
        raise NotWritten("city", "is needed")
    return dataclasses.replace(
        place,
        recipient=place.recipient.strip(),
        company=place.company.strip(),
        lines=lines,
        city=city,
        region=place.region.strip(),
    )

"""GS1 codes: dates of six digits, element strings as scanners read them or as they are printed, and Digital Links.

Rules of the GS1 General Specifications, and of the syntax of Digital Links. Time is passed in: the century of a date
depends on the year it is read in.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.inventory.domain import catalog_codes as codes

FNC1: Final = "\x1d"
"""What a scanner sends for the separator after an element without a fixed length."""
LOT_CODE: Final = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]{1,20}")
"""AI 10: up to 20 characters of set 82."""
SYMBOLOGIES: Final = ("]C1", "]e0", "]d2", "]Q3", "]J1")  # what a scanner may send first, of symbols that hold elements
PAST_YEARS, YEARS = 49, 100  # a year lies at most 49 before and 50 after the present one

# Lengths that the specification fixes by the first two digits of the AI (figure 5.10.1-2), AI included: after these no
# separator is needed. Every other element ends at FNC1 or at the end.
_FIXED: Final[Mapping[str, int]] = {
    "00": 20, "01": 16, "02": 16, "03": 16, "04": 18,
    **{f"{ai:02d}": 8 for ai in range(11, 20)},
    "20": 4, **{f"{ai}": 10 for ai in range(31, 37)}, "41": 16,
}  # fmt: skip
# AIs that are read for what they say: longest content. All others are passed over.
_LENGTH_MAX: Final[Mapping[str, int]] = {
    "00": 18, "01": 14, "02": 14, "10": 20, "11": 6, "13": 6, "15": 6, "16": 6, "17": 6, "21": 20, "30": 8, "37": 8,
}  # fmt: skip
_DATES: Final = ("11", "13", "15", "16", "17")
_NUMBERS: Final = ("00", "01", "02", "30", "37", *_DATES)
# How long an AI is, by its first two digits; those that are not here have two.
_AI_LENGTH: Final[Mapping[str, int]] = {
    **{f"{ai}": 3 for ai in (23, 24, 25, 40, 41, 42, 71)},
    **{f"{ai}": 4 for ai in (31, 32, 33, 34, 35, 36, 39, 43, 70, 72, 80, 81, 82)},
}
_BRACKETED: Final = re.compile(r"\((\d{2,4})\)")
_GTIN: Final = re.compile(r"[0-9]{8,14}")
_DIGITAL_LINK: Final = re.compile(r"https?://[^/?#]+(/[^?#]*)?/01/[0-9]{8,14}([/?#]|$)", re.IGNORECASE)


class NotGs1(ValueError):
    """A text that is no GS1 element string, or a date that is none; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """What a code says. Empty or None: nothing of it."""

    gtin: str = ""
    """14 digits (AI 01)."""
    lot: str = ""
    produced_on: dt.date | None = None
    packed_on: dt.date | None = None
    best_before_on: dt.date | None = None
    sell_by: dt.date | None = None
    expires_on: dt.date | None = None
    serial: str = ""
    quantity: int = 0
    """Units inside (AI 30 or 37)."""


def date(digits: str, today: dt.date) -> dt.date:
    """A date YYMMDD; day 00 is the last day of its month. NotGs1."""
    if not (len(digits) == 6 and digits.isascii() and digits.isdigit()):
        raise NotGs1("a date has six digits")
    year, month, day = _year(int(digits[:2]), today.year), int(digits[2:4]), int(digits[4:])
    try:
        return dt.date(year, month, day or calendar.monthrange(year, month)[1])
    except ValueError as error:  # calendar's for a month that is none is one too
        raise NotGs1(f"{digits} is no date") from error


def _year(two_digits: int, present: int) -> int:
    first = present - PAST_YEARS
    return first + (two_digits - first) % YEARS


def date_digits(on: dt.date) -> str:
    """A date as YYMMDD."""
    return on.strftime("%y%m%d")


def claims(text: str) -> bool:
    """Whether a scanned text can only be an element string or a Digital Link: unread, it is broken."""
    return (
        text.startswith(SYMBOLOGIES)
        or FNC1 in text
        or _BRACKETED.match(text) is not None
        or _DIGITAL_LINK.match(text) is not None
    )


def looks_like(text: str) -> bool:
    """Whether a scanned text may be an element string or a Digital Link; one without a mark may be another code too."""
    return claims(text) or (text.startswith("01") and len(text) > _FIXED["01"])


def parse(text: str, today: dt.date) -> Elements:
    """Reads a code. NotGs1.

    An element string as scanned, with FNC1 as U+001D, or as printed, with brackets around AIs; or a Digital Link that
    is not compressed.
    """
    if _DIGITAL_LINK.match(text):
        elements = _linked(text)
    else:
        elements = _printed(text) if text.startswith("(") else _scanned(text)
    found: dict[str, str] = {}
    for ai, content in elements:
        if found.get(ai, content) != content:
            raise NotGs1(f"({ai}) is there twice")
        found[ai] = content
    if not found:
        raise NotGs1("it is empty")
    for ai, content in found.items():
        _check(ai, content)
    return _elements(found, today)


def _printed(text: str) -> Iterator[tuple[str, str]]:
    """A lot code may have brackets too, so an AI is only what ends an element that is complete."""
    first = _BRACKETED.match(text)
    if first is None:
        raise NotGs1("an AI in brackets is missing")
    ai, start = first[1], first.end()
    for following in _BRACKETED.finditer(text, start):
        length = following.start() - start
        fixed = _FIXED.get(ai[:2])
        if length <= 0 or (fixed is not None and length < fixed - len(ai)):
            continue
        yield ai, text[start : following.start()]
        ai, start = following[1], following.end()
    yield ai, text[start:]


def _scanned(text: str) -> Iterator[tuple[str, str]]:
    rest = text[3:] if text.startswith(SYMBOLOGIES) else text
    rest = rest.lstrip(FNC1)
    while rest:
        length = _AI_LENGTH.get(rest[:2], 2)
        ai = rest[:length]
        if len(ai) < length or not (ai.isascii() and ai.isdigit()):
            raise NotGs1(f"{ai!r} is no AI")
        end = _FIXED.get(ai[:2])
        if end is None:
            at = rest.find(FNC1)
            end = at if at >= 0 else len(rest)
        if len(rest) < end:
            raise NotGs1(f"({ai}) is too short")
        yield ai, rest[length:end]
        rest = rest[end:].removeprefix(FNC1)


def _linked(text: str) -> Iterator[tuple[str, str]]:
    """The GTIN and what qualifies it are pairs of the path, attributes are of the query."""
    try:
        url = urllib.parse.urlsplit(text)
    except ValueError as error:
        raise NotGs1("it is no URI") from error
    path = [urllib.parse.unquote(part) for part in url.path.split("/")]
    at = next(n for n, ai in enumerate(path) if ai == "01" and _GTIN.fullmatch("".join(path[n + 1 : n + 2])))
    qualified = path[at + 2 :]
    if len(qualified) % 2:
        raise NotGs1("its path does not consist of pairs")
    yield "01", path[at + 1].zfill(14)  # shorter ones are written as they are printed, too
    yield from zip(qualified[::2], qualified[1::2], strict=True)
    yield from ((name, value) for name, value in urllib.parse.parse_qsl(url.query) if name in _LENGTH_MAX)


def _check(ai: str, content: str) -> None:
    longest = _LENGTH_MAX.get(ai)
    if longest is None:
        return
    if not content or len(content) > longest or (ai[:2] in _FIXED and len(content) != longest):
        raise NotGs1(f"({ai}) has {longest} characters" + ("" if ai[:2] in _FIXED else " at most, and one at least"))
    if ai in _NUMBERS and not (content.isascii() and content.isdigit()):
        raise NotGs1(f"({ai}) has digits only")
    if ai in ("10", "21") and not LOT_CODE.fullmatch(content):
        raise NotGs1(f"({ai}) has a character that is not of set 82")
    if ai in ("01", "02") and not codes.is_gtin(content):
        raise NotGs1(f"({ai}) has a wrong check digit")


def _elements(found: Mapping[str, str], today: dt.date) -> Elements:
    when = {ai: date(found[ai], today) for ai in _DATES if ai in found}
    return Elements(
        gtin=found.get("01", ""),
        lot=found.get("10", ""),
        produced_on=when.get("11"),
        packed_on=when.get("13"),
        best_before_on=when.get("15"),
        sell_by=when.get("16"),
        expires_on=when.get("17"),
        serial=found.get("21", ""),
        quantity=int(found.get("30") or found.get("37") or 0),
    )

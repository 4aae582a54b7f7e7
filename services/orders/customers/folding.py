"""What personal values are compared by: the same for every way to write the same thing. Pure, part of the domain.

Folded values exist only in memory, on their way into a keyed digest. A change here loses look-ups of what is kept: the
digests would have to be made anew.
"""

from __future__ import annotations

import re
import unicodedata

PHONE_DIGITS_MIN, PHONE_DIGITS_MAX = (
    7,
    15,
)  # E.164 has at most 15; no country's numbers are shorter than 7 with its code
EMAIL_LENGTH_MAX = 254
_PHONE_MARKS = re.compile(r"[\s().\-/\u2010-\u2015]")
_TRUNK = re.compile(r"\(0\)")


def email(text: str) -> str:
    """An address without regard to case, its domain in ASCII. ValueError when it is none."""
    whole = unicodedata.normalize("NFKC", text.strip())
    local, at, domain = whole.removesuffix(".").rpartition("@")
    if not at or not local or "@" in local or any(c.isspace() or not c.isprintable() for c in whole):
        raise ValueError("not an e-mail address")
    try:
        folded = f"{_fold(local)}@{domain.encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        raise ValueError("not an e-mail address") from None
    if len(folded) > EMAIL_LENGTH_MAX or "." not in domain.strip("."):
        raise ValueError("not an e-mail address")
    return folded


def phone(text: str) -> str:
    """E.164: `+` and digits. ValueError without a country code, which nothing here could know."""
    whole = _PHONE_MARKS.sub("", _TRUNK.sub("", unicodedata.normalize("NFKC", text.strip())))
    digits = whole[1:] if whole.startswith("+") else whole.removeprefix("00") if whole.startswith("00") else ""
    if not (digits.isascii() and digits.isdigit()) or digits.startswith("0"):
        raise ValueError("not a phone number with its country code")
    if not PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX:
        raise ValueError("not a phone number with its country code")
    return f"+{digits}"


def name(text: str) -> str:
    """Letters and digits without case and accents: `O'Brien` and `OBRIEN`, `Müller` and `Muller`. May be empty."""
    parted = unicodedata.normalize("NFKD", _fold(text))  # after the folding, which puts letter and accent together
    bare = "".join(c for c in parted if not unicodedata.combining(c))
    return "".join(c for c in _fold(bare) if c.isalnum())


def postal_code(text: str) -> str:
    """Letters and digits in upper case: `sw1a 1aa` and `SW1A1AA`. May be empty."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).upper() if c.isalnum())


def _fold(text: str) -> str:
    """Case folded and normalised until nothing changes: folding may give what normalises further, and the reverse."""
    for _ in range(4):
        folded = unicodedata.normalize("NFKC", text.casefold())
        if folded == text:
            break
        text = folded
    return text

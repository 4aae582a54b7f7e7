"""A supplier's list as CSV: text to lines. A line that can't be read is refused alone; a file that can't, as a whole.

RFC 4180 with commas or semicolons, UTF-8 with or without a byte order mark, columns by name in any order.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from services.inventory.domain import suppliers as values
from services.kit import currencies, errors

LINES_MAX: Final = 5000
AMOUNT_MAX: Final = 10**15  # of Money, in the contract
FIELD: Final = "file"

_SKU = re.compile(r"[A-Za-z0-9._-]{1,64}")
_INTEGER = re.compile(r"[0-9]{1,10}")
_DECIMAL = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,9}))?")
_TRUTH: Final = {"true": True, "false": False}
Parse = Callable[[str], Any]


class _Unreadable(ValueError):
    """A cell's text isn't what its column holds; the message says what it should be."""


def parse(data: bytes, currency_code: str) -> list[values.Line]:
    """The lines of a file, costs in smallest units of the currency. INVALID_REQUEST when it isn't such a file."""
    rows = _rows(_text(data))
    _, header = next(rows, (0, []))
    columns = [name.strip().lower() for name in header]
    parsers = _parsers(currency_code)
    _check_header(columns, parsers)
    lines: list[values.Line] = []
    for number, row in rows:
        if len(lines) == LINES_MAX:
            raise _refused(f"has more than {LINES_MAX} lines")
        lines.append(_line(number, columns, row, parsers))
    return lines


def _refused(description: str) -> errors.InvalidRequest:
    return values.line_refusal(FIELD, description)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused("is not UTF-8") from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, with the number of the line on which each begins."""
    first, _, _ = text.lstrip().partition("\n")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    begins = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error:
        raise _refused(f"is not CSV from line {begins} on") from None


def _check_header(columns: Sequence[str], parsers: Mapping[str, Parse]) -> None:
    unknown = [name for name in columns if name not in parsers]
    if unknown:
        raise _refused(f"has a column that isn't known: {unknown[0][:40]!r}; known are {', '.join(parsers)}")
    if "sku" not in columns or len(set(columns)) < len(columns):
        raise _refused("needs a first line that names the columns, each once, and sku among them")


def _line(number: int, columns: Sequence[str], row: Sequence[str], parsers: Mapping[str, Parse]) -> values.Line:
    cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
    sku = cells.get("sku", "")[:64]
    if len(row) != len(columns):
        return values.Line(number, sku, {}, values.line_refusal("", f"has {len(row)} cells, not {len(columns)}"))
    changes: dict[str, Any] = {}
    for column, cell in cells.items():
        try:
            changes[column] = parsers[column](cell)
        except _Unreadable as reason:
            return values.Line(number, sku, {}, values.line_refusal(column, str(reason)))
    return values.Line(number, changes.pop("sku"), changes)


def _parsers(currency_code: str) -> Mapping[str, Parse]:
    """How each column is read. An empty cell is the column's default."""
    places = currencies.EXPONENTS[currency_code]
    return {
        "sku": _sku,
        "supplier_sku": _code,
        "cost": lambda cell: _amount(cell, places) if cell else None,
        "pack_size": lambda cell: _integer(cell, 1, 1_000_000) if cell else 1,
        "minimum_order_quantity": lambda cell: _integer(cell, 0, 10**9) if cell else 0,
        "lead_time_days": lambda cell: _integer(cell, 0, 1000) if cell else None,
        "discontinued": _truth,
    }


def _sku(cell: str) -> str:
    if _SKU.fullmatch(cell) is None:
        raise _Unreadable("is not a SKU")
    return cell


def _code(cell: str) -> str:
    if len(cell) > 64 or not cell.isprintable():
        raise _Unreadable("has more than 64 characters, or some that can't be printed")
    return cell


def _integer(cell: str, least: int, most: int) -> int:
    if _INTEGER.fullmatch(cell) is None or not least <= int(cell) <= most:
        raise _Unreadable(f"is not a whole number from {least} to {most}")
    return int(cell)


def _amount(cell: str, places: int) -> int:
    found = _DECIMAL.fullmatch(cell)
    fraction = (found[2] or "").rstrip("0") if found else ""
    if found is None or len(fraction) > places:
        raise _Unreadable(f"is not a decimal with at most {places} places and a point")
    amount: int = int(found[1]) * 10**places + int(fraction.ljust(places, "0") or "0")
    if amount > AMOUNT_MAX:
        raise _Unreadable("is too large")
    return amount


def _truth(cell: str) -> bool:
    if not cell:
        return False
    if cell.lower() not in _TRUTH:
        raise _Unreadable("is neither true nor false")
    return _TRUTH[cell.lower()]

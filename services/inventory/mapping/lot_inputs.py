"""What requests say of lots: by fields, or as a scanned GS1 code. Pure functions."""

from __future__ import annotations

import datetime as dt
from typing import Any

from services.inventory.domain import gs1, lots
from services.kit import clock, validation
from tillmesh.inventory.v1 import catalog_pb2, lots_pb2
from tillmesh.orders.v1 import orders_events_pb2

_SCANNED = {"code": "lot", **{name: name for name in lots.DATES}}  # fields of LotInput, and of gs1.Elements


def today() -> dt.date:
    """Which century two digits of a year are of; a day more or less makes no difference."""
    return clock.now().date()


def draft(message: Any, field: str = "lot") -> lots.LotDraft | None:
    """What a request says of a lot in a field; None: nothing. INVALID_REQUEST."""
    if not message.HasField(field):
        return None
    given: lots_pb2.LotInput = getattr(message, field)
    said: dict[str, Any] = {"code": given.code or None, **{name: date(given, name, field) for name in lots.DATES}}
    scanned = _scanned(given.scanned, field)
    for name, of_scan in _SCANNED.items():
        read = getattr(scanned, of_scan) or None
        if said[name] is not None and read is not None and said[name] != read:
            raise validation.invalid(f"{field}.{name}", f"is not what was scanned, {read}")
        said[name] = said[name] or read
    if not said["code"]:
        raise validation.invalid(f"{field}.scanned", "has no lot code (10)")
    return lots.LotDraft(**said, gtin=scanned.gtin)


def _scanned(text: str, field: str) -> gs1.Elements:
    if not text:
        return gs1.Elements()
    try:
        return gs1.parse(text, today())
    except gs1.NotGs1 as error:
        raise validation.invalid(f"{field}.scanned", str(error)) from None


def date(message: Any, name: str, path: str = "") -> dt.date | None:
    """A date of a lot, in either form; None: not given. INVALID_REQUEST."""
    text: str = getattr(message, name)
    try:
        if "-" in text:
            return dt.date.fromisoformat(text)
        return gs1.date(text, today()) if text else None
    except ValueError:
        raise validation.invalid(f"{path}.{name}".lstrip("."), f"{text} is no date") from None


def scanned(code: str) -> gs1.Elements | gs1.NotGs1 | None:
    """What a scanned code says of a GTIN; why it doesn't, where it can be no other code; None: it is another one."""
    if not gs1.looks_like(code):
        return None
    try:
        elements = gs1.parse(code, today())
        if not elements.gtin:
            raise gs1.NotGs1("it has no GTIN (01)")  # noqa: TRY301  # told like what parse tells
    except gs1.NotGs1 as broken:
        return broken if gs1.claims(code) else None
    return elements


def sold(line: orders_events_pb2.SalesRecorded.Line) -> lots.LotDraft:
    """The lot of a line that was scanned. INVALID_REQUEST."""
    given = line.scanned
    dates: dict[str, Any] = {name: date(given, name, "scanned") for name in lots.DATES}
    return lots.LotDraft(code=line.lot, **dates)


def text(on: dt.date | None) -> str:
    """A date as the contract has it."""
    return on.isoformat() if on is not None else ""


def scanned_to_proto(elements: gs1.Elements) -> catalog_pb2.ScannedLot:
    """What a scanned code says beside the GTIN."""
    return catalog_pb2.ScannedLot(
        lot=elements.lot,
        expires_on=text(elements.expires_on),
        best_before_on=text(elements.best_before_on),
        produced_on=text(elements.produced_on),
        serial=elements.serial,
        quantity=elements.quantity,
    )

"""Imports and exports: states of a job, the columns of files, and what a row's texts mean. Values in, values out."""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.kit import errors

OPEN_MAX: Final = 100  # unfinished jobs of a tenant: the queue is shared
PARTS_MAX: Final = 64
ROWS_MAX: Final = 5_000_000
ROW_BYTES_MAX: Final = 64 * 1024
SEPARATOR: Final = "|"
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class State(enum.IntEnum):
    """As tillmesh.inventory.v1.BulkJobState."""

    AWAITING_FILE = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    PARTIALLY_SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def ended(self) -> bool:
        """Nothing more will happen."""
        return self > State.RUNNING


class Kind(enum.IntEnum):
    """As tillmesh.inventory.v1.BulkDataKind."""

    STOCK = 1
    PRODUCTS = 2


class Format(enum.IntEnum):
    """As tillmesh.inventory.v1.BulkDataFormat."""

    CSV = 1
    PARQUET = 2


IMPORT, EXPORT = "imp", "exp"  # directions, and prefixes of ids


class JobEnded(errors.Error):
    """The job has ended, or its file is complete."""

    reason = "JOB_ENDED"


class JobNotReady(errors.Error):
    """There is no file."""

    reason = "JOB_NOT_READY"


class ImportIncomplete(errors.Error):
    """A part of the file is missing."""

    reason = "IMPORT_INCOMPLETE"


class BadFile(Exception):
    """The file as a whole can't be read; the message is for people."""


class BadValue(Exception):
    """A text that is not what its column holds; the message names the column."""


@dataclass(frozen=True, slots=True)
class Job:
    """An import or an export. tenant is uuid text; position counts the rows that are done."""

    tenant: str
    id: uuid.UUID
    direction: str
    kind: Kind
    format: Format
    state: State
    parts: int
    position: int
    applied: int
    refused: int
    size_bytes: int
    message: str
    location_id: uuid.UUID | None
    subject: str
    actor: str
    locations: tuple[str, ...]
    created_at: dt.datetime
    updated_at: dt.datetime
    ended_at: dt.datetime | None

    @property
    def outcome(self) -> State:
        """How it ends when every row was read."""
        return State.PARTIALLY_SUCCEEDED if self.refused else State.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: number from 1, the line it ends on (0 in Parquet), texts by column. problem: why it is none."""

    number: int
    line: int
    texts: Mapping[str, str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row was refused."""

    row: int
    line: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Columns:
    """What a file of a kind may have. ignored: an export has them, an import can't set them."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def check(self, header: Sequence[str]) -> None:
        """BadFile for a header that is not one: a misspelt column must not be taken for one that was left out."""
        known = {*self.needed, *self.optional, *self.ignored}
        if unknown := [name for name in header if name not in known]:
            raise BadFile(f"unknown column {unknown[0][:64]!r}; known are {', '.join(sorted(known))}")
        if len(set(header)) != len(header):
            raise BadFile("a column stands twice in the header")
        if missing := [name for name in self.needed if name not in header]:
            raise BadFile(f"column {missing[0]!r} is missing")


BY_LOT: Final = "lot"
"""The column that makes a file's counts those of lots, and of no lot where a row names none."""
LOT_DATES: Final = ("expires_on", "best_before_on", "produced_on")
STOCK: Final = Columns(
    ("location", "sku"),
    (BY_LOT, *LOT_DATES, "on_hand", "expected_on_hand", "delta", "reason", "reference", "occurred_at"),
    (
        "location_code",
        "reserved",
        "allocated",
        "unsellable",
        "in_transit",
        "safety_stock",
        "available",
        "version",
        "updated_at",
    ),
)
PRODUCTS: Final = Columns(
    ("sku", "product_name"),
    (
        "product_code", "description", "brand", "category", "variant_name", "options", "barcodes", "stock_unit",
        "length_mm", "width_mm", "height_mm", "weight_g", "lead_time_days", "tax_category", "discontinued", "prices",
    ),
)  # fmt: skip
COLUMNS: Final[Mapping[Kind, Columns]] = {Kind.STOCK: STOCK, Kind.PRODUCTS: PRODUCTS}
EXPORTED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.STOCK: (
        "location", "location_code", "sku", BY_LOT, *LOT_DATES, "on_hand", "expected_on_hand", "reserved",
        "allocated", "unsellable", "in_transit", "safety_stock", "available", "version", "updated_at",
    ),
    Kind.PRODUCTS: (
        "product_code", "product_name", "description", "brand", "category", "sku", "variant_name", "options",
        "barcodes", "stock_unit", "length_mm", "width_mm", "height_mm", "weight_g", "lead_time_days", "tax_category",
        "discontinued", "prices",
    ),
}  # fmt: skip


# --- texts of cells ---


def whole(column: str, text: str) -> int:
    """A whole number. BadValue."""
    if _WHOLE.fullmatch(text.strip()) is None:
        raise BadValue(f"{column}: {text[:40]!r} is not a whole number")
    return int(text)


def flag(column: str, text: str) -> bool:
    """Either true or false. BadValue."""
    if (folded := text.strip().lower()) not in ("true", "false"):
        raise BadValue(f"{column}: {text[:40]!r} is neither true nor false")
    return folded == "true"


def moment(column: str, text: str) -> dt.datetime:
    """An ISO 8601 time with its offset. BadValue."""
    try:
        at = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadValue(f"{column}: {text[:40]!r} is not a time as in 2026-01-31T09:30:00Z") from None
    if at.tzinfo is None:
        raise BadValue(f"{column}: {text[:40]!r} has no offset from UTC")
    return at.astimezone(dt.UTC)


def join(parts: Sequence[str]) -> str:
    """A list in one cell: a bar between its parts, a backslash before a bar or backslash within one."""
    return SEPARATOR.join(part.replace("\\", "\\\\").replace(SEPARATOR, "\\" + SEPARATOR) for part in parts)


def split(column: str, text: str) -> list[str]:
    """The parts of a list in one cell; none of an empty one. BadValue for a lone backslash at its end."""
    if not text:
        return []
    parts, escaped = [""], False
    for char in text:
        if escaped or char not in ("\\", SEPARATOR):
            parts[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            parts.append("")
    if escaped:
        raise BadValue(f"{column}: ends in a \\")
    return parts


def pairs(column: str, text: str, separator: str) -> list[tuple[str, str]]:
    """Parts that are `name=value`, say. BadValue."""
    found = []
    for part in split(column, text):
        name, mark, value = part.partition(separator)
        if not mark:
            raise BadValue(f"{column}: {part[:40]!r} has no {separator!r}")
        found.append((name, value))
    return found

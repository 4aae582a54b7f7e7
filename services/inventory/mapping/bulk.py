"""Imports and exports on the wire and in files: jobs to messages, rows to requests and back. Pure functions.

A row becomes the message that an rpc of the same effect takes, and is checked by the rules of that message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.inventory.domain import bulk
from services.inventory.domain import catalog as catalog_values
from services.inventory.mapping import lot_inputs
from services.inventory.mapping import stock as stock_mapping
from services.kit import clock, errors, ids, validation
from tillmesh.inventory.v1 import bulk_data_service_pb2 as pb
from tillmesh.inventory.v1 import catalog_pb2, catalog_service_pb2, lots_pb2, stock_pb2
from tillmesh.inventory.v1 import inventory_service_pb2 as inventory_pb

Line = inventory_pb.BulkUpdateStockRequest.Line
REASON_PREFIX = "MOVEMENT_REASON_"
UNIT_PREFIX = "STOCK_UNIT_"
Job = pb.BulkJob
# Fields of a product and a variant by the columns that set them: what a file has no column for stays as it is.
PRODUCT_FIELDS: Mapping[str, str] = {
    "product_code": "code", "product_name": "name", "description": "description", "brand": "brand",
    "category": "category",
}  # fmt: skip
VARIANT_FIELDS: Mapping[str, str] = {
    "variant_name": "name", "options": "options", "barcodes": "barcodes", "stock_unit": "stock_unit",
    "length_mm": "package", "width_mm": "package", "height_mm": "package", "weight_g": "package",
    "lead_time_days": "lead_time_days", "tax_category": "tax_category", "discontinued": "discontinued",
}  # fmt: skip


def job_to_proto(job: bulk.Job) -> pb.BulkJob:
    message = pb.BulkJob(
        id=ids.encode(job.direction, job.id),
        kind=int(job.kind),  # type: ignore[arg-type]  # the same numbers
        format=int(job.format),  # type: ignore[arg-type]
        state=int(job.state),  # type: ignore[arg-type]
        rows_read=job.position,
        rows_applied=job.applied,
        rows_refused=job.refused,
        size_bytes=job.size_bytes,
        message=job.message,
        location_id=stock_mapping.location_text(job.location_id) if job.location_id else "",
        created_at=clock.timestamp(job.created_at),
        updated_at=clock.timestamp(job.updated_at),
    )
    if job.ended_at is not None:
        message.ended_at.CopyFrom(clock.timestamp(job.ended_at))
    return message


def refusal_to_proto(refusal: bulk.Refusal) -> pb.ListImportErrorsResponse.RowError:
    return pb.ListImportErrorsResponse.RowError(
        row=refusal.row, line=refusal.line, reason=refusal.reason, message=refusal.message
    )


def refused(row: bulk.Row, error: errors.Error) -> bulk.Refusal:
    """Why a row was refused, with the fields that break rules."""
    told = "; ".join(f"{each.field}: {each.description}" for each in error.violations) or str(error)
    return bulk.Refusal(row.number, row.line, error.reason, told[:500])


def _check(row: bulk.Row) -> None:
    if row.problem:
        raise bulk.BadValue(row.problem)
    if row.texts.get("on_hand", "").strip() and row.texts.get("delta", "").strip():
        raise bulk.BadValue("on_hand and delta: a row has one of them")
    if nul := next((name for name, text in row.texts.items() if "\0" in text), None):
        raise bulk.BadValue(f"{nul}: has a NUL character")


def invalid(problem: bulk.BadValue) -> errors.InvalidRequest:
    """A cell that can't be read, as a caller is told."""
    return errors.InvalidRequest(str(problem))


# --- stock ---


def stock_line(row: bulk.Row, locations: Mapping[str, str]) -> Line:
    """The line of a bulk update that a row means. locations: ids by folded code. INVALID_REQUEST, NOT_FOUND."""
    try:
        _check(row)
        texts = {name: text.strip() for name, text in row.texts.items() if text.strip()}
        line = Line(sku=texts.get("sku", ""), reference=texts.get("reference", ""))
        for column in ("on_hand", "expected_on_hand", "delta"):
            if column in texts:
                setattr(line, column, bulk.whole(column, texts[column]))
        if "reason" in texts:
            line.reason = _member(stock_pb2.MovementReason, REASON_PREFIX, "reason", texts["reason"])
        if (lot := _lot(texts)) is not None:
            line.lot.CopyFrom(lot)
        if "occurred_at" in texts:
            line.occurred_at.CopyFrom(clock.timestamp(bulk.moment("occurred_at", texts["occurred_at"])))
    except bulk.BadValue as problem:
        raise invalid(problem) from None
    place = texts.get("location", "")
    line.location_id = place if is_location_id(place) else locations.get(place.lower(), "")
    if place and not line.location_id:
        raise errors.NotFound("location")
    validation.check(line)
    return line


def _lot(texts: Mapping[str, str]) -> lots_pb2.LotInput | None:
    """The lot that a row names."""
    dates = {name: texts[name] for name in bulk.LOT_DATES if name in texts}
    if bulk.BY_LOT in texts:
        return lots_pb2.LotInput(code=texts[bulk.BY_LOT], **dates)
    if dates:
        raise bulk.BadValue(f"{next(iter(dates))}: is of a lot, and the row names none")
    return None


def is_location_id(text: str) -> bool:
    """Whether a text is an id rather than a code."""
    return text.startswith("loc_") and len(text) == len("loc_") + 26


_COUNTED = ("on_hand", "reserved", "allocated", "unsellable", "in_transit")


def stock_rows(level: Any, lots: Sequence[Any]) -> list[dict[str, str]]:
    """Rows of an export: what of a level is of no lot, then its lots; so they add up.

    expected_on_hand says what was there: imported again, a row that is outdated is refused. What is of the level as a
    whole stands in its first row.
    """
    of_none = {name: getattr(level, name) - sum(getattr(lot, name) for lot in lots) for name in _COUNTED}
    first = {
        **_stock_row(level, of_none),
        "updated_at": level.updated_at.isoformat(),
        **{name: str(getattr(level, name)) for name in ("safety_stock", "available", "version")},
    }
    return [first, *(_lot_row(level, lot) for lot in lots)]


def _stock_row(level: Any, units: Mapping[str, int]) -> dict[str, str]:
    return {
        "location": stock_mapping.location_text(level.location_id),
        "location_code": level.code,
        "sku": level.sku,
        "expected_on_hand": str(units["on_hand"]),
        **{name: str(number) for name, number in units.items()},
    }


def _lot_row(level: Any, lot: Any) -> dict[str, str]:
    dates = {name: lot_inputs.text(getattr(lot, name)) for name in bulk.LOT_DATES}
    return {**_stock_row(level, {name: getattr(lot, name) for name in _COUNTED}), bulk.BY_LOT: lot.lot, **dates}


# --- products ---


def product_request(row: bulk.Row) -> tuple[catalog_service_pb2.CreateProductRequest, list[catalog_pb2.Price]]:
    """The product with one variant that a row means, and its prices, all valid by the contract. INVALID_REQUEST."""
    try:
        _check(row)
        request = catalog_service_pb2.CreateProductRequest(product=_product(row.texts))
        prices = _prices(row.texts.get("prices", ""))
    except bulk.BadValue as problem:
        raise invalid(problem) from None
    for message in (request, *prices):
        validation.check(message)
    return request, prices


def _product(texts: Mapping[str, str]) -> catalog_pb2.Product:
    def get(column: str) -> str:
        return texts.get(column, "")

    variant = catalog_pb2.Variant(
        sku=get("sku").strip(),
        name=get("variant_name"),
        barcodes=bulk.split("barcodes", get("barcodes")),
        tax_category=get("tax_category"),
    )
    for axis, value in bulk.pairs("options", get("options"), "="):
        variant.options.add(axis=axis, value=value)
    if unit := get("stock_unit").strip():
        variant.stock_unit = _member(catalog_pb2.StockUnit, UNIT_PREFIX, "stock_unit", unit)
    for column in ("length_mm", "width_mm", "height_mm", "weight_g"):
        if text := get(column).strip():
            setattr(variant.package, column, _int32(column, text))
    if text := get("lead_time_days").strip():
        variant.lead_time_days = _int32("lead_time_days", text)
    if text := get("discontinued").strip():
        variant.discontinued = bulk.flag("discontinued", text)
    return catalog_pb2.Product(
        code=get("product_code").strip(),
        name=get("product_name"),
        description=get("description"),
        brand=get("brand"),
        category=get("category"),
        variants=[variant],
    )


def _prices(text: str) -> list[catalog_pb2.Price]:
    prices: dict[str, catalog_pb2.Price] = {}
    for currency_code, minor_units in bulk.pairs("prices", text, ":"):
        if currency_code in prices:
            raise bulk.BadValue(f"prices: {currency_code} stands there twice")
        price = prices[currency_code] = catalog_pb2.Price()
        price.amount.currency_code = currency_code
        price.amount.minor_units = bulk.whole("prices", minor_units)
    return list(prices.values())


def _int32(column: str, text: str) -> int:
    number = bulk.whole(column, text)
    if abs(number) >= 2**31:
        raise bulk.BadValue(f"{column}: {text[:40]!r} is too large")
    return number


def _member(enum: Any, prefix: str, column: str, text: str) -> Any:
    name = prefix + text.strip().upper().removeprefix(prefix)
    if name not in enum.keys() or not enum.Value(name):  # noqa: SIM118  # a wrapper of protobuf, no mapping
        raise bulk.BadValue(f"{column}: {text[:40]!r} is none of the contract's")
    return enum.Value(name)


def product_rows(
    product: catalog_values.Product, prices: Mapping[str, Sequence[tuple[str, int]]]
) -> list[dict[str, str]]:
    """Rows of an export: a variant each."""
    return [_variant_row(product, variant, prices.get(variant.sku_key, ())) for variant in product.variants]


def _variant_row(
    product: catalog_values.Product, variant: catalog_values.Variant, prices: Sequence[tuple[str, int]]
) -> dict[str, str]:
    sizes = ("length_mm", "width_mm", "height_mm", "weight_g")
    package = variant.package or ("",) * len(sizes)
    return {
        "product_code": product.code,
        "product_name": product.name,
        "description": product.description,
        "brand": product.brand,
        "category": product.category,
        "sku": variant.sku,
        "variant_name": variant.name,
        "options": bulk.join([f"{axis}={value}" for axis, value in variant.options]),
        "barcodes": bulk.join(variant.barcodes),
        "stock_unit": catalog_pb2.StockUnit.Name(variant.stock_unit).removeprefix(UNIT_PREFIX),  # type: ignore[arg-type]
        **{column: str(size) for column, size in zip(sizes, package, strict=True)},
        "lead_time_days": str(variant.lead_time_days),
        "tax_category": variant.tax_category,
        "discontinued": "true" if variant.discontinued else "false",
        "prices": bulk.join([f"{currency}:{units}" for currency, units in prices]),
    }

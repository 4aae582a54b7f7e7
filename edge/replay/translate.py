"""Rows of the data as requests of the contract: pure, and the same for ever, so that a sale sent twice is one sale.

A basket is a sale; its id is the till's own id of the sale. A line with units is an item at what the store books
(sales_value), with the loyalty card's discount and the coupon match as discounts that are already in it; its unit price
is that of the shelf, where it has whole cents. A manufacturer's coupon is an adjustment below the item, and takes its
amount off again. So the total is what the customer paid, which may be nothing or, 19 times in the year, less. A line
without units is an adjustment of its value less its coupon, also when both are nothing. A product that isn't in the
product table is sold all the same. How customers paid isn't known: one tender of the total.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf import timestamp_pb2

from edge.replay import data
from edge.replay.data import ProductRow, Row
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import catalog_pb2, stock_pb2
from tillmesh.inventory.v1 import inventory_service_pb2 as inventory_pb
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as orders_pb

CURRENCY: Final = "USD"
#: Units that are left of each SKU when all of a week is sold.
MARGIN_UNITS: Final = 10
SALE_LINES_MAX: Final = 500  # the contract's
CARD: Final = "Loyalty card"
MATCH: Final = "Coupon match"
COUPON: Final = "Manufacturer coupon"
UNITLESS: Final = "Without units"
UNKNOWN: Final = "Not in the product table"


def code(number: int) -> str:
    """The code of a store, and the SKU of a product."""
    return f"CJ-{number}"


def opening_reference(week: int) -> str:
    """The document of a week's opening stock."""
    return f"completejourney week {week}"


def location(store_id: int) -> catalog_pb2.Location:
    """A store."""
    return catalog_pb2.Location(
        code=code(store_id),
        name=f"Store {store_id}",
        type=catalog_pb2.LOCATION_TYPE_STORE,
        timezone=data.ZONE.key,
        business_day_cutoff="00:00",
        currency_code=CURRENCY,
    )


def product(row: ProductRow) -> catalog_pb2.Product:
    """A product with its one variant."""
    name = row.kind or row.category or row.department
    path = [part.replace("/", "-") for part in (row.department, row.category) if part]
    return catalog_pb2.Product(
        code=code(row.product_id),
        name=f"{name}, {row.package_size}" if row.package_size else name,
        brand=row.brand,
        category="/".join(path),
        variants=[catalog_pb2.Variant(sku=code(row.product_id), stock_unit=catalog_pb2.STOCK_UNIT_EACH)],
    )


def opening_units(supply: Mapping[int, int], known: Mapping[int, ProductRow]) -> dict[str, int]:
    """Opening stock of a store for a week, by SKU: what it will sell, and a margin. Unknown products have no stock."""
    return {code(p): units + MARGIN_UNITS for p, units in sorted(supply.items()) if units and p in known}


def opening_line(location_id: str, week: int, sku: str, units: int) -> inventory_pb.BulkUpdateStockRequest.Line:
    """Opening stock of one SKU, there when the week begins."""
    begin = dt.datetime.combine(data.monday(week), dt.time.min, data.ZONE)
    return inventory_pb.BulkUpdateStockRequest.Line(
        location_id=location_id,
        sku=sku,
        delta=units,
        reason=stock_pb2.MOVEMENT_REASON_OPENING,
        reference=opening_reference(week),
        occurred_at=_timestamp(begin),
    )


def sale(rows: Sequence[Row], location_id: str, known: Mapping[int, ProductRow]) -> orders_pb.RecordSaleRequest:
    """The sale of a basket. Raises DataError when it has more lines than a sale may have."""
    first = rows[0]
    lines = [line for row in rows for line in _lines(row, known)]
    if len(lines) > SALE_LINES_MAX:
        raise data.DataError(
            f"The basket {first.basket_id} has {len(lines)} lines; a sale has at most {SALE_LINES_MAX}."
        )
    paid = money_pb2.Money(currency_code=CURRENCY, minor_units=sum(line.net_amount for line in lines))
    return orders_pb.RecordSaleRequest(
        location_id=location_id,
        client_sale_id=str(first.basket_id),
        terminal_id=code(first.store_id),
        occurred_at=_timestamp(first.at),
        currency_code=CURRENCY,
        tax_inclusive=True,
        lines=lines,
        tenders=[orders_pb2.Tender(type=orders_pb2.TENDER_TYPE_OTHER, amount=paid, details="not in the data")],
    )


def _lines(row: Row, known: Mapping[int, ProductRow]) -> list[orders_pb.RecordSaleRequest.Line]:
    sku = code(row.product_id)
    discounts = [
        orders_pb2.DiscountAmount(name=name, minor_units=amount)
        for name, amount in ((CARD, row.card_discount), (MATCH, row.coupon_match))
        if amount
    ]
    if not row.quantity:
        name = COUPON if row.coupon else UNITLESS
        return [_adjustment(sku, row.paid, name, discounts)]
    item = orders_pb.RecordSaleRequest.Line(
        kind=orders_pb2.LINE_KIND_ITEM,
        code=sku,
        quantity=row.quantity,
        net_amount=row.value,
        discounts=discounts,
        name="" if row.product_id in known else UNKNOWN,
    )
    each, rest = divmod(row.shelf_value, row.quantity)
    if not rest:
        item.unit_price = each
    return [item, _adjustment(sku, -row.coupon, COUPON, [])] if row.coupon else [item]


def _adjustment(
    sku: str, amount: int, name: str, discounts: Sequence[orders_pb2.DiscountAmount]
) -> orders_pb.RecordSaleRequest.Line:
    return orders_pb.RecordSaleRequest.Line(
        kind=orders_pb2.LINE_KIND_ADJUSTMENT, code=sku, net_amount=amount, name=name, discounts=discounts
    )


def _timestamp(at: dt.datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(at)
    return message

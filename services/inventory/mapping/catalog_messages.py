"""The catalogue's values as messages of the contract. Pure functions."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from services.inventory.domain import catalog as values
from services.inventory.domain import gs1
from services.inventory.mapping import lot_inputs
from services.kit import clock, errors, ids, status
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import catalog_pb2, catalog_service_pb2

location_id = functools.lru_cache(maxsize=65536)(functools.partial(ids.encode, "loc"))
product_id = functools.lru_cache(maxsize=65536)(functools.partial(ids.encode, "prd"))


def location(value: values.Location) -> catalog_pb2.Location:
    """A location."""
    message = catalog_pb2.Location(
        id=location_id(value.id),
        code=value.code,
        name=value.name,
        type=value.type,  # type: ignore[arg-type]  # the domain has the contract's numbers
        timezone=value.timezone,
        business_day_cutoff=value.business_day_cutoff,
        currency_code=value.currency_code,
        capabilities=value.capabilities,  # type: ignore[arg-type]
        closed=value.closed,
        version=value.version,
        created_at=clock.timestamp(value.created_at),
        updated_at=clock.timestamp(value.updated_at),
    )
    if (place := value.address) is not None:
        message.address.CopyFrom(
            catalog_pb2.Address(
                lines=place.lines,
                city=place.city,
                region=place.region,
                postal_code=place.postal_code,
                country_code=place.country_code,
                coordinates=_point(place.coordinates),
            )
        )
    return message


def _point(coordinates: tuple[float, float] | None) -> catalog_pb2.GeoPoint | None:
    return None if coordinates is None else catalog_pb2.GeoPoint(latitude=coordinates[0], longitude=coordinates[1])


def _options(pairs: Iterable[tuple[str, str]]) -> list[catalog_pb2.OptionValue]:
    return [catalog_pb2.OptionValue(axis=axis, value=value) for axis, value in pairs]


def _attributes(pairs: values.Attributes) -> list[catalog_pb2.Attribute]:
    return [_attribute(name, value) for name, value in pairs]


def _attribute(name: str, value: values.AttributeValue) -> catalog_pb2.Attribute:
    match value:
        case bool():
            return catalog_pb2.Attribute(name=name, flag=value)
        case str():
            return catalog_pb2.Attribute(name=name, text=value)
        case _:
            return catalog_pb2.Attribute(name=name, number=value)


def _components(pairs: values.Components) -> list[catalog_pb2.BundleComponent]:
    return [catalog_pb2.BundleComponent(sku=sku, quantity=quantity) for sku, quantity in pairs]


def variant(value: values.Variant) -> catalog_pb2.Variant:
    """A variant."""
    message = catalog_pb2.Variant(
        sku=value.sku,
        product_id=product_id(value.product_id),
        name=value.name,
        options=_options(value.options),
        barcodes=value.barcodes,
        stock_unit=value.stock_unit,  # type: ignore[arg-type]
        lead_time_days=value.lead_time_days,
        tax_category=value.tax_category,
        discontinued=value.discontinued,
        attributes=_attributes(value.attributes),
        version=value.version,
        components=_components(value.components),
    )
    if (policy := value.lot_policy) is not None:
        message.lot_policy.CopyFrom(
            catalog_pb2.LotPolicy(
                sell_past_best_before=policy.sell_past_best_before, minimum_life_days=policy.minimum_life_days
            )
        )
    if value.package is not None:
        length, width, height, weight = value.package
        message.package.CopyFrom(
            catalog_pb2.PackageDimensions(length_mm=length, width_mm=width, height_mm=height, weight_g=weight)
        )
    return message


def product(value: values.Product) -> catalog_pb2.Product:
    """A product with its variants."""
    return catalog_pb2.Product(
        id=product_id(value.id),
        code=value.code,
        name=value.name,
        description=value.description,
        brand=value.brand,
        category=value.category,
        axes=[catalog_pb2.OptionAxis(name=a.name, values=a.values, default_value=a.default) for a in value.axes],
        attributes=_attributes(value.attributes),
        variants=[variant(each) for each in value.variants],
        version=value.version,
        created_at=clock.timestamp(value.created_at),
        updated_at=clock.timestamp(value.updated_at),
    )


def batch(outcomes: Sequence[values.Product | errors.Error]) -> catalog_service_pb2.BatchCreateProductsResponse:
    """How each product of a batch went."""
    response = catalog_service_pb2.BatchCreateProductsResponse()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, errors.Error):
            response.results.add(index=index, error=status.to_proto(outcome))
        else:
            response.results.add(index=index, product=product(outcome))
    return response


def price_list(value: values.PriceList) -> catalog_pb2.PriceList:
    """A price list."""
    return catalog_pb2.PriceList(
        code=value.code,
        name=value.name,
        valid_from=clock.timestamp(value.valid_from) if value.valid_from is not None else None,
        valid_until=clock.timestamp(value.valid_until) if value.valid_until is not None else None,
        restricted=value.restricted,
        version=value.version,
        created_at=clock.timestamp(value.created_at),
        updated_at=clock.timestamp(value.updated_at),
    )


def price(value: values.Price) -> catalog_pb2.Price:
    """A price."""
    return catalog_pb2.Price(
        id=str(value.id),
        sku=value.sku,
        location_id=location_id(value.location_id) if value.location_id is not None else "",
        amount=money_pb2.Money(currency_code=value.currency_code, minor_units=value.minor_units),
        valid_from=clock.timestamp(value.valid_from) if value.valid_from is not None else None,
        valid_until=clock.timestamp(value.valid_until) if value.valid_until is not None else None,
        price_list=value.price_list,
    )


def match(value: values.Match) -> catalog_service_pb2.SearchProductsResponse.Match:
    """What a search found."""
    return catalog_service_pb2.SearchProductsResponse.Match(
        variant=variant(value.variant),
        product_name=value.product_name,
        category=value.category,
        brand=value.brand,
        slips=value.slips,
    )


def resolved(
    codes: Sequence[str],
    items: Sequence[values.Item | None],
    scanned: Sequence[gs1.Elements | gs1.NotGs1 | None],
    at: values.Location,
) -> catalog_service_pb2.BatchResolveItemsResponse:
    """What codes stand for at a location; an unknown code has no item. scanned: what they say beside it, or why not."""
    response = catalog_service_pb2.BatchResolveItemsResponse(location=location(at))
    for code, found, elements in zip(codes, items, scanned, strict=True):
        item = _item(found, at.currency_code) if found is not None else None
        if item is not None and isinstance(elements, gs1.Elements):
            item.scanned.CopyFrom(lot_inputs.scanned_to_proto(elements))
        broken = str(elements) if item is None and isinstance(elements, gs1.NotGs1) else ""
        response.results.add(code=code, item=item, problem=broken)
    return response


def _item(value: values.Item, currency_code: str) -> catalog_pb2.ItemSnapshot:
    message = catalog_pb2.ItemSnapshot(
        sku=value.sku,
        product_id=product_id(value.product_id),
        name=value.name,
        category=value.category,
        tax_category=value.tax_category,
        stock_unit=value.stock_unit,  # type: ignore[arg-type]
        options=_options(value.options),
        discontinued=value.discontinued,
        components=_components(value.components),
    )
    if value.price_id is not None and value.minor_units is not None:
        message.price_id = str(value.price_id)
        message.price_list = value.price_list or values.STANDARD
        message.price.CopyFrom(money_pb2.Money(currency_code=currency_code, minor_units=value.minor_units))
    return message

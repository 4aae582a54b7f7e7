"""Requests about the catalogue as drafts, edits and queries. Pure functions.

An id that isn't one answers like one that never existed. Fields of a resource in a PATCH are checked here, by its mask,
and each product of a batch by itself: the contract leaves them out of the validation of the whole request.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_features as features
from services.inventory.domain import lots
from services.inventory.domain.bundles import Component
from services.inventory.handlers import bundles
from services.inventory.handlers import catalog as handlers
from services.inventory.handlers import catalog_locations as locations
from services.inventory.handlers import catalog_prices as prices
from services.inventory.handlers import catalog_products as products
from services.inventory.mapping import lot_inputs
from services.kit import errors, events, idempotency, ids, paging, principal, validation
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

T = TypeVar("T")
M = TypeVar("M", bound=Message)
SEARCH_ROWS_DEFAULT = 20
PUBLIC_ROLES = frozenset({"storefront", "customer"})
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# NOT_FOUND when a text can't be an id.
location_id = functools.lru_cache(maxsize=65536)(functools.partial(ids.given, "loc", "location"))
product_id = functools.lru_cache(maxsize=65536)(functools.partial(ids.given, "prd", "product"))


def tenant(caller: principal.Principal) -> str:
    """The caller's tenant as the database layer takes it."""
    return events.tenant_uuid(caller.tenant_id)


def write(method: str, request: Any, answer: type[M], render: Callable[[T], M]) -> handlers.Write[T, M]:
    """A write of the current caller; method is the rpc's name."""
    caller = principal.current()
    scope = f"{pb.DESCRIPTOR.services_by_name['CatalogService'].full_name}/{method}"
    key = idempotency.Key(tenant(caller), caller.subject, scope, request.request_id, idempotency.fingerprint(request))
    return handlers.Write(caller.tenant_id, key, answer, render)


def text(value: str, field: str) -> str:
    """A text to compare with kept ones. INVALID_REQUEST for the one character that the database doesn't know."""
    if "\0" in value:
        raise validation.invalid(field, "has a NUL character")
    return value


def _covered(caller: principal.Principal) -> Collection[uuid.UUID] | None:
    """The locations of the caller's token; None: all."""
    return None if caller.all_locations else [location_id(each) for each in caller.locations]


# --- locations ---


def location_draft(message: catalog_pb2.Location) -> values.LocationDraft:
    """What a caller says of a location."""
    return values.LocationDraft(
        code=message.code,
        name=message.name,
        type=message.type,
        timezone=message.timezone,
        currency_code=message.currency_code,
        business_day_cutoff=message.business_day_cutoff,
        capabilities=tuple(message.capabilities),
        address=_address(message),
        closed=message.closed,
    )


def _address(message: catalog_pb2.Location) -> values.Address | None:
    if not message.HasField("address"):
        return None
    place = message.address
    point = (place.coordinates.latitude, place.coordinates.longitude) if place.HasField("coordinates") else None
    return values.Address(tuple(place.lines), place.city, place.region, place.postal_code, place.country_code, point)


def location_edit(request: pb.UpdateLocationRequest) -> locations.Edit:
    """An edit of a location that the caller's token covers."""
    principal.current().require_location(request.location.id)
    return locations.Edit(
        location_id=location_id(request.location.id),
        changes=_masked(request, "location", location_draft(request.location)),
        expected_version=request.expected_version,
    )


def location_query(request: pb.ListLocationsRequest) -> locations.Query:
    """Which locations, among those that the caller's token covers."""
    caller = principal.current()
    after = paging.start(caller.tenant_id, request, [str])
    return locations.Query(
        within=_covered(caller),
        kind=request.filter.type,
        code=request.filter.code,
        capability=request.filter.capability,
        after=None if after is None else text(str(after[0]), "page_token"),
        limit=paging.page_size(request.page_size),
    )


def _masked(request: Any, field: str, draft: Any) -> Mapping[str, Any]:
    """New values of the fields that the request's update_mask names, checked by the contract's rules."""
    paths = list(request.update_mask.paths)
    if not paths or any("." in path for path in paths):
        raise validation.invalid("update_mask", "names one or more whole fields")
    validation.check_masked(getattr(request, field), paths, field)
    return {path: getattr(draft, path) for path in paths}


# --- products and variants ---


def product_draft(message: catalog_pb2.Product) -> values.ProductDraft:
    """What a caller says of a product."""
    return values.ProductDraft(
        code=message.code,
        name=message.name,
        description=message.description,
        brand=message.brand,
        category=message.category,
        axes=axes(message.axes),
        attributes=_attributes(message.attributes),
        variants=tuple(variant_draft(each) for each in message.variants),
    )


def product_drafts(request: pb.BatchCreateProductsRequest) -> list[values.ProductDraft | errors.Error]:
    """What a caller says of each product of a batch, or what is wrong with it."""
    return validation.each(request.products, product_draft)


def axes(messages: Iterable[catalog_pb2.OptionAxis]) -> tuple[values.Axis, ...]:
    """Axes of a product."""
    return tuple(values.Axis(each.name, tuple(each.values), each.default_value) for each in messages)


def _attributes(messages: Iterable[catalog_pb2.Attribute]) -> values.Attributes:
    return tuple((each.name, getattr(each, each.WhichOneof("value") or "text")) for each in messages)


def variant_draft(message: catalog_pb2.Variant) -> values.VariantDraft:
    """What a caller says of a variant."""
    return values.VariantDraft(
        sku=message.sku,
        name=message.name,
        options=tuple((each.axis, each.value) for each in message.options),
        barcodes=tuple(message.barcodes),
        stock_unit=message.stock_unit or values.EACH,
        package=_package(message),
        lead_time_days=message.lead_time_days,
        tax_category=message.tax_category,
        discontinued=message.discontinued,
        attributes=_attributes(message.attributes),
        lot_policy=_lot_policy(message),
    )


def _lot_policy(message: catalog_pb2.Variant) -> lots.Policy | None:
    if not message.HasField("lot_policy"):
        return None
    return lots.Policy(message.lot_policy.sell_past_best_before, dict(message.lot_policy.minimum_life_days))


def _package(message: catalog_pb2.Variant) -> tuple[int, int, int, int] | None:
    if not message.HasField("package"):
        return None
    package = message.package
    return package.length_mm, package.width_mm, package.height_mm, package.weight_g


def product_edit(request: pb.UpdateProductRequest) -> products.ProductEdit:
    """An edit of a product."""
    return products.ProductEdit(
        product_id=product_id(request.product.id),
        changes=_masked(request, "product", product_draft(request.product)),
        expected_version=request.expected_version,
    )


def axes_edit(request: pb.SetProductAxesRequest) -> products.AxesEdit:
    """New axes of a product."""
    return products.AxesEdit(
        product_id=product_id(request.product_id),
        axes=axes(request.axes),
        options=[(each.sku, each.option.axis, each.option.value) for each in request.variant_options],
        expected_version=request.expected_version,
    )


def bundle_edit(request: pb.SetBundleRequest) -> bundles.Edit:
    """What a SKU is to consist of."""
    components = tuple(Component(each.sku, each.quantity) for each in request.components)
    return bundles.Edit(sku=request.sku, components=components, expected_version=request.expected_version)


def variant_edit(request: pb.UpdateVariantRequest) -> products.VariantEdit:
    """An edit of a variant."""
    validation.check_masked(request.variant, ["sku"], "variant")
    return products.VariantEdit(
        sku=request.variant.sku,
        changes=_masked(request, "variant", variant_draft(request.variant)),
        expected_version=request.expected_version,
    )


def product_query(request: pb.ListProductsRequest) -> products.Query:
    """Which products."""
    after = paging.start(principal.current().tenant_id, request, [str])
    return products.Query(
        category=text(request.filter.category, "filter.category"),
        brand=text(request.filter.brand, "filter.brand"),
        features=features.wanted(request.filter.attributes),
        after=None if after is None else _uuid(after[0]),
        limit=paging.page_size(request.page_size),
    )


def variant_query(request: pb.ListVariantsRequest) -> products.VariantQuery:
    """Which variants of a product."""
    after = paging.start(principal.current().tenant_id, request, [int])
    return products.VariantQuery(
        product_id=product_id(request.product_id),
        options=features.wanted(request.filter.options),
        features=features.wanted(request.filter.attributes),
        sold_only=request.filter.sold_only,
        after=-1 if after is None else int(after[0] or 0),
        limit=paging.page_size(request.page_size),
    )


def search(request: pb.SearchProductsRequest) -> products.Search:
    """What to look for."""
    return products.Search(
        text=request.query,
        category=text(request.category, "category"),
        features=features.wanted(request.attributes),
        limit=request.page_size or SEARCH_ROWS_DEFAULT,
    )


def _uuid(part: str | int | None) -> uuid.UUID:
    try:
        return uuid.UUID(str(part))
    except ValueError:
        raise errors.InvalidPageToken from None


# --- prices ---


def price_list_draft(message: catalog_pb2.PriceList) -> values.PriceListDraft:
    """What a caller says of a price list."""
    return values.PriceListDraft(
        code=message.code,
        name=message.name,
        valid_from=validation.instant(message, "valid_from"),
        valid_until=validation.instant(message, "valid_until"),
        restricted=message.restricted,
    )


def price_list_edit(request: pb.UpdatePriceListRequest) -> prices.ListEdit:
    """An edit of a price list."""
    validation.check_masked(request.price_list, ["code"], "price_list")
    return prices.ListEdit(
        code=request.price_list.code,
        changes=_masked(request, "price_list", price_list_draft(request.price_list)),
        expected_version=request.expected_version,
    )


def price_list_query(request: pb.ListPriceListsRequest) -> prices.ListQuery:
    """Which price lists."""
    after = paging.start(principal.current().tenant_id, request, [str])
    return prices.ListQuery(
        valid_at=validation.instant(request.filter, "valid_at"),
        after=None if after is None else text(str(after[0]), "page_token"),
        limit=paging.page_size(request.page_size),
    )


def _sees_restricted(caller: principal.Principal) -> bool:
    """Whether restricted price lists are there for the caller."""
    return not caller.roles <= PUBLIC_ROLES


def price_draft(message: catalog_pb2.Price) -> values.PriceDraft:
    """What a caller says of a price: of a location that their token covers, or everywhere if it covers all."""
    caller = principal.current()
    if not message.location_id and not caller.all_locations:
        raise errors.LocationScope("the token does not cover all locations")
    if message.location_id:
        caller.require_location(message.location_id)
    return values.PriceDraft(
        currency_code=message.amount.currency_code,
        minor_units=message.amount.minor_units,
        price_list=message.price_list or values.STANDARD,
        location_id=location_id(message.location_id) if message.location_id else None,
        valid_from=validation.instant(message, "valid_from"),
        valid_until=validation.instant(message, "valid_until"),
    )


def price_query(request: pb.ListPricesRequest) -> prices.Query:
    """Which prices, among general ones and those of locations that the caller's token covers."""
    caller = principal.current()
    if request.location_id:
        caller.require_location(request.location_id)
    after = paging.start(caller.tenant_id, request, [int, str])
    return prices.Query(
        sku=request.sku,
        at_location=location_id(request.location_id) if request.location_id else None,
        within=_covered(caller),
        price_list=request.price_list,
        restricted=_sees_restricted(caller),
        valid_at=validation.instant(request, "valid_at"),
        after=None if after is None else (_began(after[0]), _uuid(after[1])),
        limit=paging.page_size(request.page_size),
    )


def scan(request: pb.BatchResolveItemsRequest) -> prices.Scan:
    """What was scanned."""
    return prices.Scan(
        location_id=location_id(request.location_id),
        codes=request.codes,
        scanned=[lot_inputs.scanned(code) for code in request.codes],
        price_list=request.price_list or values.STANDARD,
        restricted=_sees_restricted(principal.current()),
    )


def price_key(price: values.Price) -> paging.Key:
    """Where a price stands in a list: its beginning in microseconds since 1970, and its id."""
    began = None if price.valid_from is None else (price.valid_from - _EPOCH) // _MICROSECOND
    return began, str(price.id)


def _began(part: str | int | None) -> dt.datetime | None:
    try:
        return None if part is None else _EPOCH + int(part) * _MICROSECOND
    except (OverflowError, ValueError):
        raise errors.InvalidPageToken from None


def next_page(request: Message, rows: list[T], size: int, key: Callable[[T], paging.Key]) -> tuple[list[T], str]:
    """The rows of a page and the token of the next; rows has one more than size when there is one."""
    if len(rows) <= size:
        return rows, ""
    return rows[:size], paging.next_token(principal.current().tenant_id, request, key(rows[size - 1]))

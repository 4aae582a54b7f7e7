"""What must be there before the first sale: stores, products and opening stock. Doing it again changes nothing.

The truth is what the mesh says it has: codes of stores and products are unique, and opening stock carries a reference
that the ledger keeps for ever. Idempotency keys, which are kept for three days, cover a call whose answer was lost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf.message import Message

from edge.replay import data, translate
from edge.replay.mesh import Mesh, Refused, T, each
from tillmesh.inventory.v1 import catalog_service_pb2 as catalog_pb
from tillmesh.inventory.v1 import inventory_service_pb2 as inventory_pb
from tillmesh.inventory.v1 import stock_pb2

PAGE: Final = 500
PRODUCTS_PER_CALL: Final = 500  # the contract's
LINES_PER_CALL: Final = 1000  # the contract's
#: Calls of many parts at a time: each is work for a whole lane already.
CALLS: Final = 4
#: Within it a call is sent again whole, under its first key; the mesh keeps keys for 72 hours.
KEYS_ARE_KEPT: Final = dt.timedelta(hours=48)
_EXISTS: Final = 6  # google.rpc.Code.ALREADY_EXISTS

Step = Callable[[int], None]
Locations = dict[int, str]


async def stores(mesh: Mesh, chosen: data.Slice, step: Step) -> Locations:
    """Makes the stores that are missing; the ids of all of them."""
    there = await _location_ids(mesh)

    async def make(store: int) -> None:
        code = translate.code(store)
        if code not in there:
            request = catalog_pb.CreateLocationRequest(location=translate.location(store), request_id=f"replay-{code}")
            there[code] = (await mesh.call(mesh.catalog.CreateLocation, request)).id
        step(1)

    await each(chosen.stores, CALLS, make)
    return {store: there[translate.code(store)] for store in chosen.stores}


async def _location_ids(mesh: Mesh) -> dict[str, str]:
    request = catalog_pb.ListLocationsRequest(page_size=PAGE)
    pages = mesh.pages(mesh.catalog.ListLocations, request)
    return {location.code: location.id async for page in pages for location in page.locations}


async def products(mesh: Mesh, chosen: data.Slice, step: Step) -> None:
    """Makes the products that are missing."""
    request = catalog_pb.ListProductsRequest(page_size=PAGE)
    pages = mesh.pages(mesh.catalog.ListProducts, request)
    there = {product.code async for page in pages for product in page.products}
    missing = [row for row in chosen.products.values() if translate.code(row.product_id) not in there]
    step(len(chosen.products) - len(missing))

    async def make(rows: Sequence[data.ProductRow]) -> None:
        made = [translate.product(row) for row in rows]
        batch = catalog_pb.BatchCreateProductsRequest(products=made, request_id=_key("products", made))
        answer = await mesh.call(mesh.catalog.BatchCreateProducts, batch)
        for result in answer.results:
            if result.HasField("error") and result.error.code != _EXISTS:
                raise Refused(f"The product {made[result.index].code}", str(result.error.code), result.error.message)
        step(len(rows))

    await each(_chunks(missing, PRODUCTS_PER_CALL), CALLS, make)


def opening_lines(chosen: data.Slice) -> int:
    """How many SKUs get opening stock, over all stores and weeks."""
    return sum(len(translate.opening_units(supply, chosen.products)) for supply in chosen.supply.values())


async def opening(mesh: Mesh, chosen: data.Slice, locations: Locations, step: Step) -> None:
    """Puts the opening stock of each store and week there, where the ledger lacks it."""

    async def make(store: int) -> None:
        there = await _opened(mesh, locations[store])
        for (of_store, week), supply in chosen.supply.items():
            if of_store == store:
                units = translate.opening_units(supply, chosen.products)
                await _open_week(mesh, locations[store], week, units, there.get(translate.opening_reference(week), {}))
                step(len(units))

    await each(chosen.stores, CALLS, make)


async def _opened(mesh: Mesh, location_id: str) -> dict[str, dict[str, dt.datetime]]:
    """The opening stock that a store has: by reference and SKU, when it was recorded."""
    request = inventory_pb.ListMovementsRequest(location_id=location_id, page_size=PAGE)
    request.filter.reason = stock_pb2.MOVEMENT_REASON_OPENING
    found: defaultdict[str, dict[str, dt.datetime]] = defaultdict(dict)
    async for page in mesh.pages(mesh.inventory.ListMovements, request):
        for move in page.movements:
            found[move.reference_id][move.sku] = move.recorded_at.ToDatetime(dt.UTC)
    return found


async def _open_week(
    mesh: Mesh, location_id: str, week: int, units: dict[str, int], there: dict[str, dt.datetime]
) -> None:
    lines = [translate.opening_line(location_id, week, sku, count) for sku, count in units.items()]
    long_ago = dt.datetime.now(dt.UTC) - KEYS_ARE_KEPT
    for chunk in _chunks(lines, LINES_PER_CALL):
        missing = [line for line in chunk if line.sku not in there]
        if not missing:
            continue
        # A chunk that is half there may still be under way: under its first key nothing of it counts twice.
        times = [there[line.sku] for line in chunk if line.sku in there]
        again = chunk if times and min(times) > long_ago else missing
        request = inventory_pb.BulkUpdateStockRequest(lines=again, request_id=_key("opening", again))
        answer = await mesh.call(mesh.inventory.BulkUpdateStock, request)
        for result in answer.results:
            if result.HasField("error"):
                what = f"Opening stock of {again[result.index].sku}"
                raise Refused(what, str(result.error.code), result.error.message)


def _key(kind: str, messages: Iterable[Message]) -> str:
    """An idempotency key that the same content always has."""
    content = b"".join(message.SerializeToString(deterministic=True) for message in messages)
    return f"replay-{kind}-{hashlib.sha256(content).hexdigest()[:32]}"


def _chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    rest = iter(items)
    return iter(lambda: list(itertools.islice(rest, size)), [])

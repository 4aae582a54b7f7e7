"""CatalogService: translate, call, translate. Access, validation and errors are interceptors' work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inventory.domain import catalog_codes as codes
from services.inventory.handlers import bundles, catalog_locations, catalog_prices, catalog_products
from services.inventory.handlers import catalog as handlers
from services.inventory.mapping import catalog_messages as messages
from services.inventory.mapping import catalog_requests as requests
from services.kit import database, principal
from tillmesh.inventory.v1 import catalog_pb2, catalog_service_pb2_grpc
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[object, object]


def _no_ping(_tenant_id: str, _key: str) -> None:
    """For where nobody waits for events."""


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    """ping is called after each commit that made an event, with (tenant TypeID, key)."""

    def __init__(self, db: database.Database, ping: handlers.Ping = _no_ping) -> None:
        writer = handlers.Writer(db, ping)
        self._locations = catalog_locations.Locations(db, writer)
        self._products = catalog_products.Products(db, writer)
        self._bundles = bundles.Bundles(writer)
        self._prices = catalog_prices.Prices(db, writer)

    async def CreateLocation(self, request: pb.CreateLocationRequest, context: Context) -> catalog_pb2.Location:
        write = requests.write("CreateLocation", request, catalog_pb2.Location, messages.location)
        return await self._locations.create(write, requests.location_draft(request.location))

    async def GetLocation(self, request: pb.GetLocationRequest, context: Context) -> catalog_pb2.Location:
        tenant = requests.tenant(principal.current())
        return messages.location(await self._locations.get(tenant, requests.location_id(request.location_id)))

    async def ListLocations(self, request: pb.ListLocationsRequest, context: Context) -> pb.ListLocationsResponse:
        query = requests.location_query(request)
        found = await self._locations.page(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [codes.sku_key(last.code)])
        return pb.ListLocationsResponse(locations=map(messages.location, rows), next_page_token=token)

    async def UpdateLocation(self, request: pb.UpdateLocationRequest, context: Context) -> catalog_pb2.Location:
        write = requests.write("UpdateLocation", request, catalog_pb2.Location, messages.location)
        return await self._locations.update(write, requests.location_edit(request))

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> catalog_pb2.Product:
        write = requests.write("CreateProduct", request, catalog_pb2.Product, messages.product)
        return await self._products.create(write, requests.product_draft(request.product))

    async def BatchCreateProducts(
        self, request: pb.BatchCreateProductsRequest, context: Context
    ) -> pb.BatchCreateProductsResponse:
        write = requests.write("BatchCreateProducts", request, pb.BatchCreateProductsResponse, messages.batch)
        return await self._products.batch_create(write, requests.product_drafts(request))

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> catalog_pb2.Product:
        tenant = requests.tenant(principal.current())
        return messages.product(await self._products.get(tenant, requests.product_id(request.product_id)))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        query = requests.product_query(request)
        found = await self._products.page(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [str(last.id)])
        return pb.ListProductsResponse(products=map(messages.product, rows), next_page_token=token)

    async def SearchProducts(self, request: pb.SearchProductsRequest, context: Context) -> pb.SearchProductsResponse:
        found = await self._products.search(requests.tenant(principal.current()), requests.search(request))
        return pb.SearchProductsResponse(matches=map(messages.match, found))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Context) -> catalog_pb2.Product:
        write = requests.write("UpdateProduct", request, catalog_pb2.Product, messages.product)
        return await self._products.update(write, requests.product_edit(request))

    async def SetProductAxes(self, request: pb.SetProductAxesRequest, context: Context) -> catalog_pb2.Product:
        write = requests.write("SetProductAxes", request, catalog_pb2.Product, messages.product)
        return await self._products.set_axes(write, requests.axes_edit(request))

    async def CreateVariant(self, request: pb.CreateVariantRequest, context: Context) -> catalog_pb2.Variant:
        write = requests.write("CreateVariant", request, catalog_pb2.Variant, messages.variant)
        product_id = requests.product_id(request.product_id)
        return await self._products.create_variant(write, product_id, requests.variant_draft(request.variant))

    async def ListVariants(self, request: pb.ListVariantsRequest, context: Context) -> pb.ListVariantsResponse:
        query = requests.variant_query(request)
        found = await self._products.variants(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [last[0]])
        return pb.ListVariantsResponse(variants=[messages.variant(each) for _, each in rows], next_page_token=token)

    async def GetVariant(self, request: pb.GetVariantRequest, context: Context) -> catalog_pb2.Variant:
        tenant = requests.tenant(principal.current())
        return messages.variant(await self._products.get_variant(tenant, request.sku))

    async def UpdateVariant(self, request: pb.UpdateVariantRequest, context: Context) -> catalog_pb2.Variant:
        write = requests.write("UpdateVariant", request, catalog_pb2.Variant, messages.variant)
        return await self._products.update_variant(write, requests.variant_edit(request))

    async def SetBundle(self, request: pb.SetBundleRequest, context: Context) -> catalog_pb2.Variant:
        write = requests.write("SetBundle", request, catalog_pb2.Variant, messages.variant)
        return await self._bundles.set(write, requests.bundle_edit(request))

    async def CreatePriceList(self, request: pb.CreatePriceListRequest, context: Context) -> catalog_pb2.PriceList:
        write = requests.write("CreatePriceList", request, catalog_pb2.PriceList, messages.price_list)
        return await self._prices.create_list(write, requests.price_list_draft(request.price_list))

    async def GetPriceList(self, request: pb.GetPriceListRequest, context: Context) -> catalog_pb2.PriceList:
        tenant = requests.tenant(principal.current())
        return messages.price_list(await self._prices.get_list(tenant, request.code))

    async def ListPriceLists(self, request: pb.ListPriceListsRequest, context: Context) -> pb.ListPriceListsResponse:
        query = requests.price_list_query(request)
        found = await self._prices.page_of_lists(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [last.code])
        return pb.ListPriceListsResponse(price_lists=map(messages.price_list, rows), next_page_token=token)

    async def UpdatePriceList(self, request: pb.UpdatePriceListRequest, context: Context) -> catalog_pb2.PriceList:
        write = requests.write("UpdatePriceList", request, catalog_pb2.PriceList, messages.price_list)
        return await self._prices.update_list(write, requests.price_list_edit(request))

    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> catalog_pb2.Price:
        write = requests.write("SetPrice", request, catalog_pb2.Price, messages.price)
        return await self._prices.put(write, request.sku, requests.price_draft(request.price))

    async def ListPrices(self, request: pb.ListPricesRequest, context: Context) -> pb.ListPricesResponse:
        query = requests.price_query(request)
        found = await self._prices.page(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, requests.price_key)
        return pb.ListPricesResponse(prices=map(messages.price, rows), next_page_token=token)

    async def BatchResolveItems(
        self, request: pb.BatchResolveItemsRequest, context: Context
    ) -> pb.BatchResolveItemsResponse:
        resolved = await self._prices.resolve(requests.tenant(principal.current()), requests.scan(request))
        return messages.resolved(request.codes, resolved.items, resolved.scanned, resolved.location)

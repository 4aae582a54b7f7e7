"""A brand that calls the catalogue, and builders of what it sends."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from services.inventory.servicer import catalog
from services.kit import database, ids, principal, validation
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb


@dataclass(frozen=True)
class Brand:
    """A tenant's admin, who calls as the interceptors let them: validated, and as a principal of the tenant."""

    servicer: catalog.CatalogServicer
    pings: list[tuple[str, str]] = field(default_factory=list)
    tenant_id: str = field(default_factory=lambda: ids.new("ten"))
    locations: frozenset[str] = frozenset({"*"})
    roles: frozenset[str] = frozenset({"admin"})

    @property
    def tenant(self) -> uuid.UUID:
        return ids.decode("ten", self.tenant_id)

    def covering(self, *locations: str) -> Brand:
        """The same with a token for these locations only."""
        return replace(self, locations=frozenset(locations))

    async def call(self, request: Any) -> Any:
        """Answer of the rpc that takes such a request, in a task of its own as each rpc has."""
        return await asyncio.create_task(self._call(request))

    async def _call(self, request: Any) -> Any:
        caller = principal.Principal(
            subject="cli_test", tenant_id=self.tenant_id, roles=self.roles, scopes=frozenset(),
            locations=self.locations, expires_at=float("inf"),
        )  # fmt: skip
        principal.enter(caller)
        validation.check(request)
        method = type(request).__name__.removesuffix("Request")
        return await getattr(self.servicer, method)(request, None)

    async def location(self, code: str = "vienna", **fields: Any) -> catalog_pb2.Location:
        return await self.call(pb.CreateLocationRequest(location=a_location(code, **fields)))

    async def product(self, *skus: str, **fields: Any) -> catalog_pb2.Product:
        return await self.call(pb.CreateProductRequest(product=a_product(*skus, **fields)))

    async def price(self, sku: str, minor_units: int, currency: str = "EUR", **fields: Any) -> catalog_pb2.Price:
        amount = money_pb2.Money(currency_code=currency, minor_units=minor_units)
        return await self.call(pb.SetPriceRequest(sku=sku, price=catalog_pb2.Price(amount=amount, **fields)))

    async def resolve(self, location_id: str, *codes: str) -> dict[str, catalog_pb2.ItemSnapshot | None]:
        answer = await self.call(pb.BatchResolveItemsRequest(location_id=location_id, codes=codes))
        assert [each.code for each in answer.results] == list(codes)
        return {each.code: each.item if each.HasField("item") else None for each in answer.results}

    async def search(self, query: str, **fields: Any) -> list[str]:
        answer = await self.call(pb.SearchProductsRequest(query=query, **fields))
        return [match.variant.sku for match in answer.matches]


def a_location(code: str = "vienna", **fields: Any) -> catalog_pb2.Location:
    given = {
        "name": "Shop",
        "type": catalog_pb2.LOCATION_TYPE_STORE,
        "timezone": "Europe/Vienna",
        "currency_code": "EUR",
    }
    return catalog_pb2.Location(code=code, **{**given, **fields})


def a_product(*skus: str, **fields: Any) -> catalog_pb2.Product:
    given = {"name": "Lipstick", "variants": [catalog_pb2.Variant(sku=sku) for sku in skus or ("LIP-1",)]}
    return catalog_pb2.Product(**{**given, **fields})


def a_brand(db: database.Database, tenant_id: str = "") -> Brand:
    pings: list[tuple[str, str]] = []
    servicer = catalog.CatalogServicer(db, lambda tenant, key: pings.append((tenant, key)))
    return Brand(servicer, pings, tenant_id or ids.new("ten"))

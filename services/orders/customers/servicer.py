"""CustomersService on the wire: translate, call, translate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.api import httpbody_pb2

from services.orders.customers import bundle, export, mapping
from tillmesh.orders.v1 import customers_pb2
from tillmesh.orders.v1 import customers_service_pb2 as pb
from tillmesh.orders.v1 import customers_service_pb2_grpc as rpc

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[object, object]


class CustomersServicer(rpc.CustomersServiceServicer):
    """Customers of a tenant."""

    def __init__(self, customers: bundle.Customers) -> None:
        self._profiles = customers.profiles
        self._consents = customers.consents
        self._merging = customers.merging
        self._exporting = customers.exporting
        self._erasing = customers.erasing

    # --- profiles ---

    async def CreateCustomer(self, request: pb.CreateCustomerRequest, context: Context) -> customers_pb2.Customer:
        write = mapping.write("CreateCustomer", request)
        return mapping.customer_to_proto(await self._profiles.create(write, mapping.draft(request)))

    async def GetCustomer(self, request: pb.GetCustomerRequest, context: Context) -> customers_pb2.Customer:
        wanted = mapping.customer_id(request.customer_id)
        return mapping.customer_to_proto(await self._profiles.look_at(mapping.look(), wanted))

    async def ListCustomers(self, request: pb.ListCustomersRequest, context: Context) -> pb.ListCustomersResponse:
        found = await self._profiles.page(mapping.look(), mapping.query(request))
        rows, token = mapping.page(request, found, lambda last: last.id)
        return pb.ListCustomersResponse(customers=map(mapping.customer_to_proto, rows), next_page_token=token)

    async def SearchCustomers(self, request: pb.SearchCustomersRequest, context: Context) -> pb.SearchCustomersResponse:
        found = await self._profiles.search(mapping.look(), mapping.search(request))
        rows, token = mapping.page(request, found, lambda last: last.id)
        return pb.SearchCustomersResponse(customers=map(mapping.customer_to_proto, rows), next_page_token=token)

    async def UpdateCustomer(self, request: pb.UpdateCustomerRequest, context: Context) -> customers_pb2.Customer:
        write = mapping.write("UpdateCustomer", request)
        return mapping.customer_to_proto(await self._profiles.update(write, mapping.edit(request)))

    # --- addresses ---

    async def CreateCustomerAddress(
        self, request: pb.CreateCustomerAddressRequest, context: Context
    ) -> customers_pb2.CustomerAddress:
        write, address = mapping.write("CreateCustomerAddress", request), mapping.address(request.address, new=True)
        return mapping.address_to_proto(
            await self._profiles.put_address(write, mapping.address_edit(request), address, new=True)
        )

    async def ListCustomerAddresses(
        self, request: pb.ListCustomerAddressesRequest, context: Context
    ) -> pb.ListCustomerAddressesResponse:
        wanted = mapping.customer_id(request.customer_id)
        found = await self._profiles.look_at_addresses(mapping.look(), wanted)
        return pb.ListCustomerAddressesResponse(addresses=map(mapping.address_to_proto, found))

    async def UpdateCustomerAddress(
        self, request: pb.UpdateCustomerAddressRequest, context: Context
    ) -> customers_pb2.CustomerAddress:
        write, address = mapping.write("UpdateCustomerAddress", request), mapping.address(request.address, new=False)
        return mapping.address_to_proto(
            await self._profiles.put_address(write, mapping.address_edit(request), address, new=False)
        )

    async def DeleteCustomerAddress(
        self, request: pb.DeleteCustomerAddressRequest, context: Context
    ) -> customers_pb2.Customer:
        write, address_id = mapping.write("DeleteCustomerAddress", request), mapping.address_id(request.address_id)
        return mapping.customer_to_proto(
            await self._profiles.drop_address(write, mapping.address_edit(request), address_id)
        )

    # --- consents ---

    async def RecordConsent(self, request: pb.RecordConsentRequest, context: Context) -> customers_pb2.Consent:
        write = mapping.write("RecordConsent", request)
        return mapping.consent_to_proto(await self._consents.record(write, mapping.decision(request)))

    async def ListConsents(self, request: pb.ListConsentsRequest, context: Context) -> pb.ListConsentsResponse:
        wanted, limit = mapping.customer_id(request.customer_id), mapping.limit(request)
        found = await self._consents.ledger(mapping.tenant(), wanted, before=mapping.start(request), limit=limit)
        rows, token = mapping.page(request, found, lambda last: last.id)
        return pb.ListConsentsResponse(consents=map(mapping.consent_to_proto, rows), next_page_token=token)

    async def GetCurrentConsents(
        self, request: pb.GetCurrentConsentsRequest, context: Context
    ) -> pb.GetCurrentConsentsResponse:
        found = await self._consents.current(mapping.tenant(), mapping.customer_id(request.customer_id))
        return pb.GetCurrentConsentsResponse(consents=map(mapping.consent_to_proto, found))

    # --- merging, exporting, erasing ---

    async def MergeCustomers(self, request: pb.MergeCustomersRequest, context: Context) -> customers_pb2.Customer:
        target, source = mapping.customer_id(request.customer_id), mapping.customer_id(request.source_customer_id)
        return mapping.customer_to_proto(
            await self._merging.merge(mapping.write("MergeCustomers", request), target, source)
        )

    async def ExportCustomer(
        self, request: pb.ExportCustomerRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        write, wanted = mapping.write("ExportCustomer", request), mapping.customer_id(request.customer_id)
        async for chunk in export.document(self._exporting.export(write, wanted)):
            yield httpbody_pb2.HttpBody(content_type="application/json", data=chunk)

    async def EraseCustomer(self, request: pb.EraseCustomerRequest, context: Context) -> customers_pb2.Customer:
        write, wanted = mapping.write("EraseCustomer", request), mapping.customer_id(request.customer_id)
        return mapping.customer_to_proto(await self._erasing.erase(write, wanted))

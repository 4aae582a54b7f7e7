"""BulkDataService on the wire: translate, call, translate."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from google.api import httpbody_pb2

from services.inventory.domain import bulk
from services.inventory.handlers import bulk as handlers
from services.inventory.mapping import bulk as mapping
from services.inventory.mapping import stock as stock_mapping
from services.kit import errors, ids, paging, principal
from tillmesh.inventory.v1 import bulk_data_service_pb2 as pb
from tillmesh.inventory.v1 import bulk_data_service_pb2_grpc as rpc

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[object, object]

CONTENT_TYPES = {bulk.Format.CSV: "text/csv; charset=utf-8", bulk.Format.PARQUET: "application/vnd.apache.parquet"}


class BulkDataServicer(rpc.BulkDataServiceServicer):
    """Imports and exports of a tenant."""

    def __init__(self, jobs: handlers.BulkJobs) -> None:
        self._jobs = jobs

    async def CreateImport(self, request: pb.CreateImportRequest, context: Context) -> pb.BulkJob:
        key = stock_mapping.key(principal.current(), "CreateImport", request)
        return await self._jobs.create(bulk.IMPORT, bulk.Kind(request.kind), _format(request), key)

    async def UploadImportPart(self, request: pb.UploadImportPartRequest, context: Context) -> pb.BulkJob:
        job_id = _id(bulk.IMPORT, request.import_id)
        job = await self._jobs.upload(job_id, request.part, request.file.data, last=request.last)
        return mapping.job_to_proto(job)

    async def GetImport(self, request: pb.GetImportRequest, context: Context) -> pb.BulkJob:
        return mapping.job_to_proto(await self._jobs.get(bulk.IMPORT, _id(bulk.IMPORT, request.import_id)))

    async def ListImports(self, request: pb.ListImportsRequest, context: Context) -> pb.ListImportsResponse:
        page, token = await self._page(bulk.IMPORT, request)
        return pb.ListImportsResponse(imports=map(mapping.job_to_proto, page), next_page_token=token)

    async def CancelImport(self, request: pb.CancelImportRequest, context: Context) -> pb.BulkJob:
        return mapping.job_to_proto(await self._jobs.cancel(bulk.IMPORT, _id(bulk.IMPORT, request.import_id)))

    async def ListImportErrors(
        self, request: pb.ListImportErrorsRequest, context: Context
    ) -> pb.ListImportErrorsResponse:
        caller, limit = principal.current(), paging.page_size(request.page_size)
        after: list[Any] = paging.start(caller.tenant_id, request, [int]) or [0]
        page = await self._jobs.refusals(_id(bulk.IMPORT, request.import_id), after[0], limit + 1)
        token = paging.next_token(caller.tenant_id, request, [page[limit - 1].row]) if len(page) > limit else ""
        return pb.ListImportErrorsResponse(errors=map(mapping.refusal_to_proto, page[:limit]), next_page_token=token)

    async def DownloadImportErrors(
        self, request: pb.DownloadImportErrorsRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        batches = self._jobs.all_refusals(_id(bulk.IMPORT, request.import_id))
        first: list[bulk.Refusal] = await anext(batches, [])  # before the header is sent: NOT_FOUND must still be one
        yield _csv([("line", "row", "reason", "message"), *map(_told, first)])
        async for batch in batches:
            yield _csv(list(map(_told, batch)))

    async def CreateExport(self, request: pb.CreateExportRequest, context: Context) -> pb.BulkJob:
        caller = principal.current()
        location = stock_mapping.location_uuid(request.location_id) if request.location_id else None
        key = stock_mapping.key(caller, "CreateExport", request)
        return await self._jobs.create(bulk.EXPORT, bulk.Kind(request.kind), _format(request), key, location)

    async def GetExport(self, request: pb.GetExportRequest, context: Context) -> pb.BulkJob:
        return mapping.job_to_proto(await self._jobs.get(bulk.EXPORT, _id(bulk.EXPORT, request.export_id)))

    async def ListExports(self, request: pb.ListExportsRequest, context: Context) -> pb.ListExportsResponse:
        page, token = await self._page(bulk.EXPORT, request)
        return pb.ListExportsResponse(exports=map(mapping.job_to_proto, page), next_page_token=token)

    async def CancelExport(self, request: pb.CancelExportRequest, context: Context) -> pb.BulkJob:
        return mapping.job_to_proto(await self._jobs.cancel(bulk.EXPORT, _id(bulk.EXPORT, request.export_id)))

    async def DownloadExport(
        self, request: pb.DownloadExportRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        job, chunks = await self._jobs.download(_id(bulk.EXPORT, request.export_id))
        async for chunk in chunks:
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPES[job.format], data=chunk)

    async def _page(self, direction: str, request: Any) -> tuple[Sequence[bulk.Job], str]:
        tenant_id, limit = principal.current().tenant_id, paging.page_size(request.page_size)
        after = paging.start(tenant_id, request, [str])
        page = await self._jobs.page(direction, None if after is None else _after(after[0]), limit + 1)
        token = paging.next_token(tenant_id, request, [str(page[limit - 1].id)]) if len(page) > limit else ""
        return page[:limit], token


def _format(request: Any) -> bulk.Format:
    return bulk.Format(request.format or bulk.Format.CSV)


def _id(direction: str, typeid: str) -> uuid.UUID:
    try:
        return ids.decode(direction, typeid)
    except ValueError:
        raise errors.NotFound(handlers.RESOURCE[direction]) from None


def _after(part: Any) -> uuid.UUID:
    try:
        return uuid.UUID(str(part))
    except ValueError:
        raise errors.InvalidPageToken from None


def _told(refusal: bulk.Refusal) -> tuple[str, ...]:
    return str(refusal.line), str(refusal.row), refusal.reason, refusal.message


def _csv(rows: Sequence[Sequence[str]]) -> httpbody_pb2.HttpBody:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return httpbody_pb2.HttpBody(content_type=CONTENT_TYPES[bulk.Format.CSV], data=text.getvalue().encode())

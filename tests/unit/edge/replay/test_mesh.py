"""The client, against a gRPC server that fails as a mesh in trouble does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from edge import token
from edge.replay import mesh
from tillmesh.inventory.v1 import catalog_pb2, catalog_service_pb2_grpc
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

Answer = Callable[[pb.ListLocationsRequest, Any], Any]


class Catalogue(catalog_service_pb2_grpc.CatalogServiceServicer):
    """Gives one answer after the other."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    async def ListLocations(self, request: pb.ListLocationsRequest, context: Any) -> pb.ListLocationsResponse:
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        return await self.answers.pop(0)(request, context)


async def page(request: pb.ListLocationsRequest, _context: Any) -> pb.ListLocationsResponse:
    """Two pages of one location each."""
    following = "" if request.page_token else "second"
    return pb.ListLocationsResponse(
        locations=[catalog_pb2.Location(code=request.page_token or "first")], next_page_token=following
    )


def failure(code: grpc.StatusCode, reason: str = "") -> Answer:
    async def fail(_request: pb.ListLocationsRequest, context: Any) -> None:
        if not reason:
            await context.abort(code, "said no")
        status = status_pb2.Status(code=code.value[0], message="said no")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
        await context.abort_with_status(rpc_status.to_status(status))

    return fail


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[mesh.Mesh, Catalogue]]:
    server, catalogue = grpc.aio.server(), Catalogue(*answers)
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(catalogue, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with mesh.Mesh(f"http://127.0.0.1:{port}", mesh.Tokens(lambda: "t")) as client:
        yield client, catalogue
    await server.stop(None)


@pytest.mark.parametrize(
    "trouble",
    [
        failure(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        failure(grpc.StatusCode.UNAVAILABLE),
        failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "EDGE_RATE_LIMITED"),
        failure(grpc.StatusCode.ABORTED, "CONFLICT"),
        failure(grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_call_outlives_trouble_that_passes(trouble: Answer) -> None:
    async with serving(trouble, trouble, page) as (client, catalogue):
        answer = await client.call(client.catalog.ListLocations, pb.ListLocationsRequest())
    assert answer.locations[0].code == "first"
    assert client.retries == 2
    assert catalogue.tokens == ["Bearer t"] * 3


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (failure(grpc.StatusCode.INVALID_ARGUMENT, "SALE_ID_REUSED"), "SALE_ID_REUSED"),
        (failure(grpc.StatusCode.INTERNAL, "INTERNAL"), "INTERNAL"),
        (failure(grpc.StatusCode.UNAUTHENTICATED), "UNAUTHENTICATED"),
    ],
)
async def test_a_refusal_for_good_is_told_at_once(trouble: Answer, reason: str) -> None:
    async with serving(trouble) as (client, _):
        with pytest.raises(mesh.Refused, match=f"ListLocations was answered {reason}: said no") as refused:
            await client.call(client.catalog.ListLocations, pb.ListLocationsRequest())
    assert refused.value.reason == reason


async def test_pages_follow_each_other_to_the_end() -> None:
    async with serving(page, page) as (client, _):
        pages = client.pages(client.catalog.ListLocations, pb.ListLocationsRequest())
        assert [answer.locations[0].code async for answer in pages] == ["first", "second"]


async def test_a_token_is_renewed_in_time_and_kept_while_the_door_is_away() -> None:
    now = 0.0
    answers: list[str | None] = ["first", "second", None, None]

    def fetch() -> str:
        answer = answers.pop(0)
        if answer is None:
            raise token.NoTokenError
        return answer

    tokens = mesh.Tokens(fetch, lambda: now)
    seen = []
    for now in (0.0, 299.0, 301.0, 700.0):  # noqa: B007  # the clock reads it
        seen.append(await tokens.get())
    assert seen == ["first", "first", "second", "second"]
    now = 1200.0
    with pytest.raises(token.NoTokenError):
        await tokens.get()


async def test_work_is_done_in_order_and_so_many_at_a_time() -> None:
    running, most, begun = 0, 0, []

    async def work(item: int) -> None:
        nonlocal running, most
        begun.append(item)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await mesh.each(range(20), 3, work)
    assert begun == list(range(20))
    assert most == 3


async def test_the_first_failure_ends_the_work() -> None:
    done = []

    async def work(item: int) -> None:
        if item == 2:
            raise ValueError("two")
        await asyncio.sleep(0)
        done.append(item)

    with pytest.raises(ValueError, match="two"):
        await mesh.each(range(1000), 2, work)
    assert len(done) < 10

"""Watching stock: what WatchStock and WatchLocations stream. How streams live and end is services/kit/watching's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc

from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.inventory.watch.frames import StockFrames
from services.inventory.watch.source import StockSource
from services.kit import database, principal, watching
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

LAST_EVENT_ID: Final = "last-event-id"
DRAIN_SECONDS: Final = 1.5  # the server gives its callbacks 5 s in all
STREAM: Final = "stock"


class StockWatch:
    """All stock streams of this process. Needs a running loop."""

    def __init__(
        self, db: database.Database, *, lifetime_seconds: float = 900.0, limits: watching.Limits | None = None
    ) -> None:
        """lifetime_seconds: settings.stream_lifetime_seconds. limits: others than usual, for tests."""
        limits = limits or watching.Limits(lifetime_seconds=lifetime_seconds)
        self.hub = watching.Hub(STREAM, StockSource(db), StockFrames(), limits)

    def start(self) -> None:
        """Begins to look for changes."""
        self.hub.start()

    def notify(self, tenant_id: str, location_id: str, seq: int | None = None) -> None:
        """Stock of a location was committed, up to seq if known: the lane's listener and, without seq, the pings'."""
        self.hub.notify(tenant_id, location_id, seq)

    async def watch(
        self, request: pb.WatchStockRequest, caller: principal.Principal, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """Serialised WatchStockResponses. NOT_FOUND; RESYNC_REQUIRED and INVALID_REQUEST before the first frame.

        A browser's EventSource gives up at anything but 200 and can't drop its Last-Event-ID, so a token that can't be
        resumed is told to it in band, with a token that begins anew.
        """
        _check([request.location_id])
        options = _options(request, caller, context)
        subscription = await self.hub.subscribe(caller.tenant_id, request.location_id, **options)
        async for frame in _through(subscription, context):
            yield frame

    async def watch_locations(
        self,
        request: pb.WatchLocationsRequest,
        caller: principal.Principal,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[bytes]:
        """Serialised WatchLocationsResponses; errors as above."""
        _check(request.location_ids)
        options = _options(request, caller, context)
        merged = await self.hub.subscribe_several(caller.tenant_id, request.location_ids, **options)
        async for frame in _through(merged, context):
            yield frame

    async def drain(self) -> None:
        """Says goodbye: every reader is told, gets time to go, then its stream ends. For Server.on_drain."""
        self.hub.drain(DRAIN_SECONDS)
        await self.hub.emptied(DRAIN_SECONDS)
        await self.hub.stop(DRAIN_SECONDS)


def _options(
    request: pb.WatchStockRequest | pb.WatchLocationsRequest,
    caller: principal.Principal,
    context: grpc.aio.ServicerContext[Any, Any],
) -> dict[str, Any]:
    task = asyncio.current_task()
    return {
        "names": frozenset(map(values.fold, request.skus)) or None,
        "token": request.resume_token,
        "expires_at": caller.expires_at,
        "refuse_in_band": any(key == LAST_EVENT_ID for key, _ in context.invocation_metadata() or ()),
        "cut": task.cancel if task is not None else None,
    }


async def _through(
    subscription: watching.Subscription | watching.Merged, context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[bytes]:
    # A call that ends while grpc waits for its reader leaves this generator to the garbage collector.
    context.add_done_callback(lambda _: subscription.close())  # type: ignore[arg-type]  # the stub's is no protocol
    await context.send_initial_metadata(())  # else headers would wait for the first frame
    async for frame in subscription.frames():
        yield frame


def _check(location_ids: Iterable[str]) -> None:
    for location_id in location_ids:
        mapping.location_uuid(location_id)  # NOT_FOUND before anything is begun

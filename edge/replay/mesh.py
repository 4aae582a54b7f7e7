"""Tillmesh as a client sees it: the three services behind the public door, with tokens, patience and pages.

Every write of this program may be sent twice, so whatever may pass by itself is tried again: a service that restarts, a
rate limit, a lost answer. What the mesh refuses for good is ``Refused``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio
import stamina
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from edge import token
from tillmesh.inventory.v1 import catalog_service_pb2_grpc, inventory_service_pb2_grpc
from tillmesh.orders.v1 import orders_service_pb2_grpc

#: How long one call is tried again: a stack that restarts is back within it.
PATIENCE_SECONDS: Final = 120.0
_CALL_SECONDS: Final = 20.0
#: Tokens live 15 minutes. A fresh one is taken long before, and the old one serves while the door is away.
_TOKEN_RENEW_SECONDS: Final = 300.0
_TOKEN_LAST_SECONDS: Final = 840.0
#: A page of 500 sales of many lines is larger than gRPC's 4 MiB.
_MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
#: Without a reason of the contract: the connection broke in the middle of an answer.
_BROKEN: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
Q_contra = TypeVar("Q_contra", bound=Message, contravariant=True)
R_co = TypeVar("R_co", bound=Message, covariant=True)
T = TypeVar("T")


class Refused(Exception):
    """The mesh refused a call, or didn't answer for PATIENCE_SECONDS; reason is the contract's, or the gRPC code."""

    def __init__(self, method: str, reason: str, message: str) -> None:
        super().__init__(f"{method} was answered {reason}: {message}")
        self.reason = reason


class Method(Protocol[Q_contra, R_co]):
    """An rpc of a generated stub."""

    def __call__(self, request: Q_contra, /, *, timeout: float, metadata: Any) -> Awaitable[R_co]: ...


class Tokens:
    """An access token that is renewed in time."""

    def __init__(self, fetch: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        """The function fetch blocks, and raises token.NoTokenError."""
        self._fetch = fetch
        self._clock = clock
        self._token = ""
        self._taken = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """A token that is good for a minute at least. Raises token.NoTokenError."""
        async with self._lock:
            if not self._token or self._age() > _TOKEN_RENEW_SECONDS:
                try:
                    self._token, self._taken = await asyncio.to_thread(self._fetch), self._clock()
                except token.NoTokenError:
                    if not self._token or self._age() > _TOKEN_LAST_SECONDS:
                        raise
        return self._token

    def _age(self) -> float:
        return self._clock() - self._taken


class Mesh:
    """The services of a running stack, for one client. Open it with `async with`."""

    def __init__(self, url: str, tokens: Tokens) -> None:
        self._channel = grpc.aio.insecure_channel(urlsplit(url).netloc, options=_OPTIONS)
        self._tokens = tokens
        self.retries = 0
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._channel)
        self.inventory = inventory_service_pb2_grpc.InventoryServiceStub(self._channel)
        self.orders = orders_service_pb2_grpc.OrdersServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        await self._tokens.get()  # whoever isn't let in learns it here
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def call(self, method: Method[Q, R], request: Q) -> R:
        """The answer to a call that may be sent twice. Raises Refused."""
        tries = stamina.retry_context(
            on=_passes, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.05, wait_max=2.0, wait_jitter=0.2
        )
        try:
            async for attempt in tries:
                with attempt:
                    self.retries += attempt.num > 1
                    metadata = (("authorization", f"Bearer {await self._tokens.get()}"),)
                    return await method(request, timeout=_CALL_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            name = type(request).__name__.removesuffix("Request")
            raise Refused(name, reason(error) or error.code().name, error.details() or "") from error
        raise AssertionError("the last try either answers or raises")

    async def pages(self, method: Method[Q, R], request: Q) -> AsyncIterator[R]:
        """Every page of a list. Raises Refused."""
        following: Any = request
        while True:
            page: Any = await self.call(method, following)
            yield page
            if not page.next_page_token:
                return
            following.page_token = page.next_page_token


def reason(error: grpc.aio.AioRpcError) -> str:
    """The contract's reason of a failure; empty when it carries none."""
    try:
        found = rpc_status.from_call(error)
    except ValueError:
        return ""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in (found.details if found else ()) if detail.Unpack(info)), "")


def _passes(error: Exception) -> bool:
    """Whether the same call may succeed in a moment."""
    if isinstance(error, token.NoTokenError):
        return True
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    return error.code() in _PASSING or (error.code() in _BROKEN and not reason(error))


async def each(items: Iterable[T], limit: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Does the work for each item, so many at a time, in order. The first failure cancels the rest and is raised."""
    todo = iter(items)

    async def worker() -> None:
        for item in todo:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(limit):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None

"""Calling other services: addresses, retries, deadlines, and the two credentials of a call.

    inventory = channels.ServiceChannel("inventory", addresses, channels.Identity(signer))
    stub = CatalogServiceStub(inventory)
    answer = await stub.BatchResolveItems(request)   # raises errors.Error, never an AioRpcError

A write needs a request_id: an UNAVAILABLE is retried, and the first try may have arrived.
"""

from __future__ import annotations

import contextlib
import contextvars
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, NoReturn, Self

import grpc

from services.kit import access, deadline, errors, metrics, principal, status, telemetry, tokens
from services.kit.interceptors import methods

UNARY_SECONDS: Final = 5.0
#: What is kept of our caller's time for answering after the called service failed.
MARGIN_SECONDS: Final = 0.05
MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # A service in trouble is left alone: after ten failures in a row only successes buy new retries.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
OPTIONS: Final = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A service that restarts is back within a second: don't wait the default two minutes to look.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

_tenant: contextvars.ContextVar[str] = contextvars.ContextVar("acting_for", default="")
Metadata = list[tuple[str, str | bytes]]


@contextlib.contextmanager
def acting_for(tenant_id: str) -> Iterator[None]:
    """Calls inside are the service's own, for this tenant: background work, which no user waits for."""
    token = _tenant.set(tenant_id)
    try:
        yield
    finally:
        _tenant.reset(token)


def target(addresses: str) -> str:
    """A gRPC target for one address or several, comma separated: unix sockets, IP addresses with ports, or one name."""
    each = [address.strip() for address in addresses.split(",") if address.strip()]
    if not each:
        raise ValueError("no address")
    if all(address.startswith("unix:") for address in each):
        return "unix:" + ",".join(address.removeprefix("unix:") for address in each)
    if len(each) == 1:
        return each[0]
    hosts = [ipaddress.ip_address(address.rpartition(":")[0].strip("[]")) for address in each]
    versions = {host.version for host in hosts}
    if len(versions) > 1:
        raise ValueError(f"addresses of one kind only: {addresses}")
    return f"ipv{versions.pop()}:{','.join(each)}"


class Identity:
    """What a call says about who makes it."""

    def __init__(self, signer: tokens.Signer) -> None:
        self._signer = signer

    def metadata(self, audience: str) -> Metadata:
        """Our own token, and for whom: a tenant, or the user whose rpc is being handled."""
        sent: Metadata = [(access.AUTHORIZATION, f"Bearer {self._signer.token(audience)}")]
        if tenant := _tenant.get():
            sent.append((access.TENANT, tenant))
        elif user := access.user_token():
            sent.append((access.ON_BEHALF, user))
        else:
            with contextlib.suppress(LookupError):
                if tenant := principal.current().tenant_id:
                    sent.append((access.TENANT, tenant))
        return sent


class _Call:
    """A method of another service."""

    def __init__(self, channel: ServiceChannel, path: str, inner: Any, *, answers: bool) -> None:
        self._channel, self._inner = channel, inner
        self._name = path.lstrip("/")
        self._reads = methods.is_read(self._name.rpartition("/")[2])
        labels = metrics.labels(path, response_streaming=answers)
        self._labels = (labels.grpc_type, labels.grpc_service, labels.grpc_method)

    def _prepare(self, metadata: Any) -> Metadata:
        sent = [*(metadata or ()), *self._channel.identity.metadata(self._channel.service)]
        if parent := telemetry.traceparent():
            sent.append((telemetry.TRACEPARENT, parent))
        return sent

    def _fail(self, rpc_error: grpc.aio.AioRpcError) -> NoReturn:
        error = status.received(rpc_error, reads=self._reads)
        if error is None:
            raise rpc_error
        raise error from rpc_error

    def _count(self, code: str, began: float | None = None) -> None:
        metrics.CLIENT_HANDLED.labels(*self._labels, code).inc()
        if began is not None:
            metrics.CLIENT_SECONDS.labels(*self._labels).observe(time.perf_counter() - began)


class UnaryCall(_Call):
    """`await call(request)`."""

    async def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None) -> Any:
        """timeout: seconds; never more than the channel's limit or what is left of our own caller's time."""
        seconds = budget(timeout, self._channel.unary_seconds)
        began = time.perf_counter()
        code = "CANCELLED"
        try:
            with telemetry.span(self._name, "client", {"rpc.system.name": "grpc", "rpc.method": self._name}):
                answer = await self._inner(request, timeout=seconds, metadata=self._prepare(metadata))
            code = "OK"
        except grpc.aio.AioRpcError as rpc_error:
            code = rpc_error.code().name
            self._fail(rpc_error)
        else:
            return answer
        finally:
            self._count(code, began)


class StreamCall(_Call):
    """`async for answer in call(request)`."""

    async def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None) -> AsyncIterator[Any]:
        """timeout: seconds for the whole stream; none: as long as it lives."""
        code = "CANCELLED"
        stream = self._inner(request, timeout=timeout, metadata=self._prepare(metadata))
        try:
            async for answer in stream:
                yield answer
            code = "OK"
        except grpc.aio.AioRpcError as rpc_error:
            code = rpc_error.code().name
            self._fail(rpc_error)
        finally:
            stream.cancel()
            self._count(code)


def budget(wanted: float | None, limit: float) -> float:
    """Seconds for a call: the least of what is wanted, the limit, and our caller's time less a margin.

    DeadlineExceeded when nothing is left.
    """
    seconds = limit if wanted is None else min(wanted, limit)
    remaining = deadline.remaining()
    if remaining is not None:
        seconds = min(seconds, remaining - MARGIN_SECONDS)
    if seconds <= 0:
        raise errors.DeadlineExceeded
    return seconds


class ServiceChannel(grpc.aio.Channel):
    """A channel to another service, for generated stubs. Requests are one message: no service streams to another."""

    def __init__(
        self, service: str, addresses: str, identity: Identity, *, unary_seconds: float = UNARY_SECONDS
    ) -> None:
        """addresses: comma separated, see `target`. ValueError when they can't be used together."""
        self.service, self.identity, self.unary_seconds = service, identity, unary_seconds
        self._inner = grpc.aio.insecure_channel(target(addresses), options=OPTIONS)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return UnaryCall(self, method, self._inner.unary_unary(method, *args, **kwargs), answers=False)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return StreamCall(self, method, self._inner.unary_stream(method, *args, **kwargs), answers=True)

    def stream_unary(self, method: str, *_args: Any, **_kwargs: Any) -> Any:
        return _unsupported(method)

    def stream_stream(self, method: str, *_args: Any, **_kwargs: Any) -> Any:
        return _unsupported(method)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()


def _unsupported(method: str) -> Callable[..., NoReturn]:
    def call(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{method}: services don't stream requests to each other")

    return call

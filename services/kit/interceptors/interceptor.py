"""The server interceptor: finds the wrapped handler of a method. How each kind of rpc is wrapped is in `shapes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc

from services.kit import access, errors, metrics, status, validation
from services.kit.interceptors import calls, methods, shapes

#: Stock services that are public and keep their own ways, e.g. health's Watch, which writes through its context.
UNTOUCHED: Final = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
UNARY_SECONDS_MAX: Final = 30.0

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Interceptor(grpc.aio.ServerInterceptor):
    """Give it to `grpc.aio.server(interceptors=[…])`, alone. Whatever is registered passes through it."""

    def __init__(
        self,
        guard: access.Guard,
        *,
        unary_seconds_max: float = UNARY_SECONDS_MAX,
        stream_seconds_max: float = 900.0,
        concurrency: int = 20_000,
    ) -> None:
        """unary_seconds_max: the time of a caller that gave none. concurrency: calls at once, more are OVERLOADED."""
        self._limits = calls.Limits(stream_seconds_max, concurrency)
        self._guard = guard
        self._load = calls.Load()
        self._overdue = calls.Overdue(unary_seconds_max)
        self._wrapped: dict[str, Handler] = {}
        self._unknown = _unknown()

    @property
    def calls_open(self) -> int:
        """Rpcs that are being handled, streams included."""
        return self._load.open

    def prepare(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Wraps a service's handlers before the first call, and compiles the rules of its requests.

        TypeError when a servicer's method is not async; ValueError when an access rule names a field that isn't there.
        """
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            wrapped, method = self._wrap(path, handler)
            self._wrapped[path] = wrapped
            if method.input is not None:
                validation.warm_up([method.input])

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler that does everything around the servicer's."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return self._unknown  # Not kept by path: callers make those up.
        if path[1:].partition("/")[0] in UNTOUCHED:
            wrapped = handler
        else:
            wrapped, _ = self._wrap(path, handler)
        self._wrapped[path] = wrapped
        return wrapped

    def _wrap(self, path: str, handler: Handler) -> tuple[Handler, methods.Method]:
        method = methods.of(path)
        labels = metrics.labels(
            path, request_streaming=handler.request_streaming, response_streaming=handler.response_streaming
        )
        frame = calls.Frame(method, self._guard, metrics.meter(labels), self._load, self._limits, self._overdue)
        return shapes.wrap(handler, frame), method


def _unknown() -> Handler:
    """Answers a method that nobody serves, whatever its kind, in the shape of our errors."""
    meter = metrics.meter(metrics.Labels(metrics.UNKNOWN, metrics.UNKNOWN, metrics.UNKNOWN))
    refusal = status.refusal(errors.Unimplemented("no such method"))

    async def refuse(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        meter.opened()
        meter.handled(refusal.code.name, 0.0, refusal.reason)
        await context.abort(refusal.code, refusal.message, refusal.trailing)

    return grpc.stream_stream_rpc_method_handler(refuse)

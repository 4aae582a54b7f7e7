"""Frames are serialised once and shared: this makes generated code pass them on as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

Servicer = TypeVar("Servicer")
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


def bytes_through(register: Callable[[Servicer, Any], None]) -> Callable[[Servicer, Any], None]:
    """A generated `add_…Servicer_to_server` whose response streams may yield `bytes` besides messages."""

    def registered(servicer: Servicer, server: Any) -> None:
        register(servicer, _Registrar(server))

    return registered


class _Registrar:
    """Stands between generated code and a server."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same handlers follow under their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Hands them on, in both of the forms that a server may want."""
        opened = {name: _open(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, opened),))
        self._server.add_registered_method_handlers(service, opened)


def _open(handler: Any) -> Handler:
    encode = handler.response_serializer
    if not handler.response_streaming or encode is None:
        return handler  # type: ignore[no-any-return]

    def serialise(frame: Any) -> Any:
        return frame if isinstance(frame, bytes) else encode(frame)

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(handler.stream_stream, handler.request_deserializer, serialise)
    return grpc.unary_stream_rpc_method_handler(handler.unary_stream, handler.request_deserializer, serialise)

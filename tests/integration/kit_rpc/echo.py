"""A service with every kind of rpc, whose contract is compiled here: its messages, its servicer and its stub."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
from buf.validate import validate_pb2  # noqa: F401 - the contract imports it
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.kit import access, deadline, errors, principal, telemetry

SERVICE = "tillmesh.kit_test.v1.EchoService"
_ROOT = Path(__file__).parents[3]


def _compile() -> Any:
    pool = descriptor_pool.Default()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "echo.binpb"
        known = _ROOT / "generated/descriptors/tillmesh.binpb"
        protos = Path(__file__).parent / "protos"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={known}", f"-I{protos}"]
        subprocess.run([*command, f"--descriptor_set_out={out}", "echo_service.proto"], check=True)
        for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(SERVICE)


DESCRIPTOR = _compile()
Request = message_factory.GetMessageClass(DESCRIPTOR.methods_by_name["GetEcho"].input_type)
Reply = message_factory.GetMessageClass(DESCRIPTOR.methods_by_name["GetEcho"].output_type)


class OutOfEchoes(errors.Error):
    """There are no echoes left."""

    reason = "INSUFFICIENT_STOCK"


FAILURES: dict[str, Any] = {
    "not found": lambda: errors.NotFound("echo"),
    "stale": lambda: errors.VersionMismatch(7),
    "short": lambda: OutOfEchoes(lines=range(1000)),
    "defect": lambda: ValueError("secret"),
    "overloaded": errors.Overloaded,
    "cancelled": lambda: psycopg.errors.QueryCanceled("canceling statement"),
    "todo": NotImplementedError,
}


class Servicer:
    """Does what the text of a request says."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.ended = asyncio.Event()
        self.began = asyncio.Event()
        self.tries = 0

    def _note(self, request: Any) -> None:
        caller = principal.current()
        self.seen = {
            "request": request,
            "principal": caller,
            "deadline": deadline.remaining(),
            "traceparent": telemetry.traceparent(),
            "user_token": access.user_token(),
        }
        if request.text in FAILURES:
            raise FAILURES[request.text]()

    async def unary(self, request: Any, context: Any) -> Any:
        self.tries += 1
        self._note(request)
        if request.text == "third try" and self.tries < 3:
            raise errors.Draining
        if request.text == "abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")
        if request.text == "hang":
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return await self.answer(request, context)

    async def answer(self, request: Any, _context: Any) -> Any:
        return Reply(text=request.text, version=3)

    async def collect(self, requests: AsyncIterator[Any], _context: Any) -> Any:
        texts = []
        async for request in requests:
            self._note(request)
            texts.append(request.text)
        return Reply(text=" ".join(texts))

    async def watch(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        try:
            yield Reply(text="first")
            self._note(request)
            if request.text == "hang":
                self.began.set()
                await asyncio.Event().wait()
            yield Reply(text="second")
        finally:
            self.ended.set()

    async def exchange(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            self._note(request)
            yield Reply(text=request.text)


def register(servicer: Servicer, server: Any) -> None:
    """What generated code would do."""
    coding = {"request_deserializer": Request.FromString, "response_serializer": Reply.SerializeToString}
    shapes = {
        (False, False): lambda: grpc.unary_unary_rpc_method_handler(servicer.unary, **coding),
        (True, False): lambda: grpc.stream_unary_rpc_method_handler(servicer.collect, **coding),
        (False, True): lambda: grpc.unary_stream_rpc_method_handler(servicer.watch, **coding),
        (True, True): lambda: grpc.stream_stream_rpc_method_handler(servicer.exchange, **coding),
    }
    handlers = {m.name: shapes[m.client_streaming, m.server_streaming]() for m in DESCRIPTOR.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


class Stub:
    """What generated code would be."""

    def __init__(self, channel: Any) -> None:
        for method in DESCRIPTOR.methods:
            kind = (
                f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
            )
            call = getattr(channel, kind)(
                f"/{SERVICE}/{method.name}",
                request_serializer=Request.SerializeToString,
                response_deserializer=Reply.FromString,
            )
            setattr(self, method.name, call)

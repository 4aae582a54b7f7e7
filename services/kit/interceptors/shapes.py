"""The four kinds of rpc, wrapped so that each keeps its shape. Errors inside generators are caught inside of them.

Servicers' methods are `async def`; those with a response stream are async generators.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc

from services.kit import deadline, errors, principal
from services.kit.interceptors import calls, conditions

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "calls.Context"
Prepare = Callable[[calls.Call, Any, principal.Principal], Any]
# After its end a stream gets so long to say so in band; then it is ended from outside.
STREAM_GRACE_SECONDS = 10.0


def wrap(handler: Handler, frame: calls.Frame) -> Handler:
    """The handler with everything around it. TypeError when the servicer's method is of another kind than the rpc."""
    given: Any = _built(handler)
    decode = calls.lenient(given.request_deserializer) if given.request_deserializer else None
    encode = given.response_serializer
    if given.response_streaming:
        behavior = given.stream_stream if given.request_streaming else given.unary_stream
        if not inspect.isasyncgenfunction(behavior):
            raise TypeError(f"{frame.method.name} must be an async generator")
        if given.request_streaming:
            answers = _answers(behavior, frame, _requests)
            return grpc.stream_stream_rpc_method_handler(answers, decode, encode)
        answers = _answers(behavior, frame, calls.Call.read)
        return grpc.unary_stream_rpc_method_handler(answers, decode, encode)
    behavior = given.stream_unary if given.request_streaming else given.unary_unary
    if not inspect.iscoroutinefunction(behavior):
        raise TypeError(f"{frame.method.name} must be a coroutine function")
    if given.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_stream_unary(behavior, frame), decode, encode)
    return grpc.unary_unary_rpc_method_handler(_unary_unary(behavior, frame), decode, encode)


def _built(handler: Handler) -> Handler:
    """Stands in for a method that the servicer doesn't define: generated code answers those, but not in our shape."""
    given: Any = handler
    behavior = given.unary_unary or given.stream_unary or given.unary_stream or given.stream_stream
    if not getattr(behavior, "__module__", "").endswith("_pb2_grpc"):
        return handler

    async def answer(_request: Any, _context: Context) -> Any:
        raise errors.Unimplemented

    async def answers(_request: Any, _context: Context) -> AsyncIterator[Any]:
        nothings: tuple[Any, ...] = ()
        for nothing in nothings:
            yield nothing
        raise errors.Unimplemented

    if given.response_streaming:
        make: Any = grpc.unary_stream_rpc_method_handler
        make = grpc.stream_stream_rpc_method_handler if given.request_streaming else make
        return cast("Handler", make(answers, given.request_deserializer, given.response_serializer))
    make = grpc.stream_unary_rpc_method_handler if given.request_streaming else grpc.unary_unary_rpc_method_handler
    return cast("Handler", make(answer, given.request_deserializer, given.response_serializer))


def _unary_unary(behavior: Callable[..., Awaitable[Any]], frame: calls.Frame) -> Callable[..., Awaitable[Any]]:
    overdue = frame.overdue

    async def handle(raw: Any, context: Context) -> Any:
        call = frame.begin(context)
        interrupted: BaseException | None = None
        timed = True
        try:
            caller = call.admit()
            timed = call.start_clock()
            if not timed:
                deadline.enter(overdue.seconds)
                overdue.watch(call)
            response = await behavior(call.read(raw, caller), context)
            if conditions.REST_MARK in call.headers:
                await call.answer(response)
        except Exception as error:  # noqa: BLE001 - the funnel
            return await call.refuse(error)
        except BaseException as error:
            if not timed and overdue.ended(call):
                return await call.refuse(errors.DeadlineExceeded())
            interrupted = error
            raise
        else:
            return response
        finally:
            if not timed:
                overdue.forget(call)
            call.end(interrupted)

    return handle


def _stream_unary(behavior: Callable[..., Awaitable[Any]], frame: calls.Frame) -> Callable[..., Awaitable[Any]]:
    async def handle(raws: AsyncIterator[Any], context: Context) -> Any:
        call = frame.begin(context)
        interrupted: BaseException | None = None
        try:
            caller = call.admit()
            call.start_clock()
            with _Lifetime(frame, caller):
                response = await behavior(_requests(call, raws, caller), context)
            if conditions.REST_MARK in call.headers:
                await call.answer(response)
        except Exception as error:  # noqa: BLE001 - the funnel
            return await call.refuse(error)
        except BaseException as error:
            interrupted = error
            raise
        else:
            return response
        finally:
            call.end(interrupted)

    return handle


def _answers(behavior: Callable[..., Any], frame: calls.Frame, prepare: Prepare) -> Callable[..., AsyncIterator[Any]]:
    async def handle(given: Any, context: Context) -> AsyncIterator[Any]:
        call = frame.begin(context)
        interrupted: BaseException | None = None
        try:
            caller = call.admit()
            call.start_clock()
            request = prepare(call, given, caller)
            with _Lifetime(frame, caller):
                async with contextlib.aclosing(behavior(request, context)) as answers:
                    async for answer in answers:
                        yield answer
        except Exception as error:  # noqa: BLE001 - the funnel
            await call.refuse(error)
        except BaseException as error:
            interrupted = error
            raise
        finally:
            call.end(interrupted)

    return handle


async def _requests(call: calls.Call, raws: AsyncIterator[Any], caller: principal.Principal) -> AsyncIterator[Any]:
    """The messages of a request stream, each checked like a request of its own."""
    async for raw in raws:
        yield call.read(raw, caller)


class _Lifetime:
    """Ends a stream that outlives its token or the longest life of a stream: StreamLifetime.

    Streams end themselves at that time, in band; this is for those that don't. It interrupts the task, so it works
    inside of the servicer; while grpc waits for a reader that doesn't read, the call just ends.
    """

    __slots__ = ("_expired", "_seconds", "_task", "_timer")

    def __init__(self, frame: calls.Frame, caller: principal.Principal) -> None:
        until_expiry = caller.expires_at - time.time()
        self._seconds = min(frame.limits.stream_seconds, until_expiry) + STREAM_GRACE_SECONDS
        self._expired = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._timer.cancel()
        if self._expired and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()
            raise errors.StreamLifetime from None

"""One call: admitted, timed, counted, and its failure told. What differs between the kinds of rpc is in `shapes`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message

from services.kit import access, deadline, errors, metrics, principal, status, telemetry, validation
from services.kit.interceptors import conditions, methods

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long streams may live, in seconds, and how many calls there may be at once."""

    stream_seconds: float
    concurrency: int


class Load:
    """How many calls are open in this process."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What the calls of one method share."""

    method: methods.Method
    guard: access.Guard
    meter: metrics.Meter
    load: Load
    limits: Limits
    overdue: Overdue

    def begin(self, context: Context) -> Call:
        """A call arrives. `end` must follow, whatever happens."""
        return Call(self, dict(context.invocation_metadata() or ()), context)


class Call:
    """A call that is being handled."""

    __slots__ = ("_began", "_context", "_frame", "_span", "code", "headers", "reason")

    def __init__(self, frame: Frame, headers: dict[str, str | bytes], context: Context) -> None:
        self._frame, self._context, self.headers = frame, context, headers
        self.code, self.reason = "OK", ""
        self._began = time.perf_counter()
        frame.meter.opened()
        frame.load.open += 1
        parent = headers.get(telemetry.TRACEPARENT, "")
        name = frame.method.name
        telemetry.enter_call(name, parent)  # type: ignore[arg-type]  # only -bin metadata are bytes
        self._span = telemetry.start_call(name, parent) if telemetry.enabled() else None  # type: ignore[arg-type]

    def admit(self) -> principal.Principal:
        """Access and deadline: what can be decided before a request is read."""
        frame = self._frame
        if frame.load.open > frame.limits.concurrency:
            raise errors.Overloaded
        rule = frame.method.rule
        caller = frame.guard.authenticate(self.headers, rule)
        access.authorize(rule, caller)
        return caller

    def start_clock(self) -> bool:
        """Starts the caller's deadline; False when it gave none."""
        remaining = cast("float | None", self._context.time_remaining())
        if remaining is None:
            return False
        if remaining <= 0:
            raise errors.DeadlineExceeded
        deadline.enter(remaining)
        return True

    def read(self, raw: Message | Malformed, caller: principal.Principal) -> Message:
        """The request, filled from headers, valid, and within what the caller may touch."""
        if isinstance(raw, Malformed):
            raise errors.InvalidRequest("the request can't be decoded")
        method = self._frame.method
        if method.takes_headers:
            conditions.fill(raw, self.headers, method)
        validation.check(raw)
        access.confine(method.rule, caller, raw)
        return raw

    async def answer(self, response: Any) -> None:
        """Sends the headers that a REST caller gets with a success."""
        sent = conditions.answer_headers(response, self.headers, self._frame.method)
        if sent:
            await self._context.send_initial_metadata(sent)

    async def refuse(self, error: Exception) -> NoReturn:
        """Ends the call with what the error means."""
        if isinstance(error, grpc.aio.AbortError):  # The handler ended it itself.
            self.code = _name(self._context.code())
            raise error
        method = self._frame.method
        refusal = status.refusal(
            error, method=method.name, reads=method.reads, if_match=conditions.IF_MATCH in self.headers
        )
        self.code, self.reason = refusal.code.name, refusal.reason
        await self._context.abort(refusal.code, refusal.message, refusal.trailing)
        raise AssertionError("abort returned")

    def end(self, interrupted: BaseException | None = None) -> None:
        """Counts the call. interrupted: it was cancelled rather than answered."""
        if interrupted is not None and self.code == "OK":
            self.code = "CANCELLED" if isinstance(interrupted, asyncio.CancelledError | GeneratorExit) else "UNKNOWN"
        frame = self._frame
        frame.load.open -= 1
        frame.meter.handled(self.code, time.perf_counter() - self._began, self.reason)
        if self._span is not None:
            self._span.end(self.code, self.reason)


class Overdue:
    """Ends unary calls of callers that gave no deadline. One timer for all: asyncio.timeout would cost 10 us a call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Call, tuple[float, asyncio.Task[Any]]] = {}  # In the order of their ends.
        self._ended: set[Call] = set()
        self._armed = False

    def watch(self, call: Call) -> None:
        """The running task has `seconds` from now."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[call] = (time.monotonic() + self.seconds, task)
        if not self._armed:
            self._arm(self.seconds)

    def forget(self, call: Call) -> None:
        """The call ended."""
        self._waiting.pop(call, None)
        self._ended.discard(call)

    def ended(self, call: Call) -> bool:
        """Whether the call was interrupted because its time is over; then it goes on, to say so."""
        if call not in self._ended:
            return False
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return True

    def _arm(self, seconds: float) -> None:
        self._armed = True
        asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._armed = False
        now = time.monotonic()
        for call, (end, task) in list(self._waiting.items()):
            if end > now:
                self._arm(max(end - now, 0.1))
                return
            del self._waiting[call]
            self._ended.add(call)
            task.cancel()


class Malformed:
    """Stands for a request whose bytes are no message of its type."""


MALFORMED = Malformed()


def lenient(deserialize: Any) -> Any:
    """A deserializer that returns MALFORMED rather than failing where we can't answer. Access is checked first."""

    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return MALFORMED

    return read


def _name(code: Any) -> str:
    """Name of a gRPC code that a context may hold as a number or as a member."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    for member in grpc.StatusCode:
        if member.value[0] == code:
            return member.name
    return "UNKNOWN"

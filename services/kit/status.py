"""What a caller is told about a failure: google.rpc.Status from any exception, and its trailing metadata.

Which reason means which code stands in `errors`; when this is called, in `interceptors`. Driver text never gets out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import psycopg
import psycopg_pool
import sqlalchemy.exc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.kit import errors, ids

VIOLATIONS_MAX = 20
TEXT_LENGTH_MAX = 300
# Base64 adds a third, and HTTP/2 clients drop replies whose headers are over 8 KiB.
STATUS_BYTES_MAX = 5 * 1024
# What a service below us answered and our own caller may be told in its words; the rest is our defect.
PASSED_ON = frozenset(
    {
        "NOT_FOUND",
        "SKU_NOT_FOUND",
        "LOCATION_SCOPE",
        "DEADLINE_EXCEEDED",
        "OVERLOADED",
        "UNAVAILABLE",
        "CONFLICT",
        "OUTCOME_UNKNOWN",
        "IDEMPOTENCY_IN_FLIGHT",
    }
)
CHARACTER_NOT_IN_REPERTOIRE = "22021"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_BY_SQLSTATE: dict[str, type[errors.Error]] = {
    "40001": errors.Conflict,  # serialization_failure
    "40P01": errors.Conflict,  # deadlock_detected
    "55P03": errors.Conflict,  # lock_not_available
    "57014": errors.DeadlineExceeded,  # query_canceled: statement_timeout
    "25P04": errors.DeadlineExceeded,  # transaction_timeout
    "25P03": errors.DeadlineExceeded,  # idle_in_transaction_session_timeout
    "53300": errors.Unavailable,  # too_many_connections
}
_BY_SQLSTATE_CLASS: dict[str, type[errors.Error]] = {
    "08": errors.Unavailable,  # connection exceptions
    "57": errors.Unavailable,  # shutdown and crash; the cancelled query is above
    "53": errors.Unavailable,  # insufficient resources
}

log = structlog.get_logger(__name__)
E = TypeVar("E", bound=errors.Error)
Packer = Callable[[Any], Message | None]
_packers: dict[type[errors.Error], Packer] = {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What goes to `context.abort`."""

    code: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, str | bytes], ...]
    reason: str


def register_detail(error_class: type[E], pack: Callable[[E], Message | None]) -> None:
    """Adds a detail message of a service's own to all errors of the class. Called once, by the service's mapping.

    A message with a repeated field is shortened from its end when it is too large for a header.
    """
    _packers[error_class] = pack


def to_proto(error: errors.Error) -> status_pb2.Status:
    """The status of an error: also for frames that end a stream, and for lines of a batch."""
    row = error.row
    status = status_pb2.Status(code=int(row.code), message=_text(error))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata)
    _add(status, info)
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.field[:TEXT_LENGTH_MAX], description=violation.description[:TEXT_LENGTH_MAX]
            )
            for violation in error.violations[:VIOLATIONS_MAX]
        ]
        _add(status, error_details_pb2.BadRequest(field_violations=violations))
    if row.retry_seconds is not None:
        delay = duration_pb2.Duration(nanos=round(row.retry_seconds % 1 * 1e9), seconds=int(row.retry_seconds))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    detail = _packed(error)
    return status if detail is None else _add(status, detail)


def _packed(error: errors.Error) -> Message | None:
    """The service's own detail; None when there is none, or its packer fails: the caller still learns the reason."""
    packer = next((_packers[each] for each in type(error).__mro__ if each in _packers), None)
    try:
        return None if packer is None else packer(error)
    except Exception:
        log.exception("status.packer_failed", reason=error.reason)
        return None


def _text(error: errors.Error) -> str:
    return str(error)[:TEXT_LENGTH_MAX]


def _add(status: status_pb2.Status, detail: Message) -> status_pb2.Status:
    packed = any_pb2.Any()
    packed.Pack(_shortened(detail, STATUS_BYTES_MAX - status.ByteSize()))
    if status.ByteSize() + packed.ByteSize() <= STATUS_BYTES_MAX:
        status.details.append(packed)
    return status


def _shortened(detail: Message, bytes_max: int) -> Message:
    for field in detail.DESCRIPTOR.fields:
        while field.is_repeated and detail.ByteSize() + 100 > bytes_max and len(getattr(detail, field.name)):
            items = getattr(detail, field.name)
            del items[len(items) // 2 :]
    return detail


def refusal(error: Exception, *, method: str = "", reads: bool = False, if_match: bool = False) -> Refusal:
    """What becomes of an exception. reads: the method changes nothing. if_match: the caller sent an If-Match header."""
    known = from_exception(error, method=method, reads=reads)
    row = known.row
    http = 412 if if_match and isinstance(known, errors.VersionMismatch) else row.http
    trailing: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", to_proto(known).SerializeToString()),
        ("x-http-status", str(http)),
    ]
    if row.retry_seconds is not None:
        trailing.append(("retry-after", str(math.ceil(row.retry_seconds))))
    if http == 401:
        trailing.append(("www-authenticate", "Bearer"))
    return Refusal(_CODES[int(row.code)], _text(known), tuple(trailing), known.reason)


def from_exception(error: BaseException, *, method: str = "", reads: bool = False) -> errors.Error:
    """The error of ours that stands for another exception; a defect becomes Internal with an id that is in the logs."""
    found: errors.Error | None = None
    if isinstance(error, errors.Error):
        # What a service below us refused (channels raise it from the rpc's own error) may be our defect.
        ours = not isinstance(error.__cause__, grpc.aio.AioRpcError)
        if ours or error.reason in PASSED_ON:
            return error
    elif isinstance(error, psycopg.Error | sqlalchemy.exc.SQLAlchemyError):
        found = _from_database(error, reads=reads)
    elif isinstance(error, grpc.aio.AioRpcError):
        found = _passed_on(received(error, reads=reads))
    elif isinstance(error, NotImplementedError):
        found = errors.Unimplemented()
    elif isinstance(error, asyncio.TimeoutError):
        found = errors.DeadlineExceeded()
    if found is None:
        error_id = ids.new_uuid().hex
        log.error("rpc.failed", error_id=error_id, method=method, exc_info=error)
        return errors.Internal(f"something is wrong on our side; its id in the logs is {error_id}")
    if isinstance(found, errors.Unavailable | errors.OutcomeUnknown):
        log.warning("rpc.unavailable", method=method, exc_info=error)
    return found


def _passed_on(error: errors.Error | None) -> errors.Error | None:
    return error if error is not None and error.reason in PASSED_ON else None


def _from_database(error: psycopg.Error | sqlalchemy.exc.SQLAlchemyError, *, reads: bool) -> errors.Error | None:
    if isinstance(error, sqlalchemy.exc.TimeoutError | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
        return errors.Unavailable()
    lost = False
    driver: BaseException | None = error
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        driver, lost = error.orig, error.connection_invalidated
    elif isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.ConnectionTimeout):
        lost = error.sqlstate is None
    if not isinstance(driver, psycopg.Error):
        return None
    if isinstance(driver, psycopg.DataError) and driver.sqlstate in (None, CHARACTER_NOT_IN_REPERTOIRE):
        # A text with a NUL, which PostgreSQL can't store: the driver refuses it, in binary parameters the server.
        return errors.InvalidRequest("a text holds a character that can't be stored")
    state = driver.sqlstate or ""
    named = _BY_SQLSTATE.get(state) or _BY_SQLSTATE_CLASS.get(state[:2])
    if named is not None:
        return named()
    if lost:
        # The connection went away in the middle: if that was the commit, nobody here knows how it ended.
        return errors.Unavailable() if reads else errors.OutcomeUnknown()
    return errors.Unavailable() if isinstance(driver, psycopg.OperationalError) and not state else None


def _class_of(reason: str) -> type[errors.Error]:
    waiting = [errors.Error]
    while waiting:
        candidate = waiting.pop()
        if candidate.reason == reason and candidate is not errors.Error:
            return candidate
        waiting.extend(candidate.__subclasses__())
    return type("Remote", (errors.Error,), {"reason": reason})


def received(rpc_error: grpc.aio.AioRpcError, *, reads: bool) -> errors.Error | None:
    """The error of ours that another service answered with, as an instance of its class; None if it isn't in our shape.

    Without details (the connection broke, the time ran out on the way) the code decides, and for a method that changes
    something (reads=False) that means: nobody knows whether it did.
    """
    details = dict(rpc_error.trailing_metadata() or ()).get("grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    if isinstance(details, bytes):
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info):
                break
    reason = info.reason if info.domain == errors.DOMAIN else _reason_of_code(rpc_error.code(), reads=reads)
    if reason not in errors.TABLE:
        return None
    error_class = _class_of(reason)
    error = error_class.__new__(error_class)  # Constructors differ; what they would make is all in the metadata.
    errors.Error.__init__(error, rpc_error.details() if info.reason else None, metadata=dict(info.metadata))
    return error


def _reason_of_code(code: grpc.StatusCode, *, reads: bool) -> str:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return "OVERLOADED"
    if code is grpc.StatusCode.UNAVAILABLE:
        return "UNAVAILABLE" if reads else "OUTCOME_UNKNOWN"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "DEADLINE_EXCEEDED" if reads else "OUTCOME_UNKNOWN"
    return ""

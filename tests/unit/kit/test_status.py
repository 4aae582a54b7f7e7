"""What becomes of exceptions: ours, drivers', and those nobody expected."""

from __future__ import annotations

import grpc
import psycopg
import psycopg_pool
import pytest
import sqlalchemy.exc
import structlog
from google.rpc import error_details_pb2, status_pb2

from services.kit import errors, status


@pytest.fixture(autouse=True)
def logged():
    with structlog.testing.capture_logs() as captured:
        yield captured


def wrapped(driver: BaseException, *, lost: bool = False) -> sqlalchemy.exc.DBAPIError:
    """As SQLAlchemy raises it."""
    return sqlalchemy.exc.DBAPIError("SELECT secret", {"email": "ana@example.org"}, driver, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (psycopg.errors.SerializationFailure, "CONFLICT"),
        (psycopg.errors.DeadlockDetected, "CONFLICT"),
        (psycopg.errors.LockNotAvailable, "CONFLICT"),
        (psycopg.errors.QueryCanceled, "DEADLINE_EXCEEDED"),
        (psycopg.errors.IdleInTransactionSessionTimeout, "DEADLINE_EXCEEDED"),
        (psycopg.errors.AdminShutdown, "UNAVAILABLE"),
        (psycopg.errors.CannotConnectNow, "UNAVAILABLE"),
        (psycopg.errors.TooManyConnections, "UNAVAILABLE"),
        (psycopg.errors.DiskFull, "UNAVAILABLE"),
        (psycopg.errors.UniqueViolation, "INTERNAL"),
        (psycopg.errors.UndefinedTable, "INTERNAL"),
        (psycopg.errors.InsufficientPrivilege, "INTERNAL"),
    ],
)
def test_a_drivers_error_becomes_a_reason_alone_and_inside_sqlalchemys(driver, reason):
    assert status.refusal(driver("text")).reason == reason
    assert status.refusal(wrapped(driver("text"))).reason == reason


@pytest.mark.parametrize(
    "error", [psycopg_pool.PoolTimeout(), psycopg_pool.PoolClosed(), sqlalchemy.exc.TimeoutError()]
)
def test_a_pool_that_has_no_connection_is_unavailable(error):
    assert status.refusal(error).reason == "UNAVAILABLE"


def test_a_server_that_cant_be_reached_is_unavailable():
    assert status.refusal(wrapped(psycopg.OperationalError("connection refused"))).reason == "UNAVAILABLE"
    assert status.refusal(psycopg.errors.ConnectionTimeout()).reason == "UNAVAILABLE"


def test_a_connection_lost_in_the_middle_leaves_a_write_unknown_and_a_read_merely_undone():
    for error in (wrapped(psycopg.OperationalError("gone"), lost=True), psycopg.OperationalError("gone")):
        told = status.refusal(error)
        assert (told.reason, told.code) == ("OUTCOME_UNKNOWN", grpc.StatusCode.UNAVAILABLE)
        assert status.refusal(error, reads=True).reason == "UNAVAILABLE"


def test_no_text_of_a_driver_gets_out():
    for error in (wrapped(psycopg.errors.UniqueViolation("ana@example.org")), psycopg.errors.QueryCanceled("ana@")):
        told = status.refusal(error)
        assert "ana@" not in told.message
        assert b"ana@" not in dict(told.trailing)["grpc-status-details-bin"]


def test_a_defect_is_logged_under_the_id_that_is_told(logged):
    told = status.refusal(ZeroDivisionError("by zero"), method="x/Y")
    assert told.code is grpc.StatusCode.INTERNAL
    (entry,) = logged
    assert (entry["event"], entry["method"]) == ("rpc.failed", "x/Y")
    assert told.message.endswith(entry["error_id"])


@pytest.mark.parametrize("reason", sorted(errors.TABLE))
def test_each_reason_is_told_as_its_row_says(reason):
    error_class = type("E", (errors.Error,), {"reason": reason})
    row = errors.TABLE[reason]
    told = status.refusal(error_class("text"))
    trailing = dict(told.trailing)
    proto = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert proto.details[0].Unpack(info)
    assert (told.code.value[0], proto.code, info.reason, info.domain) == (row.code, row.code, reason, "tillmesh")
    assert trailing["x-http-status"] == str(row.http)
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in proto.details) == (row.retry_seconds is not None)
    assert retry.retry_delay.ToTimedelta().total_seconds() == (row.retry_seconds or 0)
    assert ("retry-after" in trailing) == (row.retry_seconds is not None)


def test_violations_are_as_many_as_fit_into_a_header():
    violations = [errors.FieldViolation(f"lines[{n}].sku", "x" * 1000) for n in range(500)]
    proto = status.to_proto(errors.InvalidRequest(violations=violations[:3]))
    bad = error_details_pb2.BadRequest()
    assert proto.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["lines[0].sku", "lines[1].sku", "lines[2].sku"]
    proto = status.to_proto(errors.InvalidRequest(violations=violations))
    assert proto.details[1].Unpack(bad)
    assert len(bad.field_violations) >= 10
    assert proto.ByteSize() <= status.STATUS_BYTES_MAX


def test_a_detail_that_cant_be_packed_is_left_out():
    class Unlucky(errors.Error):
        reason = "INSUFFICIENT_STOCK"

    status.register_detail(Unlucky, lambda error: error_details_pb2.Help.Link(url=error.lines[0]))
    assert len(status.to_proto(Unlucky()).details) == 1


def test_a_detail_of_a_service_goes_with_its_errors_and_their_subclasses():
    class Short(errors.Error):
        reason = "INSUFFICIENT_STOCK"

    class Shorter(Short):
        pass

    status.register_detail(Short, lambda error: error_details_pb2.Help.Link(url=str(len(error.lines))))
    proto = status.to_proto(Shorter(lines=[1, 2]))
    link = error_details_pb2.Help.Link()
    assert proto.details[-1].Unpack(link)
    assert link.url == "2"

from __future__ import annotations

import datetime as dt

import grpc
import psycopg
import pytest
import sqlalchemy.exc

from services.kit import errors, events, ids
from services.kit.inbox import effects, owners
from tillmesh.inventory.v1 import inventory_events_pb2
from tillmesh.orders.v1 import orders_events_pb2

MOMENT = dt.datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=dt.UTC)
MESSAGE = inventory_events_pb2.StockChanged(location_id="loc_1")


def row() -> events.Row:
    return events.Row(
        tenant_id=ids.decode("ten", "ten_01h455vb4pex5vsknk084sn02q"),
        key="loc_1",
        seq_from=3,
        seq_to=7,
        epoch=2,
        id=ids.decode("evt", "evt_01h455vb4pex5vsknk084sn02r"),
        shard=9,
        type=MESSAGE.DESCRIPTOR.full_name,
        occurred_at=MOMENT,
        recorded_at=MOMENT + dt.timedelta(microseconds=1),
        traceparent="00-1",
        causation_id="x",
        data=MESSAGE.SerializeToString(),
    )


def test_an_envelope_says_all_that_its_row_says() -> None:
    envelope = events.envelope(row())
    assert envelope.id == "evt_01h455vb4pex5vsknk084sn02r"
    assert envelope.tenant_id == "ten_01h455vb4pex5vsknk084sn02q"
    assert (envelope.key, envelope.epoch, envelope.seq_from, envelope.seq_to) == ("loc_1", 2, 3, 7)
    assert envelope.occurred_at.ToDatetime(dt.UTC) == MOMENT
    assert envelope.recorded_at.ToMicroseconds() == envelope.occurred_at.ToMicroseconds() + 1
    assert (envelope.traceparent, envelope.causation_id) == ("00-1", "x")
    assert events.unpack(envelope, inventory_events_pb2.StockChanged) == MESSAGE


def test_an_envelope_is_not_read_as_another_message() -> None:
    with pytest.raises(ValueError, match="StockChanged"):
        events.unpack(events.envelope(row()), orders_events_pb2.SalesRecorded)


def test_an_event_knows_its_type_and_refuses_to_grow_too_large() -> None:
    event = events.Event("loc_1", 1, 1, 1, MESSAGE, MOMENT)
    assert event.type == "tillmesh.inventory.v1.StockChanged"
    assert event.serialised() == MESSAGE.SerializeToString()
    large = inventory_events_pb2.StockChanged(location_id="x" * events.DATA_BYTES_MAX)
    with pytest.raises(ValueError, match="too large"):
        events.Event("loc_1", 1, 1, 1, large, MOMENT).serialised()


@pytest.mark.parametrize(
    "error",
    [
        errors.Conflict(),
        errors.Unavailable(),
        errors.Overloaded(),
        psycopg.errors.SerializationFailure(),
        psycopg.errors.DeadlockDetected(),
        psycopg.errors.AdminShutdown(),
        psycopg.errors.QueryCanceled(),
        psycopg.errors.LockNotAvailable(),
        psycopg.OperationalError("connection refused"),
        sqlalchemy.exc.OperationalError("", {}, psycopg.errors.SerializationFailure()),
        sqlalchemy.exc.TimeoutError(),
        TimeoutError(),
        ConnectionResetError(),
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
)
def test_what_may_pass_by_itself_is_known(error: Exception) -> None:
    assert effects.is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("variant"),
        errors.Internal(),
        ValueError(),
        psycopg.errors.CheckViolation(),
        psycopg.errors.UndefinedTable(),
        sqlalchemy.exc.IntegrityError("", {}, psycopg.errors.UniqueViolation()),
        grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
)
def test_what_fails_again_and_again_is_known(error: Exception) -> None:
    assert not effects.is_transient(error)


def test_an_owner_says_from_where_on_it_can_be_read() -> None:
    refusal = errors.ResyncRequired(metadata={owners.OLDEST_EPOCH: "2", owners.OLDEST_SEQ: "40"})
    assert owners.kept_after(refusal) == (2, 40)
    assert owners.kept_after(errors.ResyncRequired()) is None

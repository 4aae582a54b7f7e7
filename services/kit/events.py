"""Events in their three forms: what a use case says, the outbox's row, the envelope that travels. Pure translation.

How rows are written and read belongs to `outbox`, what consumers make of envelopes to `inbox`.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from services.kit import clock, ids, subjects, telemetry
from tillmesh.common.v1 import event_pb2

M = TypeVar("M", bound=Message)

TENANT_PREFIX: Final = "ten"
EVENT_PREFIX: Final = "evt"
# Two such events and their envelopes fit in a gRPC message (4 MiB) and one in a NATS message (4 MiB).
DATA_BYTES_MAX: Final = 1_900_000


@dataclass(frozen=True, slots=True)
class Event:
    """A fact of one key, as a use case says it. Positions come from the key's owner row, in the same transaction.

    seq_from to seq_to: positions it takes, without gaps between the events of a key. occurred_at: by the device.
    traceparent and causation_id: of the one request that caused it; a batch with several causes leaves both empty.
    """

    key: str
    epoch: int
    seq_from: int
    seq_to: int
    message: Message
    occurred_at: dt.datetime
    causation_id: str = ""
    id: uuid.UUID = field(default_factory=ids.new_uuid)
    traceparent: str = field(default_factory=telemetry.traceparent)

    @property
    def type(self) -> str:
        """Full name of the message."""
        return self.message.DESCRIPTOR.full_name

    def serialised(self) -> bytes:
        """The message's bytes. ValueError when they would not fit through NATS and gRPC: split the batch."""
        data = self.message.SerializeToString()
        if len(data) > DATA_BYTES_MAX:
            raise ValueError(f"an event of {len(data)} bytes is too large, the limit is {DATA_BYTES_MAX}")
        return data


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the outbox."""

    tenant_id: uuid.UUID
    key: str
    seq_from: int
    seq_to: int
    epoch: int
    id: uuid.UUID
    shard: int
    type: str
    occurred_at: dt.datetime
    recorded_at: dt.datetime
    traceparent: str
    causation_id: str
    data: bytes


COLUMNS: Final = (
    "tenant_id, key, seq_from, seq_to, epoch, id, shard, type, occurred_at, recorded_at, "
    "traceparent, causation_id, data"
)


def row(of: Sequence[Any]) -> Row:
    """A Row from a result that selects COLUMNS, in that order."""
    return Row(*tuple(of))


def envelope(of: Row) -> event_pb2.EventEnvelope:
    """What travels."""
    return event_pb2.EventEnvelope(
        id=ids.encode(EVENT_PREFIX, of.id),
        type=of.type,
        tenant_id=tenant_text(of.tenant_id),
        key=of.key,
        epoch=of.epoch,
        seq_from=of.seq_from,
        seq_to=of.seq_to,
        occurred_at=clock.timestamp(of.occurred_at),
        recorded_at=clock.timestamp(of.recorded_at),
        traceparent=of.traceparent,
        causation_id=of.causation_id,
        data=of.data,
    )


def subject(of: Row) -> str:
    """Where the event is published."""
    return subjects.subject(of.type, tenant_text(of.tenant_id), of.shard)


def unpack(of: event_pb2.EventEnvelope, kind: type[M]) -> M:
    """The message in an envelope. ValueError when it is another."""
    if of.type != kind.DESCRIPTOR.full_name:
        raise ValueError(f"the envelope holds {of.type}, not {kind.DESCRIPTOR.full_name}")
    return kind.FromString(of.data)


@functools.lru_cache(maxsize=4096)
def tenant_text(tenant: uuid.UUID) -> str:
    """TypeID of a tenant."""
    return ids.encode(TENANT_PREFIX, tenant)


@functools.lru_cache(maxsize=4096)
def tenant_uuid(tenant_id: str) -> str:
    """Text of the uuid in a tenant's TypeID, as the database layer takes it. ValueError when it isn't one."""
    return str(ids.decode(TENANT_PREFIX, tenant_id))

"""What Inventory tells the others: domain facts to events of the contract (tillmesh.inventory.v1, *_events.proto)."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from google.protobuf import timestamp_pb2

from services.inventory.domain import bundles, stock
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.kit import clock
from services.kit import events as events_kit
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb


def bundles_changed(
    location: uuid.UUID,
    seq: int,
    epoch: int,
    levels: Sequence[values.Level | bundles.BundleLevel],
    now: dt.datetime,
) -> events_kit.Event:
    """Bundles were set, so that a location has these levels from now on. seq: its new position."""
    location_id = mapping.location_text(location)
    change = events_pb.StockChanged.Change(seq=seq, levels=[mapping.any_level(location_id, level) for level in levels])
    message = events_pb.StockChanged(location_id=location_id, changes=[change])
    return events_kit.Event(key=location_id, epoch=epoch, seq_from=seq, seq_to=seq, message=message, occurred_at=now)


def change(
    working: stock.Stock, step: values.Step, recorded_at: timestamp_pb2.Timestamp
) -> events_pb.StockChanged.Change:
    """One command, with levels as it left them: taken before the next command runs."""
    location_id = working.location_id
    message = events_pb.StockChanged.Change(
        seq=step.seq, levels=[mapping.level_to_proto(location_id, level) for level in step.touched.values()]
    )
    for m in step.movements:
        message.movements.add(
            location_id=location_id,
            seq=m.seq,
            line=m.line,
            sku=m.sku,
            lot=m.lot,
            from_state=m.from_state,
            to_state=m.to_state,
            quantity=m.quantity,
            reason=m.reason,
            reference_type=m.ref_type,
            reference_id=m.ref_id,
            actor=m.actor,
            terminal_id=m.terminal,
            occurred_at=recorded_at if m.occurred_at is working.now else clock.timestamp(m.occurred_at),
            recorded_at=recorded_at,
        )
    for x in step.exceptions:
        message.exceptions.add(
            id=str(x.id),
            location_id=location_id,
            kind=x.kind,
            sku=x.sku,
            lot=x.lot,
            quantity=x.quantity,
            reference_type=x.ref_type,
            reference_id=x.ref_id,
            recorded_at=recorded_at,
        )
    message.alerts.extend(map(mapping.alert_to_proto, step.alerts))
    return message

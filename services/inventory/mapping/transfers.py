"""Transfers on the wire and in the domain: requests to drafts, steps and queries, results to messages."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import transfer_steps as steps
from services.inventory.domain import transfers as domain
from services.inventory.handlers import catalog as handlers
from services.inventory.handlers import transfers
from services.inventory.mapping import catalog_messages as names
from services.inventory.mapping import catalog_requests as common
from services.inventory.mapping import documents, lot_inputs
from services.inventory.store import transfers as store
from services.kit import ids, paging
from tillmesh.inventory.v1 import transfers_pb2 as messages
from tillmesh.inventory.v1 import transfers_service_pb2 as pb

M = TypeVar("M", bound=Message)
EVENTS_DEFAULT = 20
_SERVICE = pb.DESCRIPTOR.services_by_name["TransfersService"].full_name
_NOBODY = uuid.UUID(int=0)

transfer_id = functools.partial(documents.resource_id, "trf", "transfer")
origin = documents.origin
next_page = common.next_page


def write(method: str, request: Any) -> handlers.Write[domain.Transfer, messages.Transfer]:
    """A write of the current caller; method is the rpc's name."""
    return documents.write(_SERVICE, method, request, messages.Transfer, transfer)


def asked(request: Any) -> transfers.Asked:
    """Which transfer is to take a step."""
    return transfers.Asked(
        transfer_id=transfer_id(request.transfer_id),
        origin=documents.origin(),
        expected_version=request.expected_version,
    )


def draft(message: messages.Transfer) -> domain.Draft:
    """What a caller says of a new transfer."""
    ends = common.location_id(message.from_location_id), common.location_id(message.to_location_id)
    return _draft(message, *ends)


def _draft(message: messages.Transfer, from_id: uuid.UUID, to_id: uuid.UUID) -> domain.Draft:
    return domain.Draft(
        from_location_id=from_id,
        to_location_id=to_id,
        lines=tuple((line.sku, line.quantity) for line in message.lines),
        expected_at=documents.moment(message, "expected_at"),
        note=message.note,
        reference=message.reference,
    )


def edited(request: pb.UpdateTransferRequest) -> transfers.Asked:
    """Which transfer is edited."""
    return transfers.Asked(
        transfer_id=transfer_id(request.transfer.id),
        origin=documents.origin(),
        expected_version=request.expected_version,
    )


def changes(request: pb.UpdateTransferRequest) -> Any:
    """New values of the fields of the mask. What isn't edited needs no ids."""
    return documents.masked(request, "transfer", _draft(request.transfer, _NOBODY, _NOBODY))


def shipment(request: pb.ShipTransferRequest) -> steps.Shipment:
    """What leaves."""
    return steps.Shipment(
        lines=tuple((line.sku, line.quantity) for line in request.lines),
        expected_at=documents.moment(request, "expected_at"),
        shipped_at=documents.moment(request, "shipped_at"),
        note=request.note,
    )


def receipt(request: pb.ReceiveTransferRequest) -> steps.Receipt:
    """What came."""
    drafts = [lot_inputs.draft(line) for line in request.lines]
    lines = tuple(
        domain.EventLine(
            sku=line.sku,
            lot="" if lot is None else lot.code,
            accepted=line.accepted,
            damaged=line.damaged,
            quality_control=line.quality_control,
            lost=line.lost,
        )
        for line, lot in zip(request.lines, drafts, strict=True)
    )
    return steps.Receipt(
        lines=lines,
        lots=tuple((line.sku, lot) for line, lot in zip(request.lines, drafts, strict=True) if lot is not None),
        received_at=documents.moment(request, "received_at"),
        note=request.note,
    )


def query(request: pb.ListTransfersRequest) -> store.Query:
    """Which transfers, among those that touch locations of the caller's token."""
    return store.Query(
        within=documents.covered(),
        location=common.location_id(request.location_id) if request.location_id else None,
        from_location=common.location_id(request.from_location_id) if request.from_location_id else None,
        to_location=common.location_id(request.to_location_id) if request.to_location_id else None,
        states=list(request.states),
        key=codes.sku_key(request.sku),
        after=documents.after_id(request),
        limit=paging.page_size(request.page_size),
    )


def events_after(request: pb.ListTransferEventsRequest) -> tuple[int, int]:
    """The number after which a page begins, and its size."""
    return documents.after(request, int) or 0, paging.page_size(request.page_size, EVENTS_DEFAULT)


# --- results to messages ---


def transfer(value: domain.Transfer) -> messages.Transfer:
    """A transfer."""
    message = messages.Transfer(
        id=ids.encode("trf", value.id),
        number=value.name,
        from_location_id=names.location_id(value.from_location_id),
        to_location_id=names.location_id(value.to_location_id),
        state=int(value.state),  # type: ignore[arg-type]  # the domain has the contract's numbers
        expected_at=documents.timestamp(value.expected_at),
        note=value.note,
        reference=value.reference,
        reservation_id="" if value.hold_id is None else ids.encode("rsv", value.hold_id),
        stock_effect=documents.effect(value.settled),
        created_by=value.created_by,
        end_reason=value.end_reason,
        version=value.version,
        created_at=documents.timestamp(value.created_at),
        updated_at=documents.timestamp(value.updated_at),
        shipped_at=documents.timestamp(value.shipped_at),
        ended_at=documents.timestamp(value.ended_at),
    )
    for line in value.lines:
        message.lines.add(
            sku=line.sku,
            quantity=line.quantity,
            shipped=line.shipped,
            received=line.received,
            damaged=line.damaged,
            quality_control=line.quality_control,
            lost=line.lost,
            surplus=line.surplus,
            outstanding=line.outstanding,
            lots=map(_lot, line.lots),
        )
    return message


def _lot(units: domain.LotUnits) -> messages.TransferLot:
    return messages.TransferLot(
        lot=units.lot,
        shipped=units.shipped,
        received=units.received,
        lost=units.lost,
        mistaken=units.mistaken,
        surplus=units.surplus,
        outstanding=units.outstanding,
    )


def event(of: domain.Transfer) -> Callable[[domain.Event], messages.TransferEvent]:
    """How an event of a transfer is said."""

    def say(value: domain.Event) -> messages.TransferEvent:
        message = messages.TransferEvent(
            number=value.number,
            kind=int(value.kind),  # type: ignore[arg-type]  # the domain has the contract's numbers
            note=value.note,
            actor=value.actor,
            terminal_id=value.terminal,
            occurred_at=documents.timestamp(value.occurred_at),
            recorded_at=documents.timestamp(value.recorded_at),
            movement_reference=value.reference(of) if value.effect else "",
            stock_effect=documents.effect(value.settled),
            seq=value.seq,
        )
        for line in value.lines:
            message.lines.add(
                sku=line.sku,
                lot=line.lot,
                shipped=line.shipped,
                accepted=line.accepted,
                damaged=line.damaged,
                quality_control=line.quality_control,
                lost=line.lost,
                surplus=line.surplus,
            )
        return message

    return say

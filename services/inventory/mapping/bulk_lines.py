"""Lines of bulk updates, of calls and of files: to commands of their own, with answers of their own. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from services.inventory.domain import commands, lots, stock
from services.inventory.domain import levels as values
from services.inventory.mapping import lot_inputs
from services.inventory.mapping import stock as mapping
from services.kit import errors, idempotency, principal, status, validation
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

BulkResult = pb.BulkUpdateStockResponse.Result
Change = commands.Adjust | commands.SetCounts


@dataclass(frozen=True, slots=True)
class BulkLine:
    """A line of a bulk update: an own command with an own answer."""

    location_id: str
    command: Change
    reply: mapping.Reply
    fingerprint: bytes
    lot: lots.LotDraft | None = None
    """The lot that the change is of."""

    @property
    def sku(self) -> str:
        """As the caller spells it."""
        command = self.command
        return command.sku if isinstance(command, commands.Adjust) else command.counts[0].sku

    def of_lot(self, code: str) -> Change:
        """The command, of the lot of this code, now that it is known."""
        if isinstance(self.command, commands.Adjust):
            return dataclasses.replace(self.command, lot=code)
        (count,) = self.command.counts
        return dataclasses.replace(self.command, counts=(dataclasses.replace(count, lot=code, by_lot=True),))


def bulk_lines(request: pb.BulkUpdateStockRequest, caller: principal.Principal) -> list[BulkLine | errors.Error]:
    """What each line asks for, or what is wrong with it."""
    return validation.each(request.lines, lambda line: bulk_line(line, caller))


def bulk_line(line: pb.BulkUpdateStockRequest.Line, caller: principal.Principal, *, by_lot: bool = False) -> BulkLine:
    """by_lot: a count that names no lot is of the units that are of none, not of the whole level."""
    command = _command(line, caller, by_lot)
    reply = _reply_adjusted if isinstance(command, commands.Adjust) else _reply_counted
    return BulkLine(line.location_id, command, reply, idempotency.fingerprint(line), lot_inputs.draft(line))


def _command(line: pb.BulkUpdateStockRequest.Line, caller: principal.Principal, by_lot: bool) -> Change:
    source = mapping.origin(caller, line)
    if line.WhichOneof("change") == "delta":
        reason = line.reason or stock_pb.MOVEMENT_REASON_RECEIVED
        return commands.Adjust(source, line.sku, line.delta, reason, line.reference, "bulk")
    expected = line.expected_on_hand if line.HasField("expected_on_hand") else None
    count = commands.Count(line.sku, line.on_hand, expected, newest_wins=expected is None, by_lot=by_lot)
    reason = line.reason or stock_pb.MOVEMENT_REASON_CYCLE_COUNT
    return commands.SetCounts(source, (count,), reason, line.reference, "bulk")


# --- answers ---


def _reply_adjusted(working: stock.Stock, level: values.Level) -> BulkResult:
    """Answers a line of a bulk update that is a delta."""
    applied = pb.BulkUpdateStockResponse.LINE_STATUS_APPLIED
    return BulkResult(status=applied, level=mapping.level_to_proto(working.location_id, level))


def _reply_counted(working: stock.Stock, levels: Sequence[values.Level]) -> BulkResult:
    """Answers a line of a bulk update that is a count."""
    return _reply_adjusted(working, levels[0])


def refused_line(error: errors.Error) -> BulkResult:
    """Answers a line of a bulk update that was not applied."""
    return BulkResult(status=pb.BulkUpdateStockResponse.LINE_STATUS_REFUSED, error=status.to_proto(error))


def bulk_results(results: Sequence[BulkResult]) -> pb.BulkUpdateStockResponse:
    """How each line went, in order."""
    for index, result in enumerate(results):
        result.index = index
    refused = sum(result.HasField("error") for result in results)
    return pb.BulkUpdateStockResponse(results=results, applied=len(results) - refused, refused=refused)


def stream_results(results: Sequence[BulkResult], done: int) -> pb.StreamStockUpdatesResponse:
    """How each line of a message went. done: lines of the whole up to its end."""
    response = pb.StreamStockUpdatesResponse(lines_done=done)
    for index, result in enumerate(results, start=done - len(results)):
        level = result.level if result.HasField("level") else None
        error = result.error if result.HasField("error") else None
        response.results.add(index=index, status=result.status, level=level, error=error)
    return response

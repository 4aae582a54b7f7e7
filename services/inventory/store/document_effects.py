"""SQL of what documents share: their numbers, and their steps into the stock until those are done."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import commands, levels
from services.inventory.store import catalog as common
from services.inventory.tables import replenishment as tables
from services.inventory.tables import stock
from services.kit import database, ids

EFFECT = tables.document_effect.c
DUE_SECONDS: Final = 10.0
"""Who kept a document brings its step into the stock at once; others see to it so much later."""
OLD: Final = dt.timedelta(days=1)
"""The lane remembers answers for three days. What is older than this is looked up in the ledger, which forgets nothing."""
NOW = sa.func.clock_timestamp()
# One process claims a step at a time, and each attempt waits twice as long for the next.
CLAIM = sa.text("""
UPDATE document_effect e
SET attempts = e.attempts + 1,
    due_at = clock_timestamp() + least(interval '5 min', interval '5 s' * power(2, least(e.attempts, 10)))
FROM (SELECT tenant_id, document_id, number FROM document_effect
      WHERE applied_at IS NULL AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) due
WHERE e.tenant_id = due.tenant_id AND e.document_id = due.document_id AND e.number = due.number
RETURNING e.tenant_id, e.document_id
""")


class Elsewhere(NamedTuple):
    """What a step does at a second location, along with the first."""

    location: uuid.UUID
    command: commands.Document


@dataclass(frozen=True, slots=True)
class Effect:
    """A step that is not known to be done. number: its place among those of the document. old: maybe forgotten."""

    document_id: uuid.UUID
    number: int
    id: uuid.UUID
    location: uuid.UUID
    ref_type: str
    ref_id: str
    command: commands.Document
    elsewhere: Elsewhere | None
    created_at: dt.datetime
    old: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger has of a step: its position, the SKUs that moved, and what moved of lots."""

    seq: int
    skus: frozenset[str]
    lots: tuple[commands.LotMove, ...]


class Applied(NamedTuple):
    """A step that is in the stock. number: among those of its document; superseded and lots: as in commands.Done."""

    number: int
    seq: int
    superseded: Sequence[str]
    lots: Sequence[commands.LotMove]


async def next_number(session: database.WriteSession, kind: str) -> int:
    """The next number of a kind of documents, from 1. Others of the tenant wait for the end of the transaction."""
    table = tables.document_number
    first = pg.insert(table).values(tenant_id=common.TENANT, kind=kind, last=1)
    taken = first.on_conflict_do_update(constraint="document_number_pkey", set_={"last": table.c.last + 1})
    number: int = (await session.execute(taken.returning(table.c.last))).scalar_one()
    return number


async def add(
    session: database.WriteSession,
    command: commands.Document,
    *,
    document_id: uuid.UUID,
    number: int,
    location: uuid.UUID,
    ref: tuple[str, str],
    elsewhere: Elsewhere | None = None,
) -> None:
    """Keeps a step of a document that is locked, to be done after the transaction. ref: type, and what movements name."""
    await session.execute(
        sa.insert(tables.document_effect).values(
            tenant_id=common.TENANT,
            document_id=document_id,
            number=number,
            id=ids.new_uuid(),
            location_id=location,
            ref_type=ref[0],
            ref_id=ref[1],
            command=_to_json(command),
            elsewhere_id=elsewhere.location if elsewhere else None,
            elsewhere=_to_json(elsewhere.command) if elsewhere else None,
            created_at=NOW,
            due_at=NOW + dt.timedelta(seconds=DUE_SECONDS),
        )
    )


async def next_pending(session: common.Session, document_id: uuid.UUID) -> Effect | None:
    """The first step of a document that isn't known to be done."""
    query = (
        sa.select(tables.document_effect, (NOW - EFFECT.created_at > OLD).label("old"))
        .where(EFFECT.document_id == document_id, EFFECT.applied_at.is_(None))
        .order_by(EFFECT.number)
        .limit(1)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    return Effect(
        row.document_id,
        row.number,
        row.id,
        row.location_id,
        row.ref_type,
        row.ref_id,
        _of_json(row.command),
        None if row.elsewhere is None else Elsewhere(row.elsewhere_id, _of_json(row.elsewhere)),
        row.created_at,
        row.old,
    )


async def evidence(session: common.Session, effect: Effect) -> Evidence | None:
    """What the ledger has of a step; None: nothing, so it was not done, or had nothing to move."""
    row = stock.ledger.c
    query = sa.select(row.seq, row.sku, row.lot, row.from_state, row.to_state, row.quantity, row.reason).where(
        row.location_id == effect.location,
        row.ref_type == effect.ref_type,
        row.ref_id == effect.ref_id,
        row.recorded_at >= effect.created_at - OLD,  # which partitions to read
    )
    found = (await session.execute(query)).all()
    if not found:
        return None
    of_lots = tuple(commands.LotMove(*each[1:]) for each in found if each.lot)
    return Evidence(found[0].seq, frozenset(each.sku for each in found), of_lots)


async def settle(session: database.WriteSession, effect: Effect, seq: int) -> bool:
    """Notes that a step is done. False when that was noted before."""
    update = (
        sa.update(tables.document_effect)
        .where(EFFECT.document_id == effect.document_id, EFFECT.number == effect.number, EFFECT.applied_at.is_(None))
        .values(applied_at=NOW, seq=seq, command=None, elsewhere=None)
    )
    return (await session.execute(update)).rowcount == 1


async def claim_due(session: database.WorkerSession, limit: int) -> Sequence[Any]:
    """Documents of all tenants with steps that nobody has done in time: tenant_id, document_id."""
    return (await session.execute(CLAIM, {"limit": limit})).all()


# --- commands as JSON ---


def _to_json(command: commands.Document) -> dict[str, Any]:
    match command:
        case commands.ReceiveStock():
            return {
                "kind": "receive",
                "origin": _origin(command.origin),
                "lines": command.lines,
                "reason": int(command.reason),
                "ref_type": command.ref_type,
                "reference": command.reference,
                "expected_under": command.expected_under,
            }
        case commands.ExpectStock():
            lines = [(sku, quantity, _text(eta)) for sku, quantity, eta in command.lines]
            return {"kind": "expect", "reference": command.reference, "lines": lines}
        case commands.ApplyVariances():
            return {
                "kind": "variances",
                "origin": _origin(command.origin),
                "lines": [(sku, delta, at.isoformat()) for sku, delta, at in command.lines],
                "reference": command.reference,
            }
        case commands.EndTransferHold():
            return {
                "kind": "transfer_hold",
                "origin": _origin(command.origin),
                "hold": str(command.hold_id),
                "action": int(command.action),
                "lines": command.lines,
                "reference": command.reference,
                "ref_type": command.ref_type,
            }
        case commands.MoveInTransit():
            return {
                "kind": "transit",
                "origin": _origin(command.origin),
                "moves": command.moves,
                "reference": command.reference,
                "ref_type": command.ref_type,
                "expected": [(sku, quantity, _text(eta)) for sku, quantity, eta in command.expected],
                "expected_under": command.expected_under,
                "sent_from": None if command.sent_from is None else str(command.sent_from),
            }


def _of_json(kept: Mapping[str, Any]) -> commands.Document:
    match kept["kind"]:
        case "receive":
            return commands.ReceiveStock(
                _origin_of(kept["origin"]),
                tuple(commands.Receipt(*line) for line in kept["lines"]),
                kept["reason"],
                kept["ref_type"],
                kept["reference"],
                kept["expected_under"],
            )
        case "expect":
            lines = tuple((sku, quantity, _moment(eta)) for sku, quantity, eta in kept["lines"])
            return commands.ExpectStock(kept["reference"], lines)
        case "variances":
            deltas = tuple((sku, delta, dt.datetime.fromisoformat(at)) for sku, delta, at in kept["lines"])
            return commands.ApplyVariances(_origin_of(kept["origin"]), deltas, kept["reference"])
        case "transfer_hold":
            return commands.EndTransferHold(
                _origin_of(kept["origin"]),
                uuid.UUID(kept["hold"]),
                levels.HoldState(kept["action"]),
                tuple((sku, quantity) for sku, quantity in kept["lines"]),
                kept["reference"],
                kept["ref_type"],
            )
        case "transit":
            return commands.MoveInTransit(
                _origin_of(kept["origin"]),
                tuple(commands.TransitMove(*move) for move in kept["moves"]),
                kept["reference"],
                kept["ref_type"],
                tuple((sku, quantity, _moment(eta)) for sku, quantity, eta in kept["expected"]),
                kept["expected_under"],
                uuid.UUID(kept["sent_from"]) if kept["sent_from"] else None,
            )
        case other:
            raise ValueError(f"no document does {other}")


def _origin(origin: commands.Origin) -> list[str | None]:
    return [origin.actor, origin.terminal, _text(origin.occurred_at)]


def _origin_of(kept: Sequence[Any]) -> commands.Origin:
    return commands.Origin(kept[0], kept[1], _moment(kept[2]))


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _moment(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)

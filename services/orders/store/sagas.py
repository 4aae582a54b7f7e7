"""SQL of sagas: who runs one, how far it is, what it plans; and plans as JSON."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import placement, sale
from services.orders.domain import sagas as domain
from services.orders.domain.placed_order import CancelReason, Capture
from services.orders.store import edits
from services.orders.tables_placing import order_saga

SAGA = order_saga.c
NOW = sa.func.clock_timestamp()
KEPT: Final = dt.timedelta(days=4)  # keys are promised for three
FORGOTTEN_MAX: Final = 1000
LEASE_SECONDS: Final = domain.LEASE.total_seconds()
# One process claims a saga at a time; the fence keeps who had it before from going on.
CLAIM = sa.text("""
UPDATE order_saga s
SET attempts = s.attempts + 1, fence = s.fence + 1, due_at = clock_timestamp() + CAST(:lease AS interval)
FROM (SELECT tenant_id, id FROM order_saga
      WHERE finished_at IS NULL AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) due
WHERE s.tenant_id = due.tenant_id AND s.id = due.id
RETURNING s.*, s.deadline_at <= clock_timestamp() AS expired
""")
FORGET = sa.text("""
DELETE FROM order_saga s USING (
    SELECT tenant_id, id FROM order_saga WHERE finished_at < clock_timestamp() - CAST(:kept AS interval)
    ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED) old
WHERE s.tenant_id = old.tenant_id AND s.id = old.id
""")
_BEGIN: Final = (
    pg.insert(order_saga)
    .values(due_at=NOW + domain.LEASE, deadline_at=NOW + domain.PLACEMENT_TTL, created_at=NOW)
    .on_conflict_do_nothing()
    .returning(SAGA.created_at)
)
_BY_KEY: Final = sa.select(SAGA.order_id, SAGA.fingerprint, SAGA.succeeded).where(
    SAGA.tenant_id == sa.bindparam("of_tenant"),
    SAGA.principal == sa.bindparam("of_principal"),
    SAGA.method == sa.bindparam("of_method"),
    SAGA.request_key == sa.bindparam("of_key"),
    SAGA.request_key != "",
    SAGA.succeeded.is_distinct_from(sa.false()),
)
_OURS: Final = (
    sa.update(order_saga)
    .where(
        SAGA.tenant_id == sa.bindparam("of_tenant"),
        SAGA.id == sa.bindparam("of_saga"),
        SAGA.fence == sa.bindparam("of_fence"),
        SAGA.finished_at.is_(None),
    )
    .returning(NOW)
)
_ADVANCE: Final = _OURS.values(due_at=NOW + domain.LEASE)
_FINISH: Final = _OURS.values(finished_at=NOW, plan=sa.null())
_POSTPONE: Final = _OURS.values(due_at=NOW + sa.bindparam("pause", type_=sa.Interval))


class Superseded(Exception):
    """Another process runs the saga now, or has ended it."""


async def begin(session: database.WriteSession, tenant: str, saga: domain.Saga) -> dt.datetime | None:
    """Keeps a saga before its first effect, and answers the clock.

    None: its key stands for another, or another works on the order.
    """
    columns = {
        "tenant_id": tenant,
        "id": saga.id,
        "order_id": saga.order_id,
        "kind": int(saga.kind),
        "step": int(saga.step),
        "reservation_id": saga.reservation_id,
        "principal": saga.principal,
        "method": saga.method,
        "request_key": saga.request_key,
        "fingerprint": saga.fingerprint,
        "plan": plan_to_json(saga.plan),
    }
    at: dt.datetime | None = (await session.execute(_BEGIN, columns)).scalar_one_or_none()
    return at


async def by_key(
    session: database.ReadSession | database.WriteSession, tenant: str, principal: str, method: str, request_key: str
) -> domain.Earlier | None:
    """What a key stands for; None: nothing, or something that came to nothing."""
    of = {"of_tenant": tenant, "of_principal": principal, "of_method": method, "of_key": request_key}
    row = (await session.execute(_BY_KEY, of)).one_or_none()
    return None if row is None else domain.Earlier(row.order_id, row.fingerprint, row.succeeded)


async def is_live(session: database.ReadSession | database.WriteSession, tenant: str, order_id: uuid.UUID) -> bool:
    """Whether something is under way with an order."""
    query = sa.select(sa.literal(1)).where(
        SAGA.tenant_id == tenant, SAGA.order_id == order_id, SAGA.finished_at.is_(None)
    )
    return (await session.execute(query)).one_or_none() is not None


async def advance(session: database.WriteSession, tenant: str, saga: domain.Saga) -> dt.datetime:
    """Keeps the step, round, reservation and failure of a saga, and the lease of who runs it. Superseded."""
    failure = saga.failure or domain.Failure("")
    values = {
        "step": int(saga.step),
        "round": saga.round,
        "reservation_id": saga.reservation_id,
        "failure": failure.reason,
        "failure_code": failure.code,
    }
    return await _update(session, _ADVANCE, tenant, saga, values)


async def finish(session: database.WriteSession, tenant: str, saga: domain.Saga, *, succeeded: bool) -> dt.datetime:
    """Notes the end of a saga, and answers the clock. Superseded. What was planned holds references: it is dropped."""
    return await _update(session, _FINISH, tenant, saga, {"succeeded": succeeded})


async def postpone(session: database.WriteSession, tenant: str, saga: domain.Saga, seconds: float) -> None:
    """Leaves a saga to whoever comes by then. Superseded."""
    await _update(session, _POSTPONE, tenant, saga, {"pause": dt.timedelta(seconds=seconds)})


async def _update(
    session: database.WriteSession, update: sa.Executable, tenant: str, saga: domain.Saga, values: Mapping[str, Any]
) -> dt.datetime:
    of = {"of_tenant": tenant, "of_saga": saga.id, "of_fence": saga.fence}
    at: dt.datetime | None = (await session.execute(update, {**of, **values})).scalar_one_or_none()
    if at is None:
        raise Superseded
    return at


async def claim_due(session: database.WorkerSession, limit: int) -> list[tuple[uuid.UUID, domain.Saga]]:
    """Sagas of all tenants that nobody runs: (tenant, saga)."""
    rows = await session.execute(CLAIM, {"limit": limit, "lease": domain.LEASE})
    return [(row.tenant_id, _saga(row)) for row in rows]


async def forget(session: database.WorkerSession) -> int:
    """Drops sagas that ended long ago, some at a time."""
    return int((await session.execute(FORGET, {"kept": KEPT, "limit": FORGOTTEN_MAX})).rowcount)


def _saga(row: sa.Row[Any]) -> domain.Saga:
    return domain.Saga(
        id=row.id,
        order_id=row.order_id,
        kind=domain.Kind(row.kind),
        step=domain.Step(row.step),
        plan=plan_of_json(row.plan),
        deadline_at=row.deadline_at,
        principal=row.principal,
        method=row.method,
        request_key=row.request_key,
        fingerprint=row.fingerprint,
        fence=row.fence,
        round=row.round,
        reservation_id=row.reservation_id,
        failure=domain.Failure(row.failure, row.failure_code) if row.failure else None,
        attempts=row.attempts,
        expired=row.expired,
    )


# --- plans as JSON ---


def plan_to_json(plan: domain.Plan) -> dict[str, Any]:
    """What is kept of a plan."""
    return {
        "hold": None if plan.hold is None else _hold_to_json(plan.hold),
        "tenders": [[int(tender.type), tender.token, tender.amount] for tender in plan.tenders],
        "capture": int(plan.capture),
        "releases": [str(reservation_id) for reservation_id in plan.releases],
        "reason": int(plan.reason),
        "note": plan.note,
        "actor": plan.actor,
        "edit": None if plan.edit is None else edits.to_json(plan.edit),
    }


def _hold_to_json(hold: domain.HoldSpec) -> dict[str, Any]:
    sourcing = hold.sourcing
    return {
        "lines": [[line.number, line.sku, line.quantity, line.group] for line in hold.lines],
        "pickup_at": None if hold.pickup_at is None else str(hold.pickup_at),
        "rule": sourcing.rule,
        "split": sourcing.split,
        "destination": sourcing.destination,
        "locations": sourcing.location_ids,
        "parcels": sourcing.parcels_max,
        "channel": hold.channel,
    }


def plan_of_json(kept: Mapping[str, Any]) -> domain.Plan:
    """The plan again."""
    return domain.Plan(
        hold=None if kept["hold"] is None else _hold_of_json(kept["hold"]),
        tenders=tuple(placement.TenderSpec(sale.TenderType(t), token, amount) for t, token, amount in kept["tenders"]),
        capture=Capture(kept["capture"]),
        releases=tuple(uuid.UUID(of) for of in kept["releases"]),
        reason=CancelReason(kept["reason"]),
        note=kept["note"],
        actor=kept["actor"],
        edit=None if kept.get("edit") is None else edits.of_json(kept["edit"]),
    )


def _hold_of_json(kept: Mapping[str, Any]) -> domain.HoldSpec:
    destination = kept["destination"]
    return domain.HoldSpec(
        lines=tuple(placement.HoldLine(*line) for line in kept["lines"]),
        pickup_at=None if kept["pickup_at"] is None else uuid.UUID(kept["pickup_at"]),
        sourcing=placement.Sourcing(
            rule=kept["rule"],
            split=kept["split"],
            destination=None if destination is None else (destination[0], destination[1]),
            location_ids=tuple(kept["locations"]),
            parcels_max=kept["parcels"],
        ),
        channel=kept["channel"],
    )

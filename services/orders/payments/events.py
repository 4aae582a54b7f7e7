"""What payments tell the others: events of the contract (tillmesh.orders.v1, payments_events.proto)."""

from __future__ import annotations

from services.kit import clock, events, ids
from services.orders.domain import payments as domain
from tillmesh.orders.v1 import payments_events_pb2 as pb
from tillmesh.orders.v1 import payments_pb2


def payment_moved(payment: domain.Payment, operation: domain.Operation | None) -> events.Event:
    """A payment as it is after an operation was settled. None: after the provider's books were taken over."""
    kind = 0 if operation is None else int(operation.kind)
    progress = domain.Progress.SUCCEEDED if operation is None else operation.progress
    message = pb.PaymentMoved(
        payment_id=ids.encode("pay", payment.id),
        order_id=ids.encode("ord", payment.order_id),
        kind=payments_pb2.PaymentOperationKind.ValueType(kind),
        progress=payments_pb2.PaymentProgress.ValueType(int(progress)),
        state=payments_pb2.TenderState.ValueType(int(payment.state)),
        provider=payments_pb2.PaymentProvider.ValueType(int(payment.provider)),
        currency_code=payment.currency_code,
        amount=0 if operation is None else operation.amount,
        authorized=payment.authorised,
        captured=payment.captured,
        refunded=payment.refunded,
        voided=payment.voided,
        code="" if operation is None else operation.code,
    )
    return events.Event(
        key=message.payment_id,
        epoch=1,
        seq_from=payment.version,
        seq_to=payment.version,
        message=message,
        occurred_at=clock.now(),
    )

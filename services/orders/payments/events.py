"""What payments tell the others: events of the contract (tillmesh.orders.v1, payments_events.proto)."""

from __future__ import annotations

from services.kit import clock, events, ids
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import payments as domain
from tillmesh.orders.v1 import payments_events_pb2 as pb
from tillmesh.orders.v1 import payments_pb2


def exception_raised(raised: raising.Raised) -> events.Event:
    """Something for a person."""
    message = pb.PaymentExceptionRaised(
        exception_id=ids.encode("pex", raised.id),
        kind=payments_pb2.PaymentExceptionKind.ValueType(int(raised.kind)),
        payment_id=ids.encode("pay", raised.payment_id),
        order_id=ids.encode("ord", raised.order_id),
        currency_code=raised.currency_code,
        expected=raised.expected,
        found=raised.found,
        code=raised.code,
    )
    return _of_exception(message, message.exception_id, 1)


def exception_resolved(ended: raising.Raised) -> events.Event:
    """It was ended."""
    message = pb.PaymentExceptionResolved(
        exception_id=ids.encode("pex", ended.id),
        kind=payments_pb2.PaymentExceptionKind.ValueType(int(ended.kind)),
        payment_id=ids.encode("pay", ended.payment_id),
        order_id=ids.encode("ord", ended.order_id),
        finding=payments_pb2.PaymentFinding.ValueType(ended.finding),
        resolved_by=ended.resolved_by,
    )
    return _of_exception(message, message.exception_id, 2)


def _of_exception(
    message: pb.PaymentExceptionRaised | pb.PaymentExceptionResolved, key: str, position: int
) -> events.Event:
    return events.Event(key=key, epoch=1, seq_from=position, seq_to=position, message=message, occurred_at=clock.now())


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

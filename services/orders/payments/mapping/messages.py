"""Payments, gift cards and store credit to messages of tillmesh.orders.v1. Pure functions."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from services.kit import clock, ids, paging, principal
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import payments as domain
from services.orders.domain import stored_value
from services.orders.payments.handlers import paying
from tillmesh.common.v1 import money_pb2
from tillmesh.orders.v1 import payments_pb2, stored_value_pb2

T = TypeVar("T")


def page(request: Message, rows: list[T], limit: int, last: Callable[[T], str | int]) -> tuple[list[T], str]:
    """The rows of a page and the token of the next; rows has one more than limit when there is one."""
    if len(rows) <= limit:
        return rows, ""
    return rows[:limit], paging.next_token(principal.current().tenant_id, request, [last(rows[limit - 1])])


def _money(currency_code: str, minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency_code, minor_units=minor_units)


def _at(moment: dt.datetime | None) -> timestamp_pb2.Timestamp | None:
    return None if moment is None else clock.timestamp(moment)


def _text(prefix: str, value: uuid.UUID | None) -> str:
    return "" if value is None else ids.encode(prefix, value)


def shown(found: paying.Shown) -> payments_pb2.Payment:
    """A payment with its operations; without any it is one of a list."""
    message = payment(found.payment)
    message.operations.extend(_operation(found.payment.currency_code, each) for each in found.operations)
    return message


def payment(made: domain.Payment) -> payments_pb2.Payment:
    code = made.currency_code
    return payments_pb2.Payment(
        id=ids.encode("pay", made.id),
        order_id=ids.encode("ord", made.order_id),
        provider=payments_pb2.PaymentProvider.ValueType(made.provider),
        state=payments_pb2.TenderState.ValueType(made.state),
        amount=_money(code, made.amount),
        authorized=_money(code, made.authorised),
        captured=_money(code, made.captured),
        refunded=_money(code, made.refunded),
        voided=_money(code, made.voided),
        declined_reason=made.declined_reason,
        unknown=made.unsettled,
        details=made.details,
        purpose=payments_pb2.PaymentPurpose.ValueType(made.purpose),
        actor=made.actor,
        occurred_at=_at(made.occurred_at),
        created_at=_at(made.created_at),
        version=made.version,
        location_id=_text("loc", made.location_id),
        expires_at=_at(made.expires_at),
    )


def _operation(currency_code: str, made: domain.Operation) -> payments_pb2.PaymentOperation:
    return payments_pb2.PaymentOperation(
        id=ids.encode("pop", made.id),
        kind=payments_pb2.PaymentOperationKind.ValueType(made.kind),
        progress=payments_pb2.PaymentProgress.ValueType(made.progress),
        amount=_money(currency_code, made.amount),
        code=made.code,
        reference=made.reference,
        actor=made.actor,
        created_at=_at(made.created_at),
        settled_at=_at(made.settled_at),
    )


def raised(made: raising.Raised) -> payments_pb2.PaymentException:
    return payments_pb2.PaymentException(
        id=ids.encode("pex", made.id),
        kind=payments_pb2.PaymentExceptionKind.ValueType(made.kind),
        payment_id=ids.encode("pay", made.payment_id),
        operation_id=_text("pop", made.operation_id),
        expected=_money(made.currency_code, made.expected),
        found=_money(made.currency_code, made.found),
        raised_at=_at(made.raised_at),
        resolved_at=_at(made.resolved_at),
        order_id=ids.encode("ord", made.order_id),
        code=made.code,
        findings=[payments_pb2.PaymentFinding.ValueType(each) for each in made.findings],
        **({} if made.resolved_at is None else _ended(made)),
    )


def _ended(made: raising.Raised) -> dict[str, Any]:
    """What ended it: until then it is what somebody tries."""
    return {
        "resolved_by": made.resolved_by,
        "note": made.note,
        "finding": payments_pb2.PaymentFinding.ValueType(made.finding),
        "reference": made.reference,
    }


def gift_card(card: stored_value.Account) -> stored_value_pb2.GiftCard:
    """Without its code. One whose time has come has ended, also before it is written off."""
    state = card.state_at(clock.now())
    spendable = card.available if state is stored_value.AccountState.ACTIVE else 0
    return stored_value_pb2.GiftCard(
        id=ids.encode("gft", card.id),
        last_four=card.last_four,
        state=stored_value_pb2.StoredValueState.ValueType(state),
        balance=_money(card.currency_code, card.balance),
        held=_money(card.currency_code, card.held),
        available=_money(card.currency_code, spendable),
        expires_at=_at(card.expires_at),
        created_at=_at(card.created_at),
        version=card.seq,
    )


def with_code(card: stored_value_pb2.GiftCard, code: str) -> stored_value_pb2.GiftCard:
    """After the answer was remembered: the code must not be."""
    card.code = code
    return card


def store_credit(credit: stored_value.Account) -> stored_value_pb2.StoreCredit:
    return stored_value_pb2.StoreCredit(
        id=ids.encode("gft", credit.id),
        customer_id=_text("cus", credit.customer_id),
        balance=_money(credit.currency_code, credit.balance),
        held=_money(credit.currency_code, credit.held),
        available=_money(credit.currency_code, credit.available),
        version=credit.seq,
    )


def entry(account: stored_value.Account, made: stored_value.Entry) -> stored_value_pb2.StoredValueEntry:
    code = account.currency_code
    return stored_value_pb2.StoredValueEntry(
        seq=made.seq,
        kind=stored_value_pb2.StoredValueEntryKind.ValueType(made.kind),
        from_book=stored_value_pb2.StoredValueBook.ValueType(made.from_book),
        to_book=stored_value_pb2.StoredValueBook.ValueType(made.to_book),
        amount=_money(code, made.amount),
        balance_after=_money(code, made.balance_after),
        held_after=_money(code, made.held_after),
        payment_id=_text("pay", made.payment_id),
        reason=made.reason,
        actor=made.actor,
        recorded_at=_at(made.recorded_at),
    )


def liability(rows: Sequence[Any]) -> stored_value_pb2.StoredValueLiability:
    message = stored_value_pb2.StoredValueLiability()
    for row in rows:
        code = row.currency_code
        message.rows.add(
            kind=stored_value_pb2.StoredValueKind.ValueType(row.kind),
            accounts=row.accounts,
            balance=_money(code, row.balance),
            held=_money(code, row.held),
            issued=_money(code, row.issued),
            redeemed=_money(code, row.redeemed),
            written_off=_money(code, row.written_off),
            differing=row.differing,
        )
    return message

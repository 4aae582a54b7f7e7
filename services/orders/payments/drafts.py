"""Payments and operations as they begin, and whether a key's earlier payment is the one that is asked for again."""

from __future__ import annotations

import uuid

from services.kit import errors, ids
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.providers import registry

PROVIDERS = {
    port.Method.CARD: frozenset({domain.Provider.SIMULATED, domain.Provider.STRIPE}),
    port.Method.GIFT_CARD: frozenset({domain.Provider.GIFT_CARD}),
    port.Method.STORE_CREDIT: frozenset({domain.Provider.STORE_CREDIT}),
    port.Method.MARKETPLACE: frozenset({domain.Provider.MARKETPLACE}),
    port.Method.OFFLINE: frozenset({domain.Provider.OFFLINE}),
}


def operation(payment_id: uuid.UUID, kind: domain.Kind, key: str, amount: int, actor: str) -> domain.Operation:
    """A new operation; without a key of the caller's it has one of its own."""
    return domain.Operation(
        id=ids.new_uuid(), payment_id=payment_id, kind=kind, key=key or str(ids.new_uuid()), amount=amount, actor=actor
    )


def authorisation(order: port.OrderRef, tender: port.Tender, key: str) -> domain.Operation:
    """The first operation of a new payment. InvalidRequest."""
    if not 0 < tender.amount <= domain.AMOUNT_MAX:
        raise errors.InvalidRequest(f"the amount of a tender is 1 to {domain.AMOUNT_MAX}")
    return operation(ids.new_uuid(), domain.Kind.AUTHORISE, key, tender.amount, order.actor)


def payment(
    tenant: str, order: port.OrderRef, tender: port.Tender, first: domain.Operation, providers: registry.Registry
) -> domain.Payment:
    """The payment that the operation begins. InvalidRequest (a token that can't be), NoProvider."""
    single_capture, reference = False, ""
    if tender.method is port.Method.CARD:
        provider, adapter = providers.for_cards(tenant)
        if not adapter.accepts(tender.token):
            raise errors.InvalidRequest("the provider doesn't know this payment method")
        single_capture, reference = adapter.single_capture, adapter.chosen_reference(str(first.id))
    else:
        (provider,) = PROVIDERS[tender.method]
    return domain.Payment(
        id=first.payment_id,
        order_id=order.id,
        provider=provider,
        method=tender.token,
        currency_code=tender.currency_code,
        amount=tender.amount,
        single_capture=single_capture,
        reference=reference,
        details=tender.details,
        purpose=tender.purpose,
        location_id=order.location_id,
        actor=order.actor,
        occurred_at=tender.occurred_at,
    )


def same(made: domain.Payment, order: port.OrderRef, tender: port.Tender) -> bool:
    """Whether a payment is what this order and tender ask for; the tenant's provider may be another one by now."""
    asked = (order.id, tender.token, tender.currency_code, tender.amount)
    is_kind = made.provider in PROVIDERS[tender.method]
    return is_kind and asked == (made.order_id, made.method, made.currency_code, made.amount)

"""Stripe-Signature: what is accepted, and what an event is about. https://docs.stripe.com/webhooks#verify-manually"""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from services.kit import errors
from services.orders.domain import payments as domain
from services.orders.payments.providers import stripe_webhooks as stripe

SECRET, OTHER = "whsec_one", "whsec_two"
NOW = 1_700_000_000
BODY = b'{"id": "evt_1"}'


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW, scheme: str = "v1") -> str:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},{scheme}={digest}"


def test_a_known_vector_verifies() -> None:
    """Computed once with OpenSSL: printf '1700000000.{"id": "evt_1"}' | openssl dgst -sha256 -hmac whsec_one"""
    assert signed() == "t=1700000000,v1=ad6f82342e161ff43f1a4397a32b52f8e4da6b4e2a16398679d3741baaea59d5"


@pytest.mark.parametrize(
    "header",
    [
        signed(),
        signed(at=NOW - 300),
        f"{signed()},v0=abc",
        f"{signed(secret=OTHER)},{signed().partition(',')[2]}",  # while a secret is rolled there is one for each
    ],
)
def test_what_was_signed_with_a_secret_of_the_endpoint_is_accepted(header: str) -> None:
    stripe.verify([SECRET], header, BODY, NOW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        signed(secret=OTHER),
        signed(body=BODY + b" "),
        signed(scheme="v0"),
        signed(at=NOW - 301),
        signed(at=NOW + 301),
        signed().replace("t=", "t=1"),
        f"t={NOW},{signed()}",
        signed().replace("v1=", "v1=é"),
        "t=" + "9" * 5000 + ",v1=0",
        "t=\u0661,v1=0",
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(stripe.SignatureInvalid):
        stripe.verify([SECRET], header, BODY, NOW)


def test_without_a_secret_nothing_is_accepted() -> None:
    with pytest.raises(stripe.SignatureInvalid):
        stripe.verify([], signed(), BODY, NOW)


def event(kind: str, thing: object) -> bytes:
    return json.dumps({"id": "evt_1", "type": kind, "data": {"object": thing}}).encode()


def test_an_event_is_about_the_payment_that_its_object_is_or_belongs_to() -> None:
    intent = {"object": "payment_intent", "id": "pi_1"}
    charge = {"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "amount": 5}

    assert stripe.read(event("payment_intent.succeeded", intent)) == stripe.Said("pi_1")
    assert stripe.read(event("charge.refunded", charge)) == stripe.Said("pi_1")
    dispute = {"object": "dispute", "id": "du_1", "payment_intent": "pi_1", "amount": 700}
    disputed = stripe.Said("pi_1", domain.ExceptionKind.DISPUTED, 700)
    assert stripe.read(event("charge.dispute.created", dispute)) == disputed
    refund = {"object": "refund", "id": "re_1", "payment_intent": "pi_1", "amount": 30}
    assert stripe.read(event("refund.failed", refund)) == stripe.Said("pi_1", domain.ExceptionKind.REFUND_FAILED, 30)
    assert stripe.read(event("payout.paid", {"object": "payout", "id": "po_1"})) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"type": 1, "data": {"object": {}}}', b"[" * 100_000])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        stripe.read(body)

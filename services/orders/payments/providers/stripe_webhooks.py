"""What Stripe says by itself: whether it is Stripe who says it, and about which payment.

Rules are those of https://docs.stripe.com/webhooks ("Verify webhook signatures manually", "Best practices").
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.kit import errors
from services.orders.domain import payments as domain

TOLERANCE_SECONDS: Final = 300
"""Stripe's libraries allow as much between the signature's time and ours."""
SIGNATURES_MAX: Final = 20


class SignatureInvalid(errors.Error):
    """The signature doesn't verify, or is too old."""

    reason = "SIGNATURE_INVALID"


@dataclass(frozen=True, slots=True)
class Said:
    """What an event is about: a payment, by Stripe's id, and what a person has to hear of it, if anything."""

    reference: str
    told: domain.ExceptionKind | None = None
    amount: int = 0


def verify(secrets: Sequence[str], header: str, body: bytes, now: float) -> None:
    """Checks a Stripe-Signature header, `t=<Unix seconds>,v1=<hex>,…`, over the very bytes that came. SignatureInvalid.

    secrets: those that are valid now; while a secret is rolled, two are, and there is a signature for each.
    """
    parts = [part.partition("=") for part in header.split(",")[:SIGNATURES_MAX]]
    times = [value for name, _, value in parts if name.strip() == "t"]
    given = [value.strip() for name, _, value in parts if name.strip() == "v1"]  # v0 is of test tools: never enough
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise SignatureInvalid
    signed = times[0].encode() + b"." + body
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    matches = [
        hmac.compare_digest(one.encode(), other.encode("utf-8", "replace")) for one in expected for other in given
    ]
    if not any(matches) or abs(now - int(times[0])) > TOLERANCE_SECONDS:
        raise SignatureInvalid


def read(body: bytes) -> Said | None:
    """What an event says; None when it is about no payment. InvalidRequest when it is no event."""
    try:
        event = json.loads(body)
        kind, thing = event["type"], event["data"]["object"]
    except (ValueError, KeyError, TypeError, RecursionError):
        kind, thing = None, None
    if not isinstance(kind, str) or not isinstance(thing, dict):
        raise errors.InvalidRequest("the body is not an event of Stripe")
    reference = _reference(thing)
    if not reference:
        return None
    if kind == "charge.dispute.created":
        return Said(reference, domain.ExceptionKind.DISPUTED, _amount(thing))
    if kind == "refund.failed":
        return Said(reference, domain.ExceptionKind.REFUND_FAILED, _amount(thing))
    return Said(reference)


def _reference(thing: dict[str, Any]) -> str:
    """The payment intent that an event's object is, or belongs to (charges, refunds and disputes name theirs)."""
    name = "id" if thing.get("object") == "payment_intent" else "payment_intent"
    found = thing.get(name)
    return found if isinstance(found, str) else ""


def _amount(thing: dict[str, Any]) -> int:
    found = thing.get("amount")
    return found if isinstance(found, int) and 0 <= found <= domain.AMOUNT_MAX else 0

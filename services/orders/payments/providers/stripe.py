"""Stripe as a provider: one payment intent a payment, captured by hand. https://docs.stripe.com/payments/payment-intents

An intent is created first, which moves nothing, and its id is kept; then it is confirmed, which authorises. So what
became of an authorisation can always be read from the intent, and cancelling the intent forbids it.

Not supported: methods that need the customer's hand in a browser (3-D Secure): those are declined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.providers import stripe_api

_METHOD: Final = re.compile(r"pm_[A-Za-z0-9_]{1,200}")
_INTENT: Final = re.compile(r"pi_[A-Za-z0-9_]{1,200}")
REFUNDS_A_PAGE: Final = 100
REFUND_PAGES_MAX: Final = 20
#: Stripe counts these in other units than ISO 4217 says (docs.stripe.com/currencies#special-cases, #zero-decimal).
ELSEWISE: Final = frozenset({"ISK", "MGA", "UGX"})
#: Of these the last digit must be 0 (docs.stripe.com/currencies#three-decimal).
THREE_DECIMALS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


class Stripe:
    """The provider (port.Provider) of one account."""

    single_capture = True  # an intent is captured once, and the rest is released then

    def __init__(self, api: stripe_api.Api) -> None:
        self._api = api

    async def close(self) -> None:
        """Closes the client."""
        self._api.close()

    def accepts(self, method: str) -> bool:
        """Whether a token may be a payment method, `pm_…`."""
        return _METHOD.fullmatch(method) is not None

    def chosen_reference(self, key: str) -> str:
        """None: Stripe chooses."""
        del key
        return ""

    async def prepare(self, asked: port.Asked) -> str:
        """Creates the intent."""
        _require_units(asked)
        form = {
            "amount": str(asked.amount),
            "currency": asked.currency_code.lower(),
            "capture_method": "manual",
            "payment_method_types[]": "card",
            "metadata[order]": asked.order_id,
            "metadata[operation]": asked.key,
        }
        intent = await self._api.post("/v1/payment_intents", form, f"{asked.key}-intent")
        found = intent.get("id")
        if not isinstance(found, str) or _INTENT.fullmatch(found) is None:
            raise port.NoAnswer("no intent")
        return found

    async def perform(self, asked: port.Asked) -> port.Outcome:
        """Confirms, captures, cancels or refunds."""
        path, form = _request(asked)
        try:
            answer = await self._api.post(path, form, asked.key)
        except port.Refused as refused:
            return port.Outcome(port.Status.DECLINED, code=refused.code)
        if asked.kind is domain.Kind.REFUND:
            return _refunded(answer)
        return _outcome(answer, asked)

    async def look_up(self, reference: str, asked: Sequence[port.Asked]) -> port.Books:
        """The intent and its refunds."""
        try:
            intent = await self._api.get(f"/v1/payment_intents/{reference}")
            refunds = await self._refunds(reference)
        except port.Refused as refused:  # an intent that we have the id of is there
            raise port.NoAnswer(refused.code) from refused
        outcomes = {each.key: _found(intent, refunds, each) for each in asked}
        received = _whole(intent, "amount_received")
        given = sum(_whole(refund, "amount") for refund in refunds if refund.get("status") in ("succeeded", "pending"))
        return port.Books(_whole(intent, "amount_capturable"), received, given, outcomes)

    async def _refunds(self, reference: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        query = {"payment_intent": reference, "limit": str(REFUNDS_A_PAGE)}
        for _ in range(REFUND_PAGES_MAX):
            page = await self._api.get("/v1/refunds", **query)
            found += page["data"]
            if not page.get("has_more"):
                return found
            query["starting_after"] = str(found[-1]["id"])
        raise port.NoAnswer("too many refunds")


def _require_units(asked: port.Asked) -> None:
    """Refuses amounts that Stripe would count otherwise."""
    code = asked.currency_code
    if code in ELSEWISE or (code in THREE_DECIMALS and asked.amount % 10):
        raise port.Refused("currency_not_supported")


def _request(asked: port.Asked) -> tuple[str, dict[str, str]]:
    intent = f"/v1/payment_intents/{asked.reference}"
    match asked.kind:
        case domain.Kind.AUTHORISE:
            return f"{intent}/confirm", {"payment_method": asked.method, "error_on_requires_action": "true"}
        case domain.Kind.CAPTURE:
            return f"{intent}/capture", {"amount_to_capture": str(asked.amount)}
        case domain.Kind.VOID:
            return f"{intent}/cancel", {"cancellation_reason": "abandoned"}
    form = {"payment_intent": asked.reference, "amount": str(asked.amount), "metadata[operation]": asked.key}
    return "/v1/refunds", form


def _found(intent: Mapping[str, Any], refunds: Sequence[Mapping[str, Any]], asked: port.Asked) -> port.Outcome:
    """What has become of an operation. A refund is known by the operation that it carries."""
    if asked.kind is not domain.Kind.REFUND:
        return _outcome(intent, asked)
    mine = [refund for refund in refunds if (refund.get("metadata") or {}).get("operation") == asked.key]
    return _refunded(mine[0]) if mine else port.Outcome(port.Status.ABSENT)


def _refunded(refund: Mapping[str, Any]) -> port.Outcome:
    """A pending refund counts as done: it takes days, and Stripe says `refund.failed` if it comes to nothing."""
    reference, amount = str(refund.get("id", "")), _whole(refund, "amount")
    match refund.get("status"):
        case "succeeded" | "pending":
            return port.Outcome(port.Status.SUCCEEDED, reference, amount)
        case "failed" | "canceled":
            return port.Outcome(port.Status.DECLINED, reference, code=str(refund.get("failure_reason") or "failed"))
    return port.Outcome(port.Status.PENDING, reference)


def _outcome(intent: Mapping[str, Any], asked: port.Asked) -> port.Outcome:
    """What the state of an intent says of an operation (docs.stripe.com/payments/paymentintents/lifecycle)."""
    status, charge = str(intent.get("status")), intent.get("latest_charge")
    reference = charge if isinstance(charge, str) else ""
    read = {
        domain.Kind.AUTHORISE: _authorised,
        domain.Kind.CAPTURE: _captured,
        domain.Kind.VOID: _voided,
    }[asked.kind]
    outcome_status, code = read(status, intent, asked)
    amount = _whole(intent, "amount") if asked.kind is domain.Kind.AUTHORISE else asked.amount
    return port.Outcome(outcome_status, reference, amount, code)


def _authorised(status: str, intent: Mapping[str, Any], _asked: port.Asked) -> tuple[port.Status, str]:
    match status:
        case "requires_capture" | "succeeded":
            return port.Status.SUCCEEDED, ""
        case "canceled":
            return port.Status.DECLINED, "canceled"
        case "processing":
            return port.Status.PENDING, ""
        case "requires_action":
            return port.Status.DECLINED, "authentication_required"
    error = intent.get("last_payment_error") or {}
    if error:
        return port.Status.DECLINED, str(error.get("decline_code") or error.get("code") or "declined")
    return port.Status.ABSENT, ""


def _captured(status: str, intent: Mapping[str, Any], asked: port.Asked) -> tuple[port.Status, str]:
    match status:
        case "succeeded" if _whole(intent, "amount_received") == asked.amount:
            return port.Status.SUCCEEDED, ""
        case "succeeded":
            return port.Status.DECLINED, "captured_elsewhere"  # its amount is taken over when the books are read
        case "requires_capture":
            return port.Status.ABSENT, ""
        case "processing":
            return port.Status.PENDING, ""
    return port.Status.DECLINED, status


def _voided(status: str, _intent: Mapping[str, Any], _asked: port.Asked) -> tuple[port.Status, str]:
    match status:
        case "canceled":
            return port.Status.SUCCEEDED, ""
        case "succeeded":
            return port.Status.DECLINED, "captured_elsewhere"
        case "processing":
            return port.Status.PENDING, ""
    return port.Status.ABSENT, ""


def _whole(thing: Mapping[str, Any], name: str) -> int:
    found = thing.get(name)
    if not isinstance(found, int):
        raise port.NoAnswer(f"no {name}")
    return found

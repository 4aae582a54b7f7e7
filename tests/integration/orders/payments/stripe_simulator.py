"""Stripe's API as its documentation describes it, on a local port, for one account. It refuses what the documentation forbids.

Each rule names the page that states it. Faults are put in by tests: lost requests and answers, errors of the server.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

KEY = "sk_test_tillmesh"
VERSION = "2025-08-27.basil"
# "Testing", https://docs.stripe.com/testing#declined-payments: payment methods for tests, and how they are declined.
DECLINES = {
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None),
    # https://docs.stripe.com/api/payment_intents/confirm, error_on_requires_action: fails instead of requires_action
    "pm_card_authenticationRequired": ("authentication_required", "authentication_required"),
}
GOOD = {"pm_card_visa", "pm_card_mastercard"}
CREATE = {"amount", "currency", "capture_method", "payment_method_types[]", "metadata[order]", "metadata[operation]"}
PARAMETERS = {
    "create": CREATE,
    "confirm": {"payment_method", "error_on_requires_action"},
    "capture": {"amount_to_capture"},
    "cancel": {"cancellation_reason"},
    "refunds": {"payment_intent", "amount", "metadata[operation]"},
}
# https://docs.stripe.com/api/payment_intents/cancel
CANCELLABLE = {"requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing"}
REASONS = {"duplicate", "fraudulent", "requested_by_customer", "abandoned"}


class Refusal(Exception):
    """An error object, https://docs.stripe.com/api/errors"""

    def __init__(self, status: int, kind: str, code: str = "", **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.error = {"type": kind, **({"code": code} if code else {}), "message": code, **more}


def invalid(code: str, **more: Any) -> Refusal:
    """https://docs.stripe.com/error-codes"""
    return Refusal(400, "invalid_request_error", code, **more)


@dataclass
class Account:
    """What the account has. faults: of the next calls: `no_request`, `no_answer`, or a status."""

    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, tuple[str, int, dict[str, Any]]] = field(default_factory=dict)
    faults: list[str | int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refund_status: str = "succeeded"
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def moved(self, intent: str) -> tuple[int, int, int]:
        """Held, taken and given back."""
        found = self.intents[intent]
        given = sum(r["amount"] for r in self.refunds.values() if r["payment_intent"] == intent and _counts(r))
        return found["amount_capturable"], found["amount_received"], given

    # --- endpoints ---

    def create(self, form: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/api/payment_intents/create"""
        for needed in ("amount", "currency"):
            if needed not in form:
                raise invalid("parameter_missing", param=needed)
        amount = _amount(form["amount"])
        if amount > 99_999_999:  # "supports up to eight digits"
            raise invalid("amount_too_large")
        currency = form["currency"]
        if not (len(currency) == 3 and currency.isalpha() and currency.islower()):  # "in lowercase"
            raise invalid("invalid_currency")
        # https://docs.stripe.com/currencies#three-decimal: the last digit has to be 0
        if currency in ("bhd", "jod", "kwd", "omr", "tnd") and amount % 10:
            raise invalid("invalid_three_decimal_amount")
        made = {
            "id": f"pi_{next(self.numbers):024d}",
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_received": 0,
            "currency": currency,
            "capture_method": form.get("capture_method", "automatic_async"),
            "status": "requires_payment_method",
            "last_payment_error": None,
            "latest_charge": None,
            "metadata": _metadata(form),
        }
        self.intents[str(made["id"])] = made
        return made

    def confirm(self, intent: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/api/payment_intents/confirm and /payments/paymentintents/lifecycle"""
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise invalid("payment_intent_unexpected_state")
        method = form.get("payment_method", "")
        if method not in GOOD and method not in DECLINES:
            raise invalid("resource_missing", param="payment_method")
        intent["latest_charge"] = f"ch_{next(self.numbers):024d}"
        if method in DECLINES:
            code, decline_code = DECLINES[method]
            error = {"type": "card_error", "code": code, **({"decline_code": decline_code} if decline_code else {})}
            intent["last_payment_error"] = error  # and back to requires_payment_method
            raise Refusal(402, "card_error", code, **{k: v for k, v in error.items() if k == "decline_code"})
        intent["last_payment_error"] = None
        assert intent["capture_method"] == "manual", "the provider only authorises"
        intent["status"], intent["amount_capturable"] = "requires_capture", intent["amount"]
        return intent

    def capture(self, intent: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/payments/place-a-hold-on-a-payment-method: once, not more, the rest is released."""
        if intent["status"] != "requires_capture":
            raise invalid("payment_intent_unexpected_state")
        amount = _amount(form.get("amount_to_capture", str(intent["amount_capturable"])))
        if amount > intent["amount_capturable"]:
            raise invalid("amount_too_large")
        intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
        return intent

    def cancel(self, intent: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/api/payment_intents/cancel"""
        if intent["status"] not in CANCELLABLE:
            raise invalid("payment_intent_unexpected_state")
        if form.get("cancellation_reason", "duplicate") not in REASONS:
            raise invalid("parameter_invalid_empty", param="cancellation_reason")
        intent.update(status="canceled", amount_capturable=0)
        return intent

    def refund(self, form: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/api/refunds/create: "you can't refund more money than is left on the charge"."""
        intent = self._intent(form.get("payment_intent", ""))
        if intent["status"] != "succeeded":
            raise invalid("payment_intent_unexpected_state")
        _, taken, given = self.moved(intent["id"])
        if given == taken:
            raise invalid("charge_already_refunded")
        amount = _amount(form.get("amount", str(taken - given)))
        if amount > taken - given:
            raise invalid("")
        made = {
            "id": f"re_{next(self.numbers):024d}",
            "object": "refund",
            "amount": amount,
            "payment_intent": intent["id"],
            "status": self.refund_status,
            "metadata": _metadata(form),
        }
        self.refunds[str(made["id"])] = made
        return made

    def list_refunds(self, query: dict[str, str]) -> dict[str, Any]:
        """https://docs.stripe.com/api/refunds/list and /api/pagination: the newest first, 1 to 100 a page."""
        limit = int(query.get("limit", "10"))
        if not 1 <= limit <= 100:
            raise invalid("parameter_invalid_integer", param="limit")
        found = [r for r in reversed(self.refunds.values()) if r["payment_intent"] == query.get("payment_intent")]
        if (after := query.get("starting_after")) is not None:
            found = found[[each["id"] for each in found].index(after) + 1 :]
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit}

    def _intent(self, name: str) -> dict[str, Any]:
        if name not in self.intents:
            raise Refusal(404, "invalid_request_error", "resource_missing")
        return self.intents[name]

    # --- what every call has in common ---

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        match path.strip("/").split("/"):
            case ["v1", "payment_intents", name]:
                return self._intent(name)
            case ["v1", "refunds"]:
                return self.list_refunds(query)
        raise Refusal(404, "invalid_request_error", "url_invalid")

    def post(self, path: str, form: dict[str, str], key: str) -> tuple[int, dict[str, Any]]:
        """https://docs.stripe.com/api/idempotent_requests: what was answered to a key is answered again, errors too."""
        if not 0 < len(key) <= 255:
            return 400, {"error": {"type": "idempotency_error", "message": "a key has at most 255 characters"}}
        asked = json.dumps([path, form], sort_keys=True)
        if key in self.keys:
            first, status, body = self.keys[key]
            if first != asked:
                return 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}
            return status, body
        status, body = self._execute(path, form)
        # "We save results only after the execution of an endpoint begins": not when parameters fail validation.
        if body.get("error", {}).get("code") not in ("parameter_unknown", "parameter_missing"):
            self.keys[key] = (asked, status, body)
        return status, body

    def _execute(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        parts = path.strip("/").split("/")
        name = "create" if parts == ["v1", "payment_intents"] else parts[-1]
        try:
            unknown = set(form) - PARAMETERS.get(name, set())
            if unknown:
                raise invalid("parameter_unknown", param=min(unknown))
            if name == "create":
                return 200, json.loads(json.dumps(self.create(form)))
            if name == "refunds":
                return 200, json.loads(json.dumps(self.refund(form)))
            if len(parts) == 4 and name in ("confirm", "capture", "cancel"):
                done = getattr(self, name)(self._intent(parts[2]), form)
                return 200, json.loads(json.dumps(done))
            raise Refusal(404, "invalid_request_error", "url_invalid")
        except Refusal as refusal:
            return refusal.status, {"error": refusal.error}


def _amount(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise invalid("parameter_invalid_integer", param="amount")
    return int(text)


def _metadata(form: dict[str, str]) -> dict[str, str]:
    return {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}


def _counts(refund: dict[str, Any]) -> bool:
    return refund["status"] in ("succeeded", "pending")


class _Handler(http.server.BaseHTTPRequestHandler):
    account: Account
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

    def _serve(self, body: str) -> None:
        account, url = self.account, urlsplit(self.path)
        with account.lock:
            account.calls.append(f"{self.command} {url.path}")
            fault = account.faults.pop(0) if account.faults else ""
            if fault == "no_request":
                self.close_connection = True
                return
            if isinstance(fault, int):
                status, answer = fault, {"error": {"type": "api_error"}}
            else:
                status, answer = self._answer(url.path, url.query, body)
        if fault == "no_answer":
            self.close_connection = True
            return
        sent = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def _answer(self, path: str, query: str, body: str) -> tuple[int, dict[str, Any]]:
        # https://docs.stripe.com/api/authentication: a bearer or basic secret key
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "invalid API key"}}
        # https://docs.stripe.com/api/versioning: the header has to name a version
        if self.headers.get("Stripe-Version") != VERSION:
            return 400, {"error": {"type": "invalid_request_error", "message": "invalid version"}}
        if self.command == "GET":
            try:
                found = self.account.get(path, {name: values[0] for name, values in parse_qs(query).items()})
                return 200, json.loads(json.dumps(found))
            except Refusal as refusal:
                return refusal.status, {"error": refusal.error}
        # https://docs.stripe.com/api: "accepts form-encoded request bodies"
        if self.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            return 400, {"error": {"type": "invalid_request_error", "message": "not a form"}}
        form = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
        return self.account.post(path, form, self.headers.get("Idempotency-Key", ""))

    def log_message(self, *_args: Any) -> None:
        """Says nothing."""


class StripeServer:
    """The account, served until closed."""

    def __init__(self) -> None:
        self.account = Account()
        handler = type("Handler", (_Handler,), {"account": self.account})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def event(kind: str, thing: dict[str, Any]) -> bytes:
    """https://docs.stripe.com/api/events/object"""
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": thing}}).encode()


def signature(body: bytes, secret: str, at: float | None = None) -> str:
    """https://docs.stripe.com/webhooks#verify-manually"""
    seconds = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"

"""What Stripe sends arrives byte for byte, through Envoy, without a token."""

from __future__ import annotations

import httpx

from tests.e2e.stack import Stack
from tests.e2e.webhook import SECRET, Account
from tests.integration.orders.payments import stripe_simulator as simulator

# Spaces, escapes and an order of keys that no JSON library would write: the signature is of these bytes.
BODY = (
    b'{ "type":"payout.paid",\n  "id" : "evt_1", "data": {"object": {"object":"payout", "note":"\\u00e9 \xc3\xa9"}} }\n'
)


def post(stack: Stack, endpoint: str, body: bytes, signature: str) -> httpx.Response:
    headers = {"content-type": "application/json; charset=utf-8", "stripe-signature": signature}
    url = f"{stack.endpoints['http']}/v1/payments/webhooks/stripe"
    return httpx.post(url, params={"endpoint": endpoint}, content=body, headers=headers, timeout=20)


def test_an_event_is_heard_when_its_very_bytes_were_signed(stack: Stack, stripe_account: Account) -> None:
    signed = simulator.signature(BODY, SECRET)

    heard = post(stack, stripe_account.endpoint, BODY, signed)
    changed = post(stack, stripe_account.endpoint, BODY.replace(b" ", b""), signed)
    elsewhere = post(stack, "whin_none", BODY, signed)
    unsigned = post(stack, stripe_account.endpoint, BODY, "")
    too_large = b"x" * 300_000
    large = post(stack, stripe_account.endpoint, too_large, simulator.signature(too_large, SECRET))

    assert (heard.status_code, heard.json()) == (200, {})
    reasons = [each.json()["details"][0]["reason"] for each in (changed, elsewhere, unsigned)]
    assert reasons == ["SIGNATURE_INVALID"] * 3
    assert [each.status_code for each in (changed, elsewhere, unsigned, large)] == [400] * 4

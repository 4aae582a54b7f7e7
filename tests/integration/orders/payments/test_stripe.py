"""Stripe behind the port, against a simulator that refuses what Stripe's documentation forbids."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from services.kit import errors, ids, process
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.handlers import webhooks
from services.orders.payments.providers import configured, stripe_api, stripe_webhooks
from tests.integration.orders.payments import stripe_simulator as simulator
from tests.integration.orders.payments.paying import PayingWorld, State, amounts

VISA = "pm_card_visa"
ENDPOINT, SECRET = ids.new("whin"), "whsec_test"
FAULTS = ["no_request", "no_answer", 500, 429, 409]


def intent_of(server: simulator.StripeServer) -> dict[str, Any]:
    (intent,) = server.account.intents.values()
    return intent


async def test_a_payment_is_captured_once_and_the_rest_is_released(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    paid = await striped.authorise(VISA)
    taken = await striped.capture(paid, 600)
    back = await striped.refund(paid, 250)

    assert [each.state for each in (paid, taken, back)] == [
        State.AUTHORISED,
        State.CAPTURED,
        State.PARTIALLY_REFUNDED,
    ]
    assert amounts(back) == (1000, 600, 250, 400)
    assert stripe_server.account.moved(intent_of(stripe_server)["id"]) == (0, 600, 250)
    with pytest.raises(domain.IllegalTransition):
        await striped.void(paid)
    for amount in (1, 400):
        with pytest.raises(domain.AmountExceeded):
            await striped.capture(paid, amount)


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_authenticationRequired", "authentication_required"),
        ("pm_nobody_knows", "resource_missing"),
    ],
)
async def test_a_decline_is_an_answer(striped: PayingWorld, method: str, code: str) -> None:
    declined = await striped.authorise(method)

    assert (declined.state, declined.declined_reason, declined.unknown) == (State.DECLINED, code, False)


@pytest.mark.parametrize("what", ["authorise", "capture", "void", "refund"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_operation_of_unknown_outcome_ends_once(
    striped: PayingWorld, stripe_server: simulator.StripeServer, what: str, fault: str | int
) -> None:
    account, order = stripe_server.account, ids.new_uuid()
    if what == "authorise":
        account.faults[:] = ["", fault]  # the intent is made, its confirmation goes wrong
        unknown = await striped.authorise(VISA, key="k", order=order)
    else:
        paid = await striped.authorise(VISA)
        if what == "refund":
            await striped.capture(paid)
        account.faults[:] = [fault]
        calls = {"capture": striped.capture, "void": striped.void, "refund": lambda p: striped.refund(p, 1000)}
        unknown = await calls[what](paid)
    await striped.resume()

    held, taken, given = account.moved(intent_of(stripe_server)["id"])
    known = await striped.look_up(unknown)
    assert (unknown.unknown, known.unknown) == (True, False)
    assert (known.authorised - known.captured - known.voided, known.captured, known.refunded) == (held, taken, given)
    assert (
        amounts(known)
        == {
            "authorise": (1000, 0, 0, 0),
            "capture": (1000, 1000, 0, 0),
            "void": (1000, 0, 0, 1000),
            "refund": (1000, 1000, 1000, 0),
        }[what]
    )


@pytest.mark.parametrize("faults", [["no_request"], ["no_answer"], ["", "no_request"], ["", "no_answer"]])
async def test_a_voided_authorisation_never_counts_wherever_it_was(
    striped: PayingWorld, stripe_server: simulator.StripeServer, faults: list[str]
) -> None:
    stripe_server.account.faults[:] = faults
    unknown = await striped.authorise(VISA)

    voided = await striped.void(unknown)
    await striped.resume()

    assert (unknown.unknown, voided.state, (await striped.look_up(unknown)).state) == (True, State.VOIDED, State.VOIDED)
    for intent in stripe_server.account.intents:
        assert stripe_server.account.moved(intent) == (0, 0, 0)


async def test_currencies_that_stripe_counts_otherwise_are_declined_unasked(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    for currency, amount in (("ISK", 500), ("KWD", 1005)):
        tender = port.Tender(port.Method.CARD, VISA, amount, currency)
        order = port.OrderRef(ids.new_uuid())
        declined = await striped.operations.authorise(striped.tenant, order, tender, currency)
        assert declined.declined_reason == "currency_not_supported"
    assert stripe_server.account.calls == []
    good = port.Tender(port.Method.CARD, VISA, 1010, "KWD")
    paid = await striped.operations.authorise(striped.tenant, port.OrderRef(ids.new_uuid()), good, "good")
    assert paid.state is State.AUTHORISED


async def test_a_wrong_key_of_ours_is_no_decline(striped: PayingWorld, stripe_server: simulator.StripeServer) -> None:
    stripe_server.account.faults[:] = ["", 401]

    assert (await striped.authorise(VISA)).unknown


# --- webhooks ---


class Hooks:
    """Stripe speaks to the tenant."""

    def __init__(self, world: PayingWorld) -> None:
        endpoint = webhooks.Endpoint(world.tenant, [SECRET])
        self._hooks = webhooks.Webhooks(world.operations, {ENDPOINT: endpoint})

    async def say(self, kind: str, thing: dict[str, Any], secret: str = SECRET, endpoint: str = ENDPOINT) -> None:
        body = simulator.event(kind, thing)
        await self._hooks.stripe(endpoint, simulator.signature(body, secret), body)


async def test_events_twice_late_and_out_of_order_change_nothing_twice(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    hooks = Hooks(striped)
    paid = await striped.authorise(VISA)
    before = dict(intent_of(stripe_server))
    await striped.capture(paid)
    await striped.refund(paid, 300)
    captured = intent_of(stripe_server)
    version = await striped.rows("SELECT version FROM payment")

    for thing in (captured, before, captured, before):
        await hooks.say("payment_intent.succeeded", thing)

    assert await striped.rows("SELECT version FROM payment") == version
    assert amounts(await striped.look_up(paid)) == (1000, 1000, 300, 0)
    assert await striped.rows("SELECT 1 FROM payment_exception") == []


async def test_a_late_answer_comes_by_webhook(striped: PayingWorld, stripe_server: simulator.StripeServer) -> None:
    stripe_server.account.faults[:] = ["", "no_answer"]
    unknown = await striped.authorise(VISA)

    await Hooks(striped).say("payment_intent.amount_capturable_updated", intent_of(stripe_server))

    assert unknown.unknown
    assert await striped.rows("SELECT state, authorised FROM payment") == [(int(State.AUTHORISED), 1000)]


async def test_what_moved_without_us_is_taken_over_and_told(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    hooks, account = Hooks(striped), stripe_server.account
    await striped.authorise(VISA)
    intent = intent_of(stripe_server)
    account.capture(intent, {"amount_to_capture": "700"})
    account.refund({"payment_intent": intent["id"], "amount": "200"})

    for _ in range(2):
        await hooks.say("charge.refunded", {"object": "charge", "id": "ch_1", "payment_intent": intent["id"]})

    assert await striped.rows("SELECT authorised, captured, refunded, voided, state FROM payment") == [
        (1000, 700, 200, 300, int(State.PARTIALLY_REFUNDED))
    ]
    told = await striped.rows("SELECT kind, expected, found FROM payment_exception ORDER BY kind")
    assert told == [(3, 0, 700), (4, 0, 200)]


async def test_an_authorisation_whose_time_ran_out_is_released(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    paid = await striped.authorise(VISA)
    intent = intent_of(stripe_server)
    intent.update(status="canceled", amount_capturable=0)

    await Hooks(striped).say("payment_intent.canceled", intent)

    assert (await striped.look_up(paid)).state is State.VOIDED
    assert await striped.rows("SELECT kind, expected, found FROM payment_exception") == [(8, 1000, 0)]


async def test_disputes_and_refunds_that_fail_are_for_a_person(
    striped: PayingWorld, stripe_server: simulator.StripeServer
) -> None:
    hooks, account = Hooks(striped), stripe_server.account
    account.refund_status = "pending"
    paid = await striped.authorise(VISA)
    await striped.capture(paid)
    refunded = await striped.refund(paid, 400)
    (refund,) = account.refunds.values()
    refund["status"] = "failed"

    await hooks.say("refund.failed", refund)
    dispute = {"object": "dispute", "id": "du_1", "payment_intent": refund["payment_intent"], "amount": 600}
    for _ in range(2):
        await hooks.say("charge.dispute.created", dispute)

    assert refunded.refunded == 400
    told = await striped.rows("SELECT kind, expected, found FROM payment_exception ORDER BY kind")
    assert told == [(5, 400, 0), (6, 0, 600), (7, 0, 400)]


async def test_only_stripe_is_heard(striped: PayingWorld, stripe_server: simulator.StripeServer) -> None:
    hooks = Hooks(striped)
    await striped.authorise(VISA)
    intent = intent_of(stripe_server)
    calls = len(stripe_server.account.calls)

    for wrong in ({"secret": "whsec_other"}, {"endpoint": ids.new("whin")}, {"endpoint": ""}):
        with pytest.raises(stripe_webhooks.SignatureInvalid):
            await hooks.say("payment_intent.succeeded", intent, **wrong)
    await hooks.say("payment_intent.succeeded", {**intent, "id": "pi_of_somebody_else"})
    await hooks.say("payout.paid", {"object": "payout", "id": "po_1"})

    assert len(stripe_server.account.calls) == calls
    stripe_server.account.faults[:] = [500]
    with pytest.raises(errors.Unavailable):  # Stripe sends it again
        await hooks.say("payment_intent.succeeded", intent)


# --- the simulator itself ---


async def test_the_simulator_refuses_what_the_documentation_forbids(stripe_server: simulator.StripeServer) -> None:
    api = stripe_api.Api(simulator.KEY, stripe_server.url)

    async def refused(path: str, key: str = "", **form: str) -> str:
        with pytest.raises(port.Refused) as found:
            await api.post(path, form, key or uuid.uuid4().hex)
        return found.value.code

    given = {"amount": "1000", "currency": "eur", "capture_method": "manual"}
    intent = await api.post("/v1/payment_intents", given, "k")
    assert await api.post("/v1/payment_intents", given, "k") == intent
    with pytest.raises(port.NoAnswer):  # idempotency_error
        await api.post("/v1/payment_intents", {**given, "amount": "999"}, "k")
    of = f"/v1/payment_intents/{intent['id']}"
    assert await refused(f"{of}/capture") == "payment_intent_unexpected_state"
    declined = {"payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
    assert await refused(f"{of}/confirm", "c", **declined) == "insufficient_funds"
    assert await refused(f"{of}/confirm", "c", **declined) == "insufficient_funds"  # saved, like everything
    await api.post(f"{of}/confirm", {"payment_method": VISA}, "c2")
    assert await refused(f"{of}/confirm", payment_method=VISA) == "payment_intent_unexpected_state"
    assert await refused(f"{of}/capture", amount_to_capture="1001") == "amount_too_large"
    assert await refused(f"{of}/capture", amount="1") == "parameter_unknown"
    await api.post(f"{of}/capture", {"amount_to_capture": "600"}, "cap")
    assert await refused(f"{of}/capture", amount_to_capture="400") == "payment_intent_unexpected_state"
    assert await refused(f"{of}/cancel") == "payment_intent_unexpected_state"
    assert await refused("/v1/refunds", payment_intent=intent["id"], amount="601") == "invalid_request"
    await api.post("/v1/refunds", {"payment_intent": intent["id"]}, "r")
    assert await refused("/v1/refunds", payment_intent=intent["id"], amount="1") == "charge_already_refunded"
    assert await refused("/v1/payment_intents", amount="1", currency="EUR") == "invalid_currency"
    assert await refused("/v1/payment_intents", amount="100000000", currency="eur") == "amount_too_large"
    with pytest.raises(port.NoAnswer):
        await stripe_api.Api("sk_test_wrong", stripe_server.url).get(of)


async def test_refunds_of_many_pages_are_all_seen(striped: PayingWorld, stripe_server: simulator.StripeServer) -> None:
    paid = await striped.authorise(VISA)
    await striped.capture(paid)
    intent = intent_of(stripe_server)["id"]
    for _ in range(205):
        stripe_server.account.refund({"payment_intent": intent, "amount": "1"})

    books = await striped.operations._providers.of(striped.tenant, domain.Provider.STRIPE).look_up(intent, [])

    assert books == port.Books(0, 1000, 205)


# --- settings ---


def accounts(folder: Path, **changes: Any) -> configured.Accounts:
    (folder / "key").write_text("sk_test_1\n")
    (folder / "hook").write_text("whsec_1\n")
    account = {
        "provider": "stripe",
        "api_key_file": str(folder / "key"),
        "endpoint": ENDPOINT,
        "webhook_secret_files": [str(folder / "hook")],
        **changes,
    }
    file = folder / "providers.json"
    file.write_text(json.dumps({ids.encode("ten", uuid.UUID(int=7)): account}))
    return configured.Accounts(file)


def test_a_tenants_account_comes_from_files(tmp_path: Path) -> None:
    found = accounts(tmp_path)

    assert [(tenant, provider) for tenant, (provider, _) in found.providers.items()] == [
        (str(uuid.UUID(int=7)), domain.Provider.STRIPE)
    ]
    assert found.endpoints == {ENDPOINT: webhooks.Endpoint(str(uuid.UUID(int=7)), ["whsec_1"])}
    assert "whsec_1" not in repr(found.endpoints)
    assert configured.Accounts(None).providers == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": "other"},
        {"api_key_file": "/nowhere"},
        {"endpoint": "", "webhook_secret_files": ["/nowhere"]},
        {"endpoint": "whin_x"},
        {"webhook_secret_files": []},
        {"api_url": "http://example.com"},
        {"api_key": "sk_test_in_clear"},
    ],
)
def test_a_file_that_can_not_be_used_stops_the_process(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(process.NotConfigured):
        accounts(tmp_path, **wrong)

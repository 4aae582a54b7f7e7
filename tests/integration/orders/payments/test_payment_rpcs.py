"""PaymentsService over gRPC: a running Orders with the simulated bank, as callers see it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.kit import database, events, ids
from tests.integration.orders import fake_inventory, test_rpcs
from tests.integration.orders.payments import paying
from tests.unit.kit import keyring
from tillmesh.orders.v1 import orders_pb2, payments_pb2, stored_value_pb2
from tillmesh.orders.v1 import orders_service_pb2_grpc as orders_rpc
from tillmesh.orders.v1 import payments_service_pb2 as pb
from tillmesh.orders.v1 import payments_service_pb2_grpc as rpc

SCOPES = "orders:read orders:write sales:write"
ROOT = Path(__file__).parents[4]
CARD, GIFT, CREDIT = 1, 2, 3
CASH = payments_pb2.OFFLINE_MEANS_CASH


def eur(minor_units: int) -> dict[str, Any]:
    return {"currency_code": "EUR", "minor_units": minor_units}


class Desk(test_rpcs.Door):
    """A client of PaymentsService, and the orders that it is about."""

    def __init__(self, address: str, users: keyring.Keyring, db: database.Database) -> None:
        super().__init__(address, users, fake_inventory.FakeInventory())
        self.sales: Any = orders_rpc.OrdersServiceStub(self.channel)
        self.stub = rpc.PaymentsServiceStub(self.channel)
        self.db = db
        self.shop = ids.new("loc")
        self.db_tenant = events.tenant_uuid(self.tenant)

    def token(self, **claims: Any) -> list[tuple[str, str]]:
        return super().token(**{"scope": SCOPES, **claims})

    async def order(self, total: int = 1000, **given: Any) -> str:
        return ids.encode("ord", await paying.add_order(self.db, self.db_tenant, total, **given))

    async def pays(self, order: str, amount: int, token: str = "sim_ok", means: int = CARD, **more: Any) -> Any:
        request = pb.CreatePaymentRequest(order_id=order, means=means, token=token, amount=eur(amount), **more)
        return await self.call("CreatePayment", request)

    def by_hand(self, order: str, amount: int, **more: Any) -> pb.RecordOfflinePaymentRequest:
        given = {"means": CASH, "location_id": self.shop, **more}
        return pb.RecordOfflinePaymentRequest(order_id=order, amount=eur(amount), **given)

    async def card(self, amount: int = 1000, **more: Any) -> stored_value_pb2.GiftCard:
        return await self.call("IssueGiftCard", pb.IssueGiftCardRequest(amount=eur(amount), **more))

    async def rows(self, statement: str, **values: object) -> Any:
        async with self.db.read(self.db_tenant) as session:
            return (await session.execute(sa.text(statement), values)).all()

    async def execute(self, statement: str, **values: object) -> None:
        async with self.db.transaction(self.db_tenant) as session:
            await session.execute(sa.text(statement), values)


@pytest.fixture(scope="module")
def served(urls: tuple[str, str, str], keys_file: Path, erasure_log: Path) -> Iterator[tuple[str, keyring.Keyring]]:
    """Orders in a process of its own, for all tests: its address, and who signs its users' tokens."""
    with tempfile.TemporaryDirectory(prefix="tm-pay-") as name:  # short: paths of sockets end at 107 bytes
        folder = Path(name)
        users, services = keyring.Keyring(folder / "edge.json"), keyring.Keyring(folder / "services.json")
        users.add("user-1")
        (folder / "orders.pem").write_bytes(services.add("svc-orders-1").as_pem(private=True))
        address = f"unix:{folder}/orders.sock"
        told = {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            "TILLMESH_LISTEN": address,
            "TILLMESH_ISSUER": keyring.ISSUER,
            "TILLMESH_JWKS_FILE": str(users.file),
            "TILLMESH_SERVICE_JWKS_FILE": str(services.file),
            "TILLMESH_SERVICE_KEY_FILE": str(folder / "orders.pem"),
            "TILLMESH_INVENTORY_ADDRESS": f"unix:{folder}/nobody.sock",
            "TILLMESH_NATS_URL": "nats://127.0.0.1:1",
            "TILLMESH_DATA": str(folder),
            "TILLMESH_ORDERS_DATABASE_URL": urls[0],
            "TILLMESH_ORDERS_WORKER_DATABASE_URL": urls[1],
            "TILLMESH_ORDERS_KEYS_FILE": str(keys_file),
            "TILLMESH_ORDERS_ERASURE_LOG": str(erasure_log),
            "TILLMESH_ORDERS_PAYMENTS": "simulated",
            "TILLMESH_AUDIT_KEYS_FILE": str(keys_file),
            "TILLMESH_AUDIT_ANCHORS": str(folder / "audit"),
        }
        argv = [sys.executable, "-m", "services.orders", "serve"]
        with (folder / "log").open("wb") as log, subprocess.Popen(argv, env=os.environ | told, stderr=log) as process:
            yield address, users
            process.terminate()
            assert process.wait(30) == 0


@pytest.fixture
async def desk(served: tuple[str, keyring.Keyring], db: database.Database) -> AsyncIterator[Desk]:
    made = Desk(*served, db)
    await test_rpcs.serving(made.channel)
    yield made
    await made.channel.close()


def amounts(payment: payments_pb2.Payment) -> tuple[int, int, int, int]:
    each = (payment.authorized, payment.captured, payment.refunded, payment.voided)
    return tuple(money.minor_units for money in each)  # type: ignore[return-value]


# --- payments ---


async def test_a_deposit_by_hand_and_the_balance_by_card_pay_an_order_and_not_more(desk: Desk) -> None:
    order = await desk.order(1000)

    deposit = await desk.call(
        "RecordOfflinePayment", desk.by_hand(order, 400, purpose=1, details="slip 12", request_id="d")
    )
    balance = await desk.pays(order, 600, capture=True, purpose=2, request_id="b")
    again = [
        await desk.call("RecordOfflinePayment", desk.by_hand(order, 400, purpose=1, details="slip 12", request_id="d")),
        await desk.pays(order, 600, capture=True, purpose=2, request_id="b"),
    ]

    assert again == [deposit, balance]
    assert [amounts(each) for each in (deposit, balance)] == [(400, 400, 0, 0), (600, 600, 0, 0)]
    assert (deposit.provider, deposit.location_id, deposit.details) == (3, desk.shop, "slip 12")
    assert [each.kind for each in balance.operations] == [1, 2]
    more = await desk.refused("RecordOfflinePayment", desk.by_hand(order, 1))
    assert (more.reason, dict(more.metadata)) == ("PAYMENT_AMOUNT_EXCEEDED", {"available": "0"})

    found, request = [], pb.ListOrderPaymentsRequest(order_id=order, page_size=1)
    while True:
        page = await desk.call("ListOrderPayments", request)
        found += page.payments
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    for each in (deposit, balance):
        del each.operations[:]
    assert found == [deposit, balance]


async def test_twenty_tills_at_once_take_what_an_order_costs_and_not_more(desk: Desk) -> None:
    order = await desk.order(1000)

    async def take() -> bool:
        try:
            await desk.call("RecordOfflinePayment", desk.by_hand(order, 130))
        except Exception:
            return False
        return True

    taken = await asyncio.gather(*(take() for _ in range(20)))

    assert sum(taken) == 7
    assert await desk.rows("SELECT sum(captured)::int FROM payment") == [(910,)]


async def test_what_is_given_back_or_declined_is_owed_again(desk: Desk) -> None:
    order = await desk.order(1000)
    paid = await desk.call("RecordOfflinePayment", desk.by_hand(order, 1000))
    await desk.call("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(300)))

    request = pb.CreatePaymentRequest(order_id=order, means=CARD, token="sim_declined_lost_card", amount=eur(300))
    declined = await desk.refused("CreatePayment", request)
    held = await desk.pays(order, 300)

    assert (declined.reason, dict(declined.metadata)) == ("PAYMENT_DECLINED", {"code": "lost_card"})
    assert amounts(held) == (300, 0, 0, 0)


async def test_money_is_taken_released_and_given_back_within_bounds(desk: Desk) -> None:
    paid = await desk.pays(await desk.order(1000), 1000)
    capture = pb.CapturePaymentRequest(payment_id=paid.id, amount=eur(600), request_id="c")

    taken = [await desk.call("CapturePayment", capture) for _ in range(2)][-1]
    capture.amount.minor_units = 500
    reused = await desk.refused("CapturePayment", capture)
    too_much = await desk.refused("CapturePayment", pb.CapturePaymentRequest(payment_id=paid.id, amount=eur(401)))
    released = await desk.call("VoidPayment", pb.VoidPaymentRequest(payment_id=paid.id))
    nothing = await desk.refused("VoidPayment", pb.VoidPaymentRequest(payment_id=paid.id))
    refunded = await desk.call("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(250)))
    left = await desk.refused("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(351)))

    assert amounts(taken) == (1000, 600, 0, 0)
    assert (reused.reason, too_much.reason) == ("IDEMPOTENCY_KEY_REUSED", "PAYMENT_AMOUNT_EXCEEDED")
    assert (amounts(released), nothing.reason) == ((1000, 600, 0, 400), "ILLEGAL_TRANSITION")
    assert amounts(refunded) == (1000, 600, 250, 400)
    assert dict(left.metadata) == {"available": "350"}


async def test_what_is_refused_and_why(desk: Desk) -> None:
    order, draft = await desk.order(1000), await desk.order(1000, state=1)
    cancelled = await desk.order(1000, state=5)
    paid = await desk.pays(order, 100)
    dollars = {"currency_code": "USD", "minor_units": 1}
    new = pb.CreatePaymentRequest(order_id=order, means=CARD, token="sim_ok", amount=eur(1))
    for change, reason in (
        ({"order_id": draft}, "ILLEGAL_TRANSITION"),
        ({"order_id": cancelled}, "ILLEGAL_TRANSITION"),
        ({"order_id": ids.new("ord")}, "NOT_FOUND"),
        ({"amount": dollars}, "CURRENCY_MISMATCH"),
        ({"amount": eur(0)}, "INVALID_REQUEST"),
        ({"token": "tok_visa"}, "INVALID_REQUEST"),
        ({"token": "4111111111111111"}, "INVALID_REQUEST"),
        ({"means": GIFT, "token": ids.new("gft")}, "PAYMENT_DECLINED"),
    ):
        request = pb.CreatePaymentRequest()
        request.CopyFrom(new)
        for name in change:
            request.ClearField(name)
        request.MergeFrom(pb.CreatePaymentRequest(**change))
        assert (await desk.refused("CreatePayment", request)).reason == reason, change
    usd = pb.CapturePaymentRequest(payment_id=paid.id, amount=dollars)
    assert (await desk.refused("CapturePayment", usd)).reason == "CURRENCY_MISMATCH"
    never = pb.VoidPaymentRequest(payment_id=ids.new("pay"))
    assert (await desk.refused("VoidPayment", never)).reason == "NOT_FOUND"
    stranger = await desk.refused("GetPayment", pb.GetPaymentRequest(payment_id=paid.id), tid=ids.new("ten"))
    assert stranger.reason == "NOT_FOUND"
    later = desk.by_hand(order, 1)
    later.occurred_at.FromJsonString("2126-01-01T00:00:00Z")
    assert (await desk.refused("RecordOfflinePayment", later)).reason == "INVALID_REQUEST"


async def test_an_order_that_is_being_cancelled_takes_no_money(desk: Desk) -> None:
    order = await desk.order(1000)
    await desk.execute(
        """INSERT INTO order_saga (tenant_id, id, order_id, kind, step, due_at, deadline_at, created_at, principal, method,
            request_key, fingerprint) SELECT tenant_id, id, id, 2, 1, now() + interval '1 h', now() + interval '1 h', now(),
            'test', 'test', '', '' FROM sales_order"""
    )

    refused = await desk.refused("RecordOfflinePayment", desk.by_hand(order, 1))
    await desk.execute("UPDATE order_saga SET finished_at = now()")
    paid = await desk.call("RecordOfflinePayment", desk.by_hand(order, 1))

    assert refused.reason == "PAYMENT_IN_PROGRESS"
    assert amounts(paid) == (1, 1, 0, 0)


async def test_a_payment_is_for_tokens_that_cover_where_it_was_made(desk: Desk) -> None:
    order = await desk.order(1000)
    here = await desk.call("RecordOfflinePayment", desk.by_hand(order, 100))
    online = await desk.pays(order, 100)
    at_shop, elsewhere = {"locs": [desk.shop]}, {"locs": [ids.new("loc")]}

    read = pb.GetPaymentRequest(payment_id=here.id)
    assert (await desk.call("GetPayment", read, **at_shop)).id == here.id
    assert (await desk.refused("GetPayment", read, **elsewhere)).reason == "LOCATION_SCOPE"
    online_too = pb.GetPaymentRequest(payment_id=online.id)
    assert (await desk.refused("GetPayment", online_too, **at_shop)).reason == "LOCATION_SCOPE"
    refund = pb.RefundPaymentRequest(payment_id=here.id, amount=eur(1))
    assert (await desk.refused("RefundPayment", refund, **elsewhere)).reason == "LOCATION_SCOPE"
    listed = await desk.call("ListOrderPayments", pb.ListOrderPaymentsRequest(order_id=order), **at_shop)
    assert [each.id for each in listed.payments] == [here.id]


async def test_an_outcome_that_nobody_knows_is_decided_by_a_person(desk: Desk) -> None:
    order = await desk.order(1000)
    open_ = await desk.pays(order, 1000, "sim_never")
    await desk.execute(
        "UPDATE payment_operation SET attempts = 13, due_at = now() - interval '1 s' WHERE progress IN (1, 4)"
    )

    async with asyncio.timeout(30):
        while not (found := (await desk.call("ListPaymentExceptions", pb.ListPaymentExceptionsRequest())).exceptions):
            await asyncio.sleep(0.1)
    [raised] = found
    answer = pb.ResolvePaymentExceptionRequest(exception_id=raised.id, finding=1, note="called the bank")
    unsaid = await desk.refused("ResolvePaymentException", answer)
    answer.finding = payments_pb2.PAYMENT_FINDING_HAPPENED
    resolved = [await desk.call("ResolvePaymentException", answer) for _ in range(2)]
    after = await desk.call("GetPayment", pb.GetPaymentRequest(payment_id=open_.id))

    assert open_.unknown
    assert (raised.kind, raised.payment_id, raised.operation_id) == (1, open_.id, open_.operations[0].id)
    assert unsaid.reason == "INVALID_REQUEST"
    assert resolved[0] == resolved[1]
    assert (resolved[0].note, resolved[0].HasField("resolved_at")) == ("called the bank", True)
    assert (after.state, amounts(after)) == (payments_pb2.TENDER_STATE_AUTHORIZED, (1000, 0, 0, 0))
    assert not (await desk.call("ListPaymentExceptions", pb.ListPaymentExceptionsRequest())).exceptions
    ended = pb.ListPaymentExceptionsRequest()
    ended.filter.state = payments_pb2.PAYMENT_EXCEPTION_STATE_RESOLVED
    assert list((await desk.call("ListPaymentExceptions", ended)).exceptions) == [resolved[0]]
    ended.filter.kind = payments_pb2.PAYMENT_EXCEPTION_KIND_DISPUTED
    assert not (await desk.call("ListPaymentExceptions", ended)).exceptions
    assert (raised.order_id, len(raised.findings), len(resolved[0].findings)) == (order, 3, 0)


# --- gift cards and store credit ---


async def test_a_gift_card_pays_and_gets_it_back(desk: Desk) -> None:
    card = await desk.card(1000, reason="sale 7")
    order = await desk.order(5000)
    found = await desk.call("LookUpGiftCard", pb.LookUpGiftCardRequest(code=f" {card.code.lower()} "))

    paid = await desk.pays(order, 700, found.id, GIFT, capture=True)
    held = await desk.pays(order, 200, found.id, GIFT)
    broke = await desk.refused(
        "CreatePayment", pb.CreatePaymentRequest(order_id=order, means=GIFT, token=card.id, amount=eur(101))
    )
    await desk.call("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(300)))
    await desk.call("VoidPayment", pb.VoidPaymentRequest(payment_id=held.id))

    now = await desk.call("GetGiftCard", pb.GetGiftCardRequest(gift_card_id=card.id))
    assert (now.balance.minor_units, now.held.minor_units, now.available.minor_units) == (600, 0, 600)
    assert dict(broke.metadata) == {"code": "insufficient_funds", "available": "100"}
    entries, request = [], pb.ListGiftCardEntriesRequest(gift_card_id=card.id, page_size=4)
    while True:
        page = await desk.call("ListGiftCardEntries", request)
        entries += page.entries
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [(e.seq, e.kind, e.amount.minor_units, e.balance_after.minor_units) for e in reversed(entries)] == [
        (1, 1, 1000, 1000), (2, 2, 700, 1000), (3, 4, 700, 300), (4, 2, 200, 300), (5, 5, 300, 600), (6, 3, 200, 600),
    ]  # fmt: skip
    assert (entries[-1].reason, entries[0].payment_id) == ("sale 7", held.id)
    [row] = (await desk.call("GetStoredValueLiability", pb.GetStoredValueLiabilityRequest())).rows
    sums = (row.issued, row.balance, row.redeemed, row.written_off)
    assert [each.minor_units for each in sums] == [1000, 600, 400, 0]
    assert (row.accounts, row.differing) == (1, 0)


async def test_a_code_is_shown_once_and_kept_nowhere(desk: Desk) -> None:
    card = await desk.card(request_id="one")
    again = await desk.card(request_id="one")

    assert (again.id, again.code, again.last_four) == (card.id, "", card.code[-4:])
    plain = card.code.replace("-", "")
    for table in ("idempotency", "stored_value_account", "stored_value_entry", "outbox"):
        for (text,) in await desk.rows(f"SELECT t::text FROM {table} t"):
            for written in (card.code, plain):
                assert written not in text
                assert written.encode().hex() not in text

    replaced = await desk.call("ReplaceGiftCardCode", pb.ReplaceGiftCardCodeRequest(gift_card_id=card.id))
    assert replaced.code not in ("", card.code)
    assert (await desk.call("LookUpGiftCard", pb.LookUpGiftCardRequest(code=replaced.code))).id == card.id
    gone = await desk.refused("LookUpGiftCard", pb.LookUpGiftCardRequest(code=card.code))
    for code in ("", "x", "0000-0000-0000-0000", "0000 0000 0000 000U", "ß" * 16, "\0" * 16):
        assert await desk.refused("LookUpGiftCard", pb.LookUpGiftCardRequest(code=code)) == gone
    stranger = await desk.refused("LookUpGiftCard", pb.LookUpGiftCardRequest(code=replaced.code), tid=ids.new("ten"))
    assert stranger == gone


async def test_a_card_that_has_ended_buys_nothing(desk: Desk) -> None:
    order = await desk.order(1000)
    card = await desk.card(1000)
    void = pb.VoidGiftCardRequest(gift_card_id=card.id, reason="stolen", request_id="v")
    voided = [await desk.call("VoidGiftCard", void) for _ in range(2)]
    void.request_id = ""
    twice = await desk.refused("VoidGiftCard", void)
    buys = pb.CreatePaymentRequest(order_id=order, means=GIFT, token=card.id, amount=eur(1))
    past = pb.IssueGiftCardRequest(amount=eur(1))
    past.expires_at.FromJsonString("2020-01-01T00:00:00Z")

    assert voided[0] == voided[1]
    assert (voided[0].state, voided[0].balance.minor_units) == (stored_value_pb2.STORED_VALUE_STATE_VOIDED, 0)
    assert (twice.reason, dict(twice.metadata)) == ("STORED_VALUE_ENDED", {"state": "VOIDED"})
    assert dict((await desk.refused("CreatePayment", buys)).metadata) == {"code": "account_ended"}
    assert (await desk.refused("IssueGiftCard", past)).reason == "INVALID_REQUEST"
    unknown = pb.IssueGiftCardRequest(amount={"currency_code": "XXQ", "minor_units": 1})
    assert (await desk.refused("IssueGiftCard", unknown)).reason == "INVALID_REQUEST"
    listed = await desk.call("ListGiftCards", pb.ListGiftCardsRequest())
    assert [each.id for each in listed.gift_cards] == [card.id]


async def test_store_credit_is_its_customers_only(desk: Desk) -> None:
    owner = uuid.UUID(int=ids.new_uuid().int)
    customer = ids.encode("cus", owner)
    mine, other = await desk.order(1000, customer=owner), await desk.order(1000, customer=ids.new_uuid())
    issue = pb.IssueStoreCreditRequest(customer_id=customer, amount=eur(500), reason="a scratch", request_id="i")

    given = [await desk.call("IssueStoreCredit", issue) for _ in range(2)]
    issue.request_id = ""
    more = await desk.call("IssueStoreCredit", issue)
    paid = await desk.pays(mine, 600, given[0].id, CREDIT, capture=True)
    theirs = pb.CreatePaymentRequest(order_id=other, means=CREDIT, token=given[0].id, amount=eur(1))
    stolen = await desk.refused("CreatePayment", theirs)
    adjust = pb.AdjustStoreCreditRequest(customer_id=customer, delta=eur(-401), reason="x")
    low = await desk.refused("AdjustStoreCredit", adjust)
    adjust.delta.minor_units = -400
    empty = await desk.call("AdjustStoreCredit", adjust)

    assert given[0] == given[1]
    assert (more.id, more.balance.minor_units, paid.provider) == (given[0].id, 1000, 5)
    assert dict(stolen.metadata) == {"code": "not_the_customers"}
    assert (low.reason, dict(low.metadata)) == ("STORED_VALUE_TOO_LOW", {"available": "400"})
    assert (empty.balance.minor_units, empty.version) == (0, 5)
    as_customer = {"roles": ["customer"], "cus": customer, "scope": "orders:read"}
    listing = pb.ListStoreCreditRequest(customer_id=customer)
    assert list((await desk.call("ListStoreCredit", listing, **as_customer)).credits) == [empty]
    foreign = {**as_customer, "cus": ids.new("cus")}
    assert (await desk.refused("ListStoreCredit", listing, **foreign)).reason == "NOT_FOUND"
    entries = pb.ListStoreCreditEntriesRequest(customer_id=customer, currency_code="EUR")
    found = (await desk.call("ListStoreCreditEntries", entries, **as_customer)).entries
    assert [each.seq for each in found] == [5, 4, 3, 2, 1]
    entries.currency_code = "USD"
    assert (await desk.refused("ListStoreCreditEntries", entries)).reason == "NOT_FOUND"


async def test_twenty_at_once_give_a_new_customer_credit_in_one_account(desk: Desk) -> None:
    issue = pb.IssueStoreCreditRequest(customer_id=ids.new("cus"), amount=eur(10), reason="x")

    given = await asyncio.gather(*(desk.call("IssueStoreCredit", issue) for _ in range(20)))

    assert len({each.id for each in given}) == 1
    assert sorted(each.balance.minor_units for each in given) == list(range(10, 210, 10))


async def test_a_sale_that_was_paid_at_the_till_costs_nothing_more(desk: Desk) -> None:
    order, location = await desk.order(1000), ids.new_uuid()
    await desk.execute("UPDATE sales_order SET channel = 1, state = 4, location_id = :at", at=location)
    await desk.execute(
        """INSERT INTO order_tender (tenant_id, location_id, business_date, order_id, number, business_hour, type, amount,
            currency_code, campaign_id, details) SELECT tenant_id, location_id, business_date, id, 1, 12, :type, 1000,
            'EUR', '', '' FROM sales_order""",
        type=int(orders_pb2.TENDER_TYPE_CASH),
    )

    more = await desk.refused("RecordOfflinePayment", desk.by_hand(order, 1))

    assert dict(more.metadata) == {"available": "0"}


# --- the audit log ---


async def audited(desk: Desk, resource: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Action, actor and what changed, the oldest first."""
    rows = await desk.rows(
        "SELECT action, actor, method, changes FROM audit_entry WHERE resource = :resource ORDER BY recorded_at, id",
        resource=resource,
    )
    assert all(row.method.startswith("tillmesh.orders.v1.PaymentsService/") for row in rows)
    return [
        (row.action, row.actor, {name: (of["before"], of["after"]) for name, of in json.loads(row.changes).items()})
        for row in rows
    ]


async def test_what_people_do_to_payments_is_noted_with_before_and_after(desk: Desk) -> None:
    paid = await desk.pays(await desk.order(), 1000, capture=True)
    await desk.call("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(300), request_id="r"))
    await desk.call("RefundPayment", pb.RefundPaymentRequest(payment_id=paid.id, amount=eur(300), request_id="r"))

    found = await audited(desk, "payment")
    assert [action for action, _, _ in found] == [
        "capture_begun", "capture_succeeded", "refund_begun", "refund_succeeded",
    ]  # fmt: skip
    begun, settled = found[2][2], found[3][2]
    assert (begun["refunding"], begun["operation"][1]["amount"]) == ((0, 300), 300)
    assert (settled["refunding"], settled["refunded"]) == ((300, 0), (0, 300))
    assert {actor for _, actor, _ in found} == {"usr_ana"}
    assert not any("sim_ok" in str(changes) for _, _, changes in found)


async def test_money_by_hand_and_what_a_person_decides_is_noted(desk: Desk) -> None:
    await desk.call("RecordOfflinePayment", desk.by_hand(await desk.order(), 1000))
    await desk.pays(await desk.order(), 1000, "sim_never")
    await desk.execute(
        "UPDATE payment_operation SET attempts = 13, due_at = now() - interval '1 s' WHERE progress IN (1, 4)"
    )
    async with asyncio.timeout(30):
        while not (found := (await desk.call("ListPaymentExceptions", pb.ListPaymentExceptionsRequest())).exceptions):
            await asyncio.sleep(0.1)
    [raised] = found
    finding = pb.ResolvePaymentExceptionRequest(
        exception_id=raised.id, finding=payments_pb2.PAYMENT_FINDING_HAPPENED, note="asked them"
    )
    await desk.call("ResolvePaymentException", finding)
    await desk.call("ResolvePaymentException", finding)

    noted = await audited(desk, "payment")
    assert [action for action, _, _ in noted] == [
        "authorise_succeeded", "capture_begun", "capture_succeeded", "exception_resolved", "authorise_succeeded",
    ]  # fmt: skip
    said = noted[3][2]["finding"][1]
    assert said == {"kind": "OUTCOME_NEVER_KNOWN", "finding": "HAPPENED", "note": "asked them", "reference": ""}
    assert noted[4][2]["authorised"] == (0, 1000)


async def test_what_people_do_to_gift_cards_and_credit_is_noted_and_no_code_is(desk: Desk) -> None:
    card = await desk.card()
    code = (await desk.call("ReplaceGiftCardCode", pb.ReplaceGiftCardCodeRequest(gift_card_id=card.id))).code
    await desk.call("VoidGiftCard", pb.VoidGiftCardRequest(gift_card_id=card.id, reason="lost"))
    customer = ids.new("cus")
    await desk.call(
        "IssueStoreCredit", pb.IssueStoreCreditRequest(customer_id=customer, amount=eur(500), reason="sorry")
    )
    await desk.call(
        "AdjustStoreCredit", pb.AdjustStoreCreditRequest(customer_id=customer, delta=eur(-200), reason="typo")
    )

    cards, credit = await audited(desk, "gift_card"), await audited(desk, "store_credit")
    assert [action for action, _, _ in cards] == ["issue", "code_replaced", "void"]
    assert (cards[0][2]["balance"], cards[2][2]["state"], cards[2][2]["reason"]) == (
        (None, 1000), ("ACTIVE", "VOIDED"), (None, "lost"),
    )  # fmt: skip
    assert [(action, changes["balance"]) for action, _, changes in credit] == [
        ("issue", (0, 500)), ("adjust", (500, 300)),
    ]  # fmt: skip
    kept = str(await desk.rows("SELECT e::text FROM audit_entry e"))
    assert all(each not in kept for each in (card.code, code, code.replace("-", "")))

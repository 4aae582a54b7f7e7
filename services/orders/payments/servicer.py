"""PaymentsService on the wire: translate, call, translate."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import paging
from services.orders.payments.handlers import exceptions, paying, values, webhooks
from services.orders.payments.mapping import messages, requests
from tillmesh.orders.v1 import payments_pb2, payments_service_pb2_grpc, stored_value_pb2
from tillmesh.orders.v1 import payments_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentsServicer(payments_service_pb2_grpc.PaymentsServiceServicer):
    """Payments, gift cards and store credit of a tenant."""

    def __init__(
        self,
        payments: paying.Paying,
        raised: exceptions.Exceptions,
        stored: values.StoredValue,
        hooks: webhooks.Webhooks,
    ) -> None:
        self._payments = payments
        self._exceptions = raised
        self._values = stored
        self._webhooks = hooks

    # --- payments ---

    async def ListOrderPayments(
        self, request: pb.ListOrderPaymentsRequest, context: Context
    ) -> pb.ListOrderPaymentsResponse:
        limit, after = paging.page_size(request.page_size), requests.after_id(request)
        order_id = requests.order_id(request.order_id)
        found = await self._payments.of_order(requests.caller(), order_id, after=after, limit=limit + 1)
        rows, token = messages.page(request, found, limit, lambda last: str(last.id))
        return pb.ListOrderPaymentsResponse(payments=map(messages.payment, rows), next_page_token=token)

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> payments_pb2.Payment:
        payment_id = requests.payment_id(request.payment_id)
        return messages.shown(await self._payments.get(requests.caller(), payment_id))

    async def CreatePayment(self, request: pb.CreatePaymentRequest, context: Context) -> payments_pb2.Payment:
        order, tender, key = requests.order_ref(request), requests.tender(request), requests.key(request)
        made = await self._payments.create(requests.caller(request), order, tender, key, capture=request.capture)
        return messages.shown(made)

    async def RecordOfflinePayment(
        self, request: pb.RecordOfflinePaymentRequest, context: Context
    ) -> payments_pb2.Payment:
        order, tender, key = requests.order_ref(request), requests.offline_tender(request), requests.key(request)
        return messages.shown(await self._payments.record(requests.caller(request), order, tender, key))

    async def CapturePayment(self, request: pb.CapturePaymentRequest, context: Context) -> payments_pb2.Payment:
        payment_id, amount, key = (
            requests.payment_id(request.payment_id),
            requests.amount(request),
            requests.key(request),
        )
        moved = await self._payments.capture(requests.caller(request), payment_id, amount, key, final=request.final)
        return messages.shown(moved)

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> payments_pb2.Payment:
        payment_id, key = requests.payment_id(request.payment_id), requests.key(request)
        return messages.shown(await self._payments.void(requests.caller(request), payment_id, key))

    async def RefundPayment(self, request: pb.RefundPaymentRequest, context: Context) -> payments_pb2.Payment:
        payment_id, key = requests.payment_id(request.payment_id), requests.key(request)
        moved = await self._payments.refund(requests.caller(request), payment_id, requests.given_amount(request), key)
        return messages.shown(moved)

    async def ListPaymentExceptions(
        self, request: pb.ListPaymentExceptionsRequest, context: Context
    ) -> pb.ListPaymentExceptionsResponse:
        limit = paging.page_size(request.page_size)
        found = await self._exceptions.page(requests.tenant(), requests.exceptions_query(request, limit + 1))
        rows, token = messages.page(request, found, limit, lambda last: str(last.id))
        return pb.ListPaymentExceptionsResponse(exceptions=map(messages.raised, rows), next_page_token=token)

    async def ResolvePaymentException(
        self, request: pb.ResolvePaymentExceptionRequest, context: Context
    ) -> payments_pb2.PaymentException:
        return messages.raised(await self._exceptions.resolve(requests.caller(request), requests.answer(request)))

    async def ReceiveStripeEvent(
        self, request: pb.ReceiveStripeEventRequest, context: Context
    ) -> pb.ReceiveStripeEventResponse:
        signature = requests.header(context.invocation_metadata(), "stripe-signature")
        await self._webhooks.stripe(request.endpoint, signature, request.event.data)
        return pb.ReceiveStripeEventResponse()

    # --- gift cards ---

    async def IssueGiftCard(self, request: pb.IssueGiftCardRequest, context: Context) -> stored_value_pb2.GiftCard:
        write = requests.write("IssueGiftCard", request, stored_value_pb2.GiftCard, messages.gift_card)
        return messages.with_code(*await self._values.issue_card(write, requests.new_card(request)))

    async def GetGiftCard(self, request: pb.GetGiftCardRequest, context: Context) -> stored_value_pb2.GiftCard:
        card_id = requests.card_id(request.gift_card_id)
        return messages.gift_card(await self._values.card(requests.tenant(), card_id))

    async def LookUpGiftCard(self, request: pb.LookUpGiftCardRequest, context: Context) -> stored_value_pb2.GiftCard:
        return messages.gift_card(await self._values.look_up(requests.tenant(), request.code))

    async def ListGiftCards(self, request: pb.ListGiftCardsRequest, context: Context) -> pb.ListGiftCardsResponse:
        limit, before = paging.page_size(request.page_size), requests.after_id(request)
        found = await self._values.cards(requests.tenant(), before=before, limit=limit + 1)
        rows, token = messages.page(request, found, limit, lambda last: str(last.id))
        return pb.ListGiftCardsResponse(gift_cards=map(messages.gift_card, rows), next_page_token=token)

    async def ListGiftCardEntries(
        self, request: pb.ListGiftCardEntriesRequest, context: Context
    ) -> pb.ListGiftCardEntriesResponse:
        limit, before = paging.page_size(request.page_size), requests.before_seq(request)
        card_id = requests.card_id(request.gift_card_id)
        card, found = await self._values.card_entries(requests.tenant(), card_id, before=before, limit=limit + 1)
        rows, token = messages.page(request, found, limit, lambda last: last.seq)
        entries = [messages.entry(card, each) for each in rows]
        return pb.ListGiftCardEntriesResponse(entries=entries, next_page_token=token)

    async def ReplaceGiftCardCode(
        self, request: pb.ReplaceGiftCardCodeRequest, context: Context
    ) -> stored_value_pb2.GiftCard:
        card_id = requests.card_id(request.gift_card_id)
        card, code = await self._values.replace_code(requests.tenant(), requests.caller().source, card_id)
        return messages.with_code(messages.gift_card(card), code)

    async def VoidGiftCard(self, request: pb.VoidGiftCardRequest, context: Context) -> stored_value_pb2.GiftCard:
        write = requests.write("VoidGiftCard", request, stored_value_pb2.GiftCard, messages.gift_card)
        return await self._values.void_card(write, requests.card_id(request.gift_card_id))

    # --- store credit ---

    async def IssueStoreCredit(
        self, request: pb.IssueStoreCreditRequest, context: Context
    ) -> stored_value_pb2.StoreCredit:
        write = requests.write("IssueStoreCredit", request, stored_value_pb2.StoreCredit, messages.store_credit)
        customer_id, money = requests.customer_id(request.customer_id), request.amount
        return await self._values.issue_credit(write, customer_id, money.currency_code, money.minor_units)

    async def AdjustStoreCredit(
        self, request: pb.AdjustStoreCreditRequest, context: Context
    ) -> stored_value_pb2.StoreCredit:
        write = requests.write("AdjustStoreCredit", request, stored_value_pb2.StoreCredit, messages.store_credit)
        customer_id, delta = requests.customer_id(request.customer_id), request.delta
        return await self._values.adjust_credit(write, customer_id, delta.currency_code, delta.minor_units)

    async def ListStoreCredit(self, request: pb.ListStoreCreditRequest, context: Context) -> pb.ListStoreCreditResponse:
        limit, after = paging.page_size(request.page_size), requests.after_currency(request)
        customer_id = requests.customer_id(request.customer_id)
        found = await self._values.credits(requests.tenant(), customer_id, after=after, limit=limit + 1)
        rows, token = messages.page(request, found, limit, lambda last: last.currency_code)
        return pb.ListStoreCreditResponse(credits=map(messages.store_credit, rows), next_page_token=token)

    async def ListStoreCreditEntries(
        self, request: pb.ListStoreCreditEntriesRequest, context: Context
    ) -> pb.ListStoreCreditEntriesResponse:
        limit, before = paging.page_size(request.page_size), requests.before_seq(request)
        customer_id, code = requests.customer_id(request.customer_id), request.currency_code
        credit, found = await self._values.credit_entries(
            requests.tenant(), customer_id, code, before=before, limit=limit + 1
        )
        rows, token = messages.page(request, found, limit, lambda last: last.seq)
        entries = [messages.entry(credit, each) for each in rows]
        return pb.ListStoreCreditEntriesResponse(entries=entries, next_page_token=token)

    async def GetStoredValueLiability(
        self, request: pb.GetStoredValueLiabilityRequest, context: Context
    ) -> stored_value_pb2.StoredValueLiability:
        return messages.liability(await self._values.liability(requests.tenant()))

"""eBay as a marketplace: orders and packages by its Fulfillment API, quantities by its Inventory API, cancellations by
its Post-Order API.

https://developer.ebay.com/api-docs/sell/fulfillment/overview.html, …/sell/inventory/overview.html and
https://developer.ebay.com/Devzone/post-order/index.html. What is sent is at the functions that send it.

Not supported: digital signatures, which eBay asks of EU and UK sellers for cancellations: those are refused, and end as
a problem that a person settles at eBay.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from services.orders.domain.marketplaces import reading, values
from services.orders.marketplaces import port
from services.orders.marketplaces.adapters import ebay_api, ebay_orders

ORDERS: Final = "/sell/fulfillment/v1/order"
ITEMS: Final = "/sell/inventory/v1/inventory_item"
OFFERS: Final = "/sell/inventory/v1/offer"
QUANTITIES: Final = "/sell/inventory/v1/bulk_update_price_quantity"
CANCELLATION: Final = "/post-order/v2/cancellation"
A_PAGE: Final = "200"
OFFERS_KEPT: Final = 20_000
#: No such resource: 25710 of an item, 25713 of an offer.
NOT_FOUND: Final = frozenset({"404", "25710", "25713"})
#: https://developer.ebay.com/Devzone/post-order/types/CancelReasonEnum.html: those that a seller may give.
WHY: Final = {
    values.CancelWhy.OUT_OF_STOCK: "OUT_OF_STOCK_OR_CANNOT_FULFILL",
    values.CancelWhy.BUYER_ASKED: "BUYER_ASKED_CANCEL",
    values.CancelWhy.ADDRESS: "ADDRESS_ISSUES",
}


class Ebay:
    """The marketplace (port.Marketplace) of one seller's account."""

    quantity_max = 2**31 - 1
    quantities_max = 25  # https://developer.ebay.com/api-docs/sell/static/inventory/bulk-updates.html
    revisions_max = 250  # "Each listing can be revised up to 250 times in one calendar day", the same API
    tells = frozenset({values.StatusKind.CANCELLED, values.StatusKind.SHIPPED})  # it asks for no acceptance

    def __init__(self, api: ebay_api.Api) -> None:
        self._api = api
        self._offers: dict[str, tuple[str, ...]] = {}

    async def close(self) -> None:
        """Closes the client."""
        self._api.close()

    async def clock(self) -> dt.datetime:
        """See port.Marketplace."""
        return await self._api.clock()

    # --- orders ---

    async def orders(self, window: reading.Window, page: str) -> port.Page:
        """getOrders: …/sell/fulfillment/resources/order/methods/getOrders. Both ends of the filter are inclusive."""
        query = {
            "filter": f"lastmodifieddate:[{_time(window.since)}..{_time(window.until)}]",
            "limit": A_PAGE,
            "fieldGroups": "TAX_BREAKDOWN",
            "offset": page or "0",
        }
        answer = await self._api.get(ORDERS, query)
        told, total = _list(answer, "orders"), answer.get("total")
        numbers = [str(each.get("orderId") or "") for each in told]
        if not isinstance(total, int) or not all(numbers):
            raise port.NoAnswer("no collection of orders")
        orders = [ebay_orders.incoming(each) for each in told]
        return port.Page([each for each in orders if each is not None], numbers, _offset(answer), total)

    # --- stock ---

    async def listings(self, page: str) -> port.Stocked:
        """getInventoryItems: …/sell/inventory/resources/inventory_item/methods/getInventoryItems."""
        answer = await self._api.get(ITEMS, {"limit": A_PAGE, "offset": page or "0"})
        found = {str(item["sku"]): _held(item) for item in _list(answer, "inventoryItems") if item.get("sku")}
        return port.Stocked(found, _offset(answer))

    async def quantity(self, sku: str) -> int | None:
        """GetInventoryItem."""
        try:
            return _held(await self._api.get(f"{ITEMS}/{quote(sku, safe='')}"))
        except port.Refused as refused:
            if refused.code in NOT_FOUND:
                return None
            raise

    async def set_quantities(self, wanted: Mapping[str, int]) -> Mapping[str, port.Told]:
        """BulkUpdatePriceQuantity. A quantity has to be set for the item and for its offers: the lesser counts."""
        requests = [await self._request(sku, units) for sku, units in wanted.items()]
        answer = await self._api.post(QUANTITIES, {"requests": requests})
        told: dict[str, list[port.Told]] = {}
        for each in _list(answer, "responses"):
            told.setdefault(str(each.get("sku")), []).append(_told(each))
        outcomes = {sku: _worst(told.get(sku, [])) for sku in wanted}
        for sku, outcome in outcomes.items():
            if outcome.heard is not port.Heard.TAKEN:
                self._offers.pop(sku, None)  # they may be others by now
        return outcomes

    async def _request(self, sku: str, units: int) -> dict[str, Any]:
        offers = [{"offerId": offer, "availableQuantity": units} for offer in await self._offers_of(sku)]
        request: dict[str, Any] = {"sku": sku, "shipToLocationAvailability": {"quantity": units}}
        return {**request, "offers": offers} if offers else request

    async def _offers_of(self, sku: str) -> tuple[str, ...]:
        """getOffers: those that are published. A SKU has an auction and a fixed price at most: one page has them."""
        known = self._offers.get(sku)
        if known is None:
            try:
                found = _list(await self._api.get(OFFERS, {"sku": sku}), "offers")
            except port.Refused as refused:
                if refused.code not in NOT_FOUND:
                    raise
                found = []
            known = tuple(str(each["offerId"]) for each in found if each.get("status") == "PUBLISHED")
            if len(self._offers) >= OFFERS_KEPT:
                self._offers.clear()
            self._offers[sku] = known
        return known

    # --- status ---

    async def tell(self, status: values.Status) -> None:
        """Cancels, or tells of a package; looks first whether that was done."""
        if status.kind is values.StatusKind.CANCELLED:
            await self._cancel(status)
        elif status.shipment is not None:
            await self._ship(status.number, status.shipment)

    async def _cancel(self, status: values.Status) -> None:
        """https://developer.ebay.com/Devzone/post-order/post-order_v2_cancellation__post.html: of the whole order."""
        order = await self._api.get(f"{ORDERS}/{quote(status.number, safe='')}")
        if ebay_orders.cancel(order) is values.Cancel.DONE:
            return
        body: dict[str, Any] = {"legacyOrderId": status.number, "cancelReason": WHY[status.why]}
        body["buyerPaid"] = status.paid_at is not None
        if status.paid_at is not None:
            body["buyerPaidDate"] = {"value": _time(status.paid_at)}
        answer = await self._api.post(CANCELLATION, body, scheme="IAF")
        if not answer.get("cancelId"):
            raise port.Refused(_ineligible(answer))

    async def _ship(self, number: str, package: values.Shipment) -> None:
        """createShippingFulfillment: …/sell/fulfillment/resources/order/shipping_fulfillment/methods/….

        With tracking, that is the fulfilment's id; without, a package is known by its lines and its time.
        """
        path = f"{ORDERS}/{quote(number, safe='')}/shipping_fulfillment"
        if _is_among(_list(await self._api.get(path), "fulfillments"), package):
            return
        body: dict[str, Any] = {
            "lineItems": [{"lineItemId": ref, "quantity": units} for ref, units in package.lines],
            "shippedDate": _time(package.shipped_at),
        }
        if package.tracking and package.carrier:
            body |= {"shippingCarrierCode": package.carrier, "trackingNumber": _plain(package.tracking)}
        await self._api.post(path, body)


def _is_among(fulfilments: Sequence[Mapping[str, Any]], package: values.Shipment) -> bool:
    wanted = sorted(package.lines)
    for each in fulfilments:
        if package.tracking and str(each.get("shipmentTrackingNumber", "")) == _plain(package.tracking):
            return True
        lines = sorted((str(of.get("lineItemId")), int(of.get("quantity") or 1)) for of in each.get("lineItems") or [])
        if lines == wanted and str(each.get("shippedDate")) == _time(package.shipped_at):
            return True
    return False


def _plain(tracking: str) -> str:
    """EBay takes letters and digits only (its error 32300)."""
    return "".join(sign for sign in tracking if sign.isalnum())


def _told(response: Mapping[str, Any]) -> port.Told:
    status, found = response.get("statusCode"), ebay_api.errors_of(response)
    if status == 200:
        return port.Told(port.Heard.TAKEN)
    code = str(found[0].get("errorId", status)) if found else str(status)
    refused = isinstance(status, int) and 400 <= status < 500 and status != 429
    return port.Told(port.Heard.REFUSED if refused else port.Heard.UNKNOWN, code)


def _worst(told: Sequence[port.Told]) -> port.Told:
    """Of an item and its offers together; when nothing was said, nobody knows."""
    for heard in (port.Heard.UNKNOWN, port.Heard.REFUSED):
        for each in told:
            if each.heard is heard:
                return each
    return told[0] if told else port.Told(port.Heard.UNKNOWN, "not_answered")


def _ineligible(answer: Mapping[str, Any]) -> str:
    """https://developer.ebay.com/Devzone/post-order/types/CreateCancelResponse.html"""
    found = answer.get("orderEligibilityResult")
    reason = found.get("failureReason") if isinstance(found, dict) else None
    first = reason[0] if isinstance(reason, list) and reason else reason
    return str(first or "not_eligible")[:64]


def _held(item: Mapping[str, Any]) -> int:
    """availability.shipToLocationAvailability.quantity; it is left out of what was never stocked."""
    found = ((item.get("availability") or {}).get("shipToLocationAvailability") or {}).get("quantity", 0)
    if not isinstance(found, int):
        raise port.NoAnswer("no quantity")
    return found


def _offset(answer: Mapping[str, Any]) -> str:
    """Of the next page, taken out of `next`, whose host is not followed; empty at the end."""
    following = answer.get("next")
    if not following:
        return ""
    offset = dict(parse_qsl(urlsplit(str(following)).query)).get("offset", "")
    if not offset.isdigit():
        raise port.NoAnswer("no offset")
    return offset


def _list(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Left out when it is empty."""
    found = answer.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise port.NoAnswer(f"no {name}")
    return found


def _time(at: dt.datetime) -> str:
    """2016-02-21T08:25:43.511Z"""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""eBay's REST APIs as their documentation describes them, on a local port, for one seller. It refuses what that forbids.

Each rule names the page that states it; `fulfillment` is https://developer.ebay.com/api-docs/sell/fulfillment/resources/
and `inventory` https://developer.ebay.com/api-docs/sell/inventory/resources/. Error numbers are those of the APIs' OpenAPI
documents (https://developer.ebay.com/api-docs/master/sell/fulfillment/openapi/3/sell_fulfillment_v1_oas3.json).
Faults are put in by tests: lost requests and answers, late ones, throttling, orders that change while they are paged.
"""

from __future__ import annotations

import base64
import copy
import datetime as dt
import email.utils
import http.server
import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

CLIENT, SECRET, REFRESH = "TillMesh-app-PRD-1", "PRD-secret", "v^1.1#i^1#refresh"
SCOPES = {
    "https://api.ebay.com/oauth/api_scope/sell.fulfillment",
    "https://api.ebay.com/oauth/api_scope/sell.inventory",
}
# https://developer.ebay.com/Devzone/post-order/types/CancelReasonEnum.html: "can only be given by the seller"
SELLERS_REASONS = {"OUT_OF_STOCK_OR_CANNOT_FULFILL", "BUYER_ASKED_CANCEL", "ADDRESS_ISSUES"}
FILTER = re.compile(r"lastmodifieddate:\[([^\].]+(?:\.\d+)?Z)?\.\.([^\]]*)\]")
MOMENTS = dt.timedelta(seconds=1.5)
"""Things happened a moment ago: the clock that is told has whole seconds."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Refusal(Exception):
    """https://developer.ebay.com/api-docs/static/handling-error-messages.html"""

    def __init__(self, status: int, error_id: int, message: str, domain: str = "API_FULFILLMENT") -> None:
        super().__init__(message)
        self.status = status
        error = {"errorId": error_id, "domain": domain, "category": "REQUEST", "message": message, "parameters": []}
        self.body: dict[str, Any] = {"errors": [error]}


class PostOrderRefusal(Refusal):
    """https://developer.ebay.com/Devzone/post-order/ErrorResponse.html"""

    def __init__(self, status: int, error_id: int, message: str) -> None:
        super().__init__(status, error_id, message)
        error = {"errorId": error_id, "domain": "cancelErrorDomain", "severity": "ERROR", "message": message}
        self.body = {"errorMessage": {"error": [error]}}


def moment(at: dt.datetime) -> str:
    """2015-08-04T19:09:02.768Z"""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(units: int, currency: str = "EUR") -> dict[str, str]:
    """…/sell/fulfillment/types/ba:Amount: a decimal string."""
    return {"value": f"{units / 100:.2f}", "currency": currency}


@dataclass
class Account:
    """What the seller has. faults: of the next calls to paths that begin so, see _Handler."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    offers: dict[str, dict[str, Any]] = field(default_factory=dict)
    fulfillments: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cancellations: list[dict[str, Any]] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    quantities: list[dict[str, int]] = field(default_factory=list)
    faults: list[tuple[str, str | int]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    late: list[Callable[[], Any]] = field(default_factory=list)
    page_size: int = 0
    """Smaller pages than were asked for."""
    throttled: int = 0
    """So many calls are answered 429."""
    retry_after: str = ""
    refresh: str = REFRESH
    newest_first: bool = True
    skew: dt.timedelta = dt.timedelta(0)
    after_page: Callable[[Account, int], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def now(self) -> dt.datetime:
        """eBay's clock."""
        return dt.datetime.now(dt.UTC) + self.skew

    # --- what buyers and the seller do at eBay ---

    def list_item(self, sku: str, units: int = 0, *, offer: bool = True) -> None:
        """A listing by the Inventory API: an item, and its published offer."""
        self.items[sku] = units
        if offer:
            number = f"{next(self.numbers):010d}"
            self.offers[number] = {"offerId": number, "sku": sku, "status": "PUBLISHED", "availableQuantity": units}

    def listed(self, sku: str) -> int:
        """ "The quantity specified on a listing will be the minimum value between these two fields":
        https://developer.ebay.com/api-docs/sell/static/inventory/bulk-updates.html
        """
        offered = [offer["availableQuantity"] for offer in self.offers.values() if offer["sku"] == sku]
        return min([self.items[sku], *offered])

    def buy(self, *lines: tuple[str, int], price: int = 1000, **changes: Any) -> dict[str, Any]:
        """A paid order of (SKU, units). The listings have fewer units at once."""
        with self.lock:
            number = f"{next(self.numbers):02d}-{next(self.numbers):05d}-{next(self.numbers):05d}"
            made = order(number, self.now() - 2 * MOMENTS, *lines, price=price)
            made.update(changes)
            self.orders[number] = made
            for sku, units in lines:
                if sku in self.items:
                    self.items[sku] = max(0, self.items[sku] - units)
                    for offer in self.offers.values():
                        if offer["sku"] == sku:
                            offer["availableQuantity"] = max(0, offer["availableQuantity"] - units)
            return made

    def touch(self, number: str, **changes: Any) -> None:
        """Something about an order changes."""
        with self.lock:
            self.orders[number].update(changes, lastModifiedDate=moment(self.now() - MOMENTS))

    def cancel(self, number: str) -> None:
        """Cancelled and given back, whoever did it."""
        self.touch(
            number,
            cancelStatus={"cancelState": "CANCELED", "cancelRequests": []},
            orderPaymentStatus="FULLY_REFUNDED",
        )

    def arrive(self) -> None:
        """What was on its way arrives now."""
        with self.lock:
            waiting, self.late = self.late, []
            for each in waiting:
                each()

    # --- orders ---

    def get_orders(self, query: dict[str, str]) -> dict[str, Any]:
        """fulfillment/order/methods/getOrders"""
        since, until = self._window(query.get("filter", ""))
        limit, offset = query.get("limit", "50"), query.get("offset", "0")
        if not limit.isdigit() or not 1 <= int(limit) <= 200:  # "If a requested limit is more than 200, the call fails"
            raise Refusal(400, 31100, f"Invalid limit: {limit}")
        if not offset.isdigit():
            raise Refusal(400, 31000, f"Invalid offset: {offset}")
        if query.get("fieldGroups", "TAX_BREAKDOWN") != "TAX_BREAKDOWN":
            raise Refusal(400, 32800, "Invalid field group")
        found = [each for each in self.orders.values() if since <= each["lastModifiedDate"] <= until]  # inclusive
        # "The getOrders method does not include pending-payment purchases that require upfront payment"
        found = [each for each in found if each["orderPaymentStatus"] != "PENDING"]
        found.sort(key=lambda each: (each["lastModifiedDate"], each["orderId"]), reverse=self.newest_first)
        size = self.page_size or int(limit)
        begin = int(offset)
        page = copy.deepcopy(found[begin : begin + size])
        answer: dict[str, Any] = {"total": len(found), "limit": size, "offset": begin, "orders": page}
        if begin + size < len(found):
            answer["next"] = f"https://api.ebay.com/sell/fulfillment/v1/order?limit={limit}&offset={begin + size}"
        if self.after_page is not None:
            self.after_page(self, begin)
        return answer

    def _window(self, told: str) -> tuple[str, str]:
        found = FILTER.fullmatch(told)
        if found is None:
            raise Refusal(400, 30700, f"Invalid filter name: {told.partition(':')[0]}")
        since, until = found.groups()
        if not since:
            raise Refusal(400, 30820, "Start date is missing")
        now = moment(self.now())
        for each in (since, until):
            if each and MOMENT.fullmatch(each) is None:
                raise Refusal(400, 30810, "Invalid date format")
            if each > now:
                raise Refusal(400, 30850, "Start and end dates can't be in the future")
        if until and since > until:
            raise Refusal(400, 30840, "Start date should be before end date")
        return since, until or now

    def get_order(self, number: str) -> dict[str, Any]:
        """fulfillment/order/methods/getOrder"""
        if number not in self.orders:
            raise Refusal(400, 32100, f"Invalid order ID: {number}")
        return copy.deepcopy(self.orders[number])

    def ship(self, number: str, body: dict[str, Any]) -> dict[str, Any]:
        """fulfillment/order/shipping_fulfillment/methods/createShippingFulfillment"""
        found = self.get_order(number)
        known = {line["lineItemId"]: line["quantity"] for line in found["lineItems"]}
        refs = [line["lineItemId"] for line in body["lineItems"]]
        if not refs or any(ref not in known for ref in refs):
            raise Refusal(400, 32200, "Invalid line item id")
        if len(set(refs)) < len(refs):
            raise Refusal(400, 32210, "Duplicate line item in the request")
        tracking, carrier = body.get("trackingNumber", ""), body.get("shippingCarrierCode", "")
        if bool(tracking) != bool(carrier) or (tracking and not tracking.isalnum()):  # "mutually dependent"
            raise Refusal(400, 32300, "Invalid shipment tracking number or carrier")
        shipped = body.get("shippedDate", moment(self.now()))
        if MOMENT.fullmatch(shipped) is None or shipped > moment(self.now()):
            raise Refusal(400, 32500, "Invalid shipped date")
        made = {
            "fulfillmentId": tracking or str(next(self.numbers)),
            "lineItems": [
                {"lineItemId": of["lineItemId"], "quantity": of.get("quantity", 1)} for of in body["lineItems"]
            ],
            "shippedDate": shipped,
            **({"shipmentTrackingNumber": tracking, "shippingCarrierCode": carrier} if tracking else {}),
        }
        self.fulfillments.setdefault(number, []).append(made)
        self.touch(number, orderFulfillmentStatus="FULFILLED")
        return {}

    def create_cancellation(self, body: dict[str, Any]) -> dict[str, Any]:
        """https://developer.ebay.com/Devzone/post-order/post-order_v2_cancellation__post.html"""
        number = body.get("legacyOrderId", "")
        if number not in self.orders:
            raise PostOrderRefusal(404, 2103, "Order was not found")
        if body.get("cancelReason") not in SELLERS_REASONS:
            raise PostOrderRefusal(400, 2101, "Invalid cancel reason")
        if body.get("buyerPaid") and not MOMENT.fullmatch((body.get("buyerPaidDate") or {}).get("value", "")):
            raise PostOrderRefusal(400, 2102, "buyerPaidDate is missing")
        found = self.orders[number]
        cancelled = found["cancelStatus"]["cancelState"] == "CANCELED"
        if cancelled or found["orderFulfillmentStatus"] != "NOT_STARTED":
            reason = "ALREADY_CANCELED" if cancelled else "ALREADY_SHIPPED"
            return {"orderEligibilityResult": {"eligible": False, "legacyOrderId": number, "failureReason": [reason]}}
        self.cancellations.append(dict(body))
        self.cancel(number)
        return {"cancelId": str(5_000_000_000 + next(self.numbers))}

    # --- stock ---

    def get_items(self, query: dict[str, str]) -> dict[str, Any]:
        """inventory/inventory_item/methods/getInventoryItems: offset "sets the page number to retrieve"."""
        limit, offset = query.get("limit", "25"), query.get("offset", "0")
        if not limit.isdigit() or not 1 <= int(limit) <= 200 or not offset.isdigit():
            raise Refusal(400, 25709, "Invalid value", "API_INVENTORY")
        size, number = self.page_size or int(limit), int(offset)
        skus = sorted(self.items)
        answer: dict[str, Any] = {"total": len(skus), "size": size, "limit": size, "inventoryItems": []}
        for sku in skus[number * size : (number + 1) * size]:
            answer["inventoryItems"].append({"sku": sku, **self._availability(sku)})
        if (number + 1) * size < len(skus):
            answer["next"] = f"/sell/inventory/v1/inventory_item?limit={limit}&offset={number + 1}"
        return answer

    def get_item(self, sku: str) -> dict[str, Any]:
        """inventory/inventory_item/methods/getInventoryItem"""
        if sku not in self.items:
            raise Refusal(404, 25710, "We didn't find the entity you are requesting.", "API_INVENTORY")
        return {"sku": sku, **self._availability(sku)}

    def _availability(self, sku: str) -> dict[str, Any]:
        return {"availability": {"shipToLocationAvailability": {"quantity": self.items[sku]}}, "condition": "NEW"}

    def get_offers(self, query: dict[str, str]) -> dict[str, Any]:
        """inventory/offer/methods/getOffers"""
        found = [offer for offer in self.offers.values() if offer["sku"] == query.get("sku")]
        if not found:
            raise Refusal(404, 25713, "This Offer is not available.", "API_INVENTORY")
        return {"total": len(found), "size": len(found), "offers": copy.deepcopy(found)}

    def update_quantities(self, body: dict[str, Any]) -> dict[str, Any]:
        """inventory/inventory_item/methods/bulkUpdatePriceQuantity: "Up to 25 inventory item records"."""
        requests = body.get("requests") or []
        if not 1 <= len(requests) <= 25:
            raise Refusal(400, 25709, "Invalid value for requests", "API_INVENTORY")
        responses = []
        for each in requests:
            responses += self._update(each)
        return {"responses": responses}

    def _update(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        sku = request.get("sku", "")
        units = (request.get("shipToLocationAvailability") or {}).get("quantity")
        offers = request.get("offers") or []

        def refused(error_id: int, message: str) -> list[dict[str, Any]]:
            error = {"errorId": error_id, "domain": "API_INVENTORY", "category": "REQUEST", "message": message}
            return [{"sku": sku, "statusCode": 400, "errors": [error]}]

        if sku not in self.items:
            return refused(25702, "SKU not found")
        if not isinstance(units, int) or units < 0:
            return refused(25708, "Invalid quantity")
        for offer in offers:
            if self.offers.get(offer["offerId"], {}).get("sku") != sku:  # "must be the same as the corresponding sku"
                return refused(25713, "This Offer is not available.")
            if offer["availableQuantity"] > units:  # "should not exceed the value specified in the quantity field"
                return refused(25708, "Invalid quantity")
        if self.revisions.get(sku, 0) >= 250:  # "Each listing can be revised up to 250 times in one calendar day"
            return refused(25002, "The listing was revised too often today")
        self.revisions[sku] = self.revisions.get(sku, 0) + 1
        self.items[sku] = units
        for offer in offers:
            self.offers[offer["offerId"]]["availableQuantity"] = offer["availableQuantity"]
        self.quantities.append({sku: units})
        told = [{"sku": sku, "offerId": offer["offerId"], "statusCode": 200} for offer in offers]
        return [{"sku": sku, "statusCode": 200}, *told]


def order(number: str, at: dt.datetime, *lines: tuple[str, int], price: int = 1000) -> dict[str, Any]:
    """https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:Order: what getOrders returns of a paid order."""
    total = sum(units for _, units in lines) * price
    paid = moment(at)
    return {
        "orderId": number,
        "creationDate": moment(at),
        "lastModifiedDate": moment(at),
        "orderFulfillmentStatus": "NOT_STARTED",
        "orderPaymentStatus": "PAID",
        "sellerId": "tillmesh",
        "buyer": {"username": "buyer-1"},
        "cancelStatus": {"cancelState": "NONE_REQUESTED", "cancelRequests": []},
        "pricingSummary": {"priceSubtotal": money(total), "deliveryCost": money(0), "total": money(total)},
        "paymentSummary": {
            "totalDueSeller": money(total),
            "refunds": [],
            "payments": [
                {"paymentMethod": "EBAY", "paymentDate": paid, "amount": money(total), "paymentStatus": "PAID"}
            ],
        },
        "fulfillmentStartInstructions": [
            {
                "fulfillmentInstructionsType": "SHIP_TO",
                "shippingStep": {
                    "shipTo": {
                        "fullName": "Berta Buyer",
                        "contactAddress": {
                            "addressLine1": "Hauptplatz 1",
                            "city": "Graz",
                            "postalCode": "8010",
                            "countryCode": "AT",
                        },
                        "primaryPhone": {"phoneNumber": "+43316123456"},
                        "email": "0a1b2c3d4e@members.ebay.com",
                    },
                    "shippingCarrierCode": "AT_Post",
                    "shippingServiceCode": "AT_StandardDispatch",
                },
            }
        ],
        "lineItems": [
            {
                "lineItemId": f"{10_000_000_000 + index}",
                "legacyItemId": "110000000001",
                "title": f"A listing of {sku}",
                "sku": sku,
                "quantity": units,
                "lineItemCost": money(units * price),
                "total": money(units * price),
                "deliveryCost": {"shippingCost": money(0)},
                "taxes": [],
                "ebayCollectAndRemitTaxes": [],
                "soldFormat": "FIXED_PRICE",
                "lineItemFulfillmentStatus": "NOT_STARTED",
            }
            for index, (sku, units) in enumerate(lines, start=1)
        ],
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    """A fault is `no_request`, `no_answer`, `late` (it arrives later, and nobody hears) or a status."""

    account: Account
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _serve(self, body: bytes) -> None:
        account, url = self.account, urlsplit(self.path)
        headers: dict[str, str] = {}
        with account.lock:
            account.calls.append(f"{self.command} {url.path}")
            fault = self._fault(url.path)
            if fault == "no_request":
                self.close_connection = True
                return
            if fault == "late":
                account.late.append(lambda: self._answer(url.path, url.query, body))
                self.close_connection = True
                return
            if isinstance(fault, int):
                status, answer = fault, {"errors": [{"errorId": 30500, "category": "APPLICATION"}]}
            elif account.throttled and url.path != "/identity/v1/oauth2/token":
                # https://developer.ebay.com/develop/api/sell/error_codes, HTTP 429; Retry-After: RFC 9110 §10.2.3
                account.throttled -= 1
                status = 429
                answer = {"errors": [{"errorId": 2001, "domain": "ACCESS", "category": "REQUEST"}]}
                headers = {"Retry-After": account.retry_after} if account.retry_after else {}
            else:
                status, answer = self._answer(url.path, url.query, body)
        if fault == "no_answer":
            self.close_connection = True
            return
        sent = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    def _fault(self, path: str) -> str | int:
        for number, (prefix, fault) in enumerate(self.account.faults):
            if path.startswith(prefix):
                del self.account.faults[number]
                return fault
        return ""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, by eBay's clock."""
        return email.utils.format_datetime(self.account.now(), usegmt=True)

    def _answer(self, path: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            if path == "/identity/v1/oauth2/token":
                return self._token(body)
            return self._route(unquote(path), {name: values[0] for name, values in parse_qs(query).items()}, body)
        except Refusal as refusal:
            return refusal.status, refusal.body

    def _token(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """https://developer.ebay.com/api-docs/static/oauth-refresh-token-request.html"""
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {basic}":
            return 401, {"error": "invalid_client", "error_description": "client authentication failed"}
        if self.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            return 400, {"error": "invalid_request"}
        form = dict(parse_qsl(body.decode()))
        if form.get("grant_type") != "refresh_token":
            return 400, {"error": "unsupported_grant_type"}
        if form.get("refresh_token") != self.account.refresh:
            return 400, {"error": "invalid_grant", "error_description": "the refresh token is invalid"}
        if not set(form.get("scope", "").split()) <= SCOPES:
            return 400, {"error": "invalid_scope"}
        token = f"v^1.1#t^{next(self.account.numbers)}"
        self.account.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 7200, "token_type": "User Access Token"}

    def _route(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        account = self.account
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if path.startswith("/post-order/"):
            # https://developer.ebay.com/Devzone/post-order/concepts/MakingACall.html: IAF for OAuth tokens, and the site
            if scheme != "IAF" or token not in account.tokens or not self.headers.get("X-EBAY-C-MARKETPLACE-ID"):
                raise PostOrderRefusal(401, 1302, "The user information is either missing or invalid.")
        elif scheme != "Bearer" or token not in account.tokens:
            raise Refusal(401, 1001, "Invalid access token", "OAuth")
        if self.command == "POST":
            if self.headers.get("Content-Type") != "application/json":
                raise Refusal(415, 2004, "Invalid request", "ACCESS")
            return self._post(path, json.loads(body))
        match path.removeprefix("/sell/").split("/"):
            case ["fulfillment", "v1", "order"]:
                return 200, account.get_orders(query)
            case ["fulfillment", "v1", "order", number]:
                return 200, account.get_order(number)
            case ["fulfillment", "v1", "order", number, "shipping_fulfillment"]:
                return 200, {"fulfillments": account.fulfillments.get(number, []), "total": 0}
            case ["inventory", "v1", "inventory_item"]:
                return 200, account.get_items(query)
            case ["inventory", "v1", "inventory_item", sku]:
                return 200, account.get_item(sku)
            case ["inventory", "v1", "offer"]:
                return 200, account.get_offers(query)
        raise Refusal(404, 2002, "Resource not found", "ACCESS")

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        account = self.account
        match path.removeprefix("/sell/").split("/"):
            case ["fulfillment", "v1", "order", number, "shipping_fulfillment"]:
                return 201, account.ship(number, body)
            case ["inventory", "v1", "bulk_update_price_quantity"]:
                return 200, account.update_quantities(body)
            case ["", "post-order", "v2", "cancellation"]:
                return 201, account.create_cancellation(body)
        raise Refusal(404, 2002, "Resource not found", "ACCESS")

    def log_message(self, *_args: Any) -> None:
        """Says nothing."""


class EbayServer:
    """The account, served until closed."""

    def __init__(self) -> None:
        self.account = Account()
        handler = type("Handler", (_Handler,), {"account": self.account})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for a thread of the server."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

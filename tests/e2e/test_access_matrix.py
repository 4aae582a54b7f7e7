"""Who may call what, over every rpc and every REST route of the contract, none skipped; and what a stranger learns: nothing."""

from __future__ import annotations

import base64
import itertools
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from joserfc import jwk, jwt

from edge import keys
from services.kit import errors
from tests.e2e import samples
from tests.e2e.stack import Client, Stack, eventually

METHODS = list(samples.methods())
ROLES = ("storefront", "customer", "associate", "store_manager", "marketer", "moderator", "admin")
SCOPES = (
    "inventory:read inventory:write inventory:reserve catalog:read catalog:write sales:write orders:read orders:write"
    " customers:read customers:write"
)
ALL_SCOPES = SCOPES + " reviews:read reviews:write reviews:moderate marketing:read marketing:write audit:read admin"
_new = itertools.count()


class Matrix:
    """Tokens signed with the stack's own key, ids of two tenants that own the same codes, and both surfaces."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        ring = keys.read(stack.data / "edge/keys")
        signing = ring.signing(time.time())
        assert signing is not None
        self.key = signing.key
        self.kid = signing.kid
        self.http = httpx.Client(base_url=stack.endpoints["http"], timeout=30)
        self.channel = grpc.insecure_channel(stack.endpoints["http"].removeprefix("http://"))
        self.tenants = {name: stack.tenant_id(name) for name in ("beauty", "furniture")}
        self.ids = {name: self._furnish(name) for name in self.tenants}

    def token(self, role: str, tenant: str = "beauty", *, key: jwk.ECKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": self.stack.endpoints["issuer"], "aud": "tillmesh", "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex,
            "sub": f"test-{role}", "client_id": "test", "tid": self.tenants[tenant], "roles": [role],
            "scope": ALL_SCOPES, "locs": ["*"], "cus": f"cus_{samples.NIL}", **claims,
        }  # fmt: skip
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self.kid}
        return jwt.encode(header, payload, key or self.key)

    def _furnish(self, tenant: str) -> dict[str, str]:
        """The same codes and SKUs in each tenant: what differs is whose they are."""
        admin = self.stack.client("admin", tenant)
        location = admin.location(code="SAME-CODE")
        product = admin.post("/v1/products", {"product": {"name": "A thing", "code": "SAME", "variants": [
            {"sku": "SAME-SKU", "barcodes": ["4006381333931"], "lot_policy": {}}]}}, 201)  # fmt: skip
        admin.post("/v1/price-lists", {"price_list": {"code": "same-list", "name": "A list"}}, 201)
        admin.stock(location, "SAME-SKU", 50)
        lot = admin.post("/v1/variants/SAME-SKU/lots", {"lot": {"code": "SAME-LOT"}}, 201)
        amount = {"currency_code": "EUR", "minor_units": "100"}
        admin.post("/v1/variants/SAME-SKU/prices", {"price": {"amount": amount}}, 201)
        content = {"location_id": location, "lines": [{"code": "SAME-SKU", "quantity": 1}], "delivery": {}}
        draft = admin.post("/v1/orders/drafts", {"content": content}, 201)
        held = admin.post(f"/v1/locations/{location}/inventory/SAME-SKU/reserve", {"quantity": 1}, 201)
        order = admin.sale(location, "SAME-SKU", "same-sale", quantity=60).json()
        path = f"/v1/locations/{location}/exceptions"
        raised = eventually(lambda: admin.get(path)["exceptions"])
        return {
            "location": location, "product": product["id"], "sku": "SAME-SKU", "reservation": held["id"],
            "order": order["id"], "draft": draft["id"], "exception": raised[0]["id"], "price_list": "same-list",
            "lot": lot["id"],
            "import": admin.post("/v1/imports", {"kind": 1}, 201)["id"],
            "export": admin.post("/v1/exports", {"kind": 1}, 201)["id"],
            "gift_card": admin.post("/v1/gift-cards", {"amount": {"currency_code": "EUR", "minor_units": 500}}, 201)["id"],
            **self._documents(admin, location),
            **self._customers(admin),
            **self._transfer(admin, location),
        }  # fmt: skip

    @staticmethod
    def _customers(admin: Client) -> dict[str, str]:
        """Two customers, the first with an address; the same e-mail in each tenant."""
        first, other = (
            admin.post("/v1/customers", {"customer": {"email": f"{name}@example.com"}}, 201)
            for name in ("same", "other")
        )
        address = admin.post(f"/v1/customers/{first['id']}/addresses", {"address": samples.ADDRESS}, 201)
        return {"customer": first["id"], "other_customer": other["id"], "address": address["id"]}

    @staticmethod
    def _documents(admin: Client, location: str) -> dict[str, str]:
        """A supplier, an order that is under way with a receipt, and a count that somebody has begun."""
        supplier = admin.post("/v1/suppliers", {"supplier": {"code": "SAME", "name": "x", "currency_code": "EUR"}}, 201)
        draft = {"supplier_id": supplier["id"], "location_id": location, "lines": [{"sku": "SAME-SKU", "ordered": 500}]}
        order = admin.post("/v1/purchase-orders", {"purchase_order": draft}, 201)
        path = f"/v1/purchase-orders/{order['id']}"
        admin.post(f"{path}/place", {})
        receipt = admin.post(f"{path}/receipts", {"lines": [{"sku": "SAME-SKU", "accepted": 20}]}, 201)
        assert receipt["stock_effect"] == "DOCUMENT_EFFECT_APPLIED"
        scope = {"skus": ["SAME-SKU"]}
        count = admin.post("/v1/counts", {"cycle_count": {"location_id": location, "scope": scope}}, 201)
        admin.post(f"/v1/counts/{count['id']}/lines", {"counts": [{"sku": "SAME-SKU", "counted": 7}]})
        return {
            "supplier": supplier["id"], "purchase_order": order["id"], "receipt": receipt["id"], "count": count["id"],
        }  # fmt: skip

    @staticmethod
    def _transfer(admin: Client, location: str) -> dict[str, str]:
        """A transfer that is on the road to another shop."""
        ends = {"from_location_id": location, "to_location_id": admin.location()}
        draft = {**ends, "lines": [{"sku": "SAME-SKU", "quantity": 5}], "expected_at": "2031-01-01T00:00:00Z"}
        transfer = admin.post("/v1/transfers", {"transfer": draft}, 201)
        admin.post(f"/v1/transfers/{transfer['id']}/ready", {})
        sent = admin.post(f"/v1/transfers/{transfer['id']}/ship", {})
        assert sent["stock_effect"] == "DOCUMENT_EFFECT_APPLIED"
        return {"transfer": transfer["id"], "destination": ends["to_location_id"]}

    def values(self, tenant: str = "beauty", **others: str) -> Mapping[str, str]:
        return {"new": f"n-{uuid.uuid4().hex[:8]}-{next(_new)}", **self.ids[tenant], **others}

    def rpc(self, method: samples.Method, token: str | None, request: bytes) -> tuple[int, bytes, status_pb2.Status]:
        """Code, first message and status of an rpc."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            if method.of.server_streaming:
                stream = self.channel.unary_stream(method.path)(request, metadata=metadata, timeout=20)
                first = next(stream)
                stream.cancel()
                return 0, first, status_pb2.Status()
            return 0, self.channel.unary_unary(method.path)(request, metadata=metadata, timeout=20), status_pb2.Status()
        except grpc.RpcError as error:
            found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            return error.code().value[0], b"", status_pb2.Status.FromString(found)

    def rest(
        self, method: samples.Method, route: samples.Route, token: str | None, values: Mapping[str, str]
    ) -> httpx.Response:
        call = samples.rest_call(method, route, values)
        headers = {**call.pop("headers", {}), **({"authorization": f"Bearer {token}"} if token else {})}
        with self.http.stream(**call, headers=headers) as answer:
            if method.of.server_streaming and answer.status_code == 200:
                return answer
            answer.read()
            return answer


@pytest.fixture(scope="module")
def matrix(stack: Stack) -> Iterator[Matrix]:
    made = Matrix(stack)
    yield made
    made.http.close()
    made.channel.close()


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if any(detail.Unpack(info) for detail in status.details) else ""


def names(method: samples.Method) -> str:
    return f"{method.of.containing_service.name}.{method.name}"


def test_every_rpc_has_a_sample() -> None:
    for method in METHODS:
        assert method.sample(dict.fromkeys(("new", "sku", "price_list", *NEVER), "x")) is not None


def bad_tokens(matrix: Matrix) -> dict[str, str | None]:
    own = matrix.token("admin")
    head, payload, _ = own.split(".")
    none = (
        base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt", "kid": matrix.kid}).encode())
        .rstrip(b"=")
        .decode()
    )
    return {
        "no token": None,
        "expired": matrix.token("admin", exp=int(time.time()) - 3600, iat=int(time.time()) - 7200),
        "wrong issuer": matrix.token("admin", iss="https://elsewhere.example"),
        "wrong audience": matrix.token("admin", aud="somebody-else"),
        "alg none": f"{none}.{payload}.",
        "another key": matrix.token("admin", key=jwk.ECKey.generate_key("P-256")),
        "cut signature": f"{head}.{payload}.AAAA",
    }


@pytest.mark.parametrize("method", METHODS, ids=names)
def test_without_a_good_token_nobody_gets_in(matrix: Matrix, method: samples.Method) -> None:
    values = matrix.values()
    for kind, token in bad_tokens(matrix).items():
        if method.rule.public:
            continue
        code, _, status = matrix.rpc(method, token, method.message(values))
        refused = (7, "EDGE_FORBIDDEN") if kind == "wrong audience" else (16, "EDGE_UNAUTHENTICATED")
        assert (code, reason_of(status)) == refused, kind
        for route in method.routes:
            answer = matrix.rest(method, route, token, values)
            assert answer.status_code == (403 if kind == "wrong audience" else 401), (kind, answer.text)
            assert answer.json()["details"][0]["reason"] == refused[1]


@pytest.mark.parametrize("method", METHODS, ids=names)
def test_each_role_gets_what_the_contract_says(matrix: Matrix, method: samples.Method) -> None:
    for role in ROLES:
        token, may = matrix.token(role), method.rule.public or role in method.roles
        values = matrix.values()
        code, _, status = matrix.rpc(method, token, method.message(values))
        assert (reason_of(status) == "ROLE_REQUIRED") == (not may), (role, code, status)
        for route in method.routes:
            answer = matrix.rest(method, route, token, matrix.values())
            assert (answer.status_code == 403) == (not may), (role, answer.status_code, answer.text if not may else "")
    for role in set(ROLES) & method.roles if method.rule.scopes else ():
        code, _, status = matrix.rpc(method, matrix.token(role, scope="other:scope"), method.message(matrix.values()))
        assert (code, reason_of(status)) == (7, "SCOPE_REQUIRED"), role


@pytest.mark.parametrize("method", [m for m in METHODS if m.rule.location_fields], ids=names)
def test_a_token_of_another_location_is_refused(matrix: Matrix, method: samples.Method) -> None:
    for role in set(ROLES) & method.roles:
        token = matrix.token(role, locs=[f"loc_{samples.NIL}"])
        code, _, status = matrix.rpc(method, token, method.message(matrix.values()))
        assert (code, reason_of(status)) == (7, "LOCATION_SCOPE"), role
        for route in method.routes:
            answer = matrix.rest(method, route, token, matrix.values())
            assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "LOCATION_SCOPE")


@pytest.mark.parametrize(
    "name",
    ["GetReservation", "ExtendReservation", "ConfirmReservation", "ReleaseReservation", "GetOrder", "UpdateOrderStatus",
     "ReduceReservation",
     "CancelOrder", "EditOrder", "PreviewOrderEdit", "UpdateOrderRecipient", "QuoteOrder", "PlaceDraftOrder",
     "ListOrderHistory", "GetPurchaseOrder",
     "ListPurchaseReceipts", "GetPurchaseReceipt", "GetCycleCount", "ListCycleCountLines", "RecordCycleCountLines",
     "SubmitCycleCount", "GetTransfer", "ListTransferEvents"],
)  # fmt: skip
def test_what_lies_at_another_location_is_refused_after_it_was_found(matrix: Matrix, name: str) -> None:
    (method,) = [m for m in METHODS if m.name == name]
    token = matrix.token("associate", locs=[f"loc_{samples.NIL}"])
    code, _, status = matrix.rpc(method, token, method.message(matrix.values()))
    assert (code, reason_of(status)) == (7, "LOCATION_SCOPE")


@pytest.mark.parametrize(
    "name",
    ["UpdatePurchaseOrder", "PlacePurchaseOrder", "CreatePurchaseReceipt", "ClosePurchaseOrder", "CancelPurchaseOrder",
     "RequestRecount", "ApproveCycleCount", "RejectCycleCount", "CancelCycleCount", "ListCycleCountPasses",
     "UpdateTransfer", "ReadyTransfer", "ShipTransfer", "ReceiveTransfer", "CloseTransfer", "CancelTransfer"],
)  # fmt: skip
def test_a_manager_decides_only_on_documents_of_their_locations(matrix: Matrix, name: str) -> None:
    (method,) = [m for m in METHODS if m.name == name]
    token = matrix.token("store_manager", locs=[f"loc_{samples.NIL}"])
    code, _, status = matrix.rpc(method, token, method.message(matrix.values()))
    assert (code, reason_of(status)) == (7, "LOCATION_SCOPE")


NEVER = {
    "location": f"loc_{samples.NIL}",
    "product": f"prd_{samples.NIL}",
    "reservation": f"rsv_{samples.NIL}",
    "order": f"ord_{samples.NIL}",
    "draft": f"ord_{samples.NIL}",
    "exception": str(uuid.UUID(int=0)),
    "import": f"imp_{samples.NIL}",
    "export": f"exp_{samples.NIL}",
    "supplier": f"sup_{samples.NIL}",
    "purchase_order": f"pur_{samples.NIL}",
    "receipt": f"rcp_{samples.NIL}",
    "count": f"cnt_{samples.NIL}",
    "customer": f"cus_{samples.NIL}",
    "other_customer": f"cus_{samples.NIL}",
    "address": f"adr_{samples.NIL}",
    "gift_card": f"gft_{samples.NIL}",
    "transfer": f"trf_{samples.NIL}",
    "destination": f"loc_{samples.NIL}",
    "lot": f"lot_{samples.NIL}",
}


@pytest.mark.parametrize("method", [m for m in METHODS if m.names_something and "admin" in m.roles], ids=names)
def test_another_tenants_ids_answer_the_same_bytes_as_ids_that_never_existed(
    matrix: Matrix, method: samples.Method
) -> None:
    """Both tenants own the same codes and SKUs. A SKU is a name, not a secret: it finds one's own."""
    stranger = matrix.token("admin", "furniture")
    own = {**matrix.ids["furniture"], "new": "same-new"}
    used = [name for name in NEVER if f"{{{name}}}" in str(samples.SAMPLES[method.name])]
    for name in used:
        theirs = {**own, name: matrix.ids["beauty"][name]}
        never = {**own, name: NEVER[name]}
        code, body, status = matrix.rpc(method, stranger, method.message(theirs))
        assert (code, body, status) == matrix.rpc(method, stranger, method.message(never))
        if method.name not in ("BulkUpdateStock", "StreamStockUpdates") and "reviews" not in method.path:
            assert (code, reason_of(status)) == (5, "NOT_FOUND"), name
        for route in method.routes:
            found, missing = (matrix.rest(method, route, stranger, values) for values in (theirs, never))
            assert (found.status_code, found.content) == (missing.status_code, missing.content)


def test_lists_show_only_ones_own(matrix: Matrix) -> None:
    for tenant, other in (("beauty", "furniture"), ("furniture", "beauty")):
        client = matrix.stack.client("admin", tenant)
        for path in ("/v1/locations?page_size=500", "/v1/products?page_size=500", "/v1/products/search?query=SAME-SKU",
                     "/v1/products/SAME-SKU/inventory", "/v1/dead-letters/inventory", "/v1/suppliers", "/v1/counts",
                     "/v1/products/SAME-SKU/suppliers", "/v1/purchase-orders", "/v1/customers",
                     "/v1/gift-cards", "/v1/transfers"):  # fmt: skip
            text = client.call("GET", path).text
            owned = ("location", "product", "supplier", "purchase_order", "count", "customer", "gift_card", "transfer")
            for name in owned:
                assert matrix.ids[other][name] not in text


def test_lists_are_filtered_by_location_and_not_refused(matrix: Matrix) -> None:
    token = matrix.token("associate", locs=[matrix.ids["beauty"]["location"]])
    headers = {"authorization": f"Bearer {token}"}
    listed = matrix.http.get("/v1/locations?page_size=500", headers=headers).json()["locations"]
    levels = matrix.http.get("/v1/products/SAME-SKU/inventory", headers=headers).json()
    assert [one["id"] for one in listed] == [matrix.ids["beauty"]["location"]]
    assert levels["totals"]["locations"] == 1


def test_a_user_cannot_pretend_to_be_a_service(matrix: Matrix) -> None:
    (method,) = [m for m in METHODS if m.name == "GetAppliedPosition"]
    token = matrix.token("service", sub="svc:orders")
    for metadata in (
        [],
        [("x-tillmesh-tenant", matrix.tenants["beauty"])],
        [("x-tillmesh-on-behalf", matrix.token("admin"))],
    ):
        with pytest.raises(grpc.RpcError) as refused:
            matrix.channel.unary_unary(method.path)(
                method.message(matrix.values()), metadata=[("authorization", f"Bearer {token}"), *metadata], timeout=10
            )
        assert refused.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def test_a_stream_ends_no_later_than_its_token(matrix: Matrix) -> None:
    token = matrix.token("admin", exp=int(time.time()) + 3)
    path = f"/v1/locations/{matrix.ids['beauty']['location']}/inventory/watch"
    with matrix.http.stream("GET", path, headers={"authorization": f"Bearer {token}"}) as answer:
        last = json.loads(list(answer.iter_lines())[-1])
    assert last["ended"]["status"]["details"][0]["reason"] == "STREAM_LIFETIME"
    assert errors.TABLE["STREAM_LIFETIME"].code == last["ended"]["status"]["code"]

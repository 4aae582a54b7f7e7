"""What Envoy answers by itself has the shape of the services' errors, over REST, gRPC and gRPC-Web."""

from __future__ import annotations

import base64
from collections.abc import Callable

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.integration.envoy import contract, door
from tests.integration.envoy.conftest import Behind

STOCK = "/v1/locations/loc_1/inventory/ABC"
ADJUST = f"{STOCK}/adjust"


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"{bad", "Expected :"), (b'{"quantity": "x"}', "quantity"), (b'{"sku": "OTHER"}', "conflicting")],
)
def test_a_body_that_cannot_be_read_is_400_and_says_why(rest: httpx.Client, body: bytes, says: str) -> None:
    response = rest.post(ADJUST, content=body)
    assert (response.status_code, door.reason(response)) == (400, "EDGE_MALFORMED")
    assert says in response.json()["message"]


def test_an_unknown_query_parameter_is_400(rest: httpx.Client) -> None:
    response = rest.get(STOCK, params={"bogus": "1"})
    assert (response.status_code, door.reason(response), response.json()["code"]) == (400, "EDGE_MALFORMED", 3)


@pytest.mark.parametrize("path", ["/nope", "/v1", "/healthz/x", "/metrics", "/server_info", "/favicon.ico"])
def test_an_unknown_path_is_404_even_without_a_token(nobody: httpx.Client, path: str) -> None:
    response = nobody.get(path)
    assert (response.status_code, door.reason(response), response.json()["code"]) == (404, "EDGE_NOT_FOUND", 5)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nope"), ("DELETE", STOCK), ("PUT", ADJUST)])
def test_a_path_or_method_that_no_rpc_has_is_404(rest: httpx.Client, method: str, path: str) -> None:
    response = rest.request(method, path)
    assert (response.status_code, door.reason(response)) == (404, "EDGE_NOT_FOUND")


def test_head_is_404_without_a_body(rest: httpx.Client) -> None:
    response = rest.head(STOCK)
    assert (response.status_code, response.content) == (404, b"")


def test_grpc_content_on_a_rest_path_is_not_passed_on(rest: httpx.Client) -> None:
    response = rest.post(ADJUST, content=b"\0\0\0\0\0", headers={"content-type": "application/grpc"})
    assert response.headers["grpc-status"] == "12"


def test_a_service_that_is_down_is_503_with_a_hint_to_retry(rest: httpx.Client) -> None:
    response = rest.get("/v1/orders/ord_1")
    assert (response.status_code, door.reason(response)) == (503, "EDGE_UNAVAILABLE")
    assert response.headers["retry-after"] == "1"
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"}
    assert response.json()["details"][1] == retry
    assert "sock" not in response.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_413(rest: httpx.Client, chunked: bool) -> None:
    pieces = [b'{"padding": "', *[b"x" * (1024 * 1024)] * 9]
    response = rest.post(ADJUST, content=iter(pieces) if chunked else b"".join(pieces))
    assert (response.status_code, door.reason(response), response.json()["code"]) == (413, "EDGE_TOO_LARGE", 11)


def test_headers_above_the_limit_are_431(nobody: httpx.Client) -> None:
    response = nobody.get("/v1/banners/x", headers={"x-large": "x" * 40_000})
    assert (response.status_code, door.reason(response)) == (431, "EDGE_TOO_LARGE")


def test_health_says_clearly_that_the_edge_is_down(behind: Behind, start_door: Callable[..., door.Door]) -> None:
    orphaned = start_door({**behind.sockets, "edge": [behind.folder / "no-edge.sock"]})
    response = httpx.get(f"{orphaned.url}/healthz")
    assert (response.status_code, door.reason(response)) == (503, "EDGE_UNAVAILABLE")


def test_a_token_that_cannot_be_verified_yet_is_not_called_wrong(
    behind: Behind, start_door: Callable[..., door.Door]
) -> None:
    """Envoy and the edge die together, and Envoy is back first: a till must not throw its token away."""
    orphaned = start_door({**behind.sockets, "edge": [behind.folder / "no-edge.sock"]})
    token = door.token(behind.key)
    response = httpx.get(orphaned.url + STOCK, headers={"authorization": f"Bearer {token}"})
    assert (response.status_code, door.reason(response)) == (503, "EDGE_UNAVAILABLE")
    assert response.headers["retry-after"] == "1"
    with pytest.raises(grpc.RpcError) as raised:
        orphaned.call(contract.GET_STOCK, behind.messages.GetStockRequest(), behind.messages.Seen, token)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_health_answers_while_a_service_is_down(nobody: httpx.Client) -> None:
    assert nobody.get("/healthz").json() == {"edge": "/healthz", "query": ""}


def test_a_service_that_takes_too_long_is_504(behind: Behind, start_door: Callable[..., door.Door]) -> None:
    slow = start_door(write_timeout_seconds=1)
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    response = httpx.post(slow.url + ADJUST, json={"delay_seconds": 5}, headers=headers)
    assert (response.status_code, door.reason(response), response.json()["code"]) == (504, "EDGE_TIMEOUT", 4)


@pytest.mark.parametrize(
    ("method", "bearer", "code", "reason"),
    [
        (contract.GET_STOCK, None, grpc.StatusCode.UNAUTHENTICATED, "EDGE_UNAUTHENTICATED"),
        (contract.GET_STOCK, {"aud": "elsewhere"}, grpc.StatusCode.PERMISSION_DENIED, "EDGE_FORBIDDEN"),
        (f"/{contract.INVENTORY}.InventoryService/Nope", {}, grpc.StatusCode.UNIMPLEMENTED, "EDGE_NOT_FOUND"),
        ("/tillmesh.common.v1.EventsService/ReadEvents", {}, grpc.StatusCode.UNIMPLEMENTED, "EDGE_NOT_FOUND"),
        ("/grpc.reflection.v1.ServerReflection/X", None, grpc.StatusCode.UNIMPLEMENTED, "EDGE_NOT_FOUND"),
        ("/tillmesh.orders.v1.OrdersService/GetOrder", {}, grpc.StatusCode.UNAVAILABLE, "EDGE_UNAVAILABLE"),
    ],
)
def test_native_callers_get_the_same_reason_as_status_details(
    the_door: door.Door,
    behind: Behind,
    method: str,
    bearer: dict[str, str] | None,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    token = None if bearer is None else door.token(behind.key, **bearer)
    with pytest.raises(grpc.RpcError) as raised:
        the_door.call(method, behind.messages.GetStockRequest(), behind.messages.Seen, token)
    status = rpc_status.from_call(raised.value)
    assert status is not None
    assert (raised.value.code(), _info(status).reason, _info(status).domain) == (code, reason, "tillmesh")


def test_grpc_web_callers_get_the_same_reason_too(nobody: httpx.Client) -> None:
    headers = {"content-type": "application/grpc-web+proto"}
    response = nobody.post(contract.GET_STOCK, content=b"\0\0\0\0\0", headers=headers)
    details = response.headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert (response.headers["grpc-status"], _info(status).reason) == ("16", "EDGE_UNAUTHENTICATED")


def _info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info

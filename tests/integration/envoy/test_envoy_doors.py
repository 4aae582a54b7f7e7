"""Both doors speak REST, gRPC and gRPC-Web; the address lists and the rate limits stand in front of all of it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest

from tests.integration.envoy import contract, door
from tests.integration.envoy.conftest import Behind

STOCK = "/v1/locations/loc_1/inventory/ABC"


@pytest.mark.parametrize("http2", [True, False])
def test_the_tls_door_speaks_http_1_and_2(the_door: door.Door, behind: Behind, http2: bool) -> None:
    context = ssl.create_default_context(cafile=str(behind.folder / "tls.crt"))
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    with httpx.Client(http2=http2, verify=context, headers=headers) as client:
        response = client.get(f"https://localhost:{the_door.https_port}{STOCK}")
    assert (response.status_code, response.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
    assert response.json()["metadata"]["x-forwarded-proto"] == "https"


def test_the_tls_door_refuses_old_protocols(the_door: door.Door) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=context) as client:
        client.get(f"https://localhost:{the_door.https_port}/healthz")


def test_native_grpc_passes_the_tls_door(the_door: door.Door, behind: Behind) -> None:
    roots = grpc.ssl_channel_credentials((behind.folder / "tls.crt").read_bytes())
    with grpc.secure_channel(f"localhost:{the_door.https_port}", roots) as channel:
        rpc: Any = channel.unary_stream(
            contract.WATCH_STOCK,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=behind.messages.Frame.FromString,
        )
        metadata = [("authorization", f"Bearer {door.token(behind.key)}")]
        frames = list(rpc(behind.messages.WatchStockRequest(frames=3), metadata=metadata, timeout=10))
    assert [frame.resume_token for frame in frames] == ["tok-1_A", "tok-2_A", "tok-3_A"]


@pytest.mark.parametrize("as_text", [False, True])
def test_grpc_web_calls_pass(nobody: httpx.Client, behind: Behind, as_text: bool) -> None:
    body = behind.messages.GetStockRequest(sku="ABC").SerializeToString()
    framed = b"\0" + len(body).to_bytes(4, "big") + body
    kind = "application/grpc-web-text" if as_text else "application/grpc-web+proto"
    headers = {"content-type": kind, "accept": kind, "authorization": f"Bearer {door.token(behind.key)}"}
    response = nobody.post(contract.GET_STOCK, content=base64.b64encode(framed) if as_text else framed, headers=headers)
    answer = _decoded(response.text) if as_text else response.content
    length = int.from_bytes(answer[1:5], "big")
    assert behind.messages.Seen.FromString(answer[5 : 5 + length]).sku == "ABC"
    assert b"grpc-status:0" in answer[5 + length :]


def _decoded(text: str) -> bytes:
    """gRPC-Web text is one base64 or several, each with its own padding."""
    return b"".join(base64.b64decode(text[start : start + 4]) for start in range(0, len(text), 4))


@pytest.fixture(scope="module")
def strict_door(start_door: Callable[..., door.Door]) -> door.Door:
    return start_door(
        rate_limit_per_client=3, rate_limit_per_tenant=5, rate_limit_per_address=4, rate_limit_tokens_per_address=2
    )


@pytest.fixture
def ask(strict_door: door.Door, behind: Behind) -> Iterator[Callable[..., httpx.Response]]:
    """Reads stock with a token that has the claims given."""
    with httpx.Client(base_url=strict_door.url) as client:

        def get(**claims: str) -> httpx.Response:
            return client.get(STOCK, headers={"authorization": f"Bearer {door.token(behind.key, **claims)}"})

        yield get


def test_a_client_above_its_rate_is_429_and_told_when_to_come_back(ask: Callable[..., httpx.Response]) -> None:
    answers = [ask(sub="cli_a", tid="ten_a") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert (door.reason(refused[0]), refused[0].json()["code"]) == ("EDGE_RATE_LIMITED", 8)
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].headers.get_list("x-ratelimit-limit") == ["3"]
    assert answers[0].headers["x-ratelimit-limit"] == "3"
    assert {"x-ratelimit-remaining", "x-ratelimit-reset"} <= set(answers[0].headers)


def test_another_client_has_its_own_rate_but_shares_its_tenants(ask: Callable[..., httpx.Response]) -> None:
    answers = [ask(sub=f"cli_{one}", tid="ten_b") for one in range(14)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["x-ratelimit-limit"] == "5"
    assert ask(sub="cli_0", tid="ten_c").status_code == 200


def test_the_token_endpoint_is_limited_by_address(strict_door: door.Door) -> None:
    with httpx.Client(base_url=strict_door.url, auth=("cli", "guess")) as client:
        answers = [client.post("/oauth2/token") for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["x-ratelimit-limit"] == "2"


def test_callers_without_a_token_are_limited_by_address(strict_door: door.Door) -> None:
    with httpx.Client(base_url=strict_door.url) as client:
        answers = [client.get("/v1/banners/x", headers={"x-forwarded-for": f"198.51.100.{n}"}) for n in range(12)]
    assert 429 in {answer.status_code for answer in answers}


def test_native_callers_are_limited_too(strict_door: door.Door, behind: Behind) -> None:
    bearer = door.token(behind.key, sub="cli_n", tid="ten_n")
    with pytest.raises(grpc.RpcError) as raised:
        for _ in range(12):
            strict_door.call(contract.GET_STOCK, behind.messages.GetStockRequest(), behind.messages.Seen, bearer)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing: Any = raised.value.trailing_metadata()
    assert dict(trailing)["retry-after"] == "1"


@pytest.mark.parametrize("lists", [{"ip_deny": "127.0.0.0/8"}, {"ip_allow": "192.0.2.0/24, ::1"}])
def test_addresses_on_the_wrong_side_of_a_list_are_403(
    start_door: Callable[..., door.Door], lists: dict[str, str]
) -> None:
    refused = httpx.get(f"{start_door(**lists).url}/healthz", headers={"x-forwarded-for": "192.0.2.1"})
    assert (refused.status_code, door.reason(refused)) == (403, "EDGE_FORBIDDEN")


def test_metrics_and_admin_are_on_the_admin_socket_only(the_door: door.Door, rest: httpx.Client) -> None:
    rest.get(STOCK)
    with the_door.admin as admin:
        text = admin.get("/stats/prometheus").text
    assert 'envoy_grpc_bridge_service="tillmesh_inventory_v1_InventoryService"' in text

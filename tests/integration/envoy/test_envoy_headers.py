"""Headers at the door: what is stripped, what is set, and how an answer gets its status, its ETag and its encoding."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import httpx
import pytest

from tests.integration.envoy import contract, door, upstream
from tests.integration.envoy.conftest import ORIGIN, Behind

STOCK = "/v1/locations/loc_1/inventory/ABC"
ADJUST = f"{STOCK}/adjust"
FORGED = {
    "x-tillmesh-on-behalf": "someone",
    "X-Tillmesh-Tenant": "ten_other",
    "x-tillmesh-location": "loc_other",
    "x-http-status": "201",
    "x-envoy-retry-on": "5xx",
    "x-envoy-original-path": "/healthz",
    "x-envoy-upstream-rq-timeout-ms": "1",
}


def test_what_only_we_may_say_is_stripped_from_callers(rest: httpx.Client) -> None:
    seen = rest.get(STOCK, headers=FORGED).json()["metadata"]
    assert {key: value for key, value in seen.items() if key.startswith(("x-tillmesh-", "x-http-", "x-envoy-"))} == {
        "x-tillmesh-location": "loc_1",
        "x-envoy-original-path": STOCK,
        "x-envoy-original-method": "GET",
        "x-envoy-external-address": seen["x-envoy-external-address"],
    }


def test_native_callers_cannot_forge_them_either(the_door: door.Door, behind: Behind) -> None:
    forged = {key.lower().replace("-", "_"): value for key, value in FORGED.items()}
    request = behind.messages.GetStockRequest(location_id="loc_1")
    seen = the_door.call(contract.GET_STOCK, request, behind.messages.Seen, door.token(behind.key), **forged)
    assert not [key for key in seen.metadata if key.startswith(("x-tillmesh-", "x-http-"))]


@pytest.mark.parametrize("path", ["/v1/locations/loc%20x/inventory/a", f"/v1/locations/{'x' * 65}/inventory/a"])
def test_a_location_that_cannot_be_an_id_gives_no_hint(rest: httpx.Client, path: str) -> None:
    assert "x-tillmesh-location" not in rest.get(path).json()["metadata"]


def test_calls_about_one_location_go_to_one_process(behind: Behind, start_door: Callable[..., door.Door]) -> None:
    both = [behind.folder / "inventory.sock", behind.folder / "inventory-2.sock"]
    pair = start_door({**behind.sockets, "inventory": both})
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    with httpx.Client(base_url=pair.url, headers=headers) as client:
        chosen = {
            location: {client.get(f"/v1/locations/loc_{location}/inventory/a").json()["process"] for _ in range(4)}
            for location in range(16)
        }
        without_hint = {client.get("/v1/banners/x").json()["process"] for _ in range(40)}
    assert all(len(processes) == 1 for processes in chosen.values())
    assert set.union(*chosen.values()) == without_hint == {"first", "second"}


def test_no_call_fails_when_one_of_two_processes_dies(behind: Behind, start_door: Callable[..., door.Door]) -> None:
    mortal = behind.folder / "mortal.sock"
    kill = behind.loop.serve_grpc(upstream.Service(behind.messages, "mortal"), mortal)
    pair = start_door({**behind.sockets, "inventory": [behind.folder / "inventory.sock", mortal]})
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    with httpx.Client(base_url=pair.url, headers=headers) as client:
        seen: set[str] = set()
        until = time.monotonic() + 10  # Envoy takes a process in when its first health check has passed
        for n in itertools.count():
            seen.add(client.get(f"/v1/locations/loc_{n}/inventory/a").json()["process"])
            if seen == {"first", "mortal"}:
                break
            assert time.monotonic() < until, seen
        kill()
        answers = [client.post(f"/v1/locations/loc_{n}/inventory/a/adjust", json={}) for n in range(20)]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("status", ["200", "201", "202"])
def test_a_service_chooses_the_status_of_a_success(rest: httpx.Client, status: str) -> None:
    response = rest.post(ADJUST, json={"http_status": status, "quantity": 3})
    assert (response.status_code, response.json()["quantity"]) == (int(status), "3")
    assert not {"x-http-status", "grpc-status", "grpc-message"} & set(response.headers)


@pytest.mark.parametrize("status", ["204", "304"])
def test_a_status_without_a_body_has_none_and_leaves_the_connection_whole(rest: httpx.Client, status: str) -> None:
    for _ in range(3):
        response = rest.post(ADJUST, json={"http_status": status, "answer_bytes": 5_000, "etag": 'W/"7"'})
        assert (response.status_code, response.content, response.headers["etag"]) == (int(status), b"", 'W/"7"')


@pytest.mark.parametrize(
    ("code", "status"),
    [(3, 400), (3, 422), (5, 404), (5, 410), (7, 403), (9, 409), (9, 428), (10, 409), (10, 412), (8, 429), (16, 401)],
)
def test_a_service_chooses_the_status_of_a_failure(rest: httpx.Client, code: int, status: int) -> None:
    response = rest.post(ADJUST, json={"http_status": str(status), "fail_with": code})
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("asked", "code", "status"),
    [("201", 10, 409), ("412", 0, 200), ("999", 0, 200), ("teapot", 5, 404), ("100", 0, 200)],
)
def test_a_status_that_makes_no_sense_is_ignored(rest: httpx.Client, asked: str, code: int, status: int) -> None:
    response = rest.post(ADJUST, json={"http_status": asked, "fail_with": code})
    assert response.status_code == status
    assert "x-http-status" not in response.headers


def test_native_callers_keep_their_grpc_status(the_door: door.Door, behind: Behind) -> None:
    request = behind.messages.AdjustStockRequest(http_status="201", quantity=4)
    answer = the_door.call(contract.ADJUST_STOCK, request, behind.messages.Seen, door.token(behind.key))
    assert answer.quantity == 4


@pytest.mark.parametrize(("sent", "received"), [('W/"7"', 'W/"7"'), ('"7"', 'W/"7"')])
def test_large_json_is_compressed_and_its_etag_is_weak(rest: httpx.Client, sent: str, received: str) -> None:
    response = rest.post(ADJUST, json={"answer_bytes": 5_000, "etag": sent})
    assert (response.headers["content-encoding"], response.headers["etag"]) == ("gzip", received)
    assert len(response.json()["padding"]) == 5_000


def test_small_json_is_not_compressed(rest: httpx.Client, nobody: httpx.Client) -> None:
    assert "content-encoding" not in nobody.get("/v1/banners/x").headers


def test_fields_keep_their_names_and_print_their_zeros(nobody: httpx.Client) -> None:
    answer = nobody.get("/v1/banners/x").json()
    assert {key: answer[key] for key in ("location_id", "sku", "quantity", "padding")} == {
        "location_id": "",
        "sku": "",
        "quantity": "0",
        "padding": "",
    }


def test_a_rest_call_brings_a_deadline_and_a_callers_own_is_kept(
    rest: httpx.Client, the_door: door.Door, behind: Behind
) -> None:
    assert 8 < rest.get(STOCK).json()["seconds_left"] <= 10
    assert 18 < rest.post(ADJUST, json={}).json()["seconds_left"] <= 20
    bearer = door.token(behind.key)
    seen = the_door.call(contract.GET_STOCK, behind.messages.GetStockRequest(), behind.messages.Seen, bearer)
    assert 13 < seen.seconds_left < 16


@pytest.mark.parametrize("path", ["/v1/nope", STOCK, ADJUST, contract.GET_STOCK, "/healthz", "/oauth2/token"])
def test_a_preflight_of_an_allowed_origin_succeeds_on_any_path(nobody: httpx.Client, path: str) -> None:
    headers = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "if-match"}
    response = nobody.options(path, headers=headers)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert {"authorization", "idempotency-key", "if-match", "last-event-id"} <= set(
        response.headers["access-control-allow-headers"].split(",")
    )


def test_an_allowed_origin_may_also_read_errors_and_a_foreign_one_nothing(nobody: httpx.Client) -> None:
    assert nobody.get(STOCK, headers={"origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    foreign = {"origin": "https://evil.test", "access-control-request-method": "GET"}
    for response in (nobody.options(STOCK, headers=foreign), nobody.get("/v1/banners/x", headers=foreign)):
        assert "access-control-allow-origin" not in response.headers


def test_every_answer_carries_its_request_id(nobody: httpx.Client, the_door: door.Door) -> None:
    response = nobody.get("/v1/banners/x", params={"name": "x"}, headers={"x-request-id": "forged"})
    entry = door.logged(the_door, response.headers["x-request-id"])
    assert (entry["path"], entry["status"]) == ("/v1/banners/x", 200)
    assert entry["rpc"] == f"/{contract.INVENTORY}.InventoryService/GetBanner"
    assert response.headers["x-request-id"] != "forged"

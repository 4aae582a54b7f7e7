"""The first wall: which tokens pass, where a token may stand, and what never leaves the door."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt

from tests.integration.envoy import door, upstream
from tests.integration.envoy.conftest import Behind

STOCK = "/v1/locations/loc_1/inventory/ABC"
WATCH = "/v1/locations/loc_1/inventory/watch"
EVENTS = {"accept": "text/event-stream"}


def _get(client: httpx.Client, bearer: str, path: str = STOCK) -> httpx.Response:
    return client.get(path, headers={"authorization": f"Bearer {bearer}"})


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _crafted(alg: str, kid: str, secret: bytes = b"") -> str:
    """A token that no library would make: unsigned, or signed with a public key as if it were a shared secret."""
    claims = {"iss": door.ISSUER, "aud": "tillmesh", "sub": "x", "exp": int(time.time()) + 300}
    head = json.dumps({"alg": alg, "typ": "at+jwt", "kid": kid})
    text = f"{_part(head.encode())}.{_part(json.dumps(claims).encode())}"
    return f"{text}.{_part(hmac.digest(secret, text.encode(), 'sha256')) if secret else ''}"


def test_a_good_token_passes_and_is_forwarded(nobody: httpx.Client, behind: Behind) -> None:
    bearer = door.token(behind.key)
    response = _get(nobody, bearer)
    assert (response.status_code, response.json()["metadata"]["authorization"]) == (200, f"Bearer {bearer}")


def test_no_token_is_401(nobody: httpx.Client) -> None:
    response = nobody.get(STOCK)
    assert (response.status_code, door.reason(response), response.json()["code"]) == (401, "EDGE_UNAUTHENTICATED", 16)


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1_000}, {"exp": None}, {"iss": "http://other.test"}, {"nbf": 32_503_680_000}],
    ids=["expired", "endless", "wrong issuer", "not yet"],
)
def test_a_token_whose_claims_do_not_hold_is_401(nobody: httpx.Client, behind: Behind, claims: dict[str, Any]) -> None:
    standard = {"iss": door.ISSUER, "aud": "tillmesh", "sub": "x", "exp": int(time.time()) + 300}
    kept = {key: value for key, value in {**standard, **claims}.items() if value is not None}
    bearer = jwt.encode({"alg": "ES256", "kid": behind.key.kid}, kept, behind.key)
    response = _get(nobody, bearer)
    assert (response.status_code, door.reason(response)) == (401, "EDGE_UNAUTHENTICATED")


def test_a_token_that_our_key_did_not_sign_is_401(nobody: httpx.Client, behind: Behind) -> None:
    forged = door.token(door.new_key(str(behind.key.kid)))
    stranger = door.token(door.new_key("stranger"))
    unsigned = _crafted("none", str(behind.key.kid))
    confused = _crafted("HS256", str(behind.key.kid), behind.key.as_pem(private=False))
    tampered = door.token(behind.key)[:-6] + "AAAAAA"
    for bearer in (forged, stranger, confused, tampered, unsigned, "garbage", "."):
        response = _get(nobody, bearer)
        assert (response.status_code, door.reason(response)) == (401, "EDGE_UNAUTHENTICATED")


def test_a_token_for_another_audience_is_403(nobody: httpx.Client, behind: Behind) -> None:
    response = _get(nobody, door.token(behind.key, aud="svc:inventory"))
    assert (response.status_code, door.reason(response), response.json()["code"]) == (403, "EDGE_FORBIDDEN", 7)


@pytest.mark.parametrize("path", ["/v1/banners/x", "/v1/banners/x/", "/v1/banners"])
def test_a_public_rpc_needs_no_token_but_refuses_a_bad_one(nobody: httpx.Client, path: str) -> None:
    assert nobody.get(path).status_code == 200
    assert _get(nobody, _crafted("none", "x"), path).status_code == 401


@pytest.mark.parametrize("path", ["/v1/banners/x/y", "/v1/bannersx", "/v1/banners/../locations/l/inventory/s"])
def test_a_path_that_only_looks_public_needs_a_token(nobody: httpx.Client, path: str) -> None:
    response = nobody.request("GET", f"{nobody.base_url}".rstrip("/") + path)
    assert response.status_code == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/.well-known/jwks.json", "/healthz"])
def test_paths_of_the_edge_need_no_token(nobody: httpx.Client, path: str) -> None:
    assert nobody.get(path).status_code == 200


def test_the_token_endpoint_gets_client_credentials_as_they_are(nobody: httpx.Client) -> None:
    assert nobody.post("/oauth2/token", auth=("cli_1", "secret")).json()["edge"] == "/oauth2/token"


def test_a_watch_may_bring_its_token_in_the_query_and_the_service_sees_a_header(
    nobody: httpx.Client, behind: Behind
) -> None:
    bearer = door.token(behind.key)
    response = nobody.get(f"{WATCH}?access_token={bearer}&frames=1", headers=EVENTS)
    data = next(line for line in response.text.splitlines() if line.startswith("data: "))
    metadata = json.loads(data.removeprefix("data: "))["metadata"]
    assert metadata["authorization"] == f"Bearer {bearer}"
    assert metadata["x-envoy-original-path"] == f"{WATCH}?frames=1"


def test_a_header_wins_over_the_query(nobody: httpx.Client, behind: Behind) -> None:
    header = door.token(behind.key, sub="in the header")
    response = nobody.get(
        f"{WATCH}?frames=1&access_token={door.token(behind.key)}", headers={"authorization": f"Bearer {header}"}
    )
    assert door.lines(response)[0]["metadata"]["authorization"] == f"Bearer {header}"


def test_only_a_watch_takes_a_token_from_the_query(nobody: httpx.Client, behind: Behind) -> None:
    response = nobody.get(STOCK, params={"access_token": door.token(behind.key)})
    assert (response.status_code, door.reason(response)) == (401, "EDGE_UNAUTHENTICATED")


@pytest.mark.parametrize("path", [WATCH, STOCK, "/v1/banners/x", "/healthz", "/v1/nope", "/nope"])
def test_no_token_reaches_the_access_log_or_the_upstream_path(
    the_door: door.Door, nobody: httpx.Client, behind: Behind, path: str
) -> None:
    bearer = door.token(behind.key)
    response = nobody.get(path, params={"access_token": bearer})
    entry = json.dumps(door.logged(the_door, response.headers["x-request-id"]))
    assert "access_token" not in entry
    assert bearer.split(".")[2] not in entry
    assert "access_token" not in response.text
    assert "access_token" not in response.headers.get("www-authenticate", "")


def test_a_rotated_key_is_taken_up_a_revoked_one_refused_and_a_dead_edge_survived(
    behind: Behind, start_door: Callable[..., door.Door]
) -> None:
    old, new = door.new_key("old"), door.new_key("new")
    edge = upstream.Edge([old.as_dict(private=False)])
    socket = behind.folder / "rotating.sock"
    stop_edge = behind.loop.serve_http(edge.app, socket)
    rotating = start_door({**behind.sockets, "edge": [socket]}, jwks_refresh_seconds=1)
    with httpx.Client(base_url=rotating.url) as client:
        assert (_get(client, door.token(old)).status_code, _get(client, door.token(new)).status_code) == (200, 401)
        edge.keys.append(new.as_dict(private=False))
        _until(client, new, 200)
        edge.keys.pop(0)
        _until(client, old, 401)
        stop_edge()
        fetches = _failed_fetches(rotating)
        while _failed_fetches(rotating) < fetches + 2:
            assert _get(client, door.token(new)).status_code == 200


def _until(client: httpx.Client, key: jwk.ECKey, status: int) -> None:
    """Asks with a new token each time, since one that was seen stays good until it expires."""
    deadline = time.monotonic() + 10
    while _get(client, door.token(key)).status_code != status:
        assert time.monotonic() < deadline, f"never {status}"


def _failed_fetches(rotating: door.Door) -> int:
    with rotating.admin as admin:
        stats = admin.get("/stats?filter=jwks_fetch_failed&format=json").json()["stats"]
    return sum(stat["value"] for stat in stats if "value" in stat)

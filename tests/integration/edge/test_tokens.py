"""POST /oauth2/token as RFC 6749 §4.4 and §5 say it, and what stands in a token (RFC 9068)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from edge import roles

GRANT = {"grant_type": "client_credentials"}
LOCATION = "loc_01h45ytscbebyvny4gc8cr8ma2"
OTHER_LOCATION = "loc_01h45ytscbebyvny4gc8cr8ma3"


def claims(edge: Any, response: httpx.Response) -> dict[str, Any]:
    """The verified claims of an issued token."""
    keys = KeySet.import_key_set(edge.http.get("/.well-known/jwks.json").json())
    return dict(jwt.decode(response.json()["access_token"], keys, algorithms=["ES256"]).claims)


def refused(response: httpx.Response) -> tuple[int, str]:
    """Status and error code of a refusal, which is never cached."""
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, response.json()["error"]


def test_a_token_carries_what_services_check(edge: Any) -> None:
    before = int(time.time())
    response = edge.token_request("associate")

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    header = json.loads(jwt_part(body["access_token"], 0))
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert header["kid"] in {key["kid"] for key in edge.http.get("/.well-known/jwks.json").json()["keys"]}
    found = claims(edge, response)
    client_id, _ = edge.credentials("associate")
    assert (found["iss"], found["aud"]) == ("http://127.0.0.1:8080", "tillmesh")
    assert (found["sub"], found["client_id"]) == (client_id, client_id)
    assert found["tid"] == edge.tenant_id()
    assert (found["roles"], found["locs"]) == (["associate"], ["*"])
    assert set(found["scope"].split()) == set(roles.DEFAULT_SCOPES["associate"])
    assert before <= found["iat"] <= int(time.time())
    assert found["exp"] == found["iat"] + 900
    assert found["jti"]


def jwt_part(token: str, number: int) -> bytes:
    import base64

    part = token.split(".")[number]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize("role", roles.ROLES)
def test_each_role_has_a_demo_client_in_both_tenants(edge: Any, role: str) -> None:
    found = {}
    for tenant in ("beauty", "furniture"):
        response = edge.http.post("/oauth2/token", data=GRANT, auth=edge.credentials(role, tenant))
        found[tenant] = claims(edge, response)
        assert found[tenant]["roles"] == [role]
        assert found[tenant]["tid"] == edge.tenant_id(tenant)
    assert found["beauty"]["tid"] != found["furniture"]["tid"]


def test_a_customer_token_names_its_customer(edge: Any) -> None:
    assert claims(edge, edge.token_request("customer"))["cus"].startswith("cus_")


def test_no_two_tokens_have_the_same_id(edge: Any) -> None:
    ids = {claims(edge, edge.token_request())["jti"] for _ in range(5)}
    assert len(ids) == 5


def test_the_secret_may_come_in_the_form(edge: Any) -> None:
    client_id, secret = edge.credentials("admin")
    response = edge.http.post("/oauth2/token", data={**GRANT, "client_id": client_id, "client_secret": secret})
    assert response.status_code == 200


def test_asking_for_fewer_scopes_gives_fewer(edge: Any) -> None:
    response = edge.token_request("admin", scope="orders:read  inventory:read")
    assert response.json()["scope"] == "inventory:read orders:read"
    assert claims(edge, response)["scope"] == "inventory:read orders:read"


def test_an_empty_parameter_counts_as_absent(edge: Any) -> None:
    assert edge.token_request("moderator", scope="").json()["scope"] == "catalog:read reviews:read reviews:moderate"


@pytest.mark.parametrize("scope", ["reviews:moderate", "inventory:read admin", "nonsense", 'quote"\\é'])
def test_a_scope_the_client_does_not_have_is_refused(edge: Any, scope: str) -> None:
    assert refused(edge.token_request("associate", scope=scope)) == (400, "invalid_scope")


@pytest.mark.parametrize(
    "value", [[LOCATION, OTHER_LOCATION], f"{LOCATION} {OTHER_LOCATION}", [LOCATION, f"{OTHER_LOCATION} {LOCATION}"]]
)
def test_a_token_narrows_to_the_locations_asked_for(edge: Any, value: Any) -> None:
    assert claims(edge, edge.token_request("associate", location=value))["locs"] == [LOCATION, OTHER_LOCATION]


def test_a_location_that_is_no_id_is_refused(edge: Any) -> None:
    assert refused(edge.token_request("associate", location="downtown")) == (400, "invalid_request")


@pytest.fixture(scope="module")
def limited(edge: Any) -> tuple[str, str]:
    """A client of one location, added while the edge runs."""
    return add_client(edge, "--role", "associate", "--location", LOCATION)


def add_client(edge: Any, *options: str) -> tuple[str, str]:
    command = [sys.executable, "-m", "edge.clients", "add", "--tenant", edge.tenant_id(), *options]
    answer = subprocess.run(
        command, env={"TILLMESH_DATA": str(edge.data)}, check=True, stdout=subprocess.PIPE, text=True
    )
    fields = dict(line.split() for line in answer.stdout.splitlines())
    return fields["client_id"], fields["client_secret"]


def test_a_client_added_to_a_running_edge_works_at_once(edge: Any, limited: tuple[str, str]) -> None:
    response = edge.http.post("/oauth2/token", data=GRANT, auth=limited)
    assert claims(edge, response)["locs"] == [LOCATION]


@pytest.mark.parametrize("location", [OTHER_LOCATION, "*"])
def test_a_location_the_client_does_not_have_is_refused(edge: Any, limited: tuple[str, str], location: str) -> None:
    response = edge.http.post("/oauth2/token", data={**GRANT, "location": location}, auth=limited)
    assert refused(response) == (400, "invalid_scope")


def test_a_removed_client_gets_no_more_tokens(edge: Any) -> None:
    client = add_client(edge, "--role", "marketer")
    assert edge.http.post("/oauth2/token", data=GRANT, auth=client).status_code == 200
    command = [sys.executable, "-m", "edge.clients", "remove", client[0]]
    subprocess.run(command, env={"TILLMESH_DATA": str(edge.data)}, check=True)
    assert refused(edge.http.post("/oauth2/token", data=GRANT, auth=client)) == (401, "invalid_client")


@pytest.fixture
def wrong_credentials(edge: Any) -> Iterator[list[dict[str, Any]]]:
    client_id, secret = edge.credentials("associate")
    yield [
        {"auth": (client_id, "wrong")},
        {"auth": ("cli_01h45ytscbebyvny4gc8cr8ma2", secret)},
        {"auth": ("", "")},
        {"data": {**GRANT, "client_id": client_id, "client_secret": "wrong"}},
        {"data": {**GRANT, "client_id": "nobody", "client_secret": "wrong"}},
        {"data": {**GRANT, "client_id": client_id}},
        {},
        {"headers": {"authorization": "Basic !!!"}},
        {"headers": {"authorization": "Basic /////w=="}},
        {"headers": {"authorization": "Bearer abc"}},
    ]


def test_every_failed_authentication_answers_the_same_401(edge: Any, wrong_credentials: list[dict[str, Any]]) -> None:
    answers = [edge.http.post("/oauth2/token", **{"data": GRANT, **request}) for request in wrong_credentials]

    assert {refused(answer) for answer in answers} == {(401, "invalid_client")}
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Basic realm="tillmesh", charset="UTF-8"'}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=%C3%A9%22", "unsupported_grant_type"),
        ("scope=orders:read", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&scope=a&scope=b", "invalid_request"),
        ("grant_type=client_credentials&client_secret=x", "invalid_request"),
        ("grant_type=client_credentials&client_id=cli_other", "invalid_request"),
        ("grant_type=%FF", "invalid_request"),
        ("é", "invalid_request"),
        ("&".join(f"a{n}=1" for n in range(400)), "invalid_request"),
    ],
)
def test_a_malformed_request_is_named_as_the_rfc_names_it(edge: Any, content: str, error: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = edge.http.post("/oauth2/token", content=content.encode(), headers=headers, auth=edge.credentials("admin"))
    assert refused(answer) == (400, error)
    assert answer.json().get("error_description", "x").isascii()


def test_a_json_body_is_not_a_token_request(edge: Any) -> None:
    answer = edge.http.post("/oauth2/token", json=GRANT, auth=edge.credentials("admin"))
    assert refused(answer) == (400, "invalid_request")


def test_a_huge_body_is_refused_before_it_is_read(edge: Any) -> None:
    answer = edge.http.post("/oauth2/token", data={**GRANT, "scope": "x" * 50_000}, auth=edge.credentials("admin"))
    assert refused(answer) == (413, "invalid_request")


def test_credentials_in_the_query_are_not_looked_at(edge: Any) -> None:
    client_id, secret = edge.credentials("admin")
    query = {"client_id": client_id, "client_secret": secret, **GRANT}
    assert refused(edge.http.post("/oauth2/token", params=query, data=GRANT)) == (401, "invalid_client")


def test_unknown_parameters_are_ignored(edge: Any) -> None:
    assert edge.token_request("admin", audience="x", expires_in="99999").json()["expires_in"] == 900


def test_a_token_is_asked_for_by_post_only(edge: Any) -> None:
    answer = edge.http.get("/oauth2/token")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_neither_secrets_nor_tokens_are_logged(edge: Any) -> None:
    _, secret = edge.credentials("associate")
    token = edge.token_request("associate").json()["access_token"]
    edge.event("token.issued")
    edge.token_request("associate")
    edge.event("token.issued")
    said = json.dumps(edge.log)
    assert secret not in said
    assert token not in said
    assert token.split(".")[2] not in said

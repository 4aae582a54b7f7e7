"""Metadata, the OpenAPI document and the pages: complete without any other origin."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from edge import roles


def test_metadata_names_what_a_client_needs(edge: Any) -> None:
    found = edge.http.get("/.well-known/openid-configuration").json()
    assert found["issuer"] == "http://127.0.0.1:8080"
    assert found["token_endpoint"] == "http://127.0.0.1:8080/oauth2/token"
    assert found["jwks_uri"] == "http://127.0.0.1:8080/.well-known/jwks.json"
    assert found["grant_types_supported"] == ["client_credentials"]
    assert found["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    assert found["scopes_supported"] == list(roles.SCOPES)


def test_metadata_is_valid_by_rfc_8414(edge: Any) -> None:
    from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

    AuthorizationServerMetadata(edge.http.get("/.well-known/openid-configuration").json()).validate()


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_asks_no_other_origin(edge: Any, path: str) -> None:
    answer = edge.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert not re.findall(r"@import|url\(", answer.text)


@pytest.mark.parametrize(("path", "tag"), [("/", "style"), ("/docs", "style"), ("/docs", "script")])
def test_the_browser_accepts_what_a_page_inlines(edge: Any, path: str, tag: str) -> None:
    answer = edge.http.get(path)
    (inline,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


def test_the_welcome_page_leads_on(edge: Any) -> None:
    links = re.findall(r'href="([^"]+)"', edge.http.get("/").text)
    assert {"/docs", "/healthz", "/openapi.json"} <= set(links)
    assert {edge.http.get(link).status_code for link in links} <= {200}


def test_an_unknown_path_answers_in_the_common_shape(edge: Any) -> None:
    answer = edge.http.get("/nope")
    assert answer.status_code == 404
    assert answer.json()["code"] == 5
    assert answer.json()["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "EDGE_NOT_FOUND",
        "domain": "tillmesh",
        "metadata": {},
    }

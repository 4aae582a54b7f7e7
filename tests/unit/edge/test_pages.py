"""The OpenAPI document as it is served: this deployment's own, and only sent when it changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from edge import pages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openapi.json"


@pytest.fixture
def document(path: Path) -> pages.OpenApiDocument:
    flow = {"tokenUrl": "http://127.0.0.1:8080/oauth2/token", "scopes": {}}
    schemes = {"oauth2": {"flows": {"clientCredentials": flow}}}
    path.write_text(json.dumps({"openapi": "3.1.0", "components": {"securitySchemes": schemes}}))
    return pages.OpenApiDocument(path, "https://api.shop.example")


@pytest.fixture
async def http(document: pages.OpenApiDocument) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route("/openapi.json", document.serve)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        yield client


def change(path: Path) -> None:
    path.write_text(path.read_text().replace("3.1.0", "3.1.1 "))


def remove(path: Path) -> None:
    path.unlink()


async def test_the_document_names_this_deployments_token_endpoint(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    flows = document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert flows["clientCredentials"]["tokenUrl"] == "https://api.shop.example/oauth2/token"


async def test_the_document_is_sent_once_to_a_caller_that_keeps_it(http: httpx.AsyncClient, path: Path) -> None:
    etag = (await http.get("/openapi.json")).headers["etag"]
    again = await http.get("/openapi.json", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")

    change(path)
    changed = await http.get("/openapi.json", headers={"if-none-match": etag})
    assert (changed.status_code, changed.json()["openapi"]) == (200, "3.1.1 ")


async def test_a_missing_document_is_an_error_in_the_common_shape(http: httpx.AsyncClient, path: Path) -> None:
    remove(path)
    answer = await http.get("/openapi.json")
    assert answer.status_code == 404
    assert answer.json()["details"][0]["reason"] == "EDGE_NOT_FOUND"

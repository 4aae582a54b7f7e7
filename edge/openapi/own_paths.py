"""The edge's own paths, which no contract declares: tokens, keys, readiness and this document."""

from __future__ import annotations

from typing import Any

from edge import roles, settings

# OpenAPI 3.1 wants an absolute URL here. Where the document is served, the edge puts its own in place (edge.pages).
TOKEN_URL = "http://127.0.0.1:8080" + settings.OAUTH_PATH
TAG = {"name": "Platform", "description": "Tokens, keys, readiness and this document. No token is needed."}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _read(operation_id: str, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation_id,
            "tags": [TAG["name"]],
            "summary": summary,
            "security": [],
            "x-tillmesh-access": {"public": True},
            "responses": {"200": answer},
        }
    }


_OBJECT = {"type": "object"}
_OAUTH_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    "required": ["error"],
}
_TOKEN_REQUEST = {
    "type": "object",
    "properties": {
        "grant_type": {"type": "string", "const": "client_credentials"},
        "scope": {"type": "string", "description": "Scopes separated by spaces; default: all that the client has."},
        "location": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Locations the token is narrowed to, repeated or separated by spaces.",
        },
        "client_id": {"type": "string", "description": "Unless it is sent by HTTP Basic."},
        "client_secret": {"type": "string", "description": "Unless it is sent by HTTP Basic."},
    },
    "required": ["grant_type"],
}
_TOKEN_RESPONSE = {
    "type": "object",
    "properties": {
        "access_token": {"type": "string", "description": "A JWT (RFC 9068)."},
        "token_type": {"type": "string", "const": "Bearer"},
        "expires_in": {"type": "integer", "description": "Seconds."},
        "scope": {"type": "string"},
    },
    "required": ["access_token", "token_type", "expires_in", "scope"],
}
_READINESS = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["ready", "not ready"]},
        "not_ready": {"type": "array", "items": {"type": "string"}},
        "parts": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["status", "not_ready", "parts"],
}


def paths() -> dict[str, Any]:
    """OpenAPI path items."""
    health = _read("Platform_Health", "Whether every part is ready", _json("Every part is ready.", _READINESS))
    health["get"]["responses"]["503"] = _json("A part is not ready; the list names it.", _READINESS)
    return {
        settings.OAUTH_PATH: {"post": _token()},
        "/healthz": health,
        "/.well-known/jwks.json": _read("Platform_Jwks", "Public keys of tokens (RFC 7517)", _json("Keys.", _OBJECT)),
        "/.well-known/openid-configuration": _read(
            "Platform_Metadata", "Metadata of the authorization server (RFC 8414)", _json("Metadata.", _OBJECT)
        ),
        "/openapi.json": _read("Platform_OpenApi", "This document", _json("An OpenAPI document.", _OBJECT)),
    }


def _token() -> dict[str, Any]:
    return {
        "operationId": "Platform_Token",
        "tags": [TAG["name"]],
        "summary": "Get an access token with client credentials (RFC 6749 §4.4)",
        "description": "The client authenticates by HTTP Basic or in the form. Tokens live 15 minutes at most.",
        "security": [],
        "x-tillmesh-access": {"public": True},
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": _TOKEN_REQUEST}},
        },
        "responses": {
            "200": _json("The token.", _TOKEN_RESPONSE),
            "400": _json("The request is refused (RFC 6749 §5.2).", _OAUTH_ERROR),
            "401": _json("The client could not be authenticated.", _OAUTH_ERROR),
        },
    }


def security_schemes() -> dict[str, Any]:
    """How a token is obtained and sent."""
    scopes = {scope: f"May use {scope}" for scope in roles.SCOPES}
    return {
        "oauth2": {
            "type": "oauth2",
            "description": "Client credentials; tokens narrow to scopes and locations.",
            "flows": {"clientCredentials": {"tokenUrl": TOKEN_URL, "scopes": scopes}},
        },
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "accessToken": {
            "type": "apiKey",
            "in": "query",
            "name": "access_token",
            "description": "For EventSource in a browser, which can't send headers: streams only.",
        },
    }

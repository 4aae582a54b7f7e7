"""The welcome page, the API reference and the document it shows. Self-contained: no other origin is ever asked."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, Response

from edge import errors, files, settings

if TYPE_CHECKING:
    from starlette.requests import Request

STATIC = Path(__file__).parent / "static"
PAGE_SECONDS = 300


def _source(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


class Page:
    """One HTML page with its style and script inlined, allowed by their hashes and nothing else."""

    def __init__(self, html: str, issuer: str, script: str | None = None) -> None:
        style_text = _source("page.css")
        script_text = _source(script) if script else ""
        page = _source(html).replace("{issuer}", escape(issuer))
        self._html = page.replace("/*STYLE*/", style_text).replace("/*SCRIPT*/", script_text)
        script_rule = _csp_hash(script_text) if script else "'none'"
        rules = [
            "default-src 'none'",
            f"style-src {_csp_hash(style_text)}",
            f"script-src {script_rule}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        self._headers = {
            "cache-control": f"public, max-age={PAGE_SECONDS}",
            "content-security-policy": "; ".join(rules),
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    async def serve(self, _request: Request) -> Response:
        """Serve it."""
        return HTMLResponse(self._html, headers=self._headers)


class OpenApiDocument:
    """The generated document, read again when it changes, with this deployment's token endpoint in it."""

    def __init__(self, path: Path, issuer: str) -> None:
        self._path = path
        self._issuer = issuer
        self._stamp: tuple[int, int, int] | None = None
        self._content = b""
        self._etag = ""

    async def serve(self, request: Request) -> Response:
        """The document, or 304 when the caller has it already."""
        current = files.stamp(self._path)
        if current is None:
            return errors.response(404, "The OpenAPI document has not been generated.")
        if current != self._stamp:
            self._content = self._read()
            self._etag = f'W/"{hashlib.sha256(self._content).hexdigest()[:16]}"'
            self._stamp = current
        headers = {"etag": self._etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self._etag:
            return Response(status_code=304, headers=headers)
        return Response(self._content, media_type="application/json", headers=headers)

    def _read(self) -> bytes:
        document = json.loads(self._path.read_bytes())
        schemes = document.get("components", {}).get("securitySchemes", {})
        for flow in schemes.get("oauth2", {}).get("flows", {}).values():
            flow["tokenUrl"] = self._issuer + settings.OAUTH_PATH
        return json.dumps(document, ensure_ascii=False).encode()

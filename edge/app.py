"""The edge's routes, put together. What each does lives in the module of its name."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge import errors, health, keys, logs, metrics, oauth, pages, registry, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

REFRESH_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Edge:
    """The state behind the routes: signing keys, clients and the readiness of the mesh."""

    def __init__(self, configured: settings.Settings) -> None:
        """Raises ConfigurationError when keys or clients can't be read."""
        self.settings = configured
        self.keys = keys.KeyStore(configured.keys_folder, configured.public_jwks_file)
        self.keys.start()
        self.clients = registry.ClientRegistry(configured.clients_file)
        self.tokens = oauth.TokenServer(configured.issuer, configured.audience, self.clients, self.keys)
        self.readiness = health.Readiness({})
        self._keys_problem = ""

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Follow keys and parts while the server runs."""
        mesh = health.mesh_probes(self.settings.service_addresses(), self.settings.nats_url)
        self.readiness = health.Readiness({"edge": self._own_state, **mesh})
        following = asyncio.create_task(self._follow_keys(), name="edge-keys")
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.readiness.close()

    async def _own_state(self) -> str:
        return self._keys_problem

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                self.keys.refresh()
                self._keys_problem = ""
            except (settings.ConfigurationError, OSError) as error:
                if not self._keys_problem:
                    log.warning("keys.unreadable", error=str(error))
                self._keys_problem = "signing keys can't be read"

    async def healthz(self, _request: Request) -> Response:
        """200 when every part is ready, else 503 with the list of those that are not."""
        parts = await self.readiness.parts()
        not_ready = [part for part, problem in parts.items() if problem]
        content = {
            "status": "not ready" if not_ready else "ready",
            "not_ready": not_ready,
            "parts": {part: problem or "ready" for part, problem in parts.items()},
        }
        headers = {"cache-control": "no-store"}
        return JSONResponse(content, status_code=503 if not_ready else 200, headers=headers)

    async def jwks(self, _request: Request) -> Response:
        """The public signing keys (RFC 7517)."""
        headers = {"cache-control": f"public, max-age={keys.JWKS_CACHE_SECONDS}"}
        return Response(self.keys.jwks_bytes(), media_type="application/json", headers=headers)

    async def discovery(self, _request: Request) -> Response:
        """What a client has to know to get a token (RFC 8414)."""
        headers = {"cache-control": f"public, max-age={keys.JWKS_CACHE_SECONDS}"}
        return JSONResponse(oauth.discovery(self.settings.issuer), headers=headers)


def create(configured: settings.Settings) -> Starlette:
    """The ASGI application. Raises ConfigurationError when keys or clients can't be read."""
    edge = Edge(configured)
    document = pages.OpenApiDocument(configured.openapi_file, configured.issuer)
    routes = [
        Route("/", pages.Page("welcome.html", configured.issuer).serve, methods=["GET"]),
        Route("/docs", pages.Page("docs.html", configured.issuer, script="docs.js").serve, methods=["GET"]),
        Route("/openapi.json", document.serve, methods=["GET"]),
        Route("/healthz", edge.healthz, methods=["GET"]),
        Route("/.well-known/jwks.json", edge.jwks, methods=["GET"]),
        Route("/.well-known/openid-configuration", edge.discovery, methods=["GET"]),
        Route(settings.OAUTH_PATH, oauth.TokenEndpoint(edge.tokens).serve, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        lifespan=edge.lifespan,
        middleware=[
            Middleware(logs.TraceIds),
            Middleware(metrics.RequestMetrics, paths=frozenset(route.path for route in routes)),
        ],
        exception_handlers={HTTPException: errors.on_http_exception, Exception: errors.on_defect},
    )
